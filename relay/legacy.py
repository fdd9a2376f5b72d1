"""The earlier system's push: one shared key, four parts, each replacing what the same source posted before.

What a source posts is kept in the store under a source of its own, so that its sessions and blocks appear in every read,
in the feed and in the counts. The relay itself is this source's truth: it mints the lease and counts the changes.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from ledger.errors import Busy, Conflict, Problem
from ledger.record import Record, Ref
from ledger.store import Store
from relay import posted
from relay.posted import Post, Taken
from relay.written import write

BEAT_S = 120
"""These clients post every half minute at best; a source is fresh for two and a half of its beats."""
MOST_SOURCES = 50
_TRIES = 6
_MEMBERS = Ref("post", "parts")
_LISTS = ("active_sessions", "recent_sessions", "five_hour_blocks")
_KEYS_A_ROW = 400
"""Every store takes a row of so many keys; longer lists go on in rows of their own."""


class Posts:
    """Takes posts of one tenant's old clients. *on_change* hears of every post that changed something."""

    def __init__(self, store: Store, clock: Callable[[], int], on_change: Callable[[str], None], *,
                 forgets: Callable[[str, str], bool] = lambda tenant, project: False) -> None:  # fmt: skip
        self._forgets = forgets
        self._store, self._clock, self._on_change = store, clock, on_change

    def take(self, tenant: str, post: Post) -> dict[str, Any]:
        """Keep *post*; the predecessor's answer. Raises Busy, Full, or Problem when there are too many sources."""
        for _ in range(_TRIES):
            try:
                return {"status": "received", "source": post.source, "timestamp": post.timestamp, "cached_items": self._keep(tenant, post)}
            except Conflict:
                continue  # somebody posted for the same source meanwhile
        raise Busy("several clients post under this name at once: the same again in a moment")

    def _keep(self, tenant: str, post: Post) -> dict[str, int]:
        """How many items of each list are kept now."""
        source, now = posted.source_id(post.source), self._clock()
        head = self._store.head(tenant, source)
        if head is None and sum(one.source.startswith("~") for one in self._store.heads(tenant)) >= MOST_SOURCES:
            raise Problem(507, "quota", f"at most {MOST_SOURCES} names may post here: use one that did before")
        taken = self._taken(tenant, source, post, now)
        wanted, gone = _wanted(source, post, self._members(tenant, source), taken)
        if write(self._store, tenant, source, head, wanted, gone, now, BEAT_S):
            self._on_change(tenant)
        return {name: taken[name].kept for name in _LISTS}

    def _members(self, tenant: str, source: str) -> dict[str, Any]:
        """What the parts named until now, put together from its rows."""
        row = self._store.get(tenant, source, _MEMBERS)
        members: dict[str, Any] = msgspec.json.decode(row.body) if row else {}
        for number in range(1, members.get("more", 0) + 1):
            more = self._store.get(tenant, source, _more(number))
            for name, keys in (msgspec.json.decode(more.body) if more else {}).items():
                members[name] = [*members.get(name, ()), *keys]
        return members

    def _taken(self, tenant: str, source: str, post: Post, now: int) -> dict[str, Taken]:
        def began(key: str) -> int | None:
            row = self._store.get(tenant, source, Ref("session", key))
            return msgspec.json.decode(row.body).get("start_time") if row else None

        sessions = {
            name: posted.sessions(post.parts.get(name, ()), source, active=name == "active_sessions", now=now, began=began)
            for name in ("active_sessions", "recent_sessions")
        }
        for found in sessions.values():  # those of a project that a person had forgotten count as kept, and are not
            found.records = {key: one for key, one in found.records.items() if not self._is_forgotten(tenant, one)}
        return {**sessions, "five_hour_blocks": posted.blocks(post.parts.get("five_hour_blocks", ()), source)}

    def _is_forgotten(self, tenant: str, one: Record) -> bool:
        project = msgspec.json.decode(one.body).get("project")
        return bool(project) and self._forgets(tenant, str(project))


def _wanted(source: str, post: Post, before: Mapping[str, Any], taken: Mapping[str, Taken]) -> tuple[list[Record], set[Ref]]:
    """The records that the post names, and those that none of the four parts names any more."""
    lists = {name: before.get(name, ()) for name in _LISTS} | {name: sorted(taken[name].records) for name in _LISTS if name in post.parts}
    refused = before.get("refused", {}) | {name: taken[name].refused for name in _LISTS if name in post.parts}
    extra = []
    if "analytics" in post.parts:
        kept = posted.analytics(post.parts["analytics"])
        refused["analytics"] = {} if kept else {"too large": 1}
        extra = [kept] if kept else []
    members = _pages(lists, refused)
    gone = _refs(before) - _refs(lists) | {_more(number) for number in range(len(members), before.get("more", 0) + 1)}
    records = taken["recent_sessions"].records | taken["active_sessions"].records
    return [*records.values(), *taken["five_hour_blocks"].records.values(), _machine(source, post, refused), *extra, *members], gone


def _machine(source: str, post: Post, refused: Mapping[str, Mapping[str, int]]) -> Record:
    """The source as a machine: its one reader is the post, and what of it could not be kept is said."""
    skipped = {f"{name}: {why}": count for name, reasons in sorted(refused.items()) for why, count in sorted(reasons.items())}
    told = {"note": "not kept: " + ", ".join(f"{count} of {what}" for what, count in skipped.items())} if skipped else {}
    return _json("machine", source, {"name": post.source, "version": "posted", "readers": {"post": {"state": "ok", "skipped": skipped}} if skipped else {}, **told})


def _pages(lists: Mapping[str, Sequence[str]], refused: Mapping[str, Any]) -> list[Record]:
    """What the parts name, in as many records as it takes; the first one says how many more there are."""
    named = [(name, key) for name, keys in lists.items() for key in keys]
    pages: list[dict[str, Any]] = [{}]
    for begin in range(0, len(named), _KEYS_A_ROW):
        page: dict[str, list[str]] = {}
        for name, key in named[begin : begin + _KEYS_A_ROW]:
            page.setdefault(name, []).append(key)
        pages[begin // _KEYS_A_ROW :] = [page]
    pages[0] |= {"refused": refused, "more": len(pages) - 1}
    return [_json("post", _MEMBERS.id if number == 0 else _more(number).id, page) for number, page in enumerate(pages)]


def _more(number: int) -> Ref:
    return Ref(_MEMBERS.kind, f"{_MEMBERS.id}/{number}")


def _refs(members: Mapping[str, Sequence[str]]) -> set[Ref]:
    sessions = {Ref("session", key) for part in ("recent_sessions", "active_sessions") for key in members.get(part, ())}
    return sessions | {Ref("block", key) for key in members.get("five_hour_blocks", ())}


def _json(kind: str, id: str, value: Mapping[str, Any]) -> Record:
    return Record(kind, id, msgspec.json.encode(value).decode())
