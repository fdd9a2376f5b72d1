"""What each path of the read API answers. The shapes of the predecessor's paths are kept, every member of them."""
from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ledger.errors import Problem
from ledger.prices import KINDS as RATE_KINDS
from ledger.prices import PER_MILLION, PICO
from ledger.session import AT, CLASS, COST, MODEL, REPORTED, UNDIVIDED, Held, Row
from ledger.times import MINUTE, iso, iso_or_none, parse, shift, zone
from ledger.views import public, summary
from ledger.views.current import current
from ledger.views.search import Query

if TYPE_CHECKING:
    from ledger.http.reads import Asked

Json = dict[str, Any]


def _sessions(asked: Asked, found: Iterable[Held]) -> list[Any]:
    return [public.shown(asked.view, held, asked.now) for held in found]


def active(asked: Asked) -> list[Json]:
    return _sessions(asked, asked.view.active(asked.now))


def recent(asked: Asked) -> list[Json]:
    """Newest start first."""
    return _sessions(asked, asked.view.recent(asked.args["limit"]))


def sessions(asked: Asked) -> Json:
    names = Query.__slots__
    page = asked.view.sessions(Query(**{name: value for name, value in asked.args.items() if name in names}))
    return {"sessions": _sessions(asked, page.sessions), "next": page.next, "total": page.total}


def _held(asked: Asked) -> Held:
    held = asked.view.session(asked.id)
    if held is None:
        raise Problem(404, "not-found", "there is no such session: /sessions lists them")
    return held


def one_session(asked: Asked) -> Json:
    return public.detail(asked.view, _held(asked), asked.now)


def cost(asked: Asked) -> Json:
    """Each row's kinds of tokens times their rate, with where the rate comes from."""
    held = _held(asked)
    rows, names = held.rows(), asked.view.names.list
    reported = [row[REPORTED] for row in rows if row[REPORTED] >= 0]
    return {
        "id": held.body().id or held.key,
        "key": held.key,
        "currency": "USD",
        "cost": public.usd(held.cost),
        "reported_cost": sum(reported) / PICO if reported else None,
        "unpriced": sorted({names[row[MODEL]] for row in rows if row[COST] < 0 and row[CLASS] != UNDIVIDED}),
        "lines": [line for row in rows for line in _lines(asked, row)],
        "price_book": {"date": asked.view.book.date},
    }


def _lines(asked: Asked, row: Row) -> Iterable[Json]:
    names = asked.view.names.list
    model, price_class = names[row[MODEL]], names[row[CLASS]]
    rates = asked.view.book.rates(model, price_class, row[AT])
    for place, (kind, rate_kind) in enumerate(zip(public.KINDS, RATE_KINDS, strict=True)):
        tokens = row[5 + place]
        if not tokens:
            continue
        rate = getattr(rates, rate_kind) if rates else None
        yield {
            "at": iso(row[AT]), "model": model, "price_class": price_class, "kind": "undivided" if row[CLASS] == UNDIVIDED else kind, "tokens": tokens,
            "usd_per_million": None if rate is None else rate / PER_MILLION, "amount": None if rate is None else rate * tokens / PICO,
            "source": rates.source if rates else None, "source_date": rates.date if rates else None, "since": rates.since if rates else None,
        }  # fmt: skip


# -- blocks, limits, machines ------------------------------------------------------------------------------------


def blocks(asked: Asked) -> list[Json]:
    """Declared, derived and official blocks of all accounts, newest start first."""
    view, found = asked.view, list[Json]()
    for account, made in view.accounts():
        chosen = [window for window in made.all() if asked.args["gaps"] or not window.gap]
        found += [public.block(view, account, window, asked.now) for window in chosen[-asked.args["limit"] :]]
    found += public.declared_blocks(view, asked.now)
    return sorted(found, key=lambda block: (block["start_time"] or "", block["id"]), reverse=True)[: asked.args["limit"]]


def limits(asked: Asked) -> list[Json]:
    return [public.limit(ref.id, limit, asked.now - asked.now % MINUTE) for ref, limit in asked.view.limits()]


def machines(asked: Asked) -> list[Json]:
    return summary.machines(asked.view, asked.tz)


# -- the predecessor's analytics ---------------------------------------------------------------------------------


def analytics(asked: Asked) -> Json:
    view, tz = asked.view, asked.tz
    today = zone(tz).day(asked.now)
    days, active_now = view.days(tz), view.active(asked.now)
    return {
        "today": _today(asked, today, active_now),
        "weekly": _weekly(asked, today),
        "current_block": _current_block(asked),
        "total_active_sessions": len(active_now),
        "last_updated": iso(last_heard(asked) or asked.now),
        "totals": summary.totals(view, days, today),
        "tz": tz,
    }


