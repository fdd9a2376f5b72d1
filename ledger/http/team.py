"""Who used how much, by machine and by person: sums alone, without a single title."""
from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ledger import bodies
from ledger.fold import usd
from ledger.session import AT, COST, FIRST, pack_day, tokens_of, unpack
from ledger.times import iso_or_none, shift, zone
from ledger.views import public
from ledger.views.accounts import account_of

if TYPE_CHECKING:
    from ledger.http.reads import Asked
    from ledger.views.view import View

WEEK = 7
Json = dict[str, Any]


class _Sums:
    """What one machine, or one person, used."""

    def __init__(self) -> None:
        self.active = 0
        self.today, self.week = [0, 0], [0, 0]
        self.sessions: set[str] = set()
        self.blocks: set[tuple[object, int]] = set()
        self.seen = 0

    def use(self, tokens: int, cost: int, *, today: bool) -> None:
        for sums in (self.week, self.today) if today else (self.week,):
            sums[0] += tokens
            sums[1] += max(cost, 0)

    def public(self) -> Json:
        return {
            "active": self.active, "sessions": len(self.sessions), "blocks": len(self.blocks), "last_seen": iso_or_none(self.seen or None),
            "today": {"tokens": self.today[0], "cost": usd(self.today[1])}, "week": {"tokens": self.week[0], "cost": usd(self.week[1])},
        }  # fmt: skip


def team(asked: Asked) -> Json:
    """Today and the last 7 local days, of every machine and of every person whose machines are known; the busiest first."""
    view, tz, now = asked.view, asked.tz, asked.now
    today = zone(tz).day(now)
    first = shift(today, 1 - WEEK)
    sums = _by_machine(view, tz, now, first, today)
    owners = dict(asked.home.owners(view.tenant)) if asked.home.owners else {}
    machines = [{"source": name, "name": public.machine_name(view, name), "online": view.is_fresh(name, now), "member": owners.get(name), **one.public()} for name, one in sums.items()]
    members = [{"name": owner, "machines": sorted(name for name in sums if owners.get(name) == owner), **_together(sums[name] for name in sums if owners.get(name) == owner).public()}
               for owner in sorted({owners[name] for name in sums if name in owners})]  # fmt: skip
    return {"tz": tz, "since": first, "until": today, "members": _busiest(members), "machines": _busiest(machines), "total": {"name": "everybody", **_together(sums.values()).public()}}


def _by_machine(view: View, tz: str, now: int, first: str, today: str) -> dict[str, _Sums]:
    """What each machine used from the local date *first* to *today*."""
    morning, begin = zone(tz).midnight(today), zone(tz).midnight(first)
    sums = {name: _Sums() for name in view.sources}
    for held in view.active(now):
        sums[held.source].active += 1
    starts = {account: [window.start for window in made.all()] for account, made in view.accounts()}
    for held in view.since(begin):
        mine, account = sums[held.source], account_of(held)
        known = starts.get(account, [])
        mine.sessions.add(held.key)
        for row in held.rows():
            if row[AT] >= begin:
                mine.use(tokens_of(row), row[COST], today=row[AT] >= morning)
                if place := bisect_right(known, row[FIRST]):
                    mine.blocks.add((account, place))
    for name, source in view.sources.items():
        sums[name].seen = source.head.last_seen
        for _, day in source.of_kind("day"):
            if isinstance(day, bodies.Day) and first <= day.date <= today:
                for row in unpack(pack_day(day, view.names, view.book)):
                    sums[name].use(tokens_of(row), row[COST], today=day.date == today)
    return sums


def _together(found: Iterable[_Sums]) -> _Sums:
    total = _Sums()
    for one in found:
        total.active += one.active
        for place in range(2):
            total.today[place] += one.today[place]
            total.week[place] += one.week[place]
        total.sessions |= one.sessions
        total.blocks |= one.blocks
        total.seen = max(total.seen, one.seen)
    return total


def _busiest(found: list[Json]) -> list[Json]:
    return sorted(found, key=lambda one: (-one["week"]["tokens"], one["name"]))
