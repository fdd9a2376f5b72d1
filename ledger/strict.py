"""JSON without the parts that break something later.

Refused are NaN and Infinity, a key twice in one object, more than 32 levels, integers beyond 2^53-1, lone surrogates
and NUL: each is read differently by some database, browser or library further down.

The fast way decodes and encodes again: where that gives the same bytes, nothing was doubled or spelled oddly. All else,
however innocent, goes the slow way, which decides.
"""
from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

import msgspec

DEEPEST = 32
MOST_INT = (1 << 53) - 1

_LONG = re.compile(rb"(?<![.0-9])[0-9]{16}")
_ZEROS = b"0" * 16
_DIGITS_TO_ZERO = bytes(ord("0") if chr(byte).isdecimal() and byte < 128 else 32 for byte in range(256))
_BRACKETS = b"[]{}"
_OTHERS = bytes(byte for byte in range(256) if byte not in _BRACKETS)


class NotStrict(ValueError):
    """The text says what is wrong, and never repeats the data."""


def strict_json(data: bytes) -> Any:
    """What *data* (UTF-8) says. Raises NotStrict."""
    if not _is_suspect(data) and _is_shallow(data):
        try:
            found = msgspec.json.decode(data)
            if msgspec.json.encode(found) == data:
                return found
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            pass
    return slowly(data)


def slowly(data: bytes) -> Any:
    """The same by the standard library, one value at a time."""
    try:
        text = data.decode("utf-8")
        found = json.loads(text, object_pairs_hook=_object, parse_int=_int, parse_float=_float, parse_constant=_constant)
    except NotStrict:
        raise
    except UnicodeDecodeError:
        raise NotStrict("not UTF-8") from None
    except RecursionError:
        raise NotStrict("too many levels") from None
    except ValueError as error:
        where = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise NotStrict(f"not JSON{where}") from None
    _walk(found)
    return found


def _is_suspect(data: bytes) -> bool:
    """False only if there is no NUL and no integer beyond 2^53-1."""
    # The pattern is asked only where there are sixteen digits in a row: finding those is ten times as fast.
    return b"\\u0000" in data or (_ZEROS in data.translate(_DIGITS_TO_ZERO) and _LONG.search(data) is not None)


def _is_shallow(data: bytes) -> bool:
    """True only if there are no more than 32 levels, or a bracket that nothing closes. Brackets within strings may make it say False."""
    shape = data.translate(None, _OTHERS)
    if len(shape) <= 2 * DEEPEST:
        return True
    for _ in range(DEEPEST):
        if not shape:
            return True
        inner = shape.replace(b"[]", b"").replace(b"{}", b"")
        if len(inner) == len(shape):
            return False  # nothing closes: it will never be empty
        shape = inner
    return not shape


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise NotStrict("a key twice in one object")
    return found


def _int(text: str) -> int:
    if len(text) > 17 or abs(int(text)) > MOST_INT:
        raise NotStrict("an integer beyond 2^53-1")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise NotStrict("a number too large")
    return value


def _constant(name: str) -> NoReturn:
    raise NotStrict("NaN or Infinity")


def _walk(found: Any) -> None:
    level, values = 0, [found]
    while values:
        level += 1
        inner: list[Any] = []
        for value in values:
            if isinstance(value, str):
                _check_text(value)
            elif isinstance(value, dict):
                for key in value:
                    _check_text(key)
                inner.extend(value.values())
            elif isinstance(value, list):
                inner.extend(value)
        if level > DEEPEST and any(isinstance(value, (dict, list)) for value in values):
            raise NotStrict("too many levels")
        values = inner


def _check_text(text: str) -> None:
    if "\0" in text:
        raise NotStrict("a NUL character")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise NotStrict("a lone surrogate") from None
