"""Everything as CSV, JSON lines or JSON, in pieces, so that no export is ever held whole.

A spreadsheet takes a cell that begins with = + - @ for a formula; text cells that do get an apostrophe.
"""
from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from ledger import bodies
from ledger.errors import Problem
from ledger.prices import UNDIVIDED
from ledger.times import iso
from ledger.views import public

if TYPE_CHECKING:
    from ledger.views.view import View

_encode = msgspec.json.Encoder().encode
AT_ONCE = 200
TOKEN_COLUMNS = ["input", "output", "cache_write_5m", "cache_write_1h", "cache_read"]
COLUMNS: dict[str, list[str]] = {
    "session": [
        "id", "key", "session_type", "start_time", "end_time", "last_activity", "is_active", "duration_minutes", "project", "title", "git_branch",
        "machine", "source", "models_used", "total_messages", "estimated_tokens", *TOKEN_COLUMNS, "cost", "reported_cost", "unpriced", "provenance",
    ],
    "usage": [
        "session", "session_type", "project", "machine", "at", "first", "last", "model", "price_class", *TOKEN_COLUMNS, "undivided", "requests", "cost", "reported_cost",
    ],
    "block": [
        "id", "session_type", "account", "start_time", "end_time", "basis", "gap", "is_complete", "total_sessions", "total_tokens", *TOKEN_COLUMNS,
        "cost", "requests",
    ],
    "day": ["date", "machine", "session_type", "model", "price_class", "project", *TOKEN_COLUMNS, "undivided", "requests", "cost"],
}  # fmt: skip
TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson", "json": "application/json"}
Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Export:
    name: str
    content_type: str
    chunks: Iterator[bytes]


FILTERS = ("project", "model", "machine", "session_type")
BY_SESSION = ("session", "usage")
"""The kinds whose rows belong to sessions, which alone can be filtered."""


def export(view: View, kind: str, format: str, since: int | None = None, until: int | None = None, wanted: Mapping[str, str] | None = None) -> Export:
    """An export of one kind: session, usage, block or day (what is left of sessions beyond the horizon). *wanted* are FILTERS.

    Raises Problem for a filter that the kind does not know.
    """
    chosen = {name: value for name, value in (wanted or {}).items() if name in FILTERS and value}
    if chosen and kind not in BY_SESSION:
        raise Problem(400, "malformed", f"{next(iter(chosen))}: an export of {kind}s cannot be filtered by it, one of sessions or usage can")
    if kind in BY_SESSION:
        found = (_sessions if kind == "session" else _usage)(view, since, until, chosen)
    else:
        found = (_blocks if kind == "block" else _days)(view, since, until)
    items = (view.present(f"/export/{kind}", batch) for batch in found)
    write: Callable[[Iterator[list[Item]]], Iterator[bytes]] = {"csv": lambda found: _csv(found, COLUMNS[kind]), "jsonl": _lines, "json": _json}[format]
    return Export(f"{kind}s.{format}", TYPES[format], write(items))


def checksum(made: Export) -> str:
    """One line as sha256sum writes and checks it."""
    digest = sha256()
    for chunk in made.chunks:
        digest.update(chunk)
    return f"{digest.hexdigest()}  {made.name}\n"


def _batches(view: View, since: int | None, until: int | None, wanted: Mapping[str, str]) -> Iterator[list[Item]]:
    """Public sessions, oldest activity first, some at a time: the view is free for others in between."""
    from ledger.views.search import Query, fits

    query = Query(
        since=since, until=until, project=wanted.get("project"), model=wanted.get("model"), machine=wanted.get("machine"), session_type=wanted.get("session_type"),
    )  # fmt: skip
    with view.lock:
        view.whole()
        keys = [key for at, key, _ in view.order if since is None or at >= since]
    for place in range(0, len(keys), AT_ONCE):
        with view.lock:
            now = view.clock()
            held = [view.winners[key] for key in keys[place : place + AT_ONCE] if key in view.winners]
            batch = [public.detail(view, one, now) for one in held if fits(view, query, one)]
        yield batch  # not within the lock: whoever reads slowly keeps it for as long


def _sessions(view: View, since: int | None, until: int | None, wanted: Mapping[str, str]) -> Iterator[list[Item]]:
    for batch in _batches(view, since, until, wanted):
        for item in batch:
            del item["usage"], item["sources"]
        yield batch


def _usage(view: View, since: int | None, until: int | None, wanted: Mapping[str, str]) -> Iterator[list[Item]]:
    for batch in _batches(view, since, until, wanted):
        yield [
            {"session": item["key"], "session_type": item["session_type"], "project": item["project"], "machine": item["machine"], **row}
            for item in batch for row in item["usage"]
        ]  # fmt: skip


def _blocks(view: View, since: int | None, until: int | None) -> Iterator[list[Item]]:
    with view.lock:
        now = view.clock()
        found = [public.block(view, account, window, now) for account, made in view.accounts() for window in made.all() if not window.gap]
        found += public.declared_blocks(view, now)
    low, high = iso(since) if since is not None else "", iso(until) if until is not None else "~"
    found = [block for block in found if (public.end_of(block) if block["start_time"] else "") >= low and (block["start_time"] or "") < high]
    yield sorted(found, key=lambda block: block["start_time"] or "")


def _days(view: View, since: int | None, until: int | None) -> Iterator[list[Item]]:
    low, high = iso(since)[:10] if since is not None else "", iso(until)[:10] if until is not None else "~"
    with view.lock:
        found = [
            {
                "date": day.date, "machine": public.machine_name(view, source.name),
                **_day_row(row),
            }
            for source in view.sources.values() for _, day in source.of_kind("day") if isinstance(day, bodies.Day) and low <= day.date < high
            for row in day.rows
        ]  # fmt: skip
    yield sorted(found, key=lambda item: item["date"])


def _day_row(row: bodies.DayRow) -> Item:
    item = dict(zip(("session_type", "model", "price_class", "project", *TOKEN_COLUMNS, "requests", "reported_cost"), row, strict=True))
    return {**item, "input": 0, "undivided": item["input"]} if item["price_class"] == UNDIVIDED else item


def _lines(batches: Iterator[list[Item]]) -> Iterator[bytes]:
    for batch in batches:
        yield b"".join(_encode(item) + b"\n" for item in batch)


def _json(batches: Iterator[list[Item]]) -> Iterator[bytes]:
    first = True
    yield b"["
    for batch in batches:
        if batch:
            yield (b"" if first else b",") + b",".join(map(_encode, batch))
            first = False
    yield b"]\n"


def _csv(batches: Iterator[list[Item]], columns: Sequence[str]) -> Iterator[bytes]:
    yield _csv_rows([columns])
    for batch in batches:
        yield _csv_rows([[_cell({**item, **(item.get("tokens") or {})}.get(column)) for column in columns] for item in batch])


def _csv_rows(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode("utf-8", "replace")


_BLANKS, _SIGNS = frozenset("\t\r\n"), frozenset("=+-@＝＋－＠")


def _cell(value: object) -> str:
    """One cell: nothing for null, plain numbers, text that no spreadsheet takes for a formula."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    # Some programs look behind spaces first, and take the wide forms of the signs for the signs.
    return "'" + text if text[:1] in _BLANKS or text.lstrip()[:1] in _SIGNS else text
