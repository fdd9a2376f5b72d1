"""Five-hour windows of one account, across all its machines.

Where the tool reported when the window resets, that is the window (`official`). Elsewhere it is the rule
that people compare with (`derived`): the first use opens a block at its full hour in UTC, and a use more than five
hours after the block's start, or more than five hours after the use before it, opens the next. Rows know
their first and last use to the millisecond, so the rule is exact on them. A tracker's own blocks are `declared`.
"""
from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ledger.session import FIRST, LAST, UNDIVIDED, Row
from ledger.times import DAY, HOUR

LENGTH = 5 * HOUR
SAME_WINDOW = 2 * 60_000
"""Two reports of one reset differ by rounding only."""
Entry = tuple[int, int, str, Row]
"""(first, last, session key, row)"""


class TooFarBack(Exception):
    """What changed lies before what is known of the sessions: they must be read."""


@dataclass(slots=True)
class Window:
    """A block, or the gap between two (`gap`): then nothing was used in it.

    *first* and *last* are its first and last use; *kinds* are tokens of input, output, cache written for five minutes and for an hour, and
    cache read; *models* are [tokens, cost] by the model's number. Instants are milliseconds, costs pico-dollars.
    """

    start: int
    end: int
    basis: str = "derived"
    gap: bool = False
    first: int = 0
    last: int = 0
    kinds: list[int] = field(default_factory=lambda: [0, 0, 0, 0, 0])
    cost: int = 0
    requests: int = 0
    sessions: set[str] = field(default_factory=set)
    models: dict[int, list[int]] = field(default_factory=dict)
    tokens: int = 0
    counted: int = 0
    """How many sessions used it, where their keys are not known."""

    @property
    def session_count(self) -> int:
        return self.counted or len(self.sessions)

    def take(self, entry: Entry) -> None:
        first, last, key, row = entry
        _, _, _, named, price_class, input, output, write_5m, write_1h, read, requests, cost, _ = row
        if not self.sessions:
            self.first = first
        if last > self.last:
            self.last = last
        if price_class != UNDIVIDED:
            kinds = self.kinds
            kinds[0] += input
            kinds[1] += output
            kinds[2] += write_5m
            kinds[3] += write_1h
            kinds[4] += read
        tokens = input + output + write_5m + write_1h + read
        self.tokens += tokens
        self.requests += requests
        self.sessions.add(key)
        model = self.models.get(named)
        if model is None:
            model = self.models[named] = [0, 0]
        model[0] += tokens
        if cost > 0:
            self.cost += cost
            model[1] += cost

    def is_active(self, now: int) -> bool:
        if self.gap or not self.start <= now < self.end:
            return False
        return self.basis == "official" or now - self.last < LENGTH


def floor_hour(at: int) -> int:
    return at - at % HOUR


def windows_of(resets: Iterable[int]) -> list[tuple[int, int]]:
    """The official windows that end at these resets, oldest first, without overlaps."""
    found: list[tuple[int, int]] = []
    for reset in sorted(set(resets)):
        if found and reset - found[-1][1] <= SAME_WINDOW:
            found[-1] = (found[-1][0], reset)
        else:
            found.append((max(reset - LENGTH, found[-1][1]) if found else reset - LENGTH, reset))
    return found


def derive(
    entries: Iterable[Entry], official: Sequence[tuple[int, int]] = (), *, seed: Window | None = None, known: dict[int, Window] | None = None
) -> tuple[list[Window], Window | None]:
    """Blocks and gaps of *entries*, which are ordered by their first use.

    *seed* is a block that is open already (its entries are given again). *known* are former blocks by their first
    use: as soon as one of them opens anew just as before, the rest is as before, and it is returned as second.
    """
    made: list[Window] = []
    current: Window | None = _again(seed) if seed else None
    previous: int | None = None
    ends = [end for _, end in official]
    if current:
        made.append(current)
    for entry in entries:
        first = entry[0]
        if not ends and current is not None and previous is not None and first - current.start <= LENGTH and first - previous <= LENGTH and current.basis == "derived":
            current.take(entry)  # the usual case: it goes on
            if entry[1] > previous:
                previous = entry[1]
            continue
        place = bisect_right(ends, first)
        window = official[place] if place < len(ends) and official[place][0] <= first else None
        if current is None or _opens(current, window, first, previous):
            if previous is not None and first - previous > LENGTH:
                made.append(Window(previous + LENGTH, first, gap=True))
            current = _open(window, first, ends[place - 1] if place else 0, official[place][0] if place < len(ends) else None)
            if known and (old := known.get(first)) and (old.start, old.end, old.basis) == (current.start, current.end, current.basis):
                return made, old
            made.append(current)
        current.take(entry)
        previous = entry[1] if previous is None else max(previous, entry[1])
    return made, None


