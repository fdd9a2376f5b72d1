"""What the doctor says of one thing."""
from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """*level* is ok, note or bad; *mend* is what to run or do."""

    level: str
    what: str
    mend: str = ""
