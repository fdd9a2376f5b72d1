"""One thing that an import brings: a session, a block or a day, as it would stand in a record."""
from __future__ import annotations

from dataclasses import dataclass, field

SESSION, BLOCK, DAY = "session", "block", "day"


@dataclass(frozen=True, slots=True)
class Item:
    """*key* names it among all imports, so that importing again changes nothing. *first* and *last* say when it was used.

    *row* is its id where it came from. *tool* is the family of tools whose observed use decides over it.
    """

    kind: str
    key: str
    tool: str
    first: int
    last: int
    body: dict[str, object] = field(hash=False)
    row: str = ""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What could not be taken; *why* is for people."""

    why: str
