"""What somebody is shown who may not see everything, and the store as it looks to them.

A restriction works on the records before anything else sees them: names are taken out, other projects and machines are not there, and
a view, its sums, searches, feeds, marks and exports are made of what is left. So no answer can hold what was hidden. What is
left but was not chosen either (which sessions there are, sums without a price) is cut from the answers in ledger/views/shared.py.
"""
from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import msgspec

from ledger import bodies
from ledger.account import DEFAULT
from ledger.record import Ref, hash_of
from ledger.store import Head, Row, Store, Tombstone
from ledger.views.gather import part_of

PARTS = ("totals", "blocks", "limits", "sessions", "titles", "projects", "machines", "costs")
NEEDED = {"titles": "sessions"}
"""Who shows the first shows the second."""
BETWEEN = "|"
"""Stands in no tenant's name: "tenant|share" names what a share shows of a tenant."""
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Shown:
    """What was chosen: PARTS, and only of one *project* or of one *source* where they are named."""

    parts: frozenset[str]
    project: str | None = None
    source: str | None = None

    @classmethod
    def of(cls, parts: Any, project: object = None, source: object = None) -> Shown:
        """Raises ValueError for a part that there is not, or for none."""
        chosen = {str(part) for part in parts}
        if unknown := sorted(chosen - set(PARTS)):
            raise ValueError(f"there is no {unknown[0]!r} to show: choose from {', '.join(PARTS)}")
        if not chosen & {"totals", "blocks", "limits", "sessions", "titles"}:
            raise ValueError("nothing would be shown: choose totals, blocks, limits or sessions as well")
        return cls(frozenset(chosen | {NEEDED[part] for part in chosen & set(NEEDED)}), _text(project), _text(source))

    def __contains__(self, part: str) -> bool:
        return part in self.parts

    def listed(self) -> list[str]:
        """The parts in their usual order."""
        return [part for part in PARTS if part in self.parts]

    def document(self) -> dict[str, object]:
        return {"shows": self.listed(), "project": self.project, "source": self.source}


VIEWER = Shown(frozenset(PARTS) - {"sessions", "titles"})
"""What a viewer sees of a tenant: every sum, and no single session."""


def _text(value: object) -> str | None:
    return str(value) if value else None


def owner_of(tenant: str) -> str:
    """Whose records are shown."""
    return tenant.partition(BETWEEN)[0]


