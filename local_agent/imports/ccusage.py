"""ccusage's JSON: what `daily`, `session` and `blocks` print with --json, of one tool or of all.

Pure. Sums of weeks and months are refused: nobody can tell on which days they belong.
"""
from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any, BinaryIO
from zoneinfo import ZoneInfo

from ledger import untidy
from ledger.account import DEFAULT
from ledger.errors import Misuse
from ledger.times import QUARTER
from ledger.views.accounts import family
from local_agent.imports.items import BLOCK, DAY, SESSION, Item, LeftOut
from local_agent.imports.stream import items

ORIGIN = "imported from ccusage"
SHAPES = {"daily": "day", "session": "session", "sessions": "session", "blocks": "block", "projects": "day"}
COARSE = {"weekly", "monthly"}
TOOLS = (("claude", "claude_code"), ("gpt", "codex"), ("codex", "codex"), ("o1", "codex"), ("o3", "codex"), ("o4", "codex"), ("gemini", "gemini"))
USUAL = {"claude": "claude_code"}

Row = list[object]


def read(file: BinaryIO, zone: ZoneInfo) -> Iterator[Item | LeftOut]:
    """Everything in a document; *zone* is the one whose days it speaks of. Raises NotJson, or Misuse for another document."""
    shape = ""
    days: dict[tuple[str, str], Item] = {}
    for names, value in items(file):
        if names[0] in COARSE:
            raise Misuse(f"{names[0]} sums cannot be placed on days: export  ccusage daily --json  instead")
        if names[0] not in SHAPES or names[-1] != "[]":
            continue
        shape = SHAPES[names[0]]
        if value is None:
            continue
        if not isinstance(value, dict):
            yield LeftOut("not an object")
        elif shape == "day":
            for each in _days(value, zone):
                if names[0] == "projects" and isinstance(each, Item):
                    _add(days, each)
                else:
                    yield each
        else:
            yield _session(value) if shape == "session" else _block(value)
    yield from days.values()
    if not shape:
        raise Misuse("there is no ccusage report in it: make one with  ccusage daily --json  (or session, or blocks)")


def tool_of(model: str, agent: str) -> str:
    """The tool that uses such a model, where the report does not say it."""
    if agent and agent != "all":
        return USUAL.get(agent, agent)
    return next((tool for name, tool in TOOLS if name in model.lower()), "unknown")


def _breakdown(value: dict[str, Any]) -> list[tuple[str, list[int], float | None]]:
    """(model, [input, output, written, read], cost) of each model; what has no breakdown is one."""
    parts = [part for part in value.get("modelBreakdowns") or [] if isinstance(part, dict)]
    if not parts:
        models = untidy.names(value.get("modelsUsed"))
        parts = [{**value, "modelName": models[0] if len(models) == 1 else "unknown", "cost": value.get("totalCost")}]
    found = []
    for part in parts:
        counts = [untidy.count(part.get(name)) for name in ("inputTokens", "outputTokens", "cacheCreationTokens", "cacheReadTokens")]
        cost = untidy.first_positive(part.get("cost"))
        if any(counts) or cost:
            found.append((untidy.pathless(part.get("modelName")) or "unknown", counts, min(cost, 9e6) or None))
    return found


def _agent(value: dict[str, Any]) -> str:
    metadata = value.get("metadata")
    agents = untidy.names(metadata.get("agents")) if isinstance(metadata, dict) else []
    return agents[0] if len(agents) == 1 else untidy.text(value.get("agent"), 32)


def _add(days: dict[tuple[str, str], Item], item: Item) -> None:
    """One project's part of a day joins the others'. Projects are named after whole paths there, so their names are not kept."""
    known = days.setdefault((item.row, item.tool), item)
    if known is not item:
        known.body["rows"] = [*_rows(known), *_rows(item)]


def _rows(item: Item) -> list[Row]:
    rows = item.body["rows"]
    return rows if isinstance(rows, list) else []


def _days(value: dict[str, Any], zone: ZoneInfo) -> Iterator[Item | LeftOut]:
    """One day, for each tool that was used on it."""
    text = untidy.text(value.get("date") or value.get("period"), 10)
    try:
        day = date.fromisoformat(text)
        begin, end = (int(datetime(at.year, at.month, at.day, tzinfo=zone).timestamp() * 1000) for at in (day, day + timedelta(days=1)))
    except (ValueError, OverflowError):
        yield LeftOut("a day without a date")
        return
    if untidy.moment(begin) is None:
        yield LeftOut("a day without a date")
        return
    agent, tools = _agent(value), dict[str, list[Row]]()
    for model, (sent, answered, written, read), cost in _breakdown(value):
        tool = tool_of(model, agent)
        tools.setdefault(tool, []).append([tool, model, "standard", None, sent, answered, written, 0, read, 0, cost])
    if not tools:
        yield LeftOut("a day without use")
    for tool, rows in tools.items():
        body: dict[str, object] = {"date": text, "tz": zone.key, "rows": rows, "origin": ORIGIN}
        yield Item(DAY, f"import/{text}/{tool}", family(tool), begin, end - 1, body, text)


def _session(value: dict[str, Any]) -> Item | LeftOut:
    id = untidy.text(value.get("sessionId") or value.get("period"), 100)
    metadata = value.get("metadata")
    last = untidy.moment(value.get("lastActivity") or (metadata.get("lastActivity") if isinstance(metadata, dict) else None))
    first = untidy.moment(value.get("firstActivity")) or last
    if not id or first is None or last is None:
        return LeftOut("a session without a time" if id else "a session without an id")
    found, last = _breakdown(value), max(first, last)
    if not found:
        return LeftOut("a session without use")
    tool = tool_of(found[0][0], _agent(value))
    at = last - last % QUARTER
    body: dict[str, object] = {
        "id": id, "session_type": tool, "start_time": first, "end_time": last, "last_activity": last, "is_active": False,
        "models_used": [model for model, _, _ in found], "estimated_tokens": sum(sum(counts) for _, counts, _ in found),
        "account": DEFAULT, "provenance": "declared", "origin": ORIGIN,
        "usage": [[at, last, last, model, "standard", sent, answered, written, 0, read, 0, cost] for model, (sent, answered, written, read), cost in found],
    }  # fmt: skip
    return Item(SESSION, id.lower() if len(id) == 36 else id, family(tool), first, last, body, id)


def _block(value: dict[str, Any]) -> Item | LeftOut:
    if value.get("isGap"):
        return LeftOut("a gap between blocks")
    begin, end = untidy.moment(value.get("startTime")), untidy.moment(value.get("endTime"))
    if begin is None or end is None or end <= begin:
        return LeftOut("a block without its times")
    counts = value.get("tokenCounts")
    total = untidy.count(value.get("totalTokens")) or (sum(map(untidy.count, counts.values())) if isinstance(counts, dict) else 0)
    if not total:
        return LeftOut("a block without use")
    models = untidy.names(value.get("models"))
    tool = next((found for model in models if (found := tool_of(model, "")) != "unknown"), "claude_code")
    columns = {"total_cost": untidy.first_positive(value.get("costUSD")) or None, "models": models, "origin": ORIGIN}
    used = untidy.moment(value.get("actualEndTime")) or end
    body: dict[str, object] = {
        "id": untidy.text(value.get("id"), 100) or str(begin), "start_time": begin, "end_time": end, "session_type": tool, "total_tokens": total,
        "is_complete": not value.get("isActive"), "columns": dict(filter(lambda pair: pair[1], columns.items())),
    }  # fmt: skip
    return Item(BLOCK, f"import:{begin}", family(tool), begin, max(begin, min(used, end)), body, str(begin))
