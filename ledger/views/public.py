"""What a session, a block, a limit and a machine look like from outside: one shape for lists, feed and export."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ledger import bodies
from ledger.account import DEFAULT
from ledger.blocks import LENGTH, Window
from ledger.prices import PICO
from ledger.session import AT, CLASS, COST, FIRST, LAST, MODEL, REPORTED, REQUESTS, SYNTHETIC, UNDIVIDED, Held, Row, tokens_of
from ledger.times import MINUTE, QUARTER, iso, iso_or_none, parse
from ledger.views.pace import length_of, runs_out, spread
from ledger.words import many

if TYPE_CHECKING:
    from ledger.views.view import View

KINDS = ("input", "output", "cache_write_5m", "cache_write_1h", "cache_read")
SPARK = 24
MOST_SHOWN = 2_000
_encode = msgspec.json.Encoder().encode
SPARK_MS = SPARK * QUARTER


def usd(pico: int | None) -> float | None:
    return None if pico is None else pico / PICO


def kinds_of(rows: Iterable[Row]) -> dict[str, int]:
    sums = [0] * 5
    for row in rows:
        if row[CLASS] != UNDIVIDED:
            for place in range(5):
                sums[place] += row[5 + place]
    return dict(zip(KINDS, sums, strict=True))


def session(view: View, held: Held, now: int) -> dict[str, Any]:
    """The public session."""
    body, rows, names = held.body(), held.rows(), view.names.list
    is_active = view.is_active(held, now)
    models, unpriced = _models(rows, names)
    reported = [row[REPORTED] for row in rows if row[REPORTED] >= 0]
    end = body.end_time if body.end_time is not None else (now if is_active else held.last)
    value: dict[str, Any] = {
        **{name: plain for name, plain in body.columns.items() if isinstance(name, str)},
        "key": held.key,
        "id": body.id or held.key,
        "session_type": held.session_type,
        "start_time": iso_or_none(body.start_time if body.start_time is not None else held.start or None),
        "end_time": iso_or_none(body.end_time),
        "last_activity": iso_or_none(held.last or None),
        "is_active": is_active,
        "stale": body.stale,
        "total_messages": body.total_messages or 0,
        "models_used": body.models_used or [model["model"] for model in models if model["model"] != "unknown"],
        "estimated_tokens": held.tokens,
        "duration_minutes": max(end - held.start, 0) // MINUTE if held.start else 0,
        "conversation_id": body.conversation_id,
        "project": body.project,
        "title": body.title,
        "git_branch": body.git_branch,
        "machine": body.machine or machine_name(view, held.source),
        "source": held.source,
        "account": body.account,
        "metadata": body.metadata if isinstance(body.metadata, dict) else {},  # always an object: the predecessor's clients look into it
        "provenance": body.provenance,
        "origin": body.origin,
        "tokens": kinds_of(rows),
        "cost": _cost(held, rows),
        "unpriced": unpriced,
        "reported_cost": sum(reported) / PICO if reported else None,
        "models": models,
        "context": _context(body.context),
    }
    if is_active:
        value["activity"] = spread(rows, max(held.start, now - SPARK_MS), now + 1, SPARK)
    return value


def _cost(held: Held, rows: Iterable[Row]) -> float | None:
    """None where only a total was declared: without the kinds of its tokens nobody can tell what it cost."""
    unknown = held.tokens and not held.cost and all(row[CLASS] == UNDIVIDED or not tokens_of(row) for row in rows)
    return None if unknown else usd(held.cost)


def shown(view: View, held: Held, now: int) -> Any:
    """The public session, ready to be encoded; of an idle one the bytes that were made before."""
    if view.is_active(held, now):
        return session(view, held, now)
    name = machine_name(view, held.source)
    kept = view.shown.get(held.key)
    if kept is None or kept[0] is not held or kept[1] != name:
        if len(view.shown) >= MOST_SHOWN:
            view.shown.clear()
        kept = view.shown[held.key] = (held, name, msgspec.Raw(_encode(session(view, held, now))))
    return kept[2]


def _models(rows: Iterable[Row], names: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
    sums: dict[int, list[int]] = {}
    unpriced: set[int] = set()
    for row in rows:
        cell = sums.setdefault(row[MODEL], [0, 0])
        cell[0] += tokens_of(row)
        if row[COST] < 0 and row[CLASS] != UNDIVIDED:
            unpriced.add(row[MODEL])
        else:
            cell[1] += max(row[COST], 0)
    models = [
        {"model": names[model], "tokens": tokens, "cost": None if model in unpriced and not cost else cost / PICO}
        for model, (tokens, cost) in sorted(sums.items(), key=lambda pair: (-pair[1][1], -pair[1][0], names[pair[0]]))
        if names[model] != SYNTHETIC
    ]
    return models, sorted(names[model] for model in unpriced)


def _context(context: bodies.Context | None) -> dict[str, Any] | None:
    if context is None or not context.used:
        return None
    percent = round(100 * context.used / context.size, 1) if context.size else None
    return {"used": context.used, "size": context.size or None, "percent": percent}


def usage_row(row: Row, names: Sequence[str]) -> dict[str, Any]:
    return {
        "at": iso(row[AT]), "first": iso(row[FIRST]), "last": iso(row[LAST]), "model": names[row[MODEL]], "price_class": names[row[CLASS]],
        **kinds_of([row]), **({"undivided": tokens_of(row)} if row[CLASS] == UNDIVIDED else {}), "requests": row[REQUESTS],
        "cost": None if row[COST] < 0 else row[COST] / PICO, "reported_cost": None if row[REPORTED] < 0 else row[REPORTED] / PICO,
    }  # fmt: skip


def detail(view: View, held: Held, now: int) -> dict[str, Any]:
    """The public session with its usage and every source that has it."""
    sources = [source.name for source in view.sources.values() if held.key in source.sessions]
    return {**session(view, held, now), "usage": [usage_row(row, view.names.list) for row in held.rows()], "sources": sorted(sources)}


def machine_name(view: View, source: str) -> str:
    machine = view.machine(source)
    return (machine.name if machine else None) or source


# -- blocks ----------------------------------------------------------------------------------------------------


def block(view: View, account: tuple[str, str], window: Window, now: int) -> dict[str, Any]:
    """A derived or official block, or a gap, with every column that a declared one has."""
    is_active = window.is_active(now)
    tool, name = account
    id = ("gap-" if window.gap else "") + iso(window.start)
    burn = _burn(window)
    return {
        "id": id if tool == "claude" and name == DEFAULT else f"{id}/{tool}/{name}",
        "session_type": "claude_code" if tool == "claude" else tool,
        "account": name,
        "start_time": iso(window.start),
        "end_time": iso(window.end),
        "first_activity": iso(window.first) if not window.gap else None,
        "last_activity": iso(window.last) if not window.gap else None,
        "basis": window.basis,
        "gap": window.gap,
        "is_active": is_active,
        "is_complete": not is_active,
        "total_sessions": window.session_count,
        "total_tokens": window.tokens,
        "efficiency_score": None,
        "tokens": dict(zip(KINDS, window.kinds, strict=True)),
        "cost": window.cost / PICO,
        "requests": window.requests,
        "models": [
            {"model": view.names.list[model], "tokens": tokens, "cost": cost / PICO}
            for model, (tokens, cost) in sorted(window.models.items(), key=lambda pair: (-pair[1][1], -pair[1][0]))
            if view.names.list[model] != SYNTHETIC
        ],
        "burn": burn if is_active else None,
        "tracker": None,
        **_progress(window.start, window.end, now),
    }


def _burn(window: Window) -> dict[str, float] | None:
    """Tokens and cost by the time between the first and the last use; none where that is no time."""
    minutes = (window.last - window.first) / MINUTE
    if window.gap or minutes <= 0:
        return None
    return {"tokens_per_minute": window.tokens / minutes, "cost_per_hour": window.cost / PICO / minutes * 60}


def _progress(start: int, end: int, now: int) -> dict[str, Any]:
    share = (now - start) / (end - start) * 100 if end > start else 100.0
    return {"duration_minutes": max(end - start, 0) // MINUTE, "progress_percent": round(min(max(share, 0.0), 100.0), 1)}


def declared_blocks(view: View, now: int) -> list[dict[str, Any]]:
    """Every block that a tracker of any machine declares."""
    return [
        _declared_block(source.name, ref.id, block, now)
        for source in view.sources.values() for ref, block in source.of_kind("block") if isinstance(block, bodies.Block)
    ]  # fmt: skip


def _declared_block(source: str, key: str, found: bodies.Block, now: int) -> dict[str, Any]:
    """A block that a tracker declares, with every column of its row."""
    start = found.start_time or 0
    end = found.end_time if found.end_time is not None else start + LENGTH
    return {
        **found.columns,
        "id": found.id or key,
        "session_type": found.session_type,
        "start_time": iso_or_none(found.start_time),
        "end_time": iso_or_none(found.end_time),
        "basis": "declared",
        "gap": False,
        "is_active": found.start_time is not None and start <= now < end and not found.is_complete,
        "is_complete": found.is_complete,
        "total_sessions": found.total_sessions,
        "total_tokens": found.total_tokens,
        "efficiency_score": found.efficiency_score,
        "tracker": found.tracker,
        "source": source,
        "key": key,
        **_progress(start, end, now),
    }


def end_of(block: dict[str, Any]) -> str:
    """When a block that began ends: a tracker's open one names no end, and runs for five hours."""
    return str(block["end_time"] or iso(parse(block["start_time"]) + LENGTH))


