"""What trackers declare of a session, in their databases and in what old clients post: totals under several names, and no times.

The same session may come both ways, so both must read it alike.
"""
from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ledger import untidy
from ledger.prices import STANDARD, UNDIVIDED
from ledger.times import QUARTER

ALIVE_MS = 24 * 3600 * 1000
"""A session that is said to be active is believed for this long after its newest sign of life."""
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
"""An id of this form names the same session everywhere; any other one only where it was given."""
_TOKENS = ("real_total_tokens", "tokens_used", "estimated_tokens", "billable_tokens")
_COSTS = ("real_cost", "cost_estimate", "estimated_cost")
_KINDS = ("real_input_tokens", "real_output_tokens", "cache_creation_tokens")


def kind_of(value: object, absent: str = "unknown") -> str:
    """A session type as everybody spells it here: lower case, underscores; *absent* where there is none."""
    return untidy.text(value, 64).lower().replace("-", "_") or absent


def tokens_of(row: Mapping[str, Any]) -> int:
    """The total, under the first name that has one."""
    return int(untidy.first_positive(*(row.get(name) for name in _TOKENS)))


def cost_of(row: Mapping[str, Any]) -> float:
    """US dollars, 0 where none are named."""
    return untidy.first_positive(*(row.get(name) for name in _COSTS))


def usage_of(row: Mapping[str, Any], start: int, models: Sequence[str], *, always: bool = False) -> list[list[object]]:
    """One usage row at the start, of its only model ("unknown" of several). A total that its kinds do not reach has a row of its own for the rest.

    *always*: a row of zeros where nothing was declared.
    """
    at = [start - start % QUARTER, start, start, models[0] if len(models) == 1 else "unknown"]
    counts = [untidy.count(row.get(name)) for name in _KINDS]
    read = untidy.count(row.get("cache_read_tokens"))
    cost = cost_of(row) or None
    rest = max(0, tokens_of(row) - sum(counts) - read)
    divided = [[*at, STANDARD, *counts, 0, read, 0, cost]] if any(counts) or read or cost or (always and not rest) else []
    return divided + ([[*at, UNDIVIDED, rest, 0, 0, 0, 0, 0, None]] if rest else [])
