"""What one tenant sees: the visible sessions of all its sources, each once, and their sums.

A view reads on from where it got to, takes out of its sums what went and puts in what came. It is
shared by threads and holds its lock while it advances or answers. What depends on the time alone (who is active,
which machine is silent) is worked out when asked for.
"""
from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ledger import bodies
from ledger.blocks import Blocks, TooFarBack, Window
from ledger.fold import Addend, Days, Tally, addend
from ledger.prices import PriceBook
from ledger.record import Ref
from ledger.session import Held, Names, Row, pack_day, unpack
from ledger.store import Store
from ledger.times import MINUTE, is_zone, zone
from ledger.views import checkpoint
from ledger.views.accounts import Account, Accounts, Reading, newest
from ledger.views.columns import Columns
from ledger.views.gather import Changed, Source
from ledger.views.lock import ViewLock
from ledger.views.rest import Rest

if TYPE_CHECKING:
    from ledger.views.search import Page, Query

ACTIVE_MS = 5 * MINUTE
TELEMETRY = "~otel:"
"""How sources begin that only telemetry tells of. No agent and no post can be called so."""
BREATH, BREATH_S = 20, 0.008
"""Worked on gently, so many records are followed by so long a pause: about a tenth of the time is used, a millisecond at once."""
Pause = Callable[[float], object]
ZONES = 6
"""Zones whose days are kept up to date; the least used is forgotten."""