def _opens(current: Window, window: tuple[int, int] | None, first: int, previous: int | None) -> bool:
    if window or current.basis == "official":
        return window is None or (current.start, current.end, current.basis) != (*window, "official")
    return first - current.start > LENGTH or (previous is not None and first - previous > LENGTH)


def _open(window: tuple[int, int] | None, first: int, after: int, before: int | None) -> Window:
    if window:
        return Window(*window, basis="official")
    start = max(floor_hour(first), after)
    end = start + LENGTH
    return Window(start, end if before is None else min(end, before))


def _again(seed: Window) -> Window:
    return Window(seed.start, seed.end, basis=seed.basis)


class Blocks:
    """The blocks of one account, kept up to date by what changed. *rows_of* gives a session's rows by its key."""

    def __init__(self, rows_of: Callable[[str], Sequence[Row]]) -> None:
        self._rows_of = rows_of
        self._days: dict[int, set[str]] = {}
        self._official: list[tuple[int, int]] = []
        self._made: list[Window] = []
        self._dirty: tuple[int, int] | None = None
        self._floor: int | None = None
        """Use up to here may belong to sessions that are not known."""

    def restore(self, made: list[Window], official: list[tuple[int, int]], floor: int | None, known: Iterable[tuple[str, Iterable[Row]]]) -> None:
        """Go on from blocks that were worked out before, with the sessions that are *known*."""
        for key, rows in known:
            for row in rows:
                self._days.setdefault(row[FIRST] // DAY, set()).add(key)
        self._made, self._official, self._floor, self._dirty = made, official, floor, None

    @property
    def official(self) -> list[tuple[int, int]]:
        return self._official

    def change(self, key: str, rows: Iterable[Row], *, came: bool) -> None:
        """A session's rows came or went."""
        days: set[int] = set()
        low, high = None, 0
        for row in rows:
            first, last = row[FIRST], row[LAST]
            days.add(first // DAY)
            low = first if low is None or first < low else low
            high = max(high, last)
        if low is None:
            return
        for day in days:
            keys = self._days.setdefault(day, set())
            if came:
                keys.add(key)
            else:
                keys.discard(key)
                if not keys:
                    del self._days[day]
        self._touch(low, high)

    def anchor(self, resets: Iterable[int]) -> None:
        """These are the resets that the tool reported."""
        official = windows_of(resets)
        if official != self._official:
            changed = set(official) ^ set(self._official)
            self._official = official
            self._touch(min(start for start, _ in changed) - LENGTH, max(end for _, end in changed) + LENGTH)

    def _touch(self, low: int, high: int) -> None:
        self._dirty = (min(low, self._dirty[0]), max(high, self._dirty[1])) if self._dirty else (low, high)

    @property
    def empty(self) -> bool:
        return not self._days and not self._official and not self._made

    def all(self) -> list[Window]:
        """Blocks and gaps, oldest first."""
        if self._dirty:
            self._renew(*self._dirty)
            self._dirty = None
        return self._made

    def _renew(self, low: int, high: int) -> None:
        firsts = [block.first for block in self._made]
        # The last block whose first use lies before everything that changed opened just as before.
        place = bisect_left(firsts, low) - 1
        while place >= 0 and self._made[place].gap:
            place -= 1
        seed = self._made[place] if place >= 0 else None
        if self._floor is not None and (seed is None or seed.first <= self._floor):
            raise TooFarBack
        known = {block.first: block for block in self._made if not block.gap and block.first > high}
        made, rest = derive(self._entries(seed.first if seed else None), self._official, seed=seed, known=known)
        tail = self._made[self._made.index(rest) :] if rest else []
        self._made = [*self._made[: max(place, 0)], *made, *tail]
        for number, block in enumerate(self._made):
            if block.gap and number + 1 < len(self._made):
                block.first = self._made[number + 1].first

    def _entries(self, since: int | None) -> Iterator[Entry]:
        opened: dict[str, Sequence[Row]] = {}
        for day in sorted(self._days):
            if since is not None and day < since // DAY:
                continue
            opened = {key: rows for key, rows in opened.items() if key in self._days[day]}
            yield from sorted(self._of_day(day, since or 0, opened))

    def _of_day(self, day: int, since: int, opened: dict[str, Sequence[Row]]) -> Iterator[Entry]:
        for key in self._days[day]:
            rows = opened.get(key)
            if rows is None:
                rows = opened[key] = self._rows_of(key)
            for row in rows:
                if row[FIRST] >= since and row[FIRST] // DAY == day:
                    yield row[FIRST], row[LAST], key, row

    @property
    def largest(self) -> int:
        """The most tokens that a block ever used."""
        return max([block.tokens for block in self.all()], default=0)

    def rows_between(self, start: int, end: int) -> list[Row]:
        """Rows whose first use lies in [start, end]."""
        opened: dict[str, Sequence[Row]] = {}
        days = [day for day in range(start // DAY, end // DAY + 1) if day in self._days]
        return [row for day in days for first, _, _, row in self._of_day(day, start, opened) if first <= end]
