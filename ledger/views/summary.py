"""The sums that a page shows, worked out here so that no page does arithmetic.

A summary is cut into parts; each depends on the records, on the zone, and on the time to the minute, so that within a
minute the same records give the same summary.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ledger import bodies
from ledger.fold import Days, usd
from ledger.times import MINUTE, shift, zone
from ledger.views import public
from ledger.views.current import current, recent_blocks
from ledger.views.notices import notices

if TYPE_CHECKING:
    from ledger.views.view import View

CALENDAR = 371
WEEK, MONTH = 7, 30
MOST_KEPT = 16


def minute_of(view: View) -> int:
    now = view.clock()
    return now - now % MINUTE


def summary(view: View, tz: str) -> dict[str, Any]:
    """All parts but the machines."""
    now = view.clock()
    key = ("summary", tz)
    # Who is active and which machine is heard change between minutes; both are cheap to know.
    state = (view.revision, minute_of(view), tuple(held.key for held in view.active(now)), heard(view, now))
    kept = view.kept.get(key)
    if kept is None or kept[0] != state:
        if len(view.kept) > MOST_KEPT:  # whoever asks for every zone there is does not fill the memory
            view.kept.clear()
        kept = view.kept[key] = (state, _summary(view, tz, now))
    found: dict[str, Any] = kept[1]
    return found


def heard(view: View, now: int) -> tuple[str, ...]:
    return tuple(sorted(name for name in view.sources if view.is_fresh(name, now)))


def _summary(view: View, tz: str, now: int) -> dict[str, Any]:
    minute = now - now % MINUTE
    days, today = view.days(tz), zone(tz).day(now)
    block, account = current(view, minute)
    limits = [public.limit(ref.id, limit, minute) for ref, limit in view.limits()]
    stubs = stubs_of(view)
    shown = machines(view, tz)
    called = {name: public.machine_name(view, name) for name in view.sources}
    return {
        "tz": tz,
        "block": block,
        "recent_blocks": recent_blocks(view, account),
        "limits": limits,
        "days": [days.public(date, called) for date, _ in days.between(shift(today, 1 - CALENDAR), today)],
        "hours": days.hours(shift(today, 1 - MONTH), today),
        "totals": totals(view, days, today),
        "alerts": notices(block, limits, shown, {name: len(source.stubs) for name, source in view.sources.items() if source.stubs}, minute),
        "sessions_total": view.tally.sessions,
        "active": len(view.active(now)),
        "projects": sorted(view.tally.projects),
        "models": sorted(view.tally.named),
        "unpriced": sorted(view.tally.unpriced),
        "stubs": stubs,
        "price_book": {"date": view.book.date},
    }


def totals(view: View, days: Days, today: str) -> dict[str, Any]:
    """Today, the last 7 and the last 30 local days, and everything."""
    found = {}
    for name, length in (("today", 1), ("week", WEEK), ("month", MONTH)):
        first = shift(today, 1 - length)
        within = days.between(first, today)
        midnight = days.zone.midnight(first)
        sessions = within[-1][1].sessions if length == 1 and within else 0 if length == 1 else view.count_since(midnight)
        found[name] = {"tokens": sum(day.tokens for _, day in within), "cost": usd(sum(day.cost for _, day in within)), "sessions": sessions}
    found["all"] = {"tokens": view.tally.tokens, "cost": usd(view.tally.cost), "sessions": view.tally.sessions}
    return found


def stubs_of(view: View) -> list[dict[str, str]]:
    """Records that are kept as a stub or could not be read: shown with their reason, the first hundred of a source."""
    found = []
    for name, source in sorted(view.sources.items()):
        for ref, (code, _) in sorted(source.stubs.items())[:100]:
            found.append({"source": name, "kind": ref.kind, "id": ref.id, "code": code})
    return found


def machines(view: View, tz: str) -> list[dict[str, Any]]:
    """Every machine of the tenant, those that are heard first."""
    now = view.clock()
    today = view.days(tz).days.get(zone(tz).day(now))
    cells = today.machines if today else {}
    active: dict[str, int] = {}
    for held in view.active(now):
        active[held.source] = active.get(held.source, 0) + 1
    found = []
    for name in view.sources:
        machine = view.machine(name)
        cell = cells.get(machine.name if machine and machine.name else name) or cells.get(name)
        found.append(public.machine(view, name, now, active.get(name, 0), usd(cell[1]) if cell else 0.0))
    return sorted(found, key=lambda machine: (not machine["online"], machine["name"], machine["source"]))


def is_sample(view: View) -> bool:
    """Does any machine show generated data?"""
    return any((view.machine(name) or bodies.Machine()).sample for name in view.sources)
