"""From visible sessions to sums: by day, model, project, machine, tool and hour.

A fold is a sum of whole numbers, so a session can be taken out as exactly as it was put in, and
folding step by step equals folding anew. It knows nothing of stores: it is told what came and went.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from zlib import crc32

import msgspec

from ledger.prices import PICO
from ledger.session import AT, COST, MODEL, SYNTHETIC, UNDIVIDED, Held, Names, Row
from ledger.times import Zone

_encode = msgspec.json.Encoder(order="deterministic").encode
Cell = list[int]
"""[tokens, cost in pico-dollars, rows that add to it]: a cell without rows is gone, whatever its sums."""


@dataclass(frozen=True, slots=True)
class Addend:
    """What a fold takes in or out: a session, or what is left of old ones on one date."""

    key: str
    rows: Sequence[Row]
    session_type: str
    project: str | None
    machine: str
    models: tuple[str, ...] = ()
    is_session: bool = True
    day: str | None = None
    """The date of a day record, which holds in every zone; None: the rows say it."""
    projects: tuple[str | None, ...] = ()
    """A day record's project of each row."""
    types: tuple[str, ...] = ()


def addend(held: Held) -> Addend:
    return Addend(held.key, held.rows(), held.session_type, held.project, held.machine, held.models)


def _add(cells: dict[str, Cell], name: str, tokens: int, cost: int, sign: int) -> None:
    cell = cells.get(name)
    if cell is None:
        cell = cells[name] = [0, 0, 0]
    cell[0] += tokens
    cell[1] += cost
    cell[2] += sign
    if not cell[2]:
        del cells[name]


@dataclass(slots=True)
class Tally:
    """Sums that are the same in every zone."""

    kinds: list[int] = field(default_factory=lambda: [0, 0, 0, 0, 0])
    requests: int = 0
    cost: int = 0
    reported: int = 0
    sessions: int = 0
    models: dict[str, Cell] = field(default_factory=dict)
    unpriced: Counter[str] = field(default_factory=Counter)
    projects: Counter[str] = field(default_factory=Counter)
    named: Counter[str] = field(default_factory=Counter)
    machines: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    undivided: int = 0
    """Tokens of which no kind was declared."""

    def change(self, item: Addend, names: Names, sign: int) -> None:
        kinds, called = self.kinds, names.list
        for number, row in enumerate(item.rows):
            _, _, _, named, price_class, input, output, write_5m, write_1h, read, requests, cost, reported = row
            model = called[named]
            if price_class == UNDIVIDED:
                self.undivided += sign * input
                cost = 0
            else:
                kinds[0] += sign * input
                kinds[1] += sign * output
                kinds[2] += sign * write_5m
                kinds[3] += sign * write_1h
                kinds[4] += sign * read
            if cost < 0:
                _count(self.unpriced, model, sign)
                cost = 0
            self.requests += sign * requests
            self.cost += sign * cost
            if reported > 0:
                self.reported += sign * reported
            _add(self.models, model, sign * (input + output + write_5m + write_1h + read), sign * cost, sign)
            if item.projects and item.projects[number]:
                _count(self.projects, str(item.projects[number]), sign)
        if item.is_session:
            self.sessions += sign
            if item.project:
                _count(self.projects, item.project, sign)
            for model in item.models:
                _count(self.named, model, sign)
            _count(self.machines, item.machine, sign)
            _count(self.types, item.session_type, sign)

    @property
    def tokens(self) -> int:
        return sum(self.kinds) + self.undivided


def _count(counter: Counter[str], name: str, sign: int) -> None:
    counter[name] += sign
    if not counter[name]:
        del counter[name]