# -- limits and machines ---------------------------------------------------------------------------------------

LABELS = {"five_hour": "Five hours", "seven_day": "Week, all models"}


def label_of(window: str) -> str:
    if window in LABELS:
        return LABELS[window]
    if window.startswith("seven_day_"):
        return "Week, " + window.removeprefix("seven_day_").replace("_", " ").capitalize()
    return window.replace("_", " ").capitalize()


def limit(key: str, found: bodies.Limit, now: int) -> dict[str, Any]:
    """An official window, with where an even pace would be and when it runs out if this one goes on."""
    length = length_of(found.window)
    pace = out = None
    if length and found.resets_at is not None:
        start = found.resets_at - length
        pace = round(min(max((now - start) / length * 100, 0.0), 100.0), 1)
        out = runs_out(found.used_percent, start, max(found.observed_at, start), found.resets_at)
        if out is not None and out <= now and found.used_percent < 100:
            out = None  # that moment went by, and nobody saw it run out: it is no forecast any more
    return {
        "key": key, "label": label_of(found.window), "tool": found.tool, "account": found.account, "window": found.window,
        "percent": found.used_percent, "pace_percent": pace, "resets_at": iso_or_none(found.resets_at),
        "observed_at": iso(found.observed_at), "source": found.source, "runs_out_at": iso_or_none(out),
    }  # fmt: skip


def machine(view: View, source: str, now: int, active: int, today: float) -> dict[str, Any]:
    """A machine: is it heard, what does it read, what did it spend today."""
    known, body = view.sources[source], view.machine(source) or bodies.Machine()
    online = view.is_fresh(source, now)
    unread = sorted(name for name, reader in body.readers.items() if isinstance(reader, dict) and reader.get("state") == "unreadable")
    said = (f"{', '.join(unread)}: cannot be read" if unread else "", body.note, "its disk is full" if body.disk == "full" else "", f"{many(len(known.stubs), 'record')} refused" if known.stubs else "")
    note = "; ".join(filter(None, said)) or None
    state = "silent" if not online else "attention" if note else "ok"
    return {
        "source": source, "name": body.name or source, "os": body.os, "version": body.version, "tz": body.tz, "online": online,
        "last_seen": iso_or_none(known.head.last_seen or None), "beat_s": known.head.beat_s, "active": active, "today_cost": today,
        "readers": body.readers, "state": state, "note": note, "sample": body.sample, "sessions": len(known.sessions) + known.beyond,
    }  # fmt: skip
