"""OTLP over HTTP: the body as it was sent, and the answer as an exporter expects it."""
from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from ledger.errors import Problem
from ledger.otlp import LARGEST, protobuf, signals

LARGEST_INFLATED = 4 << 20
MOST, MOST_SESSIONS = 5000, 200
JSON, PROTOBUF = "application/json", "application/x-protobuf"
REJECTED = {"logs": "rejectedLogRecords", "metrics": "rejectedDataPoints"}


@dataclass(frozen=True, slots=True)
class Export:
    """One export: what it tells, and what must be answered."""

    signal: str
    type: str
    heard: signals.Heard

    def answer(self) -> tuple[bytes, str]:
        """(body, content type): what was refused is told as OTLP's partial success."""
        refused = self.heard.refused
        why = ", ".join(f"{count} × {what}" for what, count in sorted(refused.items()))
        if self.type == PROTOBUF:
            return protobuf.partial_success(refused.total(), why), PROTOBUF
        told = {"partialSuccess": {REJECTED[self.signal]: str(refused.total()), "errorMessage": why}} if refused else {}
        return msgspec.json.encode(told), JSON


def read(signal: str, headers: Mapping[str, str], body: bytes, now: int) -> Export:
    """The export in *body*; *headers* has lower-case names. Raises Problem 400, 413 or 415."""
    type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if type not in (JSON, PROTOBUF):
        raise Problem(415, "encoding", f"send {PROTOBUF} or {JSON}: OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf")
    data = _inflated(headers.get("content-encoding", "").strip().lower(), body)
    try:
        document = protobuf.decode(data, signal) if type == PROTOBUF else msgspec.json.decode(data)
    except (protobuf.BadMessage, msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise Problem(400, "malformed", f"not an export of {signal}: {str(error)[:100]}") from None
    heard = signals.read(signal, document, now)
    if len(heard.told) > MOST or len({told.session for told in heard.told}) > MOST_SESSIONS:
        raise Problem(413, "too-large", f"at most {MOST} records of {MOST_SESSIONS} sessions at once: export more often, or fewer at a time")
    return Export(signal, type, heard)


def _inflated(encoding: str, body: bytes) -> bytes:
    if len(body) > LARGEST:
        raise Problem(413, "too-large", f"at most {LARGEST >> 20} MiB at once: export more often, or fewer at a time")
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        raise Problem(415, "encoding", "the body may be gzip, deflate or plain")
    inflate = zlib.decompressobj(wbits=47)
    try:
        found = inflate.decompress(body, LARGEST_INFLATED)
    except zlib.error:
        raise Problem(400, "malformed", f"the body is not {encoding}") from None
    if inflate.unconsumed_tail:
        raise Problem(413, "too-large", f"at most {LARGEST_INFLATED >> 20} MiB once it is inflated: export more often, or fewer at a time")
    if not inflate.eof:
        raise Problem(400, "malformed", "the body ends in the middle")
    return found


def by_session(heard: signals.Heard) -> dict[str, list[signals.Told]]:
    found: dict[str, list[signals.Told]] = {}
    for told in heard.told:
        found.setdefault(told.session, []).append(told)
    return found
