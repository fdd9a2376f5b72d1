"""Find sessions: words and filters, in a stable order, page by page.

A page begins after the last session of the page before (by its sort value and key), so sessions that come or change
meanwhile neither repeat nor hide the ones that stay as they are.
"""
from __future__ import annotations

import base64
import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from ledger.errors import Problem
from ledger.session import Held
from ledger.views.columns import VALUES, Columns
from ledger.views.public import machine_name

if TYPE_CHECKING:
    from ledger.views.view import View

SORTS = tuple(VALUES)


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for. *sort* is a name of SORTS, with "-" for descending (the default)."""

    q: str = ""
    project: str | None = None
    model: str | None = None
    machine: str | None = None
    session_type: str | None = None
    active: bool | None = None
    since: int | None = None
    until: int | None = None
    sort: str = "-last_activity"
    limit: int = 50
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    sessions: list[Held]
    next: str | None
    total: int


def search(view: View, query: Query) -> Page:
    """The page after *query.cursor*; raises Problem for a cursor that is not ours or belongs to another order."""
    name, descending = query.sort.removeprefix("-"), query.sort.startswith("-")
    value, after = VALUES[name], _open(query)
    columns = view.columns()
    active = view.active(view.clock()) if query.active is not None else []
    if query.active:
        slots: Sequence[int] = []
        loose = [held for held in active if fits(view, query, held)]
    else:
        slots = columns.alive(_slots(view, columns, query), active)
        idle = {held.key for held in active}
        loose = [held for held in columns.now().values() if held.key not in idle and fits(view, query, held)]
    page = _first(columns, slots, name, descending, after, query.limit + 1) + loose
    page = [held for held in page if after is None or _is_after((value(held), held.key), after, descending)]
    page.sort(key=lambda held: (value(held), held.key), reverse=descending)
    more, page = len(page) > query.limit, page[: query.limit]
    return Page(page, _close(query, (value(page[-1]), page[-1].key)) if more and page else None, len(slots) + len(loose))


def _slots(view: View, columns: Columns, query: Query) -> Sequence[int]:
    """The slots that match. One pass for each condition that was given; the one that costs most comes last."""
    slots = columns.since(query.since or 0)
    if query.project is not None:
        slots = columns.equal(slots, "project", query.project)
    if query.session_type is not None:
        slots = columns.equal(slots, "session_type", query.session_type)
    if query.model is not None:
        slots = columns.holding(slots, "models", query.model)
    if query.until is not None:
        starts, until = columns.column("start_time"), query.until
        slots = [slot for slot in slots if starts[slot] < until]
    if query.machine is not None:
        machines, sources, wanted = columns.column("machine"), columns.column("source"), _sources(view, query.machine)
        slots = [slot for slot in slots if machines[slot] == query.machine or (sources[slot] in wanted and machines[slot] == sources[slot])]
    return columns.words(slots, query.q.casefold().split())


def _sources(view: View, machine: str) -> set[str]:
    """The sources that a machine's name means; sessions that name no machine are shown under their source's."""
    return {source for source in view.sources if machine in (source, machine_name(view, source)) or view.also.get(machine) == source}


def fits(view: View, query: Query, held: Held) -> bool:
    """The same conditions for one session."""
    return (
        (query.since is None or held.last >= query.since)
        and (query.until is None or held.start < query.until)
        and (query.project is None or held.project == query.project)
        and (query.session_type is None or held.session_type == query.session_type)
        and (query.model is None or query.model in held.models)
        and (query.machine is None or held.machine == query.machine or (held.machine == held.source and held.source in _sources(view, query.machine)))
        and all(word in held.text for word in query.q.casefold().split())
    )


def _first(columns: Columns, slots: Sequence[int], name: str, descending: bool, after: tuple[int, str] | None, most: int) -> list[Held]:
    """At least the first *most* of the slots that come after a place, and whatever is equal to the last of them."""
    values, helds = columns.column(name), columns.helds
    if name == "last_activity":
        return _run(slots, values, helds, descending, after, most)
    if after is not None:
        slots = [slot for slot in slots if (values[slot] <= after[0] if descending else values[slot] >= after[0])]
        slots = [slot for slot in slots if values[slot] != after[0] or _is_after((values[slot], helds[slot].key), after, descending)]
    if len(slots) > 4 * most:
        pick = heapq.nlargest if descending else heapq.nsmallest
        # Later activity goes with a later start and more use: begun at the likely end, the heap hardly moves.
        edge = pick(most, map(values.__getitem__, reversed(slots) if descending else slots))[-1]
        slots = [slot for slot in slots if (values[slot] >= edge if descending else values[slot] <= edge)]
    return [helds[slot] for slot in slots]


def _run(slots: Sequence[int], values: Any, helds: list[Held], descending: bool, after: tuple[int, str] | None, most: int) -> list[Held]:
    """The slots are in order of their last activity: the page is a run of them."""
    if descending:
        stop = len(slots) if after is None else bisect_right(slots, after[0], key=values.__getitem__)
        run: Iterable[int] = range(stop - 1, -1, -1)
    else:
        run = range(0 if after is None else bisect_left(slots, after[0], key=values.__getitem__), len(slots))
    found: list[Held] = []
    for number in run:
        held = helds[slots[number]]
        if len(found) >= most and held.last != found[-1].last:
            break
        if after is None or _is_after((held.last, held.key), after, descending):
            found.append(held)
    return found


def _is_after(place: tuple[int, str], after: tuple[int, str], descending: bool) -> bool:
    return place < after if descending else place > after


def _close(query: Query, place: tuple[int, str]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode([query.sort, *place])).decode().rstrip("=")


def _open(query: Query) -> tuple[int, str] | None:
    if not query.cursor:
        return None
    try:
        raw = base64.urlsafe_b64decode(query.cursor + "=" * (-len(query.cursor) % 4))
        sort, value, key = msgspec.json.decode(raw, type=tuple[str, int, str])
        if sort != query.sort:
            raise ValueError(sort)
    except (ValueError, msgspec.DecodeError):
        raise Problem(400, "malformed", "cursor is not one of this list: start again without it", parameter="cursor") from None
    return value, key
