"""What a request cost, by the price list that was in force when it was made.

The book is a dated data file: each row says from when it holds, where it was read and when. Amounts
are whole pico-dollars (10^-12 USD), so sums do not depend on their order and never drift. A model
that the book does not know is unpriced: it costs None, never a guess.
"""
from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Protocol
from zlib import crc32

PICO = 1_000_000_000_000
PER_MILLION = 1_000_000
"""A rate in USD per million tokens, times this, is a rate in pico-dollars per token."""
KINDS = ("input", "output", "write_5m", "write_1h", "read")
FLAGS = ("batch", "fast", "us")
STANDARD, UNDIVIDED = "standard", "undivided"
"""Classes of a request at list price, and of tokens that nobody told the kinds of: those have no price."""


class Thresholds(Protocol):
    """The part of the price book that readers ask, so that they need not load it."""

    def long_threshold(self, model: str, at_ms: int, /) -> int | None:
        """Prompt tokens above which a whole request belongs to the class "long:N" (N in thousands); None: there is no such class."""
        ...


@dataclass(frozen=True, slots=True)
class Rates:
    """Pico-dollars per token of each kind, and the row of the book that says so."""

    input: int
    output: int
    write_5m: int
    write_1h: int
    read: int
    source: str = ""
    date: str = ""
    since: str | None = None
    row: str = ""

    def amount(self, input: int, output: int, write_5m: int, write_1h: int, read: int) -> int:
        return (
            self.input * input + self.output * output + self.write_5m * write_5m + self.write_1h * write_1h + self.read * read
        )


_NEVER = (float("inf"), float("-inf"), None)


class PriceBook:
    """Answers what a model's tokens cost at a time. Immutable; safe to share between threads."""

    def __init__(self, document: Mapping[str, object]) -> None:
        rows = document["rows"]
        assert isinstance(rows, list)
        self.date = str(document.get("date", ""))
        self._document = document
        self.aliases: dict[str, str] = dict(document.get("aliases") or {})  # type: ignore[call-overload]
        self._rows: dict[str, list[dict[str, object]]] = {}
        for row in rows:
            self._rows.setdefault(row["model"], []).append(row)
        for history in self._rows.values():
            history.sort(key=lambda row: str(row.get("from") or ""))
        self._starts = {model: [_instant(row.get("from")) for row in history] for model, history in self._rows.items()}
        self._named: dict[str, str | None] = {}
        self._rates: dict[tuple[int, str], Rates] = {}
        self._last: dict[tuple[str, str], tuple[float, float, Rates | None]] = {}

    @classmethod
    def load(cls) -> PriceBook:
        """The book that is shipped with the program."""
        return _shipped()

    @cached_property
    def mark(self) -> int:
        """Says whether amounts that were worked out by a book still hold."""
        return crc32(json.dumps([self._document["rows"], self._document.get("aliases")], sort_keys=True).encode())

    @property
    def models(self) -> list[str]:
        return sorted(self._rows)

    def name(self, model: str) -> str | None:
        """The book's name of *model*: exact, else by an alias, else by taking off what providers add."""
        if model not in self._named:
            if len(self._named) > 10_000:  # names come from outside: do not let them fill the memory
                self._named.clear()
            self._named[model] = next((name for name in spellings(model, self.aliases) if name in self._rows), None)
        return self._named[model]

    def _row(self, model: str, at_ms: int) -> dict[str, object] | None:
        name = self.name(model)
        if name is None:
            return None
        place = bisect_right(self._starts[name], at_ms) - 1
        # Usage from before the first dated row (a clock that was wrong, a preview) takes the first one.
        return self._rows[name][max(place, 0)]

    def rates(self, model: str, price_class: str, at_ms: int) -> Rates | None:
        """The rates of that model and class at that time; None if the model is not in the book."""
        row = None if price_class == UNDIVIDED else self._row(model, at_ms)
        if row is None:
            return None
        key = (id(row), price_class)
        found = self._rates.get(key)
        if found is None:
            if len(self._rates) > 10_000:
                self._rates.clear()
            found = self._rates[key] = _rates(row, price_class)
        return found

    def pico(self, model: str, price_class: str, at_ms: int, counts: tuple[int, int, int, int, int]) -> int | None:
        """The cost in pico-dollars of (input, output, write_5m, write_1h, read); None is unpriced."""
        if model == "<synthetic>" or not any(counts):
            return 0
        since, until, rates = self._last.get((model, price_class), _NEVER)
        if not since <= at_ms < until:
            since, until, rates = self._span(model, price_class, at_ms)
        return None if rates is None else rates.amount(*counts)

    def _span(self, model: str, price_class: str, at_ms: int) -> tuple[float, float, Rates | None]:
        """From when until when those rates hold; kept, because most of what is asked next lies within."""
        starts = self._starts.get(self.name(model) or "", [])
        row = max(bisect_right(starts, at_ms) - 1, 0)
        since = starts[row] if row else float("-inf")
        until = starts[row + 1] if row + 1 < len(starts) else float("inf")
        if len(self._last) > 10_000:
            self._last.clear()
        found = self._last[model, price_class] = since, until, self.rates(model, price_class, at_ms)
        return found

    def long_threshold(self, model: str, at_ms: int) -> int | None:
        """See Thresholds."""
        row = self._row(model, at_ms)
        tiers = row.get("long") if row else None
        return min(int(tier) for tier in tiers) * 1000 if isinstance(tiers, dict) and tiers else None