class View:
    """The visible records of one tenant. Made and advanced by Views alone."""

    def __init__(self, tenant: str, store: Store, book: PriceBook, clock: Callable[[], int], also: Mapping[str, str] | None = None) -> None:
        self.tenant, self.store, self.book, self.clock = tenant, store, book, clock
        self.also = also or {}
        self.zone_of: Callable[[str], str | None] | None = None
        """The zone that a tenant chose for those who name none."""
        self.keep: Callable[[], object] = lambda: None
        """Writes a checkpoint if one is due, where there is a shelf for it."""
        self.hides = False
        """Whether there are sessions in its sources that it does not show."""
        self.lock = ViewLock()
        self._pause: Pause | None = None
        """How a pause is made where it is worked on beside others' work, which must not notice; none is made while somebody waits."""
        self._breaths = 0
        self.revision = 0
        self.begin()

    def begin(self) -> None:
        """Know nothing yet."""
        self.names = Names()
        self.sources: dict[str, Source] = {}
        self.winners: dict[str, Held] = {}
        self._copied: dict[str, set[str]] = {}
        """Sessions that several sources had, and which."""
        self.tally = Tally()
        self.order: list[tuple[int, str, Held]] = []
        """(last activity, key, session) of every session, oldest first."""
        self.starts: list[tuple[int, str, Held]] = []
        """The same by their start."""
        self.saved = 0
        """The number of sessions that changed when the checkpoint was written last; see checkpoint.is_due."""
        self.moved = 0
        self.seen, self.calm_at = 0, self.clock()
        """*moved* when it was looked at last, and when it was calm last; see checkpoint.is_calm."""
        self.kept: dict[object, tuple[object, Any]] = {}
        """Parts of answers, by name, with what they were worked out for."""
        self._open: set[str] = set()
        self._columns: Columns | None = None
        self.shown: dict[str, tuple[Held, str, Any]] = {}
        """Idle sessions as they were shown, by key, with the name that their machine had."""
        self.rest: Rest | None = None
        """What is known of the sessions that a checkpoint left out; None: every session is held."""
        self.zones: OrderedDict[str, Days] = OrderedDict()
        self._accounts = Accounts(self._rows_of)
        self._days: dict[tuple[str, Ref], Addend] = {}

    # -- reading on

    def advance(self) -> None:
        """Read what the store has beyond what is known. Raises what the store raises; then read again."""
        with self.lock:
            try:
                self._advance()
            except TooFarBack:
                self.whole()

    @contextmanager
    def gently(self, pause: Pause) -> Iterator[None]:
        """Work on it beside others' work, which must not notice. *pause* lets so many seconds pass."""
        with self.lock:
            self._pause = pause
            try:
                yield
            finally:
                self._pause = None

    def breathe(self) -> None:
        """A moment for others, every so often, where nobody waits for us."""
        if self._pause and not self.lock.waiting:
            self._breaths += 1
            if self._breaths % BREATH == 0:
                self._pause(BREATH_S)

    def whole(self) -> None:
        """Have every session, not only those that a checkpoint kept."""
        if self.rest is not None:
            self.begin()
            self.revision += 1
            self._advance()

    def _advance(self) -> None:
        heads = {head.source: head for head in self.store.heads(self.tenant)}
        if self.rest is not None:
            self.rest.may_go_on(self.sources, heads, self.clock())
        for name in [name for name in self.sources if name not in heads]:
            self._forget(name)
        read: list[tuple[str, Changed]] = []
        for name, head in heads.items():
            source = self.sources.get(name)
            if source is None:
                source = self.sources[name] = Source(name, self.names, self.book)
            source.breathe = self.breathe
            try:
                changed = source.advance(self.store, self.tenant, head)
            except BaseException:
                if source.torn:
                    self.begin()
                else:
                    self._take_all(read)
                raise
            if self.rest is not None:
                self.rest.must_not_hold(changed)
            if changed:
                read.append((name, changed))
        self._take_all(read)
        if self.rest is not None:
            self._accounts.settle()

    def _forget(self, name: str) -> None:
        gone = self.sources.pop(name)
        kinds = {ref.kind for ref in gone.others} | {"stub"}
        self._take_all([(name, Changed(set(gone.sessions), kinds))])

    def _take_all(self, read: Sequence[tuple[str, Changed]]) -> None:
        """Take what was read into the sums; much of it is put into its order once, at the end."""
        many = sum(len(changed.sessions) for _, changed in read) > 500 + len(self.order) // 20
        if many:
            self._columns = None
        for name, changed in read:
            self._take(name, changed, many)
        if many:
            self._sort({key for _, changed in read for key in changed.sessions})

    def _take(self, name: str, changed: Changed, many: bool) -> None:
        self.revision += 1
        self.moved += len(changed.sessions)
        if "block" in changed.kinds:
            self._hear_trackers(name)
        for key in changed.sessions:
            self._replace(key, self._best(key, name), many)
            self.breathe()
        if "day" in changed.kinds:
            self._take_days(name)
        if "limit" in changed.kinds:
            self._accounts.anchor(self._readings())

    def _best(self, key: str, name: str) -> Held | None:
        """The same session seen from two sources is shown once: as the source has it that read further. Files know more than telemetry.
        *name* is the source in which it changed."""
        shown = self.winners.get(key)
        names = self._copied.get(key) or {shown.source if shown else name}
        if name not in names:
            names = self._copied[key] = {*names, name}
        found = [held for one in names if (source := self.sources.get(one)) and (held := source.sessions.get(key)) is not None]
        return max(found, key=lambda held: (not held.source.startswith(TELEMETRY), held.last, held.tokens, held.source)) if found else None

    def _replace(self, key: str, new: Held | None, many: bool = False) -> None:
        old = self.winners.get(key)
        if old is new:
            return
        if self._columns is not None:
            self._columns.change(old, new)
        if old is not None:
            self._change(old, -1, many)
        if new is None:
            del self.winners[key]
            self._copied.pop(key, None)
        else:
            self.winners[key] = new
            self._change(new, 1, many)

    def _change(self, held: Held, sign: int, many: bool) -> None:
        item = addend(held)
        self._sum(item, sign)
        self._accounts.change(held, item.rows, came=sign > 0)
        if sign > 0 and held.open:
            self._open.add(held.key)
        elif sign < 0:
            self._open.discard(held.key)
        if many:
            return
        if sign > 0:
            insort(self.order, (held.last, held.key, held))
            insort(self.starts, (held.start, held.key, held))
        else:
            del self.order[bisect_left(self.order, (held.last, held.key))]
            del self.starts[bisect_left(self.starts, (held.start, held.key))]

    def _sort(self, moved: Collection[str]) -> None:
        """Put these sessions where they belong now. Two runs that are in order are merged: sorting all of them anew would keep everybody waiting."""
        now_shown = [(key, held) for key in moved if (held := self.winners.get(key)) is not None]
        self.order = _merged(self.order, moved, sorted((held.last, key, held) for key, held in now_shown))
        self.starts = _merged(self.starts, moved, sorted((held.start, key, held) for key, held in now_shown))

    def _sum(self, item: Addend, sign: int) -> None:
        self.tally.change(item, self.names, sign)
        for days in self.zones.values():
            days.change(item, self.names, sign)

    def _take_days(self, name: str) -> None:
        source = self.sources.get(name)
        fresh = {(name, ref): value for ref, value in (source.of_kind("day") if source else []) if isinstance(value, bodies.Day)}
        for key in [key for key in self._days if key[0] == name]:
            self._sum(self._days.pop(key), -1)
        for key, day in fresh.items():
            item = self._days[key] = self._day_item(name, key[1], day)
            self._sum(item, 1)

    def _day_item(self, name: str, ref: Ref, day: bodies.Day) -> Addend:
        return Addend(
            f"day/{name}/{ref.id}", unpack(pack_day(day, self.names, self.book)), "", None, name, is_session=False, day=day.date,
            projects=tuple(row[3] for row in day.rows), types=tuple(row[0] for row in day.rows),
        )  # fmt: skip

    def resume(self, tally: Tally, zones: Mapping[str, Days], accounts: Iterable[tuple[Account, list[tuple[int, int]], list[Window]]]) -> None:
        """Go on from the sums of a checkpoint, whose sources are in place."""
        self.tally = tally
        self.zones.update(zones)
        for name, source in self.sources.items():
            self.winners |= {key: held for key in source.sessions if (held := self._best(key, name)) is not None}
        self._sort(self.winners)
        self._open = {key for key, held in self.winners.items() if held.open}
        for name, source in self.sources.items():
            self._accounts.declares(name, bool(source.of_kind("block")))
            self._days |= {(name, ref): self._day_item(name, ref, day) for ref, day in source.of_kind("day") if isinstance(day, bodies.Day)}
        self._accounts.resume(accounts, self.winners.values(), self.rest.last if self.rest else None)

    # -- blocks and limits

    def blocks(self, account: Account) -> Blocks:
        """The blocks of one account of one tool."""
        return self._accounts.of(account)

    def accounts(self) -> list[tuple[Account, Blocks]]:
        return self._accounts.all()

    def _rows_of(self, key: str) -> Sequence[Row]:
        self.breathe()
        held = self.winners.get(key)
        return held.rows() if held else ()

    def _hear_trackers(self, name: str) -> None:
        """If a tracker began to declare blocks, its totals derive none any more; if it ceased, they do again."""
        source = self.sources.get(name)
        declares = bool(source and source.of_kind("block"))
        if self._accounts.is_news(name, declares):
            if self.rest is not None:
                raise TooFarBack
            self._accounts.declares(name, declares, [held for held in self.winners.values() if held.source == name and held.declared])

    def _readings(self) -> list[Reading]:
        return [
            (source.name, ref, limit)
            for source in self.sources.values() for ref, limit in source.of_kind("limit") if isinstance(limit, bodies.Limit)
        ]  # fmt: skip

    def limits(self) -> list[tuple[Ref, bodies.Limit]]:
        """The newest reading of each window; those past their reset are gone."""
        now = self.clock()
        return [(ref, limit) for ref, limit in newest(self._readings()) if limit.resets_at is None or limit.resets_at > now]

    def all_limits(self) -> list[bodies.Limit]:
        """Every reading that is known, of past windows too."""
        return [limit for _, _, limit in self._readings()]

    # -- what depends on the time

    def is_fresh(self, source: str, now: int) -> bool:
        known = self.sources.get(source)
        return known is not None and now < known.head.silent_from

    def is_active(self, held: Held, now: int) -> bool:
        # A tracker says itself whether a session goes on; of a transcript only its last line tells.
        lively = held.open or (not held.declared and held.last > now - ACTIVE_MS)
        return lively and self.is_fresh(held.source, now)

    def active(self, now: int) -> list[Held]:
        """Active sessions, newest activity first."""
        found = {held.key: held for held in self.since(now - ACTIVE_MS + 1)} | {key: self.winners[key] for key in self._open}
        return sorted((held for held in found.values() if self.is_active(held, now)), key=lambda held: (-held.last, held.key))

    def newest(self) -> Iterator[Held]:
        """All sessions, newest activity first."""
        return (held for _, _, held in reversed(self.order))

    def recent(self, most: int) -> list[Held]:
        """The sessions that began last, newest first."""
        # Whoever began after the last activity of those left out is held, and nobody else.
        if self.rest is not None and (len(self.starts) < most or self.starts[-most][0] <= self.rest.last):
            self.whole()
        return [held for _, _, held in self.starts[: -most - 1 : -1]]

    def since(self, at: int) -> list[Held]:
        """Sessions that were active at or after an instant, oldest activity first."""
        if self.rest is not None and at <= self.rest.last:
            self.whole()
        return [held for _, _, held in self.order[bisect_left(self.order, (at,)) :]]

    def count_since(self, at: int) -> int:
        """How many sessions were active at or after a quarter-hour."""
        held = len(self.order) - bisect_left(self.order, (at,))
        return held + (self.rest.count_since(at) if self.rest else 0)

    def columns(self) -> Columns:
        """All sessions, for searching."""
        self.whole()
        if self._columns is None or self._columns.is_worn:
            self._columns = Columns(self.order)
        return self._columns

    def machine(self, source: str) -> bodies.Machine | None:
        known = self.sources.get(source)
        return known.machine() if known else None

    # -- the days of a zone

    def days(self, tz: str) -> Days:
        """The days of a zone, kept up to date from now on."""
        found = self.zones.get(tz)
        if found is None:
            self.whole()
            found = self.zones[tz] = Days(zone(tz))
            for held in self.winners.values():
                found.change(addend(held), self.names, 1)
            for item in self._days.values():
                found.change(item, self.names, 1)
            while len(self.zones) > ZONES:
                self.zones.popitem(last=False)
            self.saved = self.moved - checkpoint.DUE_AFTER  # a checkpoint without this zone would be read in vain
            self.keep()
        self.zones.move_to_end(tz)
        return found

    def zone_name(self, asked: str | None) -> str:
        """The viewer's zone, else that of the machine that was heard last, else UTC."""
        if asked and is_zone(asked):
            return asked
        chosen = self.zone_of(self.tenant) if self.zone_of else None
        if chosen and is_zone(chosen):
            return chosen
        for source in sorted(self.sources.values(), key=lambda source: -source.head.last_seen):
            machine = self.machine(source.name)
            if machine and machine.tz and is_zone(machine.tz):
                return machine.tz
        return "UTC"

    # -- answers; each is a module of its own

    def must_show(self, path: str) -> None:
        """Raises Problem 403 for what this view does not show; this one shows everything."""

    def present(self, path: str, value: Any) -> Any:
        """What of an answer to *path* may leave: all of it, here."""
        return value

    @property
    def version(self) -> str:
        """Changes when anything that is shown may have: a record, or the minute."""
        return f"{self.revision}.{self.clock() // MINUTE}"

    def sessions(self, query: Query) -> Page:
        from ledger.views.search import search

        with self.lock:
            return search(self, query)

    def session(self, id: str) -> Held | None:
        """By its key, else the newest one whose shown id it is."""
        with self.lock:
            found = self.winners.get(id)
            if found is None:
                self.whole()
                found = self.winners.get(id)
            if found is None:
                found = next((held for held in self.newest() if held.key.endswith(id) and held.body().id == id), None)
            return found

    def summary(self, tz: str | None = None) -> dict[str, Any]:
        from ledger.views.summary import summary

        with self.lock:
            return summary(self, self.zone_name(tz))

    def feed(self, cursor: str | None = None, tz: str | None = None, sessions: int = 200) -> dict[str, Any]:
        from ledger.views.feed import feed

        with self.lock:
            return feed(self, cursor, tz, sessions)


def _merged(old: list[tuple[int, str, Held]], moved: Collection[str], new: list[tuple[int, str, Held]]) -> list[tuple[int, str, Held]]:
    """*old* without those that moved, and *new*, both in order already, as one list in order."""
    both = [item for item in old if item[1] not in moved]
    both += new
    both.sort()
    return both
