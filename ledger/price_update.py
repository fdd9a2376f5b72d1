"""Bring the price book up to date from a published table, without trusting it.

Takes the LiteLLM table (`model_prices_and_context_window.json`). A price that changed becomes a new
dated row; the old row stays, because old usage keeps its old price. One bad row is refused and named;
a table that lost too much of what the book knows is refused whole.
"""
from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ledger.errors import Misuse
from ledger.prices import DATE, KINDS

CEILING = 1000.0
"""USD per million tokens above which a rate is taken for a mistake."""
KEEP = 0.95
"""The share of the known models that a new table must still have."""
JUMP = 20.0
"""A rate that grew or shrank by more than this factor is taken for a mistake."""
WANTED = re.compile(r"^(((us|eu|global)\.)?anthropic\.)?claude-|^(gpt-[4-9]|o[1-9]|codex-|gemini-)")
UNWANTED = re.compile(r"audio|image|tts|live|embed|search|transcribe|realtime|robotics|computer-use|omni|banana|-exp|gemini-.*latest|/")
PROVIDERS = {"anthropic", "openai", "gemini", "vertex_ai-language-models", "bedrock", "bedrock_converse"}
FIELDS = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "write_5m": "cache_creation_input_token_cost",
    "write_1h": "cache_creation_input_token_cost_above_1hr",
    "read": "cache_read_input_token_cost",
}
TIER = re.compile(r"^input_cost_per_token_above_(\d+)k_tokens$")


@dataclass
class Report:
    """What an update did: names of models, and why rows were refused."""

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    same: int = 0
    missing: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


def update_book(book: Mapping[str, object], table: Mapping[str, object], *, today: str, source: str) -> tuple[dict[str, object], Report]:
    """The new book and a report. Raises Misuse, and changes nothing, if the table cannot be right."""
    report, old = Report(), _newest(book)
    rows = [dict(row) for row in _rows(book)]
    wanted: dict[str, Mapping[str, object]] = {name: entry for name, entry in table.items() if isinstance(entry, Mapping) and _is_wanted(name, entry)}
    for name, entry in sorted(wanted.items()):
        try:
            row = row_from(name, entry)
            check(row, old.get(name))
        except ValueError as error:
            report.refused[name] = str(error)
            continue
        before = old.get(name)
        if prices_of(row) in (_prices_or_none(before or old.get(DATE.sub("", name))), None if before else _twin(name, wanted)):
            report.same += 1
            continue
        dated = {"from": today} if before is not None else {}
        rows.append({"model": name, **dated, **prices_of(row), "source": str(entry.get("source") or source), "date": today})
        (report.added if before is None else report.changed).append(name)
    _still_there(old, wanted, report)
    rows.sort(key=lambda row: (str(row["model"]), str(row.get("from") or "")))
    return {**book, "date": today, "rows": rows}, report


def _twin(name: str, wanted: Mapping[str, Mapping[str, object]]) -> dict[str, object] | None:
    """The prices of the same model without its date, where the table has that too: one row is enough for both."""
    base = DATE.sub("", name)
    try:
        return prices_of(row_from(base, wanted[base])) if base != name and base in wanted else None
    except ValueError:
        return None


def _prices_or_none(row: Mapping[str, object] | None) -> dict[str, object] | None:
    return None if row is None else prices_of(row)


def _still_there(old: Mapping[str, Mapping[str, object]], wanted: Mapping[str, object], report: Report) -> None:
    known = [name for name, row in old.items() if not row.get("retired")]
    report.missing = sorted(name for name in known if name not in wanted or name in report.refused)
    if len(report.missing) > len(known) * (1 - KEEP):
        raise Misuse(
            f"the table lacks or spoils {len(report.missing)} of {len(known)} known models ({', '.join(report.missing[:3])}, …): "
            "keep the present book and look at the table"
        )