def _rates(row: Mapping[str, object], price_class: str) -> Rates:
    base: Mapping[str, object] = row
    factor = 1.0
    for flag in price_class.split("+"):
        if flag.startswith("long:"):
            tiers = row.get("long")
            if isinstance(tiers, dict):
                base = tiers.get(flag[5:], row)
        elif flag in FLAGS:
            # A flag without a price of its own is served at standard rates: vendors say so for every such model.
            factor *= float(row.get(flag, 1))  # type: ignore[arg-type]
    values = {kind: round(_rate(base, kind) * PER_MILLION * factor) for kind in KINDS}
    return Rates(
        **values, source=str(row.get("source", "")), date=str(row.get("date", "")),
        since=str(row["from"]) if row.get("from") else None, row=str(row["model"]),
    )


def _rate(row: Mapping[str, object], kind: str) -> float:
    """The row's rate; where a vendor has no price for a kind of cache use, it bills plain input."""
    value = row.get(kind)
    if value is None and kind == "write_1h":
        value = row.get("write_5m")
    return float(row["input"] if value is None else value)  # type: ignore[arg-type]


def _instant(day: object) -> int:
    return int(datetime.fromisoformat(str(day)).replace(tzinfo=UTC).timestamp() * 1000) if day else 0


REGION = re.compile(r"^(us-gov|us|eu|apac|global|jp|au)\.(?=anthropic\.)")
VERSION = re.compile(r"-v\d+(:\d+)?$")
DATE = re.compile(r"-(20\d{6}|20\d\d-\d\d-\d\d|default|latest)$")


def spellings(model: str, aliases: Mapping[str, str]) -> Iterable[str]:
    """The names to look up, most exact first. Only what is documented is taken off:

    "[1m]" (a window, not a model) · upper case · "provider/" · "us." and "anthropic." · "-v1:0" ·
    "@" for "-" · a trailing date, "-default" or "-latest" · "." for "-" in Claude's version numbers.
    """
    seen = [model]
    text = model.lower().strip().removesuffix("[1m]")
    seen.append(text)
    text = text.rsplit("/", 1)[-1]
    seen.append(text)
    text = REGION.sub("", text)
    seen.append(text)
    text = VERSION.sub("", text.removeprefix("anthropic.").replace("@", "-"))
    seen.append(text)
    if text.startswith("claude"):
        text = text.replace(".", "-")
        seen.append(text)
    seen.append(DATE.sub("", text))
    for name in dict.fromkeys(seen):
        yield name
        if name in aliases:
            yield aliases[name]


@lru_cache(maxsize=1)
def _shipped() -> PriceBook:
    return PriceBook(json.loads(files("ledger").joinpath("price_book.json").read_text(encoding="utf-8")))
