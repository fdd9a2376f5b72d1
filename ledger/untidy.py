"""Untidy values made tidy: times, counts, names and JSON as other people's programs leave them.

Nothing here raises. What cannot be understood becomes None, 0 or empty, and whoever asked counts it.
"""
from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime, timedelta, tzinfo

MOST = 1 << 53
"""Counts beyond this are damage, not use: no JavaScript number could show them either."""

WORDS = 200
"""The longest name that is kept, in characters."""

_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d)(:\d\d)?(?:[.,](\d{1,9}))?\s*(Z|[+-]\d\d:?\d\d)?", re.IGNORECASE
)
_PATH = re.compile(r"\s*(/|~|[A-Za-z]:[\\/]|\\\\|file:)")
LARGEST_OBJECT = 4096
"""Bytes of JSON."""
TALK = frozenset(("prompt", "prompts", "first_prompt", "last_prompt", "message", "messages", "content", "response", "transcript"))
"""What people and tools said to each other stays on the machine."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST, _LATEST = 946_684_800_000, 4_102_444_800_000  # the years 2000 and 2100


def moment(value: object, zone: tzinfo | None = UTC, *, fold: int = 0) -> int | None:
    """The instant that *value* names, in milliseconds; *zone* is meant where it names none (None: the system's).

    A local time in the hour that autumn repeats is the first of its two instants; with *fold* 1 it is the second.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _from_number(value)
    found = _TIME.fullmatch(value.strip()) if isinstance(value, str) else None
    if not found:
        return None
    day, minute, second, fraction, offset = found.groups()
    offset = "+00:00" if offset in ("Z", "z") else offset or ""
    micros = f"{fraction:0<6.6}" if fraction else "000000"
    try:
        read = datetime.fromisoformat(f"{day}T{minute}{second or ':00'}.{micros}{offset}")
        if read.tzinfo is None:
            read = read.replace(tzinfo=zone, fold=fold) if zone else read.replace(fold=fold).astimezone()
        return _sensible((read - _EPOCH) // timedelta(milliseconds=1))
    except (ValueError, OverflowError, OSError):
        return None


def _from_number(value: float) -> int | None:
    if not math.isfinite(value):
        return None
    return _sensible(int(value if abs(value) > 1e11 else value * 1000))


def _sensible(at: int) -> int | None:
    return at if _EARLIEST <= at <= _LATEST else None


def count(value: object) -> int:
    """A whole number that is not negative; anything else is 0."""
    found = amount(value)
    return int(found) if found is not None and 0 < found < MOST else 0


def amount(value: object) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int):
        return value if abs(value) < MOST else None
    if isinstance(value, str) and len(value) < 40:
        try:
            value = float(value)
        except ValueError:
            return None
    return value if isinstance(value, float) and math.isfinite(value) else None


def first_positive(*values: object) -> float:
    """The first of *values* that is more than zero, else 0."""
    return next((found for value in values if (found := amount(value)) and 0 < found < MOST), 0)


def truth(value: object) -> bool:
    """0/1, 'TRUE'/'FALSE' and their kin."""
    if isinstance(value, str):
        return value.strip().lower() in ("1", "true", "t", "yes")
    return bool(value)


def text(value: object, longest: int = WORDS) -> str:
    """One line of well-formed text: no control characters, no half surrogates, no padding."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return ""
    whole = str(value).encode("utf-8", "replace").decode()
    return _CONTROL.sub(" ", whole).strip()[:longest].strip()


def last_part(path: object) -> str:
    """The last part of a path of any system; the rest of it says too much about a person."""
    whole = text(path, 4096)
    if "/" not in whole or re.match(r"[A-Za-z]:\\|\\\\", whole):
        whole = whole.replace("\\", "/")
    return text(whole.rstrip("/").rpartition("/")[2])


def pathless(value: object, longest: int = WORDS) -> str:
    """A text, of a path its last part: a model of one's own may be called by its file, and a column may hold one."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return last_part(value)[:longest] if isinstance(value, str) and _PATH.match(value) else text(value, longest)


def json_object(value: object) -> dict[str, object]:
    """The JSON object in *value*; empty where it is none."""
    found = _loaded(value) if isinstance(value, (str, bytes)) else value
    return found if isinstance(found, dict) else {}


def small_object(value: object) -> dict[str, object]:
    """A JSON object as it may travel: well-formed, flat enough, at most LARGEST_OBJECT bytes, without talk and whole paths.

    What is too large goes first, member by member, so that small facts survive a large neighbour.
    """
    kept = _tidied(json_object(value), 4)
    found = kept if isinstance(kept, dict) else {}
    sizes = {name: len(json.dumps({name: each}, ensure_ascii=False, separators=(",", ":")).encode()) for name, each in found.items()}
    room, fitting = LARGEST_OBJECT, {}
    for name in sorted(found, key=lambda name: (sizes[name], name)):
        room -= sizes[name]
        if room >= 0:
            fitting[name] = found[name]
    return {name: each for name, each in found.items() if name in fitting}


def _tidied(value: object, depth: int) -> object:
    if isinstance(value, dict):
        pairs = ((text(name, 64), _tidied(each, depth - 1)) for name, each in value.items()) if depth else ()
        return {name: each for name, each in pairs if name and each is not None and name.lower() not in TALK}
    if isinstance(value, list):
        return [each for each in (_tidied(each, depth - 1) for each in value[:100]) if each is not None] if depth else None
    if isinstance(value, str):
        return pathless(value, 1000)
    return value if isinstance(value, bool) else amount(value)


def names(value: object) -> list[str]:
    """Names from a JSON list, a bare name or names between commas, each once, in their order; of paths the last part."""
    found: object = value
    if isinstance(value, str):
        loaded = _loaded(value) if value.lstrip()[:1] in ("[", '"', "{") else None
        found = value.split(",") if loaded is None else loaded
    if isinstance(found, str):
        found = [found]
    parts = found if isinstance(found, (list, dict, tuple)) else []
    return list(dict.fromkeys(filter(None, (pathless(part) for part in parts if isinstance(part, str)))))


def _loaded(value: str | bytes) -> object:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None
