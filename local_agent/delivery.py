"""Makes the relay's copy equal to the truth: one step at a time, from whatever state either side is in.

Every step sends at most one message and acts on its answer. What is under way is saved before it is sent, so a
crash at any moment leaves a state from which the next step goes on. Nothing is ever dropped: a refusal waits, a record
that cannot be taken is set aside and named, and an answer that makes no sense begins a new copy.
"""
from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ledger import signing
from ledger.errors import Problem
from ledger.record import Record, Ref, to_hex
from ledger.sizes import MAX_CHANGES, MAX_WIRE
from local_agent import backoff
from local_agent.push.batch import Batch, Change, Place, compose, digest_after, that_fit, unfit
from local_agent.push.classify import Meaning, Verdict, meaning_of, meaning_of_failure
from local_agent.push.mirror import MOST_IN_FLIGHT, Mirror
from local_agent.push.transport import Reply, Transport

log = logging.getLogger("agent.delivery")
state_log = logging.getLogger("agent.delivery.state")
"""How it fares with the relay: news for a service, not for a command that reports it anyway."""

OFFLINE_S, PORTAL_S, UPGRADE_S = 15.0, 60.0, 3600.0
BEAT_S = 60
"""Until the relay says how often it wants to hear from us."""
FIRST_RESTARTS = 3
"""How many times in a row a new copy may be begun without waiting; a relay that never agrees must not be hammered."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one step came to.

    *state*: synced, behind (call again at once), waiting, throttled, offline, portal, halted or upgrade. *agreed*: the relay
    just confirmed that it holds the whole truth. *wait_s*: how long to do nothing now. *wire*: bytes of the body sent.
    """

    state: str
    detail: str = ""
    wait_s: float = 0.0
    agreed: bool = False
    changes: int = 0
    wire: int = 0


@dataclass(frozen=True, slots=True)
class Relay:
    """Where and as whom to push. *aud* is the relay's public address, which need not be the one we reach it by."""

    url: str
    aud: str
    source: str
    key_id: str
    secrets: tuple[bytes, ...]


class Reporter(Protocol):
    def __call__(self, *, whole: bool = True) -> Mapping[str, object]:
        """What the agent says of itself; *whole*: all of it."""
        ...


def _nothing(*, whole: bool = True) -> Mapping[str, object]:
    return {}


class Horizon(Protocol):
    def refresh(self, now_ms: int) -> None:
        """Bring what is too old for the relay, and the days that stand for it, up to date."""
        ...


