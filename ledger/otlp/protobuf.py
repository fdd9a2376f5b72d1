"""The two protobuf messages of OTLP that are read here, decoded to what their JSON form looks like.

A table names the fields that matter; all others are skipped by their wire type. This is a hundred lines instead of two libraries.
"""
from __future__ import annotations

import struct
from typing import Any

DEEPEST = 12
LONGEST_VARINT = 10
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

Fields = dict[int, tuple[str, str]]
MESSAGES: dict[str, Fields] = {
    "logs": {1: ("resourceLogs", "*ResourceLogs")},
    "ResourceLogs": {1: ("resource", "Resource"), 2: ("scopeLogs", "*ScopeLogs")},
    "ScopeLogs": {2: ("logRecords", "*LogRecord")},
    "LogRecord": {1: ("timeUnixNano", "fixed64"), 5: ("body", "AnyValue"), 6: ("attributes", "*KeyValue"), 11: ("observedTimeUnixNano", "fixed64"), 12: ("eventName", "string")},
    "metrics": {1: ("resourceMetrics", "*ResourceMetrics")},
    "ResourceMetrics": {1: ("resource", "Resource"), 2: ("scopeMetrics", "*ScopeMetrics")},
    "ScopeMetrics": {2: ("metrics", "*Metric")},
    "Metric": {1: ("name", "string"), 5: ("gauge", "Gauge"), 7: ("sum", "Sum")},
    "Gauge": {1: ("dataPoints", "*NumberDataPoint")},
    "Sum": {1: ("dataPoints", "*NumberDataPoint"), 2: ("aggregationTemporality", "varint")},
    "NumberDataPoint": {2: ("startTimeUnixNano", "fixed64"), 3: ("timeUnixNano", "fixed64"), 4: ("asDouble", "double"), 6: ("asInt", "sfixed64"), 7: ("attributes", "*KeyValue")},
    "Resource": {1: ("attributes", "*KeyValue")},
    "KeyValue": {1: ("key", "string"), 2: ("value", "AnyValue")},
    "AnyValue": {1: ("stringValue", "string"), 2: ("boolValue", "varint"), 3: ("intValue", "int64"), 4: ("doubleValue", "double")},
}  # fmt: skip
NUMBERS = {"fixed64": ("<Q", FIXED64), "sfixed64": ("<q", FIXED64), "double": ("<d", FIXED64)}


class BadMessage(ValueError):
    """Not such a message; the text says why."""


def decode(data: bytes, message: str) -> dict[str, Any]:
    """*data* as the message of that name ("logs" or "metrics"). Raises BadMessage."""
    return _message(memoryview(data), message, DEEPEST)


def _message(data: memoryview, name: str, deep: int) -> dict[str, Any]:
    if not deep:
        raise BadMessage("too many levels")
    fields, found, place = MESSAGES[name], dict[str, Any](), 0
    while place < len(data):
        tag, place = _varint(data, place)
        kind = tag & 7
        value, place = _value(data, place, kind)
        known = fields.get(tag >> 3)
        if known is None:
            continue
        called, shape = known
        if shape.startswith("*"):
            found.setdefault(called, []).append(_message(_bytes(value, kind), shape[1:], deep - 1))
        else:
            found[called] = _scalar(value, kind, shape, deep)
    return found


def _scalar(value: memoryview | int, kind: int, shape: str, deep: int) -> Any:
    if shape in NUMBERS:
        form, wanted = NUMBERS[shape]
        if kind != wanted or isinstance(value, int):
            raise BadMessage("a field has another type")
        return struct.unpack(form, value)[0]
    if shape in ("varint", "int64"):
        if not isinstance(value, int):
            raise BadMessage("a field has another type")
        return value - (1 << 64) if shape == "int64" and value >= 1 << 63 else value
    inner = _bytes(value, kind)
    return bytes(inner).decode("utf-8", "replace") if shape == "string" else _message(inner, shape, deep - 1)


def _bytes(value: memoryview | int, kind: int) -> memoryview:
    if kind != BYTES or isinstance(value, int):
        raise BadMessage("a field has another type")
    return value


def _value(data: memoryview, place: int, kind: int) -> tuple[memoryview | int, int]:
    if kind == VARINT:
        return _varint(data, place)
    if kind == BYTES:
        length, place = _varint(data, place)
    elif kind in (FIXED64, FIXED32):
        length = 8 if kind == FIXED64 else 4
    else:
        raise BadMessage("a field of an unknown kind")
    if length > len(data) - place:
        raise BadMessage("it ends in the middle")
    return data[place : place + length], place + length


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    found = 0
    for n in range(LONGEST_VARINT):
        if place + n >= len(data):
            raise BadMessage("it ends in the middle")
        byte = data[place + n]
        found |= (byte & 0x7F) << (7 * n)
        if byte < 0x80:
            return found & ((1 << 64) - 1), place + n + 1
    raise BadMessage("a number is too long")


def partial_success(rejected: int, why: str) -> bytes:
    """The answer to an export: empty where everything was taken."""
    if not rejected:
        return b""
    text = why.encode()[:120]
    inner = b"\x08" + _written(rejected) + b"\x12" + _written(len(text)) + text
    return b"\x0a" + _written(len(inner)) + inner


def _written(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])
