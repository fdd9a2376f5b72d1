"""The protocol with a small world around it, so small that every state of it can be visited.

The relay's decisions are those of the real relay (relay.protocol.decide); the agent's rules are written down here a second time, as
few lines as they are. A state holds both sides, the messages that the network keeps back, and how many faults may still happen.
A digest is the sum over what is held, as in the real thing: one digit for each document.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from ledger import wire
from ledger.record import to_hex
from ledger.store import Head
from relay.protocol import Agree, Elsewhere, NewLease, Signed, Take, decide

VALUES = (0, 1, 2)
"""0: the document is not there."""
Content = tuple[int, ...]
MOST_FLIGHTS = 4


@dataclass(frozen=True, slots=True)
class Batch:
    """A push or a beat as it was sent: under *lease*, number *seq*, from one content to the other."""

    lease: str | None
    seq: int
    prev: int
    after: int
    commit: bool
    changes: tuple[tuple[int, int], ...] = ()
    is_beat: bool = False


@dataclass(frozen=True, slots=True)
class Agent:
    truth: Content
    mirror: Content
    lease: str | None = None
    seq: int = 0
    committed: bool = False
    flights: tuple[Batch, ...] = ()
    unanswered: Batch | None = None


@dataclass(frozen=True, slots=True)
class RelayState:
    lease: str | None = None
    seq: int = 0
    committed: bool = False
    pending: str | None = None
    rows: tuple[tuple[int, str | None], ...] = ()
    """By document: its value, and the lease that wrote it."""
    known: bool = False
    minted: int = 0

    def digest(self) -> int:
        return sum(value * 4**doc for doc, (value, lease) in enumerate(self.rows) if lease == self.lease)

    def visible(self) -> Content:
        return tuple(value if not self.committed or lease == self.lease else 0 for value, lease in self.rows)


@dataclass(frozen=True, slots=True)
class State:
    agent: Agent
    relay: RelayState
    kept: frozenset[Batch] = frozenset()
    """Messages that the network may deliver at any time, and again."""
    edits: int = 0
    faults: int = 0
    ever: frozenset[tuple[int, int]] = frozenset()
    """Every (document, value) that was ever true."""
    copy: tuple[Agent, RelayState] | None = None
    """Backups of both sides, taken at one moment."""


class Broken(AssertionError):
    """An invariant does not hold."""


def sum_of(content: Content) -> int:
    return sum(value * 4**doc for doc, value in enumerate(content))


def start(documents: int, edits: int, faults: int) -> State:
    empty = (0,) * documents
    return State(Agent(empty, empty), RelayState(rows=((0, None),) * documents), frozenset(), edits, faults, frozenset((doc, 0) for doc in range(documents)))


# -- the relay: the real decision on a head made from this state


@lru_cache(maxsize=100_000)
def decided(lease: str | None, seq: int, digest: int, committed: bool, pending: str | None, known: bool, batch: Batch, mint: str) -> tuple[str, str | None]:
    head = Head("laptop", lease, seq, digest, committed, pending) if known else None
    message = wire.Push(
        1, "beat" if batch.is_beat else "push", "", "laptop", batch.lease, batch.seq, to_hex(batch.prev), to_hex(batch.after), batch.commit, [], [], {}
    )
    match decide(head, Signed(message, 1, 1), lambda: mint):
        case Take(base):
            return ("opens" if base.lease != lease or not known else "takes"), None
        case Agree():
            return "agrees", None
        case NewLease(there):
            return "lease", there.pending_lease
        case Elsewhere(there):
            return ("elsewhere" if there.lease == lease and known else "opened elsewhere"), None
    raise Broken("an answer nobody knows")


def receive(relay: RelayState, batch: Batch) -> tuple[RelayState, str]:
    """The relay after one message, and what it answers."""
    what, pending = decided(relay.lease, relay.seq, relay.digest(), relay.committed, relay.pending, relay.known, batch, f"L{relay.minted}")
    if what == "lease":
        minted = relay.minted + (pending == f"L{relay.minted}")
        return replace(relay, pending=pending, known=True, minted=minted), "lease"
    if what in ("agrees", "elsewhere", "opened elsewhere"):
        return relay, "ok" if what == "agrees" else "state"
    if what == "opens":
        # What the old lease had superseded is swept before its rows become visible again.
        rows = tuple((value, lease) if not relay.committed or lease == relay.lease else (0, None) for value, lease in relay.rows)
        relay = replace(relay, lease=batch.lease, seq=0, committed=False, pending=None, rows=rows)
    changed = list(relay.rows)
    for doc, value in batch.changes:
        changed[doc] = (value, batch.lease) if value else (0, None)
    after = replace(relay, seq=batch.seq, committed=relay.committed or batch.commit, rows=tuple(changed))
    if after.digest() != batch.after:
        raise Broken("I5: the changes do not lead to the digest they name")
    return after, "ok"


# -- the agent


def next_message(agent: Agent) -> tuple[Agent, Batch]:
    """What the agent sends now, after saving it."""
    if agent.unanswered:
        return agent, agent.unanswered
    if len(agent.flights) >= MOST_FLIGHTS:
        agent = begun(agent, None)
    if agent.lease is None:
        return agent, Batch(None, 1, 0, 0, False)
    changes = [(doc, value) for doc, value in enumerate(agent.truth) if value != agent.mirror[doc]]
    here = sum_of(agent.mirror)
    if not changes and agent.committed and not agent.flights:
        return agent, Batch(agent.lease, agent.seq, here, here, False, is_beat=True)
    chosen = changes[:1]  # one at a time: a copy takes several messages
    after = here + sum((value - agent.mirror[doc]) * 4**doc for doc, value in chosen)
    batch = Batch(agent.lease, agent.seq + 1, here, after, len(chosen) == len(changes) and not agent.committed, tuple(chosen))
    return replace(agent, flights=(*agent.flights, batch), unanswered=batch), batch


def begun(agent: Agent, lease: str | None) -> Agent:
    return replace(agent, lease=lease, seq=0, mirror=(0,) * len(agent.truth), committed=False, flights=(), unanswered=None)


def heard(agent: Agent, sent: Batch, answer: str, relay: RelayState) -> Agent:
    """What the agent makes of the answer that *relay* gave."""
    if answer == "lease":
        return begun(agent, relay.pending)
    if answer == "ok" and sent.is_beat:
        return replace(agent, committed=relay.committed)
    if answer == "ok":
        return landed(agent, sent, relay.committed) or begun(agent, None)
    for flight in reversed(agent.flights):
        if (flight.seq, flight.after) == (relay.seq, relay.digest()) and agent.lease == relay.lease:
            return landed(agent, flight, relay.committed) or begun(agent, None)
    return begun(agent, None)


def landed(agent: Agent, batch: Batch, committed: bool) -> Agent | None:
    if batch not in agent.flights:
        return None
    mirror = list(agent.mirror)
    for doc, value in batch.changes:
        mirror[doc] = value
    return replace(agent, mirror=tuple(mirror), seq=batch.seq, committed=committed, flights=(), unanswered=None)


# -- everything that can happen


def successors(state: State) -> Iterator[State]:
    """Every state that one event leads to."""
    yield from edits(state)
    sender, batch = next_message(state.agent)
    relay, answer = arrives(state, batch)
    yield replace(state, agent=heard(sender, batch, answer, relay), relay=relay)
    for message in state.kept:
        yield replace(state, relay=arrives(state, message)[0])
    if state.copy is None and state.faults:
        yield replace(state, copy=(replace(state.agent, unanswered=None), state.relay))
    if state.faults:
        yield from faults(replace(state, faults=state.faults - 1), sender, batch, relay, answer)


def edits(state: State) -> Iterator[State]:
    if not state.edits:
        return
    for doc, had in enumerate(state.agent.truth):
        for value in VALUES:
            if value != had:
                truth = (*state.agent.truth[:doc], value, *state.agent.truth[doc + 1 :])
                yield replace(state, agent=replace(state.agent, truth=truth), edits=state.edits - 1, ever=state.ever | {(doc, value)})


def faults(state: State, sender: Agent, batch: Batch, relay: RelayState, answer: str) -> Iterator[State]:
    yield replace(state, agent=sender)  # the request is lost
    yield replace(state, agent=sender, relay=relay)  # the answer is lost
    yield replace(state, agent=sender, kept=state.kept | {batch})  # the request is kept back
    yield replace(state, agent=heard(sender, batch, answer, relay), relay=relay, kept=state.kept | {batch})  # it will come again
    yield replace(state, agent=replace(sender, unanswered=None))  # a crash after saving, before sending
    yield replace(state, agent=replace(sender, unanswered=None), relay=relay)  # a crash before the answer
    yield replace(state, relay=RelayState(rows=((0, None),) * len(state.agent.truth), minted=relay.minted))  # the relay loses everything
    yield replace(state, relay=replace(relay, lease=None, seq=0, committed=False, pending=None, rows=relay.rows))  # its head is lost
    yield replace(state, agent=begun(state.agent, None))  # the agent loses its mirror
    if state.copy:
        yield replace(state, agent=state.copy[0])  # a home is put back
        yield replace(state, relay=replace(state.copy[1], minted=relay.minted))  # the relay is put back


def arrives(state: State, batch: Batch) -> tuple[RelayState, str]:
    relay, answer = receive(state.relay, batch)
    shown, before = relay.visible(), state.relay.visible()
    for doc, value in enumerate(shown):
        if (doc, value) not in state.ever:
            raise Broken("I3: something visible was never true")
        if before[doc] and not value and (doc, 0) not in batch.changes and not (relay.committed and not state.relay.committed) and (doc, 0) not in state.ever:
            raise Broken("I12: the relay dropped what the laptop did not delete")
    return relay, answer


def settles(state: State, bound: int) -> int:
    """No more faults: how many exchanges until both sides agree. Raises Broken if it takes more than *bound*, or they agree on a lie."""
    agent, relay = state.agent, state.relay
    for took in range(1, bound + 1):
        agent, batch = next_message(agent)
        relay, answer = receive(relay, batch)
        agent = heard(agent, batch, answer, relay)
        if answer == "ok" and agent.mirror == agent.truth and agent.committed and not agent.flights:
            if relay.visible() != agent.truth:
                raise Broken("I1: at rest, visible is not the truth")
            return took
    raise Broken(f"I10: no agreement within {bound} exchanges")


def explore(first: State, most: int, bound: int, *, tell: Callable[[int], None] = lambda seen: None) -> int:
    """Visit every state, nearest first, until there is none left or *most* were seen; how many."""
    seen, layer = {first}, [first]
    while layer and len(seen) < most:
        coming: list[State] = []
        for state in layer:
            settles(state, bound)
            for found in successors(state):
                if found not in seen:
                    seen.add(found)
                    coming.append(found)
            if len(seen) >= most:
                break
        layer = coming
        tell(len(seen))
    for state in layer if len(seen) < most else []:
        settles(state, bound)
    return len(seen)
