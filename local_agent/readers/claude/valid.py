"""Which lines may count: they have a time, possible counts, and names that are not empty."""
from __future__ import annotations

from datetime import datetime

from local_agent.readers.claude.forms import (
    EMPTY_ID,
    MOST_BITS,
    NO_COUNT,
    NO_TIME,
    NO_VERSION,
    Damage,
    Line,
    Message,
    is_version,
    moment,
    sensible,
)

MOST_VERSIONS = 10_000
versions: set[str | None] = {None}
"""Those that were found to be versions."""


def check(line: Line, message: Message) -> int:
    """The line's time in milliseconds. Raises Damage for a line that must not count, with the reason."""
    at = instant(line.timestamp or "")
    if at is None:
        raise Damage(NO_TIME)
    if _bits(message) >> MOST_BITS:
        raise Damage(NO_COUNT)
    if message.id == "" or line.requestId == "" or message.model == "" or line.sessionId == "":
        raise Damage(EMPTY_ID)
    if line.version not in versions:
        if not is_version(line.version or ""):
            raise Damage(NO_VERSION)
        if len(versions) > MOST_VERSIONS:
            versions.clear()
        versions.add(line.version)
    return at


def _bits(message: Message) -> int:
    """All counts at once: below zero if one of them is, and as long as the longest."""
    usage = message.usage
    if usage is None:
        return 0
    nested = usage.cache_creation
    bits = usage.input_tokens | usage.output_tokens | usage.cache_read_input_tokens | usage.cache_creation_input_tokens
    return bits if nested is None else bits | nested.ephemeral_5m_input_tokens | nested.ephemeral_1h_input_tokens


def instant(text: str) -> int | None:
    """Milliseconds of a timestamp; None for one that does not count."""
    if len(text) == 24 and text[10] == "T" and text[19] == "." and text[23] == "Z":
        try:
            return sensible(int(datetime.fromisoformat(text).timestamp() * 1000 + 0.5))
        except ValueError:
            return None
    return moment(text)


def echo_of(line: Line) -> Message | None:
    """The answer that a progress line repeats; its time and request become the line's own."""
    outer = line.data.message if line.data else None
    if outer is None or outer.message is None:
        return None
    line.timestamp, line.requestId = outer.timestamp, outer.requestId
    return outer.message


def message_of(line: Line) -> Message:
    """The answer of a line that was found to have one."""
    if line.message is not None:
        return line.message
    assert line.data is not None and line.data.message is not None and line.data.message.message is not None
    return line.data.message.message


def written(message: Message) -> int:
    """Tokens written to the cache: by lifetime where that is told, else the sum."""
    usage = message.usage
    assert usage is not None
    nested = usage.cache_creation
    if nested is None:
        return usage.cache_creation_input_tokens
    return nested.ephemeral_5m_input_tokens + nested.ephemeral_1h_input_tokens


def prompt_of(message: Message) -> int:
    """The tokens of the whole prompt."""
    usage = message.usage
    return 0 if usage is None else usage.input_tokens + usage.cache_read_input_tokens + written(message)
