"""What happens to the copy when a message arrives: the decision of relay/protocol.py, applied in one transaction.

The head is read, the decision made on it, and the write is conditional on that very head: a message that lost a
race is decided again, a few times, and then asked to come back.
"""
from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ledger import wire
from ledger.errors import Busy, Conflict, Full, Problem
from ledger.record import Ref, from_hex, to_hex
from ledger.store import Head, Row, Store
from relay.protocol import (
    Agree,
    Decision,
    Elsewhere,
    NewLease,
    Signed,
    Take,
    Terms,
    TwoAgents,
    alive,
    changes_of,
    decide,
    has_two_agents,
    records_after,
    taken,
)

TRIES = 5
"""How often a lost race is run again before the agent is asked to wait."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the state machine says. *seen*: viewers of the tenant have something to look at."""

    status: int
    document: dict[str, Any]
    seen: bool = False
    headers: dict[str, str] = field(default_factory=dict)


def mint_lease() -> str:
    return secrets.token_hex(16)


def receive(
    store: Store, *, tenant: str, source: str, message: wire.Push, at: int, now_ms: int, terms: Terms, mint: Callable[[], str] = mint_lease
) -> Answer:
    """Apply *message* of *source*, or say why not. Raises Problem 409, 422, 503 or 507; then nothing was applied."""
    signed = Signed(message, at, now_ms)
    for _ in range(TRIES):
        head = store.head(tenant, source)
        try:
            return _act(store, tenant, head, signed, terms, decide(head, signed, mint))
        except Conflict:
            continue  # another message of this source was faster: decide again
        except Busy as busy:
            raise unavailable(busy.retry_after) from busy
        except Full as full:
            raise Problem(507, "quota", "the relay has no room for more", headers={"Retry-After": "300"}) from full
    raise unavailable(1)


def _act(store: Store, tenant: str, head: Head | None, signed: Signed, terms: Terms, decision: Decision) -> Answer:
    match decision:
        case Take(base):
            return _take(store, tenant, head, base, signed, terms)
        case Agree(there, again):
            return _agree(store, tenant, there, signed, terms, again)
        case NewLease(there):
            if head is None and terms.max_machines is not None:
                _must_have_room(store, tenant, terms.max_machines)
            _write_if_changed(store, tenant, head, there)
            raise Problem(409, "lease", "begin a new copy under this lease", lease=there.pending_lease)
        case TwoAgents(there):
            _write_if_changed(store, tenant, head, there)
            raise Problem(409, "duplicate-source", "another agent pushes with the same key: give each machine a key of its own")
        case Elsewhere(there):
            raise Problem(409, "state", "the copy stands elsewhere: go on from there if a push of yours without an answer led to this number and digest, else begin a new copy with lease null", seq=there.seq, digest=to_hex(there.digest), committed=there.committed)


def _take(store: Store, tenant: str, head: Head | None, base: Head, signed: Signed, terms: Terms) -> Answer:
    message = signed.message
    if head and head.committed and message.lease != head.lease and _swept(store, tenant, head, signed.now):
        raise Conflict  # the head may have moved with the sweep: read it again
    refs = [Ref(ref.k, ref.id) for ref in (*message.put, *message.gone)]
    # A copy that begins has no rows under its lease yet: nobody but us ever knew it.
    known = store.hashes(tenant, message.source, message.lease or "", refs) if refs and base.seq else {}
    changes = changes_of(signed, base, known, terms.instead(store, message.source, message) if terms.instead else None)
    if changes.digest != from_hex(message.after):
        if store.head(tenant, message.source) != head:
            raise Conflict  # another instance wrote between our two readings: nothing is known about this message yet
        raise Problem(422, "digest-mismatch", "the changes do not lead to the digest they name: begin a new copy with lease null, and look at how the hashes are added up")
    if changes.more > 0 and records_after(base, changes) > terms.max_records:
        raise Problem(507, "quota", f"a machine may have {terms.max_records:,} records here: keep them for a shorter time or allow more (`python -m relay tenants set NAME`, --keep or --max-records)", headers={"Retry-After": "3600"})
    after = taken(base, signed, changes, terms)
    store.apply(tenant, head, after, changes.rows, changes.gone)
    return Answer(200, _document(store, after, terms, signed, changes.stubs), seen=True)


def _must_have_room(store: Store, tenant: str, most: int) -> None:
    if len(store.heads(tenant)) >= most:
        raise Problem(507, "quota", f"at most {most} machines may push here: forget one that is gone", headers={"Retry-After": "3600"})


def _swept(store: Store, tenant: str, head: Head, now: int) -> int:
    """Before a new lease makes every row visible again, those that the old one had superseded must be gone."""
    total = 0
    while removed := store.sweep(tenant, head.source, now=now):
        total += removed
    return total


def _agree(store: Store, tenant: str, head: Head, signed: Signed, terms: Terms, again: bool) -> Answer:
    if again:
        rows, _ = store.changes(tenant, head.source, head.lease or "", head.seq - 1)
        return Answer(200, _document(store, head, terms, signed, [row for row in rows if row.code and not row.body]))
    after = alive(head, signed, terms)
    _write_if_changed(store, tenant, head, after)
    return Answer(200, _document(store, after, terms, signed, []), seen=_is_noticed(head, after, signed.now))


def _is_noticed(before: Head, after: Head, now: int) -> bool:
    """A beat is news to viewers only where the machine was thought gone, or goes."""
    return before != after and (now >= before.silent_from or after.beat_s == 0)


def _write_if_changed(store: Store, tenant: str, before: Head | None, after: Head) -> None:
    if before != after:
        store.apply(tenant, before, after)


def _document(store: Store, head: Head, terms: Terms, signed: Signed, stubs: Sequence[Row]) -> dict[str, Any]:
    return {
        "v": signed.message.v, "lease": head.lease, "seq": head.seq, "digest": to_hex(head.digest), "committed": head.committed,
        "durable": store.durable, "keep_days": terms.keep_days, **({"keep_totals_days": terms.keep_totals_days} if terms.keep_totals_days else {}),
        "stubs": [{"k": row.ref.kind, "id": row.ref.id, "code": row.code} for row in stubs],
        "server_time": signed.now, "beat_s": head.beat_s or terms.beat_s, "max_changes": terms.max_changes,
        "notices": ["duplicate-source"] if has_two_agents(head, signed.now) else [],
    }  # fmt: skip


LONGEST_WAIT = 3


def unavailable(retry_after: float) -> Problem:
    """A store that is back is filled again at once: nobody is sent away for longer than a few seconds."""
    seconds = min(max(1, round(retry_after)), LONGEST_WAIT)
    return Problem(503, "store-unavailable", f"the relay's store is busy: the same again in {seconds} s", headers={"Retry-After": str(seconds)})
