"""Answers added up by day, by session and by five-hour block."""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from local_agent.verify.ccusage import Total

HOUR = 3_600_000
LENGTH = 5 * HOUR


@dataclass(frozen=True, slots=True)
class Piece:
    """An answer, or answers that stand together: when the first and the last was, what they used and cost."""

    first: int
    last: int
    session: str
    counts: tuple[int, int, int, int, int]
    cost: float


def by(pieces: Iterable[Piece], name: Callable[[Piece], str]) -> dict[str, Total]:
    """Totals by name; what used nothing at all is nothing."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0, 0, 0, 0, 0.0])
    for piece in pieces:
        _add(sums[name(piece)], piece)
    return _totals(sums)


def days(pieces: Iterable[Piece], zone: tzinfo) -> dict[str, Total]:
    return by(pieces, lambda piece: datetime.fromtimestamp(piece.first / 1000, zone).date().isoformat())


def sessions(pieces: Iterable[Piece]) -> dict[str, Total]:
    return by(pieces, lambda piece: piece.session)


def blocks(pieces: Iterable[Piece]) -> dict[str, Total]:
    """The rule that ccusage set: a block opens at the full hour (UTC), and the next one more than five hours after that or after the last use."""
    sums: dict[str, list[float]] = {}
    start, last, name = None, 0, ""
    for piece in sorted(pieces, key=lambda piece: piece.first):
        if start is None or piece.first - start > LENGTH or piece.first - last > LENGTH:
            if start is not None and piece.first - last > LENGTH:
                sums[f"gap {iso(last + LENGTH)} to {iso(piece.first)}"] = [0, 0, 0, 0, 0.0]
            start = piece.first - piece.first % HOUR
            name = iso(start)
            sums[name] = [0, 0, 0, 0, 0.0]
        last = max(last, piece.last)
        _add(sums[name], piece)
    return {name: Total((int(t[0]), int(t[1]), int(t[2]), int(t[3])), t[4]) for name, t in sums.items()}


def iso(at: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def start_of(name: str) -> int:
    """When a block (of an account) or a gap begins, by its name."""
    return round(datetime.fromisoformat(name.removeprefix("gap ").partition(" to ")[0].partition(" of ")[0]).timestamp() * 1000)


def _add(total: list[float], piece: Piece) -> None:
    reading, writing, five, hour, cached = piece.counts
    for place, more in enumerate((reading, writing, five + hour, cached)):
        total[place] += more
    total[4] += piece.cost


def _totals(sums: dict[str, list[float]]) -> dict[str, Total]:
    return {name: Total((int(t[0]), int(t[1]), int(t[2]), int(t[3])), t[4]) for name, t in sums.items() if any(t[:4])}


def same(one: Total | None, other: Total | None) -> bool:
    """Every token, and the cost to a billionth. A unit that is nowhere is one that used nothing."""
    one, other = one or NOTHING, other or NOTHING
    return one.tokens == other.tokens and abs(one.cost - other.cost) <= 1e-9 * max(1.0, abs(one.cost))


NOTHING = Total((0, 0, 0, 0), 0.0)