def row_from(name: str, entry: Mapping[str, object]) -> dict[str, object]:
    """A row in USD per million tokens; raises ValueError naming what is wrong."""
    row: dict[str, object] = {"model": name, **_tier(entry, "")}
    tiers = {match[1]: _tier(entry, f"_above_{match[1]}k_tokens") for key in entry if (match := TIER.match(key))}
    if tiers:
        row["long"] = {size: _filled(tier, row) for size, tier in sorted(tiers.items())}
    extra = entry.get("provider_specific_entry")
    for flag in ("fast", "us"):
        if isinstance(extra, Mapping) and extra.get(flag) is not None:
            row[flag] = _number(extra[flag], flag)
    if entry.get("input_cost_per_token_batches") is not None:
        row["batch"] = round(_number(entry["input_cost_per_token_batches"], "batch") * 1e6 / _number(row["input"], "input"), 4)
    return row


def _tier(entry: Mapping[str, object], suffix: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for kind, field_name in FIELDS.items():
        value = entry.get(field_name + suffix)
        if value is not None:
            found[kind] = round(_number(value, field_name) * 1e6, 6)
    for kind in ("input", "output"):
        if kind not in found:
            raise ValueError(f"no price for {kind}{suffix}")
    if "write_5m" in found and "write_1h" not in found and str(entry.get("litellm_provider", "")).startswith(("anthropic", "bedrock")):
        found["write_1h"] = round(2 * float(found["input"]), 6)  # type: ignore[arg-type]
    return found


def _filled(tier: dict[str, object], base: Mapping[str, object]) -> dict[str, object]:
    """A tier with every kind that its base has: vendors raise cache prices with the input price."""
    factor = float(tier["input"]) / float(base["input"])  # type: ignore[arg-type]
    return {kind: tier.get(kind, round(float(base[kind]) * factor, 6)) for kind in KINDS if kind in base}  # type: ignore[arg-type]


def check(row: Mapping[str, object], before: Mapping[str, object] | None) -> None:
    """Raise ValueError if a row cannot be right."""
    for label, rates in (("", row), *((f"above {size}k: ", tier) for size, tier in _tiers(row))):
        for kind in KINDS:
            value = rates.get(kind)
            if value is None:
                continue
            if not 0 <= float(value) <= CEILING:  # type: ignore[arg-type]
                raise ValueError(f"{label}{kind} of {value} USD per million tokens is out of bounds")
        if float(rates["output"]) < float(rates["input"]) / 2:  # type: ignore[arg-type]
            raise ValueError(f"{label}output is cheaper than half of input")
        if rates.get("read") is not None and float(rates["read"]) > float(rates["input"]):  # type: ignore[arg-type]
            raise ValueError(f"{label}a cache read is dearer than input")
    for flag, low, high in (("fast", 1, 10), ("us", 1, 2), ("batch", 0.1, 1)):
        if flag in row and not low <= float(row[flag]) <= high:  # type: ignore[arg-type]
            raise ValueError(f"{flag} of {row[flag]} is out of bounds")
    if before is not None:
        for kind in ("input", "output"):
            old, new = float(before[kind]), float(row[kind])  # type: ignore[arg-type]
            if old and not 1 / JUMP <= new / old <= JUMP:
                raise ValueError(f"{kind} went from {old} to {new}")
    if not float(row["input"]) or not float(row["output"]):  # type: ignore[arg-type]
        raise ValueError("input or output is free")


def _tiers(row: Mapping[str, object]) -> list[tuple[str, Mapping[str, object]]]:
    tiers = row.get("long")
    return list(tiers.items()) if isinstance(tiers, dict) else []


def prices_of(row: Mapping[str, object]) -> dict[str, object]:
    """The part of a row that is money."""
    return {key: row[key] for key in (*KINDS, "fast", "us", "batch", "long") if key in row}


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or value < 0:
        raise ValueError(f"{name} is not a price")
    return float(value)


def _is_wanted(name: str, entry: Mapping[str, object]) -> bool:
    return bool(WANTED.match(name)) and not UNWANTED.search(name) and entry.get("litellm_provider") in PROVIDERS


def _rows(book: Mapping[str, object]) -> list[Mapping[str, object]]:
    rows = book.get("rows")
    return list(rows) if isinstance(rows, list) else []


def _newest(book: Mapping[str, object]) -> dict[str, Mapping[str, object]]:
    newest: dict[str, Mapping[str, object]] = {}
    for row in sorted(_rows(book), key=lambda row: str(row.get("from") or "")):
        newest[str(row["model"])] = row
    return newest
