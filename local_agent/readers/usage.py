"""Single answers added up to the usage rows of a record: by quarter-hour, model and price class."""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ledger.times import QUARTER

if TYPE_CHECKING:
    from ledger.prices import Thresholds

UNKNOWN = "unknown"

Row = list[object]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of a model and what it used. *prompt* is the whole prompt, by which its price class is chosen."""

    at: int
    model: str
    input: int = 0
    output: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    cache_read: int = 0
    reported_cost: float | None = None
    price_class: str = "standard"

    @property
    def prompt(self) -> int:
        return self.input + self.cache_write_5m + self.cache_write_1h + self.cache_read

    @property
    def tokens(self) -> int:
        return self.prompt + self.output


def price_class(answer: Answer, book: Thresholds | None) -> str:
    threshold = book.long_threshold(answer.model, answer.at) if book else None
    return f"long:{threshold // 1000}" if threshold and answer.prompt > threshold else "standard"


def rows(answers: Iterable[Answer], book: Thresholds | None = None) -> list[Row]:
    """The usage rows, sorted by their first answer, model and class.

    An answer on the very millisecond of a quarter-hour has a row of its own, so that the end of a five-hour
    block can be decided exactly.
    """
    found: dict[tuple[int, bool, str, str], list[Answer]] = {}
    classes = {}
    for answer in answers:
        name = classes[id(answer)] = answer.price_class if answer.price_class != "standard" else price_class(answer, book)
        at = answer.at - answer.at % QUARTER
        found.setdefault((at, answer.at == at, answer.model, name), []).append(answer)
    return sorted((_row(at, model, name, group) for (at, _, model, name), group in found.items()), key=lambda row: (row[1], row[3], row[4]))


def _row(at: int, model: str, name: str, group: list[Answer]) -> Row:
    costs = [answer.reported_cost for answer in group if answer.reported_cost is not None]
    return [
        at, min(answer.at for answer in group), max(answer.at for answer in group), model, name,
        sum(answer.input for answer in group), sum(answer.output for answer in group),
        sum(answer.cache_write_5m for answer in group), sum(answer.cache_write_1h for answer in group),
        sum(answer.cache_read for answer in group), len(group), round(sum(costs), 9) if costs else None,
    ]
