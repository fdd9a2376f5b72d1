"""One source as a view knows it, and reading on in the store from where the view got to.

Normally only the changes since the last seq are read. A new lease, a cursor older than the tombstones, or the
commit of a snapshot make the rows come anew; rows that are as they were (same hash) cost nothing then.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ledger import bodies
from ledger.bodies import Unreadable
from ledger.prices import PriceBook
from ledger.record import Ref
from ledger.session import Held, Names, hold, pack, pack_day, with_parts
from ledger.store import Head, Row, Store, Tombstone

KEPT_LOG = 5_000
FORGOTTEN = "forgotten"
"""The code of a record that came after a person had its project forgotten."""
NARROW = 0xFFFF_FFFF_FFFF_FFFF


@dataclass(slots=True)
class Part:
    """Older usage of a long session."""

    usage: bytes
    seq: int
    lease: str


@dataclass(slots=True)
class Changed:
    """What one step changed: keys of sessions, and which other kinds."""

    sessions: set[str] = field(default_factory=set)
    kinds: set[str] = field(default_factory=set)
    missed: set[str] = field(default_factory=set)
    """Sessions that went, and were not known."""

    def __bool__(self) -> bool:
        return bool(self.sessions or self.kinds)


@dataclass(slots=True)
class Other:
    """A record that is not a session, decoded."""

    value: object
    lease: str
    hash: int


class Source:
    """The visible records of one source. Only Source.advance changes it."""

    def __init__(self, name: str, names: Names, book: PriceBook) -> None:
        self.name, self._names, self._book = name, names, book
        self.head = Head(name)
        self.sessions: dict[str, Held] = {}
        self.parts: dict[str, dict[int, Part]] = {}
        self.others: dict[Ref, Other] = {}
        self.stubs: dict[Ref, tuple[str, str]] = {}
        """(code, lease) of records that are kept as a stub, or that could not be read."""
        self.log: list[tuple[int, str]] = []
        self.log_from = 0
        """The log names every session that changed after this seq."""
        self._told: tuple[str, bodies.Machine | None] = ("{}", None)
        self._read = False
        self.beyond = 0
        """How many of its sessions are not held (see checkpoint)."""
        self.breathe: Callable[[], None] = lambda: None
        """Called after each record."""
        self.torn = False
        """A reading anew broke off in the middle: what is held is neither the old state nor the new."""

    # -- reading on

    def advance(self, store: Store, tenant: str, head: Head) -> Changed:
        """Read what the store has beyond what is known; *head* was read just now."""
        known = self.head
        if self._read and (known.lease, known.committed, known.seq) == (head.lease, head.committed, head.seq):
            self.head = head
            return Changed()
        if self.continues(head):
            rows, stones = store.changes(tenant, self.name, str(head.lease), known.seq)
            self.head = head
            return self._take(rows, stones)
        return self._anew(store, tenant, head)

    def continues(self, head: Head) -> bool:
        """Can it be read on to *head*, or must it be read anew?"""
        known = self.head
        same = self._read and known.lease == head.lease and known.committed == head.committed and head.lease is not None
        return same and head.purged_seq <= known.seq <= head.seq

    def restore(self, head: Head, sessions: Iterable[Held], beyond: int) -> None:
        """Go on from *head*, where these sessions were known, and *beyond* others that are not."""
        self.head, self._read, self.log_from, self.beyond = head, True, head.seq, beyond
        self.sessions = {held.key: held for held in sessions}

    def _anew(self, store: Store, tenant: str, head: Head) -> Changed:
        """Read every visible row; what did not come again is gone."""
        self.torn = True
        seen: set[Ref] = set()
        changed = Changed()
        for row in store.rows(tenant, self.name):
            seen.add(row.ref)
            self._put(row, changed)
            self.breathe()
        for ref in [ref for ref in self._refs() if ref not in seen]:
            self._drop(ref, changed)
        self._settle(changed)
        self.log.clear()
        self.log_from = head.seq
        self.head, self._read, self.torn = head, True, False
        return changed

    def _take(self, rows: Iterable[Row], stones: Iterable[Tombstone]) -> Changed:
        changed = Changed()
        for stone in stones:
            key = session_of(stone.ref)
            if key in self.sessions:  # of what was never here nobody need hear: it may not even be theirs to know
                self.log.append((stone.seq, key))
            self._drop(stone.ref, changed)
        for row in rows:
            key = session_of(row.ref)
            was_here = key in self.sessions
            self._put(row, changed)
            self.breathe()
            if key is not None and (was_here or key in self.sessions):
                self.log.append((row.seq, key))
        self._settle(changed)
        if len(self.log) > KEPT_LOG:
            self.log.sort()
            cut = len(self.log) - KEPT_LOG // 2
            self.log_from = self.log[cut - 1][0]
            self.log = [entry for entry in self.log[cut:] if entry[0] > self.log_from]
        return changed

    def keys_since(self, seq: int) -> set[str] | None:
        """Sessions that changed after *seq*, or None if that is before what the log knows."""
        if seq < self.log_from:
            return None
        return {key for at, key in self.log if at > seq}

    def _refs(self) -> list[Ref]:
        sessions = [Ref("session", key) for key in self.sessions]
        parts = [Ref("usage", f"{key}/{number}") for key, numbered in self.parts.items() for number in numbered]
        return [*sessions, *parts, *self.others, *self.stubs]

    # -- one record

    def _put(self, row: Row, changed: Changed) -> None:
        ref = row.ref
        if ref in self.stubs:
            del self.stubs[ref]
            changed.kinds.add("stub")
        if self._is_same(row):
            return
        try:
            if row.code == FORGOTTEN:
                self._drop(ref, changed)  # as a person wished: nobody need hear of it
                return
            if row.code is not None and not row.body:
                raise Unreadable(row.code)
            self._take_in(row, bodies.read(ref.kind, row.body), changed)
        except (Unreadable, ValueError, ArithmeticError) as error:  # foreseen or not, one record must not stop the others
            self._drop(ref, changed)
            self.stubs[ref] = (row.code or f"unreadable: {error}"[:200], row.lease)
            changed.kinds.add("stub")

    def _take_in(self, row: Row, body: object, changed: Changed) -> None:
        """Keep a body that was read; raises Unreadable, and keeps nothing, if its amounts make no sense."""
        if isinstance(body, bodies.Session):
            usage = pack(body.usage, self._names, self._book)
            key, parts = row.ref.id, self.parts_of(row.ref.id, body.more)
            self.sessions[key] = hold(key, self.name, row.seq, row.lease, row.hash, body, usage, parts, self._names)
            changed.sessions.add(key)
        elif isinstance(body, bodies.Usage):
            key, number = part_of(row.ref)
            part = Part(pack(body.usage, self._names, self._book), row.seq, row.lease)
            self.parts.setdefault(key, {})[number] = part
            changed.sessions.add(key)
            changed.kinds.add("usage")
        elif body is not None:
            if isinstance(body, bodies.Day):
                pack_day(body, self._names, self._book)  # can it be summed up?
            # What is kept of a record has its hash, and is not the record: the whole one must not be taken for it.
            self.others[row.ref] = Other(body, row.lease, row.hash & NARROW if row.code is None else -1)
            changed.kinds.add(row.ref.kind)

    def parts_of(self, key: str, more: int) -> tuple[bytes, ...]:
        """The older parts that the session itself counts: one that came early is not added twice."""
        parts = self.parts.get(key) if more else None
        return tuple(parts[number].usage for number in sorted(parts) if number <= more) if parts else ()

    def _settle(self, changed: Changed) -> None:
        """Give the sessions whose older parts came or went their parts."""
        if "usage" not in changed.kinds:
            return
        changed.kinds.discard("usage")
        for key in changed.sessions:
            held = self.sessions.get(key)
            if held is not None:
                seq = max((part.seq for part in self.parts.get(key, {}).values()), default=0)
                self.sessions[key] = with_parts(held, self.parts_of(key, held.body().more), seq, self._names)

    def _is_same(self, row: Row) -> bool:
        """Is it just what is held already? Then only where it stands may have changed."""
        mark = row.hash & NARROW
        if row.ref.kind == "session":
            held = self.sessions.get(row.ref.id)
            if held is not None and held.hash == mark and row.code is None:
                held.seq, held.lease = row.seq, row.lease
                return True
        other = self.others.get(row.ref)
        if other is not None and other.hash == mark and row.code is None:
            other.lease = row.lease
            return True
        return False

    def _drop(self, ref: Ref, changed: Changed) -> None:
        if ref.kind == "session":
            known = self.sessions.pop(ref.id, None) is not None
            (changed.sessions if known else changed.missed).add(ref.id)
        elif ref.kind == "usage":
            key, number = part_of(ref)
            numbered = self.parts.get(key, {})
            if numbered.pop(number, None) is not None:
                changed.sessions.add(key)
                changed.kinds.add("usage")
            else:
                changed.missed.add(key)
            if not numbered:
                self.parts.pop(key, None)
        elif self.others.pop(ref, None) is not None:
            changed.kinds.add(ref.kind)
        if self.stubs.pop(ref, None) is not None:
            changed.kinds.add("stub")

    def machine(self) -> bodies.Machine | None:
        """The machine as its record says, else as the agent said when it pushed."""
        for ref, other in self.others.items():
            if ref.kind == "machine" and isinstance(other.value, bodies.Machine):
                return other.value
        if self._told[0] != self.head.agent:
            try:
                told = bodies.read("machine", self.head.agent)
            except Unreadable:
                told = None
            self._told = (self.head.agent, told)
        return self._told[1]

    def of_kind(self, kind: str) -> list[tuple[Ref, object]]:
        return [(ref, other.value) for ref, other in self.others.items() if ref.kind == kind]


def part_of(ref: Ref) -> tuple[str, int]:
    """The session and number of a usage record's id; an id without a number is part 0, which nobody counts."""
    key, _, number = ref.id.rpartition("/")
    return (key, int(number)) if number.isascii() and number.isdigit() and len(number) < 9 else (ref.id, 0)


def session_of(ref: Ref) -> str | None:
    if ref.kind == "session":
        return ref.id
    return part_of(ref)[0] if ref.kind == "usage" else None
