"""The block that is open now: how much of it is used, how fast, and where that leads."""
from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any

from ledger import bodies
from ledger.blocks import LENGTH, SAME_WINDOW, Window
from ledger.prices import PICO
from ledger.session import COST, FIRST, Row, tokens_of
from ledger.times import MINUTE, QUARTER, iso, iso_or_none
from ledger.views.accounts import Account, account_for
from ledger.views.pace import Projection, project, spread
from ledger.views.public import block as public_block
from ledger.views.public import declared_blocks, end_of

if TYPE_CHECKING:
    from ledger.views.view import View

RECENT = 13
SERIES = 60


def current(view: View, now: int) -> tuple[dict[str, Any] | None, Account | None]:
    """The open block and its account. Of several accounts, an official block comes first, then the busiest."""
    found = [(window, account) for account, blocks in view.accounts() for window in [_open_of(view, account, now)] if window]
    if found:
        window, account = max(found, key=lambda pair: (pair[0].basis == "official", pair[0].cost, pair[0].tokens, pair[1]))
        return _describe(view, account, window, now), account
    active = [block for block in declared_blocks(view, now) if block["is_active"]]
    return (_declared(max(active, key=lambda block: str(block["start_time"])), now) if active else None), _newest_account(view)


def _open_of(view: View, account: Account, now: int) -> Window | None:
    blocks = view.blocks(account).all()
    window = next((window for window in reversed(blocks[-2:]) if window.is_active(max(now, window.last))), None)
    if window is not None:
        return window
    # The tool may say that a window is open though nothing of it was read here.
    limit = _limit_of(view, account, now)
    if limit is not None and limit.resets_at is not None:
        return Window(limit.resets_at - LENGTH, limit.resets_at, basis="official", first=now, last=now)
    return None


def _limit_of(view: View, account: Account, now: int) -> bodies.Limit | None:
    """The newest reading of the account's five-hour window that holds now."""
    for _, limit in view.limits():
        if limit.window == "five_hour" and account_for(limit) == account and limit.resets_at and limit.resets_at - LENGTH <= now < limit.resets_at:
            return limit
    return None


def _newest_account(view: View) -> Account | None:
    found = [(blocks.all()[-1].end, account) for account, blocks in view.accounts() if blocks.all()]
    return max(found)[1] if found else None


def _describe(view: View, account: Account, window: Window, now: int) -> dict[str, Any]:
    now = max(now, window.last)
    rows = [row for row in view.blocks(account).rows_between(window.start, window.end) if row[FIRST] >= window.start] if window.tokens else []
    limit = _limit_of(view, account, now) if window.basis == "official" else None
    earlier = max([other.tokens for other in view.blocks(account).all() if other is not window], default=0)
    official = limit is not None
    percent = float(limit.used_percent) if limit else (window.tokens / earlier * 100 if earlier else None)
    shown = public_block(view, account, window, now)
    by_tokens = samples(rows, now, tokens_of)
    by_cost = samples(rows, now, _cost_of)
    elapsed, left = now - (window.first if rows else now), window.end - now
    ahead, money = project(by_tokens, elapsed, left), project(by_cost, elapsed, left)
    # An account's share grows with what its use costs, not with its tokens: cache reads weigh little.
    weights, weighed = (by_cost, money) if window.cost else (by_tokens, ahead)
    ceiling = 100.0 if official else float(earlier) if earlier else None
    whole = sum(weights)
    factor = (limit.used_percent / whole if whole else 0.0) if limit else 1.0
    basis = weighed if official else ahead
    used = float(limit.used_percent) if limit else float(window.tokens)
    return {
        "id": shown["id"], "start": shown["start_time"], "end": shown["end_time"], "basis": window.basis, "account": shown["account"],
        "tool": shown["session_type"], "percent": percent, "percent_basis": "official" if official else "largest earlier block" if earlier else None,
        "tokens": _grouped(window.kinds) | {"total": window.tokens}, "cost": window.cost / PICO, "requests": window.requests, "sessions": window.session_count,
        "burn": {**(shown["burn"] or {"tokens_per_minute": None, "cost_per_hour": None}), "series": _series(rows, window.start, now)},
        "projection": _projection(basis, factor, used, ceiling, official, now, window.end) | {"cost": money.middle / PICO, "tokens": round(ahead.middle)},
        "curve": curve(weights if official else by_tokens, window.start, now, used),
        "unit": "percent" if official else "tokens", "limit": ceiling, "models": shown["models"],
        "even_pace_percent": round(min(max((now - window.start) / (window.end - window.start) * 100, 0), 100), 1),
    }  # fmt: skip


