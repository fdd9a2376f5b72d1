"""A tracker's row as one session or block, or the reason why it is none.

Rows are as untidy as the scripts that wrote them; every rule about what they mean stands here or in ledger/declared.py. Pure: the zone of the tracker's local times and the time of day come in as arguments.
"""
from __future__ import annotations

from dataclasses import dataclass
from datetime import tzinfo
from hashlib import sha256

from ledger import untidy
from ledger.declared import ALIVE_MS, UUID, kind_of, tokens_of, usage_of
from ledger.times import iso_or_none
from local_agent.readers.tracker_dialects import Table, Values
from local_agent.readers.tracker_times import TIMES, times_of

BLOCK_MS = 5 * 3600 * 1000

NO_ID, NO_TIME = "no id", "no time"

NAMED = frozenset(
    ("id", "session_type", "start_time", "end_time", "conversation_id", "models_used", "estimated_tokens", "is_active",
     "metadata", "total_messages")
)
BLOCK_NAMED = frozenset(
    ("id", "session_type", "start_time", "end_time", "total_sessions", "total_tokens", "efficiency_score", "is_complete")
)


@dataclass(frozen=True, slots=True)
class Session:
    """A session that a tracker declares. *sign* is its newest sign of life; *facts* is the body without what time decides, *id* the row's own."""

    id: str
    says_active: bool
    sign: int
    facts: dict[str, object]

    def alive(self, now: int) -> bool:
        return self.says_active and now - self.sign < ALIVE_MS

    def body(self, now: int) -> dict[str, object]:
        """The body of the record as of *now*: an old claim to be active is stale, and says so."""
        return body_of(self.facts, claims=self.says_active, alive=self.alive(now))


@dataclass(frozen=True, slots=True)
class Block:
    """A five-hour block that a tracker declares."""

    id: str
    facts: dict[str, object]


def body_of(facts: dict[str, object], *, claims: bool, alive: bool) -> dict[str, object]:
    """*facts* and what time makes of a row that *claims* to be active."""
    return {**facts, "is_active": alive, **({"stale": True} if claims and not alive else {})}


def key_of(tracker: str, id: str) -> str:
    """The record's id: a UUID names the same session everywhere, any other id only within its tracker."""
    return id.lower() if UUID.fullmatch(id) else qualified(tracker, id)


def qualified(tracker: str, id: str) -> str:
    """An id that is unique within one tracker only; a long one is shortened to its hash."""
    return f"{tracker}:{id if len(id) <= 100 else sha256(id.encode()).hexdigest()}"


def session_of(row: Values, table: Table, zone: tzinfo | None, account: str) -> Session | str:
    """The session that *row* declares, or why it is skipped (NO_ID, NO_TIME)."""
    shown = untidy.text(row.get("id"), 4096)
    times = times_of(row, table, zone)
    start = next((times[name] for name in ("start_time", "created_at", "last_token_update", "updated_at") if name in times), None)
    if not shown or start is None:
        return NO_TIME if shown else NO_ID
    end = times.get("end_time")
    end = None if end is None else max(end, start)
    says_active = untidy.truth(row.get("is_active"))
    sign = max((*times.values(), start))
    models = untidy.names(row.get("models_used"))
    metadata = untidy.small_object(row.get("metadata"))
    facts: dict[str, object] = {
        "id": shown[:128],
        "session_type": kind_of(row.get("session_type")),
        "start_time": start,
        "end_time": end,
        "last_activity": sign if says_active else end or start,
        "total_messages": untidy.count(row.get("total_messages")),
        "models_used": models,
        "estimated_tokens": tokens_of(row),
        "conversation_id": untidy.text(row.get("conversation_id"), 128),
        "project": untidy.last_part(row.get("project_path")) or untidy.last_part(metadata.get("project")),
        "account": account,
        "metadata": metadata,
        "provenance": "declared",
        "columns": _columns(row, NAMED, times),
        "usage": usage_of(row, start, models, always=True),
    }
    return Session(shown, says_active, sign, _without_empty(facts))


def block_of(row: Values, table: Table, zone: tzinfo | None) -> Block | str:
    """The five-hour block that *row* declares, or why it is skipped."""
    shown = untidy.text(row.get("id"), 4096)
    times = times_of(row, table, zone, length=BLOCK_MS)
    start = next((times[name] for name in ("start_time", "created_at", "updated_at") if name in times), None)
    if not shown or start is None:
        return NO_TIME if shown else NO_ID
    facts: dict[str, object] = {
        "id": shown[:128],
        "start_time": start,
        "end_time": times.get("end_time"),
        "session_type": kind_of(row["session_type"]) if row.get("session_type") else None,
        "total_sessions": untidy.count(row.get("total_sessions")),
        "total_tokens": int(untidy.first_positive(row.get("total_tokens"), row.get("billable_tokens"))),
        "efficiency_score": untidy.amount(row.get("efficiency_score")),
        "is_complete": untidy.truth(row.get("is_complete")),
        "columns": _columns(row, BLOCK_NAMED, times),
    }
    kept = {name: value for name, value in facts.items() if value is not None and value != {}}
    return Block(shown, kept)


def _columns(row: Values, named: frozenset[str], times: dict[str, int]) -> dict[str, object]:
    """The columns that have no name of their own in a record, empty ones too; times as answers write them, paths without the way there."""
    return {name: _column(name, value, times) for name, value in row.items() if name not in named}


def _column(name: str, value: object, times: dict[str, int]) -> object:
    if name in TIMES:
        return iso_or_none(times.get(name))
    if name == "project_path":
        return untidy.last_part(value) or None
    if isinstance(value, (str, bytes)):
        return untidy.pathless(value)
    return untidy.amount(value) if isinstance(value, (int, float)) else None


def _without_empty(facts: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in facts.items() if value not in (None, "", 0, {}, [])}
