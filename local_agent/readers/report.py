"""What a reader says after each look at its tool: how much changed, whether it could read, and what it left out."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

OK, UNREADABLE, ABSENT = "ok", "unreadable", "absent"


@dataclass(frozen=True, slots=True)
class Report:
    """*changed*: records put or deleted by this look. *detail* is one line for people, empty while all is well.

    *counted* and *skipped* are totals of what is known now, not of this look: files, sessions, and how many rows or
    lines were left out by reason.
    """

    changed: int = 0
    state: str = OK
    detail: str = ""
    counted: Mapping[str, int] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)
