"""What one transcript line says: an answer of the API and what it used, or nothing, or why it does not count.

Two readers for the same rules. The typed one takes nearly every line in a microsecond; what it refuses goes
to the lenient one, which has the last word, because a transcript also holds lone surrogates, bytes that are not
UTF-8, fields that are null where another version had a value, and lines that a crash cut in two.
"""
from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal

from local_agent.fastjson import Decoder, Meta, MsgspecError, Struct

MARK = b'"usage":'
"""What a line about an answer holds; with or without a space behind it, since people rewrite transcripts with programs of their own."""
TOO_LATE = 4_102_444_800_000
"""The year 2100."""
MOST_BITS = 40
"""A longer number is no count any more, and a ledger would not take the session that it is added to."""

DAMAGED, NO_TIME, NO_COUNT, EMPTY_ID, NO_VERSION, TOO_LONG = (
    "damaged line", "no time", "no count", "empty id", "unknown version", "line too long")  # fmt: skip


Count = Annotated[int, Meta(ge=0, lt=1 << MOST_BITS)]
Name = Annotated[str, Meta(min_length=1)]


# Fields stand in the order in which the tool writes them: the decoder looks for the next one first.


class Lifetimes(Struct, gc=False):
    ephemeral_1h_input_tokens: Count = 0
    ephemeral_5m_input_tokens: Count = 0


class Usage(Struct, gc=False, kw_only=True):
    input_tokens: Count
    cache_creation_input_tokens: Count = 0
    cache_read_input_tokens: Count = 0
    output_tokens: Count
    service_tier: Literal["standard", "priority", "batch"] | None = None
    cache_creation: Lifetimes | None = None
    inference_geo: Literal["not_available", "global", "us"] | None = None
    speed: Literal["standard", "fast"] | None = None


class Message(Struct, gc=False, kw_only=True):
    model: Name | None = None
    id: Name | None = None
    usage: Usage | None = None


class Echo(Struct, gc=False):
    """What an agent_progress line repeats of a sub-agent's answer."""

    timestamp: str | None = None
    requestId: Name | None = None
    message: Message | None = None


class Progress(Struct, gc=False):
    message: Echo | None = None


class Line(Struct, gc=False, kw_only=True):
    isSidechain: bool | None = None
    message: Message | None = None
    requestId: Name | None = None
    timestamp: str | None = None
    sessionId: Name | None = None
    version: str | None = None
    gitBranch: str | None = None
    costUSD: float | None = None
    isApiErrorMessage: bool | None = None
    data: Progress | None = None


class Damage(Exception):
    """A line that should count but cannot be understood; the text is the reason's name."""


typed = Decoder(Line).decode
Refused = (MsgspecError, UnicodeError, RecursionError)
"""What the typed reader raises for lines that are not as they mostly are: text that is not UTF-8 and brackets without end, too."""

_VERSION = re.compile(r"\d+\.\d+\.\d+")
_WHOLE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?(Z|[+-]\d\d:\d\d)")
_COUNTS = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


def lenient(raw: bytes) -> Line | None:
    """The same line with forgiveness for what does not matter. None: no answer at all. Raises Damage."""
    import json

    try:
        found = json.loads(raw.decode("utf-8", "replace"), parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise Damage(DAMAGED) from None
    if not isinstance(found, dict):
        raise Damage(DAMAGED)
    message = _echoed(found) if "message" not in found else _dict(found, "message")
    usage = _dict(message, "usage")
    if usage is None or message is None:
        return None
    line = Line(
        isSidechain=_true(found.get("isSidechain")), message=Message(model=_string(message.get("model")), id=_string(message.get("id")), usage=_usage(usage)),
        requestId=_string(found.get("requestId")), timestamp=_string(found.get("timestamp")), sessionId=_string(found.get("sessionId")),
        version=_string(found.get("version")), gitBranch=_string(found["gitBranch"]) if isinstance(found.get("gitBranch"), str) else None,
        costUSD=_cost(found.get("costUSD")), isApiErrorMessage=found.get("isApiErrorMessage") is True,
    )  # fmt: skip
    return _as_echo(line, found) if "message" not in found else line


def _echoed(found: dict[str, object]) -> dict[str, object] | None:
    return _dict(_dict(_dict(found, "data"), "message"), "message")


def _as_echo(line: Line, found: dict[str, object]) -> Line:
    outer = _dict(_dict(found, "data"), "message") or {}
    times = [_string(outer.get("timestamp")), _string(outer.get("requestId"))]
    line.data, line.message = Progress(Echo(times[0], times[1], line.message)), None
    return line


def _dict(found: object, name: str) -> dict[str, object] | None:
    value = found.get(name) if isinstance(found, dict) else None
    return value if isinstance(value, dict) else None


def _string(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise Damage(DAMAGED)
    return value.encode("utf-8", "replace").decode()


def _no_number(text: str) -> None:
    raise ValueError(text)


def _true(value: object) -> bool:
    if value not in (None, True, False):
        raise Damage(DAMAGED)
    return value is True


def _cost(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Damage(NO_COUNT)
    try:
        return float(value)
    except OverflowError:
        raise Damage(NO_COUNT) from None


def _usage(usage: dict[str, object]) -> Usage:
    if usage.get("input_tokens") is None or usage.get("output_tokens") is None:
        raise Damage(NO_COUNT)
    input, output, written, read = (_count(usage.get(name)) for name in _COUNTS)
    speed = usage.get("speed")
    if speed not in (None, "standard", "fast"):
        raise Damage("unknown speed")
    nested = usage.get("cache_creation")
    lifetimes = None
    if isinstance(nested, dict):
        lifetimes = Lifetimes(*(_count(nested.get(f"ephemeral_{life}_input_tokens", 0), null=False) for life in ("1h", "5m")))
    elif nested == []:
        lifetimes = Lifetimes()
    elif nested is not None:
        raise Damage(NO_COUNT)
    tier, geo = usage.get("service_tier"), usage.get("inference_geo")
    return Usage(
        input_tokens=input, output_tokens=output, cache_creation_input_tokens=written, cache_read_input_tokens=read, cache_creation=lifetimes,
        speed="fast" if speed == "fast" else "standard" if speed else None, service_tier="batch" if tier == "batch" else None,
        inference_geo="us" if geo == "us" else None,
    )  # fmt: skip


def _count(value: object, *, null: bool = True) -> int:
    if value is None and null:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << MOST_BITS:
        raise Damage(NO_COUNT)
    return value


def is_version(text: str) -> bool:
    return _VERSION.match(text) is not None


def moment(text: str) -> int | None:
    """Milliseconds of a timestamp in any spelling that counts; None for every other."""
    if not _WHOLE.fullmatch(text):
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return sensible(round(found.timestamp() * 1000))


def sensible(at: int) -> int | None:
    """A time that can be; with any other a whole session could not be shown."""
    return at if 0 <= at < TOO_LATE else None
