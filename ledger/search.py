"""Find sessions: words and filters, in a stable order, page by page.

A page begins after the last session of the page before (by its sort value and key), so sessions that come or change
meanwhile neither repeat nor hide the ones that stay as they are.
"""
from __future__ import annotations

import base64
import heapq
from collections.abc import Callable
from dataclasses import dataclass
from itertools import compress, repeat
from operator import attrgetter, contains, eq
from typing import TYPE_CHECKING

import msgspec

from ledger.errors import Problem
from ledger.public import machine_name
from ledger.session import Held

if TYPE_CHECKING:
    from ledger.view import View

SORTS: dict[str, Callable[[Held], int]] = {
    "last_activity": lambda held: held.last,
    "start_time": lambda held: held.start,
    "tokens": lambda held: held.tokens,
    "cost": lambda held: -1 if held.cost is None else held.cost,
    "duration": lambda held: held.last - held.start,
}


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
    value, after = SORTS[name], _open(query)
    found = _matching(view, query)
    if name == "last_activity":
        page = _from(found if descending else found[::-1], after, value, descending, query.limit + 1)
    else:
        rest = found if after is None else [held for held in found if _is_after((value(held), held.key), after, descending)]
        pick = heapq.nlargest if descending else heapq.nsmallest
        page = pick(query.limit + 1, rest, key=lambda held: (value(held), held.key))
    more = len(page) > query.limit
    page = page[: query.limit]
    return Page(page, _close(query, (value(page[-1]), page[-1].key)) if more and page else None, len(found))


def _matching(view: View, query: Query) -> list[Held]:
    """All that match, newest activity first. One pass for each condition that was given, each at the speed of C."""
    if query.active is True:
        found = sorted(view.active(view.clock()), key=lambda held: (held.last, held.key), reverse=True)
    else:
        found = view.since(query.since or 0)[::-1]
    if query.since is not None:
        found = [held for held in found if held.last >= query.since]
    if query.active is False:
        active = {held.key for held in view.active(view.clock())}
        found = [held for held in found if held.key not in active]
    if query.session_type is not None:
        found = _equal(found, "session_type", query.session_type)
    if query.project is not None:
        found = _equal(found, "project", query.project)
    if query.model is not None:
        found = _holding(found, "models", query.model)
    if query.machine is not None:
        found = _of_machine(view, found, query.machine)
    if query.until is not None:
        found = [held for held in found if held.start < query.until]
    for word in query.q.casefold().split():
        found = _holding(found, "text", word)
    return found


def _equal(found: list[Held], name: str, wanted: str) -> list[Held]:
    return list(compress(found, map(eq, map(attrgetter(name), found), repeat(wanted))))


def _holding(found: list[Held], name: str, wanted: str) -> list[Held]:
    return list(compress(found, map(contains, map(attrgetter(name), found), repeat(wanted))))


def _of_machine(view: View, found: list[Held], wanted: str) -> list[Held]:
    """By the machine's name, or by its source."""
    sources = {source for source in view.sources if wanted in (source, machine_name(view, source))}
    return [held for held in found if held.machine == wanted or (held.source in sources and held.machine in (held.source, wanted))]


def _from(ordered: list[Held], after: tuple[int, str] | None, value: Callable[[Held], int], descending: bool, most: int) -> list[Held]:
    """The first *most* of an ordered list that come after a place in it."""
    if after is None:
        return ordered[:most]
    low, high = 0, len(ordered)
    while low < high:
        middle = (low + high) // 2
        held = ordered[middle]
        if _is_after((value(held), held.key), after, descending):
            high = middle
        else:
            low = middle + 1
    return ordered[low : low + most]


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
