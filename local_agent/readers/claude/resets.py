"""When a used-up limit is reset, as Claude Code's own message says it."""
from __future__ import annotations

import re

from local_agent.readers.claude.forms import Damage, lenient
from local_agent.readers.claude.valid import instant
from local_agent.readers.limits import Reading, reading

# The number is an instant in seconds; nothing about a time zone is meant by it.
_REACHED = re.compile(rb"usage limit reached\|(\d{9,11})\b")


def reset_in(raw: bytes) -> Reading | None:
    """The five-hour window that such a line says is used up; a reset too far away for that is a longer window's, and tells nothing here."""
    found = _REACHED.search(raw)
    if found is None:
        return None
    try:
        line = lenient(raw)
    except Damage:
        return None
    at = instant(line.timestamp or "") if line else None
    return None if at is None else reading("five_hour", 100.0, int(found[1]), at)
