"""The earlier system's push: one shared key, four parts, each replacing what the same source posted before.

What a source posts is kept in the store under a source of its own, so that its sessions and blocks appear in every read,
in the feed and in the counts. The relay itself is this source's truth: it mints the lease and counts the changes.
"""
from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from ledger import record
from ledger.errors import Busy, Conflict, Problem
from ledger.record import Record, Ref
from ledger.store import Head, Row, Store, Tombstone
from relay import posted
from relay.posted import Post

BEAT_S = 120
"""These clients post every half minute at best; a source is fresh for two and a half of its beats."""
_AT_ONCE = 90
_TRIES = 6
_MEMBERS = Ref("post", "parts")


class Posts:
    """Takes posts of one tenant's old clients. *on_change* hears of every post that changed something."""

    def __init__(self, store: Store, clock: Callable[[], int], on_change: Callable[[str], None], *, most_sources: int = 50) -> None:
        self._store, self._clock, self._on_change, self._most = store, clock, on_change, most_sources

    def take(self, tenant: str, post: Post) -> dict[str, Any]:
        """Keep *post*; the predecessor's answer. Raises Busy, Full, or Problem when there are too many sources."""
        for _ in range(_TRIES):
            try:
                if self._keep(tenant, post):
                    self._on_change(tenant)
                return {"status": "received", "source": post.source, "timestamp": post.timestamp, "cached_items": post.counts()}
            except Conflict:
                continue  # somebody posted for the same source meanwhile
        raise Busy("this source is posted to from several places at once")

    def last_post(self, tenant: str) -> int | None:
        """When anybody posted last, in milliseconds."""
        return max((head.last_seen for head in self._store.heads(tenant) if head.source.startswith("~")), default=None)

    def _keep(self, tenant: str, post: Post) -> bool:
        source, now = posted.source_id(post.source), self._clock()
        head = self._store.head(tenant, source)
        if head is None and sum(one.source.startswith("~") for one in self._store.heads(tenant)) >= self._most:
            raise Problem(507, "quota", f"at most {self._most} sources may post here: use the name of one that did before")
        members = self._members(tenant, source)
        wanted, gone = self._wanted(tenant, source, post, members, now)
        return self._write(tenant, source, head, wanted, gone, now)

    def _members(self, tenant: str, source: str) -> dict[str, list[str]]:
        row = self._store.get(tenant, source, _MEMBERS)
        return msgspec.json.decode(row.body) if row else {}

    def _wanted(self, tenant: str, source: str, post: Post, before: Mapping[str, Sequence[str]], now: int) -> tuple[list[Record], set[Ref]]:
        """The records that the post names, and those that none of the four parts names any more."""

        def began(key: str) -> int | None:
            row = self._store.get(tenant, source, Ref("session", key))
            return msgspec.json.decode(row.body).get("start_time") if row else None

        recent = posted.sessions(post.parts.get("recent_sessions", ()), source, active=False, now=now, began=began)
        active = posted.sessions(post.parts.get("active_sessions", ()), source, active=True, now=now, began=began)
        blocks = posted.blocks(post.parts.get("five_hour_blocks", ()), source)
        after = dict(before)
        for part, found in (("recent_sessions", recent), ("active_sessions", active), ("five_hour_blocks", blocks)):
            if part in post.parts:
                after[part] = sorted(found)
        gone = _refs(before) - _refs(after)
        machine = {"name": post.source, "version": "posted", "readers": {}}
        extra = [_json("machine", source, machine), _json(_MEMBERS.kind, _MEMBERS.id, after)]
        if "analytics" in post.parts and (kept := posted.analytics(post.parts["analytics"])):
            extra.append(kept)
        return [*(recent | active).values(), *blocks.values(), *extra], gone

    def _write(self, tenant: str, source: str, head: Head | None, wanted: Sequence[Record], gone: set[Ref], now: int) -> bool:
        """Apply what differs, in batches that every store takes at once. Raises Conflict."""
        lease = head.lease if head and head.lease else secrets.token_hex(16)
        at = replace(head or Head(source), lease=lease, committed=True, beat_s=BEAT_S, last_seen=now)
        known: dict[Ref, int] = {}
        named: list[Ref] = [*(one.ref for one in wanted), *gone]
        for some in _batches(named):
            known |= self._store.hashes(tenant, source, lease, some)
        changes: list[Record | Ref] = [one for one in wanted if known.get(one.ref) != one.hash]
        changes += [ref for ref in sorted(gone) if ref in known]
        before = head
        batches: list[list[Any]] = [*_batches(changes)] or [[]]
        for batch in batches:
            seq = at.seq + 1 if batch else at.seq
            puts = [Row(one.ref, one.body, one.hash, lease, seq) for one in batch if isinstance(one, Record)]
            dropped = [Tombstone(ref, lease, seq, now) for ref in batch if isinstance(ref, Ref)]
            refs = [*(row.ref for row in puts), *(stone.ref for stone in dropped)]
            replaced = [known[ref] for ref in refs if ref in known]
            at = replace(at, seq=seq, digest=record.add(at.digest, put=[row.hash for row in puts], gone=replaced))
            self._store.apply(tenant, before, at, puts, dropped)
            before = at
        return bool(changes)


def _refs(members: Mapping[str, Sequence[str]]) -> set[Ref]:
    sessions = {Ref("session", key) for part in ("recent_sessions", "active_sessions") for key in members.get(part, ())}
    return sessions | {Ref("block", key) for key in members.get("five_hour_blocks", ())}


def _json(kind: str, id: str, value: Mapping[str, Any]) -> Record:
    return Record(kind, id, msgspec.json.encode(value).decode())


def _batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == _AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch
