"""The relay's side of the push protocol, as a pure function: a head and a message in, a decision out.

The truth is on the laptop, and this copy of it may have been lost, rolled back or replaced while a message was on its way.
So a change set is taken only under a lease that this relay minted, as the next number, on the digest it was
made for. Whatever else arrives hears where the copy stands, and the agent goes on from there.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import msgspec

from ledger import wire
from ledger.record import EMPTY_DIGEST, Ref, add, from_hex, hash_of
from ledger.sizes import MAX_CHANGES
from ledger.store import Head, Row, Store, Tombstone

IDLE_MS = 30 * 60_000
"""A source without changes for so long may beat more rarely."""
TAKEOVERS, TAKEOVER_MS = 3, 10 * 60_000
"""So many leases within this time, back and forth between two boots, are two agents with one key."""
LARGEST_REPORT = 16 << 10
Instead = Mapping[Ref, tuple[str, str]]
"""By record, the body and the code that are kept instead."""
_WHO = ("name", "os", "tz", "version")
_MARK = "relay"
"""The member of the agent's report in which the relay keeps its own notes on that agent."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a relay asks of its agents. *max_changes* is a wish: up to 90 are taken at once whatever was asked.
    *max_records* is how many a source may have; nobody works that much, but a stolen key might. *max_machines* is how many sources
    a tenant may have. Days of sessions and of what is left of older ones; None for ever. *instead* says what is kept instead of records
    that a person had forgotten."""

    beat_s: int = 60
    keep_days: int | None = None
    max_changes: int = MAX_CHANGES
    max_records: int = 200_000
    keep_totals_days: int | None = None
    max_machines: int | None = None
    instead: Callable[[Store, str, wire.Push], Instead] | None = None

    @property
    def idle_beat_s(self) -> int:
        """For those that have had nothing to say for a while."""
        return max(self.beat_s, min(5 * self.beat_s, 300))


@dataclass(frozen=True, slots=True)
class Signed:
    """A message and what is certain about its coming: *at* is its signed time in seconds, *now* ours in milliseconds."""

    message: wire.Push
    at: int
    now: int


@dataclass(frozen=True, slots=True)
class Take:
    """Apply the message's changes on *base*."""

    base: Head


@dataclass(frozen=True, slots=True)
class Agree:
    """Nothing to do: *head* is what the message says it is. *again*: it is the last batch once more."""

    head: Head
    again: bool = False


@dataclass(frozen=True, slots=True)
class NewLease:
    """Begin a new copy; *head* carries the pending lease and is to be written if it differs."""

    head: Head


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The copy stands at *head*."""

    head: Head


@dataclass(frozen=True, slots=True)
class TwoAgents:
    """Two agents take turns with one key; *head* notes it. Whoever holds the lease keeps it for now."""

    head: Head


Decision = Take | Agree | NewLease | Elsewhere | TwoAgents


def decide(head: Head | None, signed: Signed, mint: Callable[[], str]) -> Decision:
    """What to do with the message on a source whose head is *head* (None: never seen). *mint* makes a new lease."""
    message = signed.message
    if head is None or message.lease is None or message.lease != head.lease:
        head = head or Head(message.source)
        if not _opens_copy(head, message):
            return _offer(head, signed, mint)
        # What is shown of the old lease stays visible until the new copy is complete.
        head = replace(head, lease=message.lease, seq=0, digest=EMPTY_DIGEST, committed=False, pending_lease=None, purged_seq=0)
    prev, after = from_hex(message.prev), from_hex(message.after)
    if message.type != "push":
        return Agree(head) if (message.seq, prev) == (head.seq, head.digest) else Elsewhere(head)
    if (message.seq, after) == (head.seq, head.digest):
        return Agree(head, again=True)
    if message.seq != head.seq + 1 or prev != head.digest:
        return Elsewhere(head)
    return Take(head)


def _opens_copy(head: Head, message: wire.Push) -> bool:
    return message.lease is not None and message.lease == head.pending_lease and message.type == "push" and message.seq == 1


def _offer(head: Head, signed: Signed, mint: Callable[[], str]) -> Decision:
    """A lease to begin under. An unused one is offered again, so that a replayed message cannot churn it."""
    if _takes_turns(head, signed):
        return TwoAgents(_noted(head, duplicate=signed.now))
    if head.pending_lease is None or signed.message.lease == head.pending_lease:
        return NewLease(replace(head, pending_lease=mint()))
    return NewLease(head)


# -- what is applied


@dataclass(frozen=True, slots=True)
class Changes:
    """What a message changes, the digest that results, and how many records more there are then."""

    rows: list[Row]
    gone: list[Tombstone]
    digest: int
    more: int

    @property
    def stubs(self) -> list[Row]:
        return [row for row in self.rows if row.code and not row.body]


def changes_of(signed: Signed, base: Head, known: Mapping[Ref, int], instead: Instead | None = None) -> Changes:
    """The message's changes on *base*; *known* are the hashes that its records have now under that lease."""
    message = signed.message
    lease, seq = base.lease or "", message.seq
    rows = [_row(put, lease, seq) for put in message.put]
    if instead:
        rows = [replace(row, body=instead[row.ref][0], code=instead[row.ref][1]) if row.ref in instead and not row.code else row for row in rows]
    gone = [Tombstone(Ref(ref.k, ref.id), lease, seq, signed.now) for ref in message.gone]
    refs = [row.ref for row in rows] + [stone.ref for stone in gone]
    replaced = [known[ref] for ref in refs if ref in known]
    more = sum(row.ref not in known for row in rows) - sum(stone.ref in known for stone in gone)
    return Changes(rows, gone, add(base.digest, put=[row.hash for row in rows], gone=replaced), more)


def records_after(base: Head, changes: Changes) -> int:
    """How many records the copy has then. Counted along with its changes, from the first one under a lease."""
    before: int = _notes(base).get("records", 0) if base.seq else 0
    return before + changes.more


def _row(put: wire.Put, lease: str, seq: int) -> Row:
    """A record that cannot be kept still counts: its stub stands in its place and says why."""
    code = wire.unfit(put)
    return Row(Ref(put.k, put.id), "" if code else put.b, hash_of(put.k, put.id, put.b), lease, seq, code)


def taken(base: Head, signed: Signed, changes: Changes, terms: Terms) -> Head:
    """The head after the message was applied on *base*."""
    message = signed.message
    notes = dict(_notes(base))
    if changes.rows or changes.gone or message.seq == 1:
        notes |= {"changed": signed.now, "records": records_after(base, changes)}
    if message.seq == 1:
        notes["leases"] = [*_recent_takeovers(base, signed.now), [_boot(message), signed.now]][-6:]
    return replace(
        base, seq=message.seq, digest=changes.digest, committed=base.committed or message.commit,
        last_timestamp=max(base.last_timestamp, signed.at), last_seen=max(base.last_seen, signed.now),
        agent=_report(base, message, notes), beat_s=_beat(notes, signed.now, terms),
    )  # fmt: skip


def alive(head: Head, signed: Signed, terms: Terms) -> Head:
    """The head after a beat or a bye that agrees. An older message than the newest believed one changes nothing."""
    if signed.at <= head.last_timestamp:
        return head
    notes = _notes(head)
    # No beat is expected after a bye, so the source counts as silent on purpose from now on.
    beat_s = 0 if signed.message.type == "bye" else _beat(notes, signed.now, terms)
    return replace(head, last_timestamp=signed.at, last_seen=max(head.last_seen, signed.now), agent=_report(head, signed.message, notes), beat_s=beat_s)


def _beat(notes: Mapping[str, Any], now: int, terms: Terms) -> int:
    return terms.beat_s if now - notes.get("changed", 0) < IDLE_MS else terms.idle_beat_s


# -- the agent's report, with the relay's notes in it


def has_two_agents(head: Head, now: int) -> bool:
    """Whether two agents were seen to take turns with this source's key a short while ago."""
    return bool(now - _notes(head).get("duplicate", 0) < TAKEOVER_MS)


def _takes_turns(head: Head, signed: Signed) -> bool:
    """Back and forth: this boot had the lease before, and another one has it now."""
    boots = [boot for boot, _ in _recent_takeovers(head, signed.now)]
    mine = _boot(signed.message)
    return bool(mine) and len(boots) >= TAKEOVERS and boots[-1] != mine and mine in boots


def _recent_takeovers(head: Head, now: int) -> list[list[Any]]:
    return [entry for entry in _notes(head).get("leases", []) if now - entry[1] < TAKEOVER_MS]


def _boot(message: wire.Push) -> str:
    boot = message.agent.get("boot")
    return boot[:64] if isinstance(boot, str) else ""


@lru_cache(maxsize=64)
def _said(agent: str) -> Mapping[str, Any]:
    """An agent's report; one message asks for the same one several times."""
    found: dict[str, Any] = msgspec.json.decode(agent)
    return found


def _notes(head: Head) -> Mapping[str, Any]:
    notes: dict[str, Any] = _said(head.agent).get(_MARK) or {}
    return notes


def _noted(head: Head, **notes: object) -> Head:
    return replace(head, agent=_as_text({**_said(head.agent), _MARK: {**_notes(head), **notes}}))


def _report(head: Head, message: wire.Push, notes: Mapping[str, Any]) -> str:
    """What the agent says of itself now, with our notes; who it is it need not repeat beside every change."""
    before = _said(head.agent)
    report = {name: before[name] for name in _WHO if name in before} | {name: value for name, value in message.agent.items() if name != _MARK}
    if len(_as_text(report)) > LARGEST_REPORT:
        report = {name: value for name, value in report.items() if isinstance(value, (int, float)) or (isinstance(value, str) and len(value) <= 200)}
        report = dict(list(report.items())[:20])
    return _as_text({**report, _MARK: notes} if notes else report)


def _as_text(report: Mapping[str, Any]) -> str:
    return msgspec.json.encode(report).decode()
