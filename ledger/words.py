"""Numbers as people write them beside a word."""
from __future__ import annotations


def many(count: int, what: str) -> str:
    """1 change, 2 changes, 1,200 changes."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