@dataclass(slots=True)
class Day:
    """The sums of one local date."""

    tokens: int = 0
    cost: int = 0
    sessions: int = 0
    rows: int = 0
    models: dict[str, Cell] = field(default_factory=dict)
    projects: dict[str, Cell] = field(default_factory=dict)
    machines: dict[str, Cell] = field(default_factory=dict)
    tools: dict[str, Cell] = field(default_factory=dict)
    hours: dict[int, int] = field(default_factory=dict)

    def public(self, date: str, called: Mapping[str, str]) -> dict[str, object]:
        machines: dict[str, Cell] = {}
        for name, (tokens, cost, rows) in self.machines.items():
            cell = machines.setdefault(called.get(name, name), [0, 0, 0])
            cell[:] = cell[0] + tokens, cell[1] + cost, cell[2] + rows
        return {
            "date": date, "cost": usd(self.cost), "tokens": self.tokens, "sessions": self.sessions,
            "models": _cells(self.models, SYNTHETIC), "projects": _cells(self.projects), "machines": _cells(machines), "tools": _cells(self.tools),
        }  # fmt: skip


def usd(pico: int) -> float:
    return round(pico / PICO, 9)


def _cells(cells: dict[str, Cell], without: str | None = None) -> dict[str, list[float]]:
    return {name: [cell[0], usd(cell[1])] for name, cell in sorted(cells.items()) if name != without}


class Days:
    """The days of one zone."""

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self.days: dict[str, Day] = {}
        self._shown: dict[str, dict[str, object]] = {}
        self._marks: dict[str, int] = {}
        self._called: dict[str, str] = {}

    def change(self, item: Addend, names: Names, sign: int) -> None:
        """Take *item* in (sign 1) or out (sign -1)."""
        place, days, seen = self.zone.place, self.days, set()
        project, kind = item.project or "", item.session_type
        for number, row in enumerate(item.rows):
            date, hour = place(row[AT])
            if item.day is not None:
                date, hour = item.day, 12
            day = days.get(date)
            if day is None:
                day = days[date] = Day()
            tokens, cost = sign * (row[5] + row[6] + row[7] + row[8] + row[9]), sign * max(row[COST], 0)
            day.tokens += tokens
            day.cost += cost
            day.rows += sign
            if item.projects:
                project, kind = item.projects[number] or "", item.types[number]
            _add(day.models, names.list[row[MODEL]], tokens, cost, sign)
            _add(day.projects, project, tokens, cost, sign)
            _add(day.machines, item.machine, tokens, cost, sign)
            _add(day.tools, kind, tokens, cost, sign)
            if cost:
                hours = day.hours
                total = hours.get(hour, 0) + cost
                if total:
                    hours[hour] = total
                else:
                    hours.pop(hour, None)
            seen.add(date)
        for date in seen:
            day = days[date]
            if item.is_session:
                day.sessions += sign
            if not day.rows:
                del days[date]
            self._shown.pop(date, None)
            self._marks.pop(date, None)

    def public(self, date: str, called: Mapping[str, str]) -> dict[str, object]:
        """The day as it is shown; the same object until it changes. *called* are the names of machines by their source."""
        if called != self._called:
            self._called = dict(called)
            self._shown.clear()
            self._marks.clear()
        shown = self._shown.get(date)
        if shown is None:
            shown = self._shown[date] = self.days[date].public(date, called)
        return shown

    def mark(self, date: str) -> int:
        """A short mark of the day as it was last shown: another one when it is shown otherwise."""
        found = self._marks.get(date)
        if found is None:
            found = self._marks[date] = crc32(_encode(self._shown.get(date)))
        return found

    def between(self, first: str, last: str) -> list[tuple[str, Day]]:
        """The days with usage from *first* to *last*, both included, oldest first."""
        return [(date, self.days[date]) for date in sorted(self.days) if first <= date <= last]

    def hours(self, first: str, last: str) -> list[float]:
        """Cost by local hour over those days."""
        found = [0] * 24
        for _, day in self.between(first, last):
            for hour, cost in day.hours.items():
                found[hour] += cost
        return [usd(cost) for cost in found]


def fold(items: Iterable[Addend], names: Names, zone: Zone) -> tuple[Tally, Days]:
    """The whole fold anew; what the step by step one must equal."""
    tally, days = Tally(), Days(zone)
    for item in items:
        tally.change(item, names, 1)
        days.change(item, names, 1)
    return tally, days
