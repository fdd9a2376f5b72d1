"""What an export tells of sessions: requests (from events) and points (from metrics). Everything else in it is dropped unread."""
from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from ledger import untidy
from ledger.account import DEFAULT, name_of

EVENT = "api_request"
TOKENS, COST, SESSIONS = "claude_code.token.usage", "claude_code.cost.usage", "claude_code.session.count"
KINDS = {"input": 0, "output": 1, "cacheCreation": 2, "cacheRead": 3}
COUNTS = ("input_tokens", "output_tokens", "cache_creation_tokens", "cache_read_tokens")
ABOUT = {"terminal.type": "terminal", "app.version": "version", "service.version": "version"}
"""Attributes that are kept as they are, by what they are called here."""
TO_COME_MS = 86_400_000
DELTA, CUMULATIVE = 1, 2


@dataclass(frozen=True, slots=True)
class Told:
    """*session* is the tool's session, *at* when (ms), *account* a short hash of whose it is."""

    session: str
    at: int
    account: str
    about: Mapping[str, str] = field(hash=False)


@dataclass(frozen=True, slots=True)
class ApiRequest(Told):
    """One request. *mark* tells it from every other; *counts* are input, output, cache written and read."""

    mark: str
    model: str
    counts: tuple[int, int, int, int]
    cost: float
    fast: bool


@dataclass(frozen=True, slots=True)
class Point(Told):
    """One point of a counter. *kind* is the place in counts, 4 for cost, -1 for the mere session; *series* tells counters apart."""

    series: str
    kind: int
    model: str
    value: float
    start: int
    cumulative: bool
    fast: bool


@dataclass(slots=True)
class Heard:
    """What an export held. *refused* counts, by reason, what was ours and makes no sense."""

    told: list[Told] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)


def read(signal: str, document: Any, now: int) -> Heard:
    """An export of logs or metrics in its JSON form."""
    heard = Heard()
    for resource, record, name in _logs(document) if signal == "logs" else _metrics(document):
        attributes = resource | _attributes(record)
        told = _request(record, attributes, now) if signal == "logs" else _point(record, attributes, name, now)
        if isinstance(told, Told):
            heard.told.append(told)
        elif told:
            heard.refused[told] += 1
    return heard


def _logs(document: Any) -> Iterator[tuple[dict[str, Any], dict[str, Any], str]]:
    for outer in _list(document, "resourceLogs"):
        resource = _attributes(outer.get("resource"))
        for scope in _list(outer, "scopeLogs"):
            for record in _list(scope, "logRecords"):
                yield resource, record, ""


def _metrics(document: Any) -> Iterator[tuple[dict[str, Any], dict[str, Any], str]]:
    for outer in _list(document, "resourceMetrics"):
        resource = _attributes(outer.get("resource"))
        for scope in _list(outer, "scopeMetrics"):
            for metric in _list(scope, "metrics"):
                if metric.get("name") in (TOKENS, COST, SESSIONS):
                    counter = metric.get("sum")
                    for point in _list(counter, "dataPoints"):
                        yield resource, {**point, "temporality": _temporality(counter)}, str(metric["name"])


def _list(value: Any, name: str) -> list[dict[str, Any]]:
    found = value.get(name) if isinstance(value, dict) else None
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _temporality(counter: Any) -> int:
    value = counter.get("aggregationTemporality") if isinstance(counter, dict) else 0
    return {"AGGREGATION_TEMPORALITY_DELTA": DELTA, "AGGREGATION_TEMPORALITY_CUMULATIVE": CUMULATIVE}.get(str(value), value if value in (DELTA, CUMULATIVE) else 0)


def _attributes(record: Any) -> dict[str, Any]:
    found = {}
    for pair in _list(record, "attributes"):
        value = pair.get("value")
        if isinstance(value, dict):
            found[str(pair.get("key"))] = next((_scalar(name, value[name]) for name in ("stringValue", "intValue", "doubleValue", "boolValue") if name in value), None)
    return found


def _scalar(name: str, value: Any) -> Any:
    """In JSON a whole number is text and a truth has a word; in protobuf both are numbers."""
    if name == "intValue" and isinstance(value, str) and value.lstrip("-").isdecimal() and len(value) < 20:
        return int(value)
    return bool(value) if name == "boolValue" else value


def _request(record: dict[str, Any], attributes: dict[str, Any], now: int) -> Told | str | None:
    body = record.get("body")
    name = str(attributes.get("event.name") or record.get("eventName") or (body.get("stringValue") if isinstance(body, dict) else ""))
    if name.removeprefix("claude_code.") != EVENT:
        return None
    at = untidy.moment(attributes.get("event.timestamp")) or _instant(record.get("timeUnixNano")) or _instant(record.get("observedTimeUnixNano"))
    who = _who(attributes, at, now)
    if isinstance(who, str):
        return who
    counts = tuple(untidy.count(attributes.get(each)) for each in COUNTS)
    cost = untidy.first_positive(attributes.get("cost_usd"))
    if not any(counts) and not cost:
        return "a request without tokens"
    model = _model(attributes)
    mark = _mark(who[0], who[1], attributes.get("event.sequence"), attributes.get("request_id"), model, counts)
    return ApiRequest(*who, mark, model, counts, min(cost, 9e6), _is_fast(attributes))  # type: ignore[arg-type]


def _point(point: dict[str, Any], attributes: dict[str, Any], name: str, now: int) -> Told | str | None:
    at, start = _instant(point.get("timeUnixNano")), _instant(point.get("startTimeUnixNano")) or 0
    who = _who(attributes, at, now)
    if isinstance(who, str):
        return who
    value = untidy.amount(point.get("asInt") if point.get("asInt") is not None else point.get("asDouble"))
    if value is None or value < 0:
        return "a point without an amount"
    if not point["temporality"]:
        return "a counter that is neither delta nor cumulative"
    kind = KINDS.get(str(attributes.get("type")), -2) if name == TOKENS else 4 if name == COST else -1
    if kind == -2:
        return "tokens of an unknown type"
    series = _mark(name, *(f"{key}={each}" for key, each in sorted(attributes.items())))
    return Point(*who, series, kind, _model(attributes), value, start, point["temporality"] == CUMULATIVE, _is_fast(attributes))


def _who(attributes: dict[str, Any], at: int | None, now: int) -> tuple[str, int, str, dict[str, str]] | str:
    session = untidy.text(attributes.get("session.id"), 100)
    if not session:
        return "no session.id (is OTEL_METRICS_INCLUDE_SESSION_ID off?)"
    if at is None or at > now + TO_COME_MS:
        return "a time that is missing or impossible"
    account = untidy.text(attributes.get("user.account_uuid"), 100)
    about = {called: text for name, called in ABOUT.items() if (text := untidy.text(attributes.get(name), 40))}
    return session.lower() if len(session) == 36 else session, at, name_of(account) if account else DEFAULT, about


def _instant(nanos: Any) -> int | None:
    try:
        return untidy.moment(int(nanos) // 1_000_000)
    except (TypeError, ValueError, OverflowError):
        return None


def _model(attributes: dict[str, Any]) -> str:
    return untidy.pathless(attributes.get("model"), 100) or "unknown"


def _is_fast(attributes: dict[str, Any]) -> bool:
    return attributes.get("speed") == "fast"


def _mark(*parts: object) -> str:
    return b64encode(blake2b(repr(parts).encode("utf-8", "replace"), digest_size=9).digest()).decode()
