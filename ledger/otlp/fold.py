"""A session as telemetry tells it, added up so that nothing counts twice.

Pure: what was known of the session and what came make what is known now. The body carries its own bookkeeping under "otel":

- a request is known by its mark; the newest marks are kept, and what is older than they reach back is taken for known;
- a cumulative counter counts by what it grew; one that begins anew (another start, or less than before) counts whole;
- a delta counter counts each point once, in the order of time;
- a session whose requests are told has its metrics counted only up to the first of them, since both tell of the same tokens.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from ledger.account import DEFAULT
from ledger.otlp.signals import ApiRequest, Point, Told
from ledger.prices import Thresholds
from ledger.record import Record
from ledger.times import QUARTER

MARKS = 600
SERIES = 120
ROWS_KEPT = 150
"""As many rows stand in the session's own record; older ones in records of that many each."""
MOST_ROWS = 6000
BOOKS = "otel"

Body = dict[str, Any]
Row = list[Any]


def fold(before: Body | None, told: Iterable[Told], book: Thresholds) -> Body:
    """The session after *told*; *before* is what this function returned earlier, or None."""
    body: Body = dict(before or {})
    books = {"marks": [], "floor": 0, "events": None, "series": {}, **body.get(BOOKS, {})}
    rows = {(row[0], row[1] == row[0] == row[2], row[3], row[4]): list(row) for row in body.get("usage", ())}
    for each in sorted(told, key=lambda each: each.at):
        if isinstance(each, ApiRequest):
            _ask(rows, books, each, book)
        elif isinstance(each, Point):
            _count(rows, books, each)
        _about(body, each)
    usage = sorted(rows.values(), key=lambda row: (row[1], row[3], row[4]))[-MOST_ROWS:]
    body["usage"], body[BOOKS] = usage, books
    body["models_used"] = list(dict.fromkeys(row[3] for row in usage if row[3] != "unknown"))
    body["estimated_tokens"] = sum(sum(row[5:10]) for row in usage)
    return body


def _about(body: Body, told: Told) -> None:
    body.setdefault("id", told.session)
    body["session_type"], body["provenance"], body["is_active"] = "claude_code", "telemetry", False
    body["start_time"] = min(body.get("start_time", told.at), told.at)
    body["last_activity"] = max(body.get("last_activity", told.at), told.at)
    if told.account != DEFAULT or "account" not in body:
        body["account"] = told.account
    if told.about:
        body["metadata"] = {**body.get("metadata", {}), **told.about}


def _ask(rows: dict[Any, Row], books: Body, asked: ApiRequest, book: Thresholds) -> None:
    if not _is_news(books, asked):
        return
    first = books["events"]
    if first is None or asked.at < first:
        books["events"] = asked.at
        for key in [key for key, row in rows.items() if not row[10] and row[2] >= asked.at and (first is None or row[2] < first)]:
            del rows[key]  # counters that reach beyond the first request tell of it, too
    prompt = sum(asked.counts) - asked.counts[1]
    above = book.long_threshold(asked.model, asked.at)
    flags = ["fast"] if asked.fast else []
    flags += [f"long:{above // 1000}"] if above and prompt > above else []
    row = _row(rows, asked.at, asked.model, "+".join(sorted(flags)) or "standard")
    for place, count in zip((5, 6, 7, 9), asked.counts, strict=True):
        row[place] += count
    row[10] += 1
    if asked.cost:
        row[11] = round((row[11] or 0) + asked.cost, 9)


def _is_news(books: Body, asked: ApiRequest) -> bool:
    """Whether the request was not told before; from now on it was."""
    if asked.at <= books["floor"] or any(mark == asked.mark for mark, _ in books["marks"]):
        return False
    books["marks"] = [*books["marks"], [asked.mark, asked.at]]
    if len(books["marks"]) > MARKS:
        books["floor"] = max(books["floor"], *(at for _, at in books["marks"][:-MARKS]))
        books["marks"] = books["marks"][-MARKS:]
    return True


def _count(rows: dict[Any, Row], books: Body, point: Point) -> None:
    start, at, value = books["series"].get(point.series, (0, 0, 0))
    if point.at <= at or (point.series not in books["series"] and len(books["series"]) >= SERIES):
        return  # told before, or out of order
    grown = point.value
    if point.cumulative and point.start == start and point.value >= value:
        grown = point.value - value
    books["series"][point.series] = [point.start, point.at, point.value]
    if point.kind < 0 or not grown or (books["events"] is not None and point.at >= books["events"]):
        return
    row = _row(rows, point.at, point.model, "fast" if point.fast else "standard")
    if point.kind == 4:
        row[11] = round((row[11] or 0) + grown, 9)
    else:
        row[(5, 6, 7, 9)[point.kind]] += int(grown)


def _row(rows: dict[Any, Row], at: int, model: str, price_class: str) -> Row:
    """The row for a moment. One at the exact beginning of a quarter-hour has a row of its own."""
    quarter = at - at % QUARTER
    row = rows.setdefault((quarter, at == quarter, model, price_class), [quarter, at, at, model, price_class, 0, 0, 0, 0, 0, 0, None])
    row[1], row[2] = min(row[1], at), max(row[2], at)
    return row


def told_of(body: Body) -> Body:
    """The body without the bookkeeping."""
    return {name: value for name, value in body.items() if name != BOOKS}


def records_of(key: str, body: Body) -> list[Record]:
    """The session's record, and one for each ROWS_KEPT of its older rows."""
    rows = body["usage"]
    more = max(0, len(rows) - 1) // ROWS_KEPT
    older = [{"session": key, "usage": rows[n * ROWS_KEPT : (n + 1) * ROWS_KEPT]} for n in range(more)]
    shown = {**body, "usage": rows[more * ROWS_KEPT :], **({"more": more} if more else {})}
    return [*(Record("usage", f"{key}/{n + 1}", _text(each)) for n, each in enumerate(older)), Record("session", key, _text(shown))]


def body_of(key: str, get: Callable[[str, str], str | None]) -> Body | None:
    """The body whose records *get(kind, id)* finds; None if there is none."""
    text = get("session", key)
    if text is None:
        return None
    body: Body = msgspec.json.decode(text)
    older = [msgspec.json.decode(get("usage", f"{key}/{n}") or "{}").get("usage", []) for n in range(1, int(body.pop("more", 0)) + 1)]
    body["usage"] = [row for part in (*older, body.get("usage", [])) for row in part]
    return body


def _text(body: Mapping[str, Any]) -> str:
    return msgspec.json.encode(body).decode()
