"""What the rules look at, read from a tenant's view in one go: windows, machines, the day, and sessions that burn."""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ledger import bodies
from ledger.account import DEFAULT
from ledger.prices import PICO
from ledger.session import AT, COST, Held, tokens_of
from ledger.times import DAY, HOUR, MINUTE, QUARTER, parse, zone
from ledger.views import public
from ledger.views.current import current
from ledger.views.view import TELEMETRY

if TYPE_CHECKING:
    from ledger.views.view import View

AT_WORK = 10 * MINUTE
"""A session that was busy so shortly before the last word of its machine was going on."""
GONE = 7 * DAY
HABIT_DAYS = 28
USUAL_DAYS, USUAL_HOURS = 14, 20
"""How far back the usual is looked for, and how many hours of use make one."""
USUAL_FOR = 6 * HOUR


@dataclass(frozen=True, slots=True)
class Window:
    """An official window as it was read last."""

    key: str
    label: str
    kind: str
    percent: float
    resets_at: int
    runs_out_at: int | None
    pace_percent: float | None


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine as it is heard. *state*: working, idle (nothing is used), off, lost (in the middle of work) or unreadable."""

    source: str
    name: str
    state: str
    last_seen: int
    detail: str = ""
    unread: tuple[tuple[str, str], ...] = ()
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Burner:
    """What one session used in the last hour."""

    key: str
    name: str
    cost: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Usual:
    """What a busy session of this tenant uses in an hour: nineteen of twenty used less. *hours* 0: too little is known."""

    at: int = 0
    cost: float = 0.0
    tokens: int = 0
    hours: int = 0


@dataclass(frozen=True, slots=True)
class KeyEnd:
    """A push key that is in force; *expires* in milliseconds, 0 never."""

    source: str
    expires: int


@dataclass(frozen=True, slots=True)
class Facts:
    now: int
    tz: str
    windows: tuple[Window, ...] = ()
    block: dict[str, Any] | None = None
    day: str = ""
    day_cost: float = 0.0
    machines: tuple[Machine, ...] = ()
    burners: tuple[Burner, ...] = ()
    usual: Usual = field(default_factory=Usual)
    keys: tuple[KeyEnd, ...] = ()


def read(view: View, now: int, *, tz: str | None, usual: Usual, keys: Iterable[KeyEnd] = ()) -> Facts:
    """The facts at *now*. *usual* is what was found last; it is looked for anew where it is old."""
    with view.lock:
        name = view.zone_name(tz)
        today = zone(name).day(now)
        day = view.days(name).days.get(today)
        return Facts(
            now, name, tuple(_windows(view, now)), current(view, now - now % MINUTE)[0], today, day.cost / PICO if day else 0.0,
            tuple(_machine(view, source, now, name) for source in sorted(view.sources)), tuple(_burners(view, now)),
            usual if usual.at and now - usual.at < USUAL_FOR else _usual(view, now), tuple(keys),
        )  # fmt: skip


def _windows(view: View, now: int) -> Iterable[Window]:
    for ref, found in view.limits():
        shown = public.limit(ref.id, found, now)
        if found.resets_at is not None:
            out = shown["runs_out_at"]
            yield Window(ref.id, _label(shown), found.window, float(found.used_percent), found.resets_at, parse(out) if out else None, shown["pace_percent"])


def _label(shown: dict[str, Any]) -> str:
    """Five hours; of other tools and accounts with their name, since a person may have several."""
    named = [name for name in (shown["tool"] if shown["tool"] != "claude_code" else "", shown["account"]) if name and name != DEFAULT]
    return " · ".join([shown["label"], *named])


# -- machines ----------------------------------------------------------------------------------------------------


def _machine(view: View, source: str, now: int, tz: str) -> Machine:
    known, body = view.sources[source], view.machine(source) or bodies.Machine()
    unread = tuple((name, str(reader.get("detail") or "")) for name, reader in sorted(body.readers.items()) if isinstance(reader, dict) and reader.get("state") == "unreadable")
    seen, name = known.head.last_seen, body.name or source
    heard = view.is_fresh(source, now)
    state, detail = _heard(view, source, now) if heard else _unheard(view, source, now, tz if not body.tz else view.zone_name(body.tz))
    if heard and unread:
        state, detail = "unreadable", ", ".join(name for name, _ in unread)
    return Machine(source, name, state, seen, detail, unread if heard else (), len(known.stubs))


def _heard(view: View, source: str, now: int) -> tuple[str, str]:
    busy = sum(held.source == source for held in view.active(now))
    return ("working", f"{busy} active") if busy else ("idle", "nothing is used")


def _unheard(view: View, source: str, now: int, tz: str) -> tuple[str, str]:
    """Why a silent machine is silent, as far as anybody can tell from here."""
    head = view.sources[source].head
    if head.beat_s == 0:
        return "off", "it said goodbye"
    if source.startswith(TELEMETRY):
        return "off", "telemetry comes only while somebody works"
    if not head.last_seen:
        return "off", "it has not sent anything yet"
    if now - head.last_seen > GONE:
        return "off", "it has been silent for more than a week"
    if not any(held.source == source and (held.open or held.last >= head.last_seen - AT_WORK) for held in view.since(head.last_seen - 2 * HOUR)):
        return "off", "nothing went on when it fell silent"
    known = view.kept.get(("habit", source))
    if known is None or known[0] != head.last_seen:  # of one silence it is asked each minute
        known = view.kept["habit", source] = (head.last_seen, _usual_hour(view, source, head.last_seen, tz))
    if not known[1]:
        return "off", "it fell silent at an hour at which it is seldom used"
    return "lost", "it fell silent in the middle of work, without a goodbye"


def _usual_hour(view: View, source: str, at: int, tz: str) -> bool:
    """Is the machine commonly used in the hour that began when it fell silent? Where little is known: yes."""
    place = zone(tz).place
    hours: dict[str, set[int]] = {}
    for held in view.since(at - HABIT_DAYS * DAY):
        if held.source == source:
            for row in held.rows():
                if at - HABIT_DAYS * DAY <= row[AT] < at - DAY // 2:
                    day, hour = place(row[AT])
                    hours.setdefault(day, set()).add(hour)
    if len(hours) < 5:
        return True
    next_hour = place(at + HOUR)[1]
    return 5 * sum(next_hour in used for used in hours.values()) >= len(hours)


# -- sessions that burn ------------------------------------------------------------------------------------------


def _burners(view: View, now: int) -> Iterable[Burner]:
    """Sessions that are in use, with their last four quarter-hours."""
    since = now - now % QUARTER - 3 * QUARTER
    for held in view.since(now - 15 * MINUTE):
        cost, tokens = _used(held, since)
        if tokens:
            yield Burner(held.key, _name(held, public.machine_name(view, held.source)), cost, tokens)


def _used(held: Held, since: int) -> tuple[float, int]:
    rows = [row for row in held.rows() if row[AT] >= since]
    return sum(max(row[COST], 0) for row in rows) / PICO, sum(map(tokens_of, rows))


def _name(held: Held, machine: str) -> str:
    title = next((name for name in (held.body().title, held.project) if name and not name.startswith("sealed1.")), held.key[:8])
    return f"“{title[:60]}” on {machine}"


def _usual(view: View, now: int) -> Usual:
    """What sessions used in each of their hours in the last two weeks."""
    costs: list[float] = []
    tokens: list[int] = []
    for held in view.since(now - USUAL_DAYS * DAY):
        cells: dict[int, list[int]] = {}
        for row in held.rows():
            if now - USUAL_DAYS * DAY <= row[AT] < now - 2 * HOUR:
                cell = cells.setdefault(row[AT] // HOUR, [0, 0])
                cell[0] += max(row[COST], 0)
                cell[1] += tokens_of(row)
        costs += [cell[0] / PICO for cell in cells.values()]
        tokens += [cell[1] for cell in cells.values()]
    if len(costs) < USUAL_HOURS:
        return Usual(at=now)
    place = len(costs) * 95 // 100
    return Usual(now, sorted(costs)[place], sorted(tokens)[place], len(costs))