class Delivery:
    """*report* gives the agent's own words about itself for every message; *roll* and the clocks are the world."""

    def __init__(
        self, mirror: Mirror, transport: Transport, relay: Relay, *, report: Reporter | None = None, horizon: Horizon | None = None,
        monotonic: Callable[[], float] = time.monotonic, roll: Callable[[], float] | None = None, new_id: Callable[[], str] | None = None,
    ) -> None:  # fmt: skip
        self.mirror, self.transport, self.relay = mirror, transport, relay
        self._report, self._horizon, self._monotonic = report or _nothing, horizon, monotonic
        self._roll = roll or secrets.SystemRandom().random
        self._new_id = new_id or (lambda: f"msg_{secrets.token_urlsafe(12)}")
        self._unanswered: Batch | None = None
        self._suspect: Change | None = None
        self._limit = self._most = self._passes = MAX_CHANGES
        self._failures = self._restarts = 0
        self._quiet_until = self._beat_at = monotonic()
        self._offset_s, self._corrected = 0, False
        self._beat_s, self._last_state = BEAT_S, ""
        self.apart_s = 2

    # -- what the loop asks ---------------------------------------------------------------------------

    @property
    def wait_s(self) -> float:
        """How long to keep still, whatever changes meanwhile."""
        return max(0.0, self._quiet_until - self._monotonic())

    @property
    def beat_in_s(self) -> float:
        return max(0.0, self._beat_at - self._monotonic())

    @property
    def clock_offset_ms(self) -> int:
        return self._offset_s * 1000

    def wake(self) -> None:
        """The computer slept, or the network changed: what we knew of connections, clocks and waits is stale."""
        self.transport.drop_connections()
        self._offset_s, self._corrected, self._failures = 0, False, 0
        self._quiet_until = self._monotonic() + 5 * self._roll()
        self._beat_at = self._quiet_until

    def hurry(self) -> None:
        """A person asked for a push: do not wait out a failure. A pause that the relay asked for is kept."""
        if self._last_state != "throttled":
            self._quiet_until = self._monotonic()

    def pause(self, detail: str) -> Outcome:
        """A step failed on our side of the wire."""
        return self._again(detail)

    def push_once(self, now_ms: int, *, ask: bool = False) -> Outcome:
        """One step. *ask*: beat even if none is due, to hear from the relay itself that it agrees."""
        if self.wait_s > 0:
            return Outcome("waiting", wait_s=self.wait_s)
        self.mirror.prepare()
        if self._horizon:
            self._horizon.refresh(now_ms)
        batch = self._unanswered or self._suspicion() or self._next_batch()
        if batch is None:
            if not ask and self.beat_in_s > 0:
                return Outcome("synced")
            batch = self._message("beat")
        return self._exchange(batch, now_ms)

    def probe(self, now_ms: int) -> Outcome:
        """Ask the relay about a copy we do not have: any signed answer shows that it knows our key. Moves nothing."""
        beat = compose("beat", id=self._new_id(), aud=self.relay.aud, source=self.relay.source, place=Place(), agent=self._report())
        for _ in range(2):
            meaning, reply, _ = self._hear(beat, now_ms)
            if meaning.verdict is not Verdict.SKEW:
                break
            self._offset_s = int(reply.headers["webhook-timestamp"]) - now_ms // 1000
        if meaning.verdict in (Verdict.TAKEN, Verdict.LEASE, Verdict.STATE):
            return Outcome("synced")
        return Outcome("waiting", meaning.detail)

    def bye(self, now_ms: int) -> Outcome:
        """Tell the relay that we stop on purpose. A courtesy: nothing depends on it."""
        return self._exchange(self._message("bye"), now_ms)

    # -- what to send ---------------------------------------------------------------------------------

    def _suspicion(self) -> Batch | None:
        """Before one record is condemned for a refusal, see that the relay takes our messages at all."""
        if not self._suspect:
            return None
        place = self.mirror.place()
        # Under a lease that no push has used yet a beat hears only of that; an empty push uses it.
        return self._message("beat") if place.seq else self._launch(place, [], False)

    def _message(self, type: str, **parts: Any) -> Batch:
        place = self.mirror.place()
        agent = self._report(whole=not parts.get("changes"))
        return compose(type, id=self._new_id(), aud=self.relay.aud, source=self.relay.source, place=place, agent=agent, **parts)

    def _next_batch(self) -> Batch | None:
        place, flights = self.mirror.place(), self.mirror.flights()
        if len(flights) >= MOST_IN_FLIGHT:
            # Four crashes in a row with a message under way: too many possible pasts to tell apart.
            self.mirror.begin(None)
            place, flights = Place(), []
        if place.lease is None:
            return self._message("push")
        changes, whole = self._changes()
        if not changes and place.committed and not flights:
            return None
        return self._launch(place, changes, whole and not place.committed)

    def _launch(self, place: Place, changes: list[Change], commit: bool) -> Batch:
        batch = self._push(place, changes, commit)
        while len(batch.wire) > MAX_WIRE and len(changes) > 1:
            changes, commit = changes[: len(changes) // 2], False
            batch = self._push(place, changes, commit)
        self.mirror.launch(batch)
        self._unanswered = batch
        return batch

    def _push(self, place: Place, changes: Sequence[Change], commit: bool) -> Batch:
        replaced = self.mirror.acknowledged([change.ref for change in changes if change.body is not None])
        return self._message("push", changes=changes, after=digest_after(place.digest, changes, replaced), commit=commit)

    def _changes(self) -> tuple[list[Change], bool]:
        """What to send now, and whether that is all there is."""
        while True:
            found = self.mirror.difference(self._limit + 1)
            hopeless = [(change, code) for change in found if change.body is not None and (code := unfit(Record(change.ref.kind, change.ref.id, change.body)))]
            if not hopeless:
                chosen = that_fit(found, self._limit)
                return chosen, len(chosen) == len(found)
            for change, code in hopeless:
                self._set_aside(change, code)

    def _set_aside(self, change: Change, code: str) -> None:
        log.warning("%s %s cannot be shown on the relay (%s); it stays on this computer", change.ref.kind, change.ref.id, code)
        self.mirror.set_aside(change, code)

    # -- the exchange ---------------------------------------------------------------------------------

    def _exchange(self, batch: Batch, now_ms: int) -> Outcome:
        meaning, reply, document = self._hear(batch, now_ms)
        outcome = self._act(batch, meaning, reply, document, now_ms)
        self._tell(outcome)
        return outcome

    def _hear(self, batch: Batch, now_ms: int) -> tuple[Meaning, Reply, dict[str, Any]]:
        """Sign, send, and find out what came back."""
        at = now_ms // 1000 + self._offset_s
        headers = {
            # Not plain application/json: API Gateway takes that for text, and a compressed body does not survive it.
            "content-type": "application/vnd.session-relay+json", "content-encoding": "gzip", "relay-key": self.relay.key_id, "accept-encoding": "identity",
            **signing.headers(batch.wire, self.relay.secrets, batch.id, at),
        }  # fmt: skip
        try:
            reply = self.transport.post(f"{self.relay.url}/v1/push", batch.wire, headers)
        except Exception as error:  # every library under us raises its own kinds; each of them means no answer
            return meaning_of_failure(error), Reply(0, {}, b""), {}
        document, signed = self._believe(batch, reply)
        meaning = meaning_of(reply.status, reply.headers.get("content-type", ""), signed, str(document.get("type", "")))
        return meaning, reply, document

    def _believe(self, batch: Batch, reply: Reply) -> tuple[dict[str, Any], bool]:
        """The answer's document, and whether it is the relay's own word on this very message.

        Its age is no matter (our clock may be wrong, and the id is ours); but the status stands outside of what is signed,
        so the document must agree with it, and our own message thrown back at us is no answer.
        """
        document = parse(reply.body)
        try:
            signed = signing.verify(reply.headers, reply.body, self.relay.secrets, 0, tolerance=1 << 60)
        except Problem:
            return document, False
        agrees = document.get("re") == batch.id if reply.status == 200 else document.get("status") == reply.status
        return document, signed.id == batch.id and agrees

    def _act(self, batch: Batch, meaning: Meaning, reply: Reply, document: dict[str, Any], now_ms: int) -> Outcome:
        act: Callable[[], Outcome] = {
            Verdict.TAKEN: lambda: self._taken(batch, document, now_ms),
            Verdict.LEASE: lambda: self._begin(document.get("lease")),
            Verdict.STATE: lambda: self._elsewhere(document),
            Verdict.BUG: lambda: self._bug(meaning.detail),
            Verdict.SPLIT: lambda: self._shrink(batch, "too-large"),
            Verdict.BISECT: lambda: self._shrink(batch, document.get("type") or "malformed"),
            Verdict.SMALLER: lambda: self._send_less(meaning),
            Verdict.SKEW: lambda: self._correct_clock(reply, now_ms, meaning),
            Verdict.HALT: lambda: self._wait("halted", meaning.detail, backoff.HALT_S),
            Verdict.UPGRADE: lambda: self._wait("upgrade", "the relay needs a newer agent: upgrade this one", UPGRADE_S),
            Verdict.THROTTLED: lambda: self._throttled(reply, meaning, now_ms),
            Verdict.OFFLINE: lambda: self._wait("offline", meaning.detail, OFFLINE_S),
            Verdict.PORTAL: lambda: self._wait("portal", meaning.detail, PORTAL_S),
            Verdict.AGAIN: lambda: self._again(meaning.detail),
        }[meaning.verdict]
        return replace(act(), wire=len(batch.wire), changes=len(batch.changes))

    def _tell(self, outcome: Outcome) -> None:
        """Say it once when things go wrong, and once when they are well again."""
        calm = {"synced": "", "behind": ""}
        before, now = (calm.get(state, state) for state in (self._last_state, outcome.state))
        if now and now != before:
            state_log.log(logging.ERROR if now in ("halted", "upgrade") else logging.WARNING, "relay %s: %s", now, outcome.detail)
        elif before and not now:
            state_log.info("relay: in touch again")
        self._last_state = outcome.state

    # -- what each answer does ------------------------------------------------------------------------

    def _taken(self, batch: Batch, document: dict[str, Any], now_ms: int) -> Outcome:
        place = self.mirror.place()
        if (document.get("seq"), document.get("digest"), document.get("lease")) != (batch.seq, to_hex(batch.after), batch.place.lease):
            return self._bug("the relay's answer names another state than the one sent")
        committed = document.get("committed") is True
        if batch.type == "push" and not self.mirror.land(batch.seq, to_hex(batch.after), committed):
            return self._bug("the relay took a batch that was never sent")
        if batch.type != "push" and committed != place.committed:
            self.mirror.set_committed(committed)
        self._heard(batch, document, now_ms)
        if self._suspect:
            self._set_aside(self._suspect, "malformed")
            self._suspect = None
        more = bool(self.mirror.difference(1)) or not committed or bool(self.mirror.flights())
        return Outcome("behind" if more else "synced", agreed=not more)

    def _heard(self, batch: Batch, document: dict[str, Any], now_ms: int) -> None:
        """The relay is well and said how it likes to be treated."""
        self._unanswered = None if batch.type == "push" else self._unanswered
        self._failures = self._restarts = 0
        self._corrected = False
        self._most = min(clamped(document.get("max_changes"), 1, MAX_CHANGES, MAX_CHANGES), self._passes)
        self._limit = min(self._limit * 2, self._most)
        self._beat_s = clamped(document.get("beat_s"), 1, 3600, BEAT_S)
        self.apart_s = clamped(document.get("apart_s"), 2, 120, 2)
        self._beat_at = self._monotonic() + self._beat_s
        self.mirror.note_refused(stubs_in(document), batch)
        self.mirror.note(
            state="ok", last_success=now_ms, durable=document.get("durable") is not False, beat_s=document.get("beat_s"), keep_days=document.get("keep_days"),
            keep_totals_days=document.get("keep_totals_days"), notices=" ".join(map(str, document.get("notices") or [])),
        )  # fmt: skip

    def _begin(self, lease: object) -> Outcome:
        """Start a new copy under the relay's lease; what the relay shows of us stays until the new copy is complete."""
        if not isinstance(lease, str) or not lease:
            return self._bug("the relay minted a lease without naming it")
        self._unanswered = self._suspect = None
        self.mirror.begin(lease)
        return self._restarted("the relay begins a new copy")

    def _elsewhere(self, document: dict[str, Any]) -> Outcome:
        """The relay is at another state: one of our own batches that arrived unseen, or something we know nothing of."""
        seq, digest = document.get("seq"), document.get("digest")
        self._unanswered = self._suspect = None
        if isinstance(seq, int) and isinstance(digest, str) and self.mirror.land(seq, digest, document.get("committed") is True):
            self._failures = 0
            self.mirror.look_again()
            return Outcome("behind")
        self.mirror.begin(None)
        return self._restarted("the relay is at a state unknown here")

    def _bug(self, detail: str) -> Outcome:
        log.error("relay: %s; beginning a new copy (please report this)", detail)
        self._unanswered = self._suspect = None
        self.mirror.begin(None)
        self.mirror.note(bugs=int(self.mirror.notes().get("bugs", "0")) + 1)
        return self._restarted(detail)

    def _restarted(self, detail: str) -> Outcome:
        self._restarts += 1
        if self._restarts <= FIRST_RESTARTS:
            return Outcome("behind", detail)
        return self._wait("waiting", detail, backoff.wait_after_failure(self._restarts, roll=self._roll))

    def _shrink(self, batch: Batch, code: str) -> Outcome:
        """Something in the batch is refused for good: halve it until the culprit stands alone, then set that aside."""
        self._unanswered = None
        self.mirror.drop_flights()
        if not batch.changes:
            self._suspect = None
            return self._wait("halted", f"the relay refuses this agent's messages ({code}): upgrade whichever is older", backoff.HALT_S)
        if len(batch.changes) > 1:
            self._limit = len(batch.changes) // 2
            return Outcome("behind")
        [culprit] = batch.changes
        if culprit.body is None:
            return self._bug(f"the relay refuses a deletion ({code})")
        if code == "too-large":
            self._set_aside(culprit, code)
        else:
            self._suspect = culprit
        return Outcome("behind")

    def _send_less(self, meaning: Meaning) -> Outcome:
        """A proxy's limit: smaller messages may pass. The batch stays in flight, since nobody knows where it went."""
        self._unanswered = None
        self._limit = self._passes = max(1, self._limit // 2)
        return self._again(meaning.detail)

    def _correct_clock(self, reply: Reply, now_ms: int, meaning: Meaning) -> Outcome:
        if self._corrected:
            self._corrected = False  # clocks move: the next try may correct again
            return self._wait("halted", f"{meaning.detail}: set it (the relay refuses signatures more than 5 minutes off)", backoff.HALT_S)
        self._offset_s = int(reply.headers["webhook-timestamp"]) - now_ms // 1000
        self._corrected = True
        log.warning("this computer's clock is %+d s off by the relay's; signing with the relay's time", -self._offset_s)
        return Outcome("behind", meaning.detail)

    def _throttled(self, reply: Reply, meaning: Meaning, now_ms: int) -> Outcome:
        self._failures += 1
        asked = backoff.asked_seconds(reply.headers.get("retry-after"), now_ms / 1000)
        return self._wait("throttled", meaning.detail, backoff.wait_when_asked(self._failures, asked, roll=self._roll))

    def _again(self, detail: str) -> Outcome:
        self._failures += 1
        return self._wait("waiting", detail, backoff.wait_after_failure(self._failures, beat_s=self._beat_s, roll=self._roll))

    def _wait(self, state: str, detail: str, seconds: float) -> Outcome:
        self._quiet_until = self._monotonic() + seconds
        return Outcome(state, detail, wait_s=seconds)


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object in an answer, or an empty one."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def stubs_in(document: Mapping[str, Any]) -> dict[Ref, str]:
    found = {}
    stubs = document.get("stubs")
    for stub in stubs if isinstance(stubs, list) else []:
        if isinstance(stub, dict):
            found[Ref(str(stub.get("k")), str(stub.get("id")))] = str(stub.get("code"))
    return found


def clamped(value: object, least: int, most: int, otherwise: int) -> int:
    """A whole number within its limits; *otherwise* for what is none: a relay may say anything, and the agent goes on."""
    return min(max(value, least), most) if isinstance(value, int) and not isinstance(value, bool) else otherwise