def _cost_of(row: Row) -> int:
    return max(row[COST], 0)


def _projection(basis: Projection, factor: float, used: float, ceiling: float | None, official: bool, now: int, end: int) -> dict[str, Any]:
    """The projection as a share of the limit; without a limit there is only an amount."""
    scaled = Projection(basis.middle * factor, basis.low * factor, basis.high * factor, basis.rate * factor)
    hit = scaled.reaches(ceiling, used, now, end) if ceiling else None
    share = 1.0 if official else 100 / ceiling if ceiling else None
    low, middle, high = (None if share is None else round(value * share, 1) for value in (scaled.low, scaled.middle, scaled.high))
    if official and not basis.middle:
        low = middle = high = used
    return {"percent": middle, "low": low, "high": high, "hit_at": iso_or_none(hit)}


def samples(rows: list[Row], now: int, weight: Callable[[Row], float]) -> list[float]:
    """The weight of the rows in each quarter-hour from the first use to now."""
    if not rows:
        return []
    first = min(row[FIRST] for row in rows)
    found = [0.0] * (max(now - first, 0) // QUARTER + 1)
    for row in rows:
        found[min((row[FIRST] - first) // QUARTER, len(found) - 1)] += weight(row)
    return found


def curve(weights: list[float], start: int, now: int, used: float) -> list[list[Any]]:
    """Points [time, amount] from the start to now; the last one is what is used."""
    whole, points, sum_ = sum(weights), [[iso(start), 0.0]], 0.0
    first = now - (len(weights) - 1) * QUARTER if weights else now
    for number, weight in enumerate(weights):
        sum_ += weight
        at = min(first + number * QUARTER, now)
        if at > start:
            points.append([iso(at), round(used * sum_ / whole, 3) if whole else 0.0])
    if not weights or not whole:
        points.append([iso(max(now, start)), round(used, 3)])
    return points


def _series(rows: list[Row], start: int, now: int) -> list[int]:
    """Tokens a minute, in sixty equal steps from the start of the block to now."""
    end = max(now, start + SERIES * MINUTE)
    minutes = (end - start) / SERIES / MINUTE
    return [round(tokens / minutes) for tokens in spread(rows, start, end + 1, SERIES)]


def _grouped(kinds: list[int]) -> dict[str, int]:
    return {"input": kinds[0], "output": kinds[1], "cache_write": kinds[2] + kinds[3], "cache_read": kinds[4]}


def _declared(block: dict[str, Any], now: int) -> dict[str, Any]:
    """A tracker's block: it knows its times and a total, and no more is made of it. While it is open its row may name no end."""
    total = block["total_tokens"] or 0
    return {
        "id": block["id"], "start": block["start_time"], "end": end_of(block), "basis": "declared", "account": None,
        "tool": block["session_type"], "percent": None, "percent_basis": None,
        "tokens": {"input": 0, "output": 0, "cache_write": 0, "cache_read": 0, "total": total}, "cost": None, "requests": None,
        "sessions": block["total_sessions"] or 0, "burn": {"tokens_per_minute": None, "cost_per_hour": None, "series": [0] * SERIES},
        "projection": {"percent": None, "low": None, "high": None, "cost": None, "tokens": None, "hit_at": None},
        "curve": [[block["start_time"], 0], [iso(now), total]], "unit": "tokens", "limit": None, "models": [],
        "even_pace_percent": block["progress_percent"],
    }  # fmt: skip


def recent_blocks(view: View, account: Account | None) -> list[dict[str, Any]]:
    """The newest blocks of an account, oldest first. Gaps are the time between them, and not shown."""
    if account is None:
        return []
    newest = reversed(view.blocks(account).all())
    blocks = [*islice((block for block in newest if not block.gap), RECENT)][::-1]
    largest = view.blocks(account).largest
    readings = [limit for limit in view.all_limits() if limit.window == "five_hour" and account_for(limit) == account]
    shares = dict(pair for limit in readings for pair in limit.earlier_used) | {limit.resets_at: limit.used_percent for limit in readings if limit.resets_at}
    found = []
    for window in blocks:
        official = next((share for reset, share in shares.items() if window.basis == "official" and abs(reset - window.end) <= SAME_WINDOW), None)
        percent = official if official is not None else window.tokens / largest * 100 if largest else 0.0
        found.append(
            {
                "start": iso(window.start), "end": iso(window.end), "percent": round(percent, 1), "percent_basis": "largest earlier block" if official is None else "official",
                "tokens": window.tokens,
                "cost": window.cost / PICO, "reached": official is not None and official >= 100, "gap": window.gap, "basis": window.basis,
            }
        )  # fmt: skip
    return found