def _since(asked: Asked, day: str) -> list[Held]:
    """Sessions that were active since a local day began."""
    return asked.view.since(zone(asked.tz).midnight(day))


def _tokens_by_type(asked: Asked, first: str, last: str) -> dict[str, int]:
    tokens: dict[str, int] = {}
    for _, day in asked.view.days(asked.tz).between(first, last):
        for name, cell in day.tools.items():
            tokens[name] = tokens.get(name, 0) + cell[0]
    return tokens


def _today(asked: Asked, today: str, active_now: list[Held]) -> Json:
    tokens, found = _tokens_by_type(asked, today, today), dict[str, Json]()
    messages: dict[str, list[int]] = {}
    for held in _since(asked, today):
        entry = found.setdefault(held.session_type, {"sessions": 0, "tokens": tokens.get(held.session_type, 0), "avg_messages": 0, "active": 0})
        entry["sessions"] += 1
        messages.setdefault(held.session_type, []).append(held.body().total_messages or 0)
    for held in active_now:
        if held.session_type in found:
            found[held.session_type]["active"] += 1
    for name, counts in messages.items():
        found[name]["avg_messages"] = round(sum(counts) / len(counts), 1)
    return found


def _weekly(asked: Asked, today: str) -> Json:
    first = shift(today, -6)
    tokens, found = _tokens_by_type(asked, first, today), dict[str, Json]()
    for held in _since(asked, first):
        entry = found.setdefault(held.session_type, {"sessions": 0, "tokens": tokens.get(held.session_type, 0)})
        entry["sessions"] += 1
    return found


def _current_block(asked: Asked) -> Json | None:
    minute = asked.now - asked.now % MINUTE
    block, _ = current(asked.view, minute)
    if block is None:
        return None
    start, end = parse(block["start"]), parse(block["end"])
    return {
        "id": block["id"],
        "elapsed_minutes": max(asked.now - start, 0) // MINUTE,
        "remaining_minutes": max(end - asked.now, 0) // MINUTE,
        "sessions": block["sessions"],
        "tokens": block["tokens"]["total"],
        "progress_percent": round(min(max((asked.now - start) / (end - start) * 100, 0), 100), 1),
        "basis": block["basis"],
    }


# -- status, settings, feed --------------------------------------------------------------------------------------


def last_heard(asked: Asked) -> int | None:
    return max((source.head.last_seen for source in asked.view.sources.values()), default=0) or None


def status(asked: Asked) -> Json:
    """Both homes answer every member that either of the predecessor's did."""
    view, heard = asked.view, last_heard(asked)
    declared = sum(len(source.of_kind("block")) for source in view.sources.values())
    found: Json = {
        "status": "running",
        "version": asked.home.version,
        "home": asked.home.role,
        "timestamp": iso(asked.now),
        "connected_clients": 0,
        "port": None,
        "websocket_endpoint": "/ws",
        "features": {"real_time_enabled": True, "session_tracking": True, "five_hour_blocks": True, "feed": True},
        "statistics": {"total_connections": 0, "current_connections": 0, "messages_sent": 0, "errors": 0},
        "last_sync": iso_or_none(heard),
        "has_localhost_connection": heard is not None and asked.now - heard < MINUTE,
        "cache_size": {
            "active_sessions": len(view.active(asked.now)),
            "recent_sessions": view.tally.sessions,
            "five_hour_blocks": declared + sum(sum(not window.gap for window in made.all()) for _, made in view.accounts()),
        },
        "sample": asked.home.sample or summary.is_sample(view),
    }
    return {**found, **(asked.home.status(view.tenant) if asked.home.status else {})}


def config(asked: Asked) -> Json:
    found: Json = {
        "real_time_enabled": True,
        "session_tracking": True,
        "five_hour_blocks": True,
        "auto_refresh": 30_000,
        "websocket_config": {
            "ping_interval": 30_000, "ping_timeout": 60_000, "reconnect_interval": 1_000, "max_reconnect_interval": 30_000,
            "reconnect_decay": 1.5, "timeout_interval": 2_000, "max_reconnect_attempts": None,
        },
        "dashboard_url": asked.home.url,
        "localhost_port": 3001,
    }  # fmt: skip
    if asked.home.role == "relay":
        found |= {"localhost_fallback": True, "localhost_url": "http://localhost:3001"}
    return {**found, **(asked.home.config() if asked.home.config else {})}


def feed(asked: Asked) -> Json:
    tz = asked.args.get("tz") or asked.home.tz_default
    return {**asked.view.feed(asked.args.get("cursor"), tz, asked.args["sessions"]), "home": asked.home.role}