class Lens:
    """A store as *shown* lets it be seen; for reading only. *salt* makes names that stand for names, and tell nothing of them."""

    durable = True

    def __init__(self, store: Store, shown: Shown, salt: bytes) -> None:
        self._store, self._shown, self._salt = store, shown, salt
        self._sources: dict[str, str] = {}
        """The real source by the name it goes by."""

    def heads(self, tenant: str) -> list[Head]:
        found = [head for head in self._store.heads(tenant) if self._shown.source in (None, head.source)]
        called = {head.source: self._called(head.source) for head in found}
        self._sources = {name: source for source, name in called.items()}
        return sorted((replace(head, source=called[head.source], agent="{}", pending_lease=None) for head in found), key=lambda head: head.source)

    def rows(self, tenant: str, source: str, *, kind: str | None = None) -> Iterator[Row]:
        real = self._sources[source]
        return (seen for row in self._store.rows(tenant, real, kind=kind) if (seen := self._seen(row)) is not None)

    def changes(self, tenant: str, source: str, lease: str, after: int) -> tuple[list[Row], list[Tombstone]]:
        """A record that may no longer be seen, since its project is another now, is gone to whoever looks through here."""
        rows, stones = self._store.changes(tenant, self._sources[source], lease, after)
        seen = [(row, self._seen(row)) for row in rows]
        hidden = [Tombstone(self._ref(row.ref), row.lease, row.seq, 0) for row, sight in seen if sight is None]
        return [sight for _, sight in seen if sight is not None], [*(replace(stone, ref=self._ref(stone.ref)) for stone in stones), *hidden]

    # -- one record

    def _called(self, source: str) -> str:
        return source if "machines" in self._shown else f"machine-{self._alias('source', source)[:6]}"

    def _alias(self, kind: str, name: str) -> str:
        return hmac.new(self._salt, f"{kind}\0{name}".encode(), sha256).hexdigest()[:20]

    def _ref(self, ref: Ref) -> Ref:
        """Ids tell machines and trackers: what is shared has ids of its own."""
        if ref.kind == "usage":
            session, number = part_of(ref)
            return Ref(ref.kind, f"{self._alias('session', session)}/{number}")
        return Ref(ref.kind, self._alias(ref.kind, ref.id)) if ref.kind != "day" else ref

    def _seen(self, row: Row) -> Row | None:
        """The record as it may be seen, or None. What cannot be read, or is of an unknown kind, is never seen."""
        if row.ref.kind not in bodies.KINDS or not row.body:
            return None
        try:
            body = getattr(self, f"_{row.ref.kind}")(bodies.read(row.ref.kind, row.body))
        except (bodies.Unreadable, ValueError):
            return None
        if body is None:
            return None
        text, ref = _encode(body).decode(), self._ref(row.ref)
        return replace(row, ref=ref, body=text, code=None, hash=hash_of(ref.kind, ref.id, text))

    def _session(self, body: bodies.Session) -> bodies.Session | None:
        shown = self._shown
        if shown.project is not None and body.project != shown.project:
            return None
        titles = "titles" in shown
        return bodies.Session(
            session_type=body.session_type, start_time=body.start_time, end_time=body.end_time, last_activity=body.last_activity,
            is_active=body.is_active, stale=body.stale, total_messages=body.total_messages, models_used=body.models_used,
            estimated_tokens=body.estimated_tokens, project=body.project if "projects" in shown else None,
            title=body.title if titles else None, git_branch=body.git_branch if titles else None,
            machine=body.machine if "machines" in shown else None, account=self._account(body.account), provenance=body.provenance,
            context=body.context if "sessions" in shown else None, usage=self._usage_rows(body.usage), more=body.more,
        )  # fmt: skip

    def _usage(self, body: bodies.Usage) -> bodies.Usage:
        return bodies.Usage(session=self._alias("session", body.session), usage=self._usage_rows(body.usage))

    def _usage_rows(self, rows: list[bodies.UsageRow]) -> list[bodies.UsageRow]:
        return rows if "costs" in self._shown else [(*row[:-1], None) for row in rows]

    def _account(self, account: str | None) -> str | None:
        return account if account in (None, "", DEFAULT) else self._alias("account", str(account))[:8]

    def _block(self, body: bodies.Block) -> bodies.Block | None:
        if "blocks" not in self._shown or self._shown.project is not None:
            return None
        return bodies.Block(
            start_time=body.start_time, end_time=body.end_time, session_type=body.session_type, total_sessions=body.total_sessions,
            total_tokens=body.total_tokens, is_complete=body.is_complete,
        )  # fmt: skip

    def _limit(self, body: bodies.Limit) -> bodies.Limit | None:
        whole = self._shown.project is None and self._shown.source is None
        # Blocks stand on the resets of the five-hour window, whose percent is the whole account's.
        if "limits" not in self._shown and not ("blocks" in self._shown and whole and body.window == "five_hour"):
            return None
        return bodies.Limit(
            tool=body.tool, account=self._account(body.account) or "", window=body.window, used_percent=body.used_percent, resets_at=body.resets_at,
            observed_at=body.observed_at, source=body.source, earlier=body.earlier, earlier_used=body.earlier_used,
        )  # fmt: skip

    def _machine(self, body: bodies.Machine) -> bodies.Machine:
        named = "machines" in self._shown
        return bodies.Machine(name=body.name if named else None, os=body.os if named else None, tz=body.tz, sample=body.sample)

    def _day(self, body: bodies.Day) -> bodies.Day:
        shown, rows = self._shown, list[bodies.DayRow]()
        for kind, model, price_class, project, *amounts, reported in body.rows:
            if shown.project is None or project == shown.project:
                rows.append((kind, model, price_class, project if "projects" in shown else None, *amounts, reported if "costs" in shown else None))  # type: ignore[arg-type]
        return bodies.Day(date=body.date, tz=body.tz, rows=rows)


def terms_of(value: Mapping[str, object]) -> tuple[Shown, bytes] | None:
    """What a kept share shows, and its salt; None for what makes no sense, so that it shows nothing."""
    try:
        return Shown.of(value["shows"], value.get("project"), value.get("source")), bytes.fromhex(str(value["salt"]))
    except (KeyError, ValueError, TypeError):
        return None
