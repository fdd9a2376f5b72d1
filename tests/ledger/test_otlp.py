"""OTLP in: the decoder against the protocol's own library, what is read of an export, and that nothing counts twice."""
from __future__ import annotations

import gzip
import json
import random
from typing import Any

import pytest
from google.protobuf.json_format import Parse
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from ledger.errors import Problem
from ledger.otlp import fold, http, protobuf, signals
from ledger.prices import PriceBook

NOW = 1_795_000_000_000
ID = "11111111-1111-4111-8111-111111111111"
MODEL = "claude-sonnet-4-5-20250929"
BOOK = PriceBook.load()
REQUESTS = {"logs": ExportLogsServiceRequest, "metrics": ExportMetricsServiceRequest}


def value(of: object) -> dict[str, object]:
    return {"boolValue": of} if isinstance(of, bool) else {"intValue": str(of)} if isinstance(of, int) else {"doubleValue": of} if isinstance(of, float) else {"stringValue": of}


def attributes(**given: object) -> list[dict[str, object]]:
    return [{"key": name.replace("__", "."), "value": value(each)} for name, each in given.items() if each is not None]


def event(at: int = NOW - 60_000, n: int = 0, *, name: str = "api_request", session: str | None = ID, i: int = 10, o: int = 20, w: int = 30, r: int = 40, **more: object) -> dict[str, Any]:
    """One event as Claude Code tells it; its numbers come as text or as numbers, by version."""
    told = {"event__name": name, "event__sequence": n, "session__id": session, "user__account_uuid": "acc-1", "user__email": "alice@example.org", "terminal__type": "kitty",
            "model": MODEL, "input_tokens": str(i), "output_tokens": o, "cache_creation_tokens": w, "cache_read_tokens": str(r), "cost_usd": "0.25", "duration_ms": 900, **more}  # fmt: skip
    return {"timeUnixNano": str(at * 1_000_000), "body": {"stringValue": f"claude_code.{name}"}, "attributes": attributes(**told)}


def logs(*records: dict[str, Any]) -> dict[str, Any]:
    return {"resourceLogs": [{"resource": {"attributes": attributes(service__name="claude-code", service__version="2.1.140")}, "scopeLogs": [{"logRecords": list(records)}]}]}


def point(amount: float, at: int, *, start: int = NOW - 600_000, kind: str = "input", session: str | None = ID, **more: object) -> dict[str, Any]:
    told = attributes(**{"session__id": session, "model": MODEL, "type": kind, **more})
    number = {"asDouble": amount} if isinstance(amount, float) else {"asInt": str(amount)}
    return {"startTimeUnixNano": str(start * 1_000_000), "timeUnixNano": str(at * 1_000_000), **number, "attributes": told}


def metrics(*points: dict[str, Any], name: str = signals.TOKENS, temporality: object = 1) -> dict[str, Any]:
    counter = {"dataPoints": list(points), "aggregationTemporality": temporality, "isMonotonic": True}
    return {"resourceMetrics": [{"resource": {}, "scopeMetrics": [{"metrics": [{"name": name, "sum": counter}]}]}]}


def told(signal: str, *documents: dict[str, Any], before: fold.Body | None = None) -> fold.Body:
    body = before
    for document in documents:
        body = fold.fold(body, signals.read(signal, document, NOW).told, BOOK)
    assert body is not None
    return body


def counts(body: fold.Body) -> list[int]:
    return [sum(row[place] for row in body["usage"]) for place in range(5, 11)]


def encoded(signal: str, document: dict[str, Any]) -> bytes:
    """By the protocol's own library."""
    return bytes(Parse(json.dumps(document), REQUESTS[signal]()).SerializeToString())


BOTH = [("logs", logs(event(), event(n=1, speed="fast", request_id="r"))), ("metrics", metrics(point(7, NOW), point(-1, NOW), point(0.5, NOW, kind="cacheRead")))]


@pytest.mark.parametrize(("signal", "document"), BOTH)
def test_protobuf_and_json_say_the_same(signal: str, document: dict[str, Any]) -> None:
    by_json = signals.read(signal, document, NOW)
    by_protobuf = signals.read(signal, protobuf.decode(encoded(signal, document), signal), NOW)
    assert (by_json.told, by_json.refused) == (by_protobuf.told, by_protobuf.refused)
    assert by_json.told


def test_all_that_the_protocol_knows_beside_is_skipped() -> None:
    request = Parse(json.dumps(logs(event())), ExportLogsServiceRequest())
    record = request.resource_logs[0].scope_logs[0].log_records[0]
    record.severity_number, record.flags, record.trace_id, record.dropped_attributes_count = 9, 1, b"x" * 16, 3
    extra = record.attributes.add(key="list")
    extra.value.array_value.values.add(string_value="a")
    record.attributes.add(key="map").value.kvlist_value.values.add(key="k")
    request.resource_logs[0].schema_url = "https://example.org"
    found = signals.read("logs", protobuf.decode(request.SerializeToString(), "logs"), NOW)
    assert len(found.told) == 1


@pytest.mark.parametrize("signal", ["logs", "metrics"])
def test_no_damage_makes_anything_but_a_bad_message(signal: str) -> None:
    whole, roll = encoded(signal, dict(BOTH)[signal]), random.Random(7)
    for n in range(3000):
        broken = bytearray(whole)
        for _ in range(roll.randint(1, 4)):
            broken[roll.randrange(len(broken))] = roll.randrange(256)
        data = bytes(broken[: roll.randrange(len(broken))] if n % 3 == 0 else broken)
        try:
            signals.read(signal, protobuf.decode(data, signal), NOW)
        except protobuf.BadMessage:
            continue


@pytest.mark.parametrize("data", [b"\x0a\x7f", b"\xff" * 20, b"\x0b", b"\x08\x01", b"\x0a\x01\x80"], ids=repr)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(protobuf.BadMessage):
        protobuf.decode(data, "logs")


def test_a_request_becomes_a_row_with_its_cost() -> None:
    body = told("logs", logs(event()))
    assert counts(body) == [10, 20, 30, 0, 40, 1]
    assert (body["id"], body["session_type"], body["provenance"], body["estimated_tokens"]) == (ID, "claude_code", "telemetry", 100)
    assert body["usage"][0][11] == 0.25
    assert body["metadata"] == {"terminal": "kitty", "version": "2.1.140"}


def test_nothing_that_was_said_and_nobody_s_address_is_kept() -> None:
    prompt = event(name="user_prompt", prompt="the secret plan", prompt_length=15)
    tool = event(name="tool_result", tool_parameters='{"full_command": "cat secret"}')
    body = told("logs", logs(prompt, tool, event(prompt="the secret plan", tool_input="secret")))
    assert counts(body)[-1] == 1
    assert "secret" not in json.dumps(body)
    assert "alice" not in json.dumps(body)
    assert "acc-1" not in json.dumps(body)


def test_an_export_that_comes_twice_counts_once() -> None:
    document = logs(event(), event(NOW - 30_000, 1))
    once = told("logs", document)
    assert told("logs", document, document) == once
    assert told("logs", logs(event(NOW - 30_000, 1)), document)["usage"] == once["usage"]


def test_long_sessions_remember_enough_and_no_more() -> None:
    many = [logs(*(event(NOW - 9_000_000 + n * 1000, n) for n in range(begin, begin + 400))) for begin in range(0, 2000, 400)]
    body = told("logs", *many, *many)
    assert counts(body)[-1] == 2000
    assert len(body[fold.BOOKS]["marks"]) == fold.MARKS
    assert sum(len(record.body) for record in fold.records_of(ID, body)) < 60_000


def test_records_give_back_the_body_they_were_made_of() -> None:
    body = told("logs", logs(*(event(NOW - 40 * 900_000 * 10 + n * 900_000, n) for n in range(400))))
    kept = {(record.kind, record.id): record.body for record in fold.records_of(ID, body)}
    assert len(kept) == 3
    assert fold.body_of(ID, lambda kind, id: kept.get((kind, id))) == json.loads(json.dumps(body))


def test_delta_points_add_up_and_repeats_do_not() -> None:
    first, second = metrics(point(5, NOW - 120_000)), metrics(point(7, NOW - 60_000))
    assert counts(told("metrics", first, second, second, first))[0] == 12


def test_a_counter_with_another_start_began_anew_and_counts_whole() -> None:
    first, again = NOW - 600_000, NOW - 300_000
    told_ = told("metrics", metrics(point(10, NOW - 400_000, start=first), temporality=2), metrics(point(15, NOW - 200_000, start=again), temporality=2))
    assert counts(told_)[0] == 25


def test_cumulative_points_count_by_what_they_grew() -> None:
    growing = [metrics(point(amount, NOW - 300_000 + n * 60_000), temporality="AGGREGATION_TEMPORALITY_CUMULATIVE") for n, amount in enumerate((5, 5, 12))]
    assert counts(told("metrics", *growing, growing[0]))[0] == 12


def test_a_counter_that_begins_anew_counts_whole() -> None:
    before = metrics(point(50, NOW - 200_000), temporality=2)
    restarted = metrics(point(8, NOW - 100_000, start=NOW - 150_000), temporality=2)
    fallen = metrics(point(3, NOW - 50_000, start=NOW - 150_000), temporality=2)
    assert counts(told("metrics", before, restarted, fallen))[0] == 61


def test_counters_of_other_kinds_and_models_are_kept_apart() -> None:
    at = NOW - 60_000
    points = [point(1, at), point(2, at, kind="output"), point(3, at, kind="cacheCreation"), point(4, at, kind="cacheRead"), point(5, at, model="claude-haiku-4-5")]
    body = told("metrics", metrics(*points), metrics(point(0.75, at, type=None), name=signals.COST), metrics(point(1, at), name=signals.SESSIONS))
    assert counts(body) == [6, 2, 3, 0, 4, 0]
    assert sorted(body["models_used"]) == [MODEL, "claude-haiku-4-5"] or set(body["models_used"]) == {MODEL, "claude-haiku-4-5"}
    assert {row[11] for row in body["usage"]} == {0.75, None}


@pytest.mark.parametrize("events_first", [True, False])
def test_requests_and_counters_of_one_session_are_counted_once(events_first: bool) -> None:
    events, counters = logs(event(NOW - 110_000), event(NOW - 70_000, 1)), metrics(point(20, NOW - 60_000))
    body: fold.Body | None = None
    for signal, document in (("logs", events), ("metrics", counters)) if events_first else (("metrics", counters), ("logs", events)):
        body = told(signal, document, before=body)
    assert body is not None
    assert counts(body)[0] == 20
    assert counts(body)[-1] == 2


def test_long_context_and_fast_answers_have_their_price_class() -> None:
    body = told("logs", logs(event(r=300_000), event(n=1, speed="fast")))
    assert {row[4] for row in body["usage"]} == {"long:200", "fast"}


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (logs(event(session=None)), "no session.id (is OTEL_METRICS_INCLUDE_SESSION_ID off?)"), (logs(event(NOW + 200_000_000)), "a time that is missing or impossible"), (logs(event(5)), "a time that is missing or impossible"),
        (logs(event(i=0, o=0, w=0, r=0, cost_usd="0")), "a request without tokens"), (logs(event(i=-5, o=0, w=0, r=0, cost_usd="-1")), "a request without tokens"),
    ],
    ids=range(5),
)  # fmt: skip
def test_what_cannot_be_taken_is_said(document: dict[str, Any], why: str) -> None:
    heard = signals.read("logs", document, NOW)
    assert (heard.told, dict(heard.refused)) == ([], {why: 1})


@pytest.mark.parametrize(
    "document",
    [None, [], 5, {}, {"resourceLogs": 3}, {"resourceLogs": [None, {"scopeLogs": {}}]}, {"resourceLogs": [{"resource": [], "scopeLogs": [{"logRecords": [{"attributes": [3, {}, {"value": 3}]}]}]}]},
     {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": signals.TOKENS, "sum": []}, {"name": 3}]}]}]}],
    ids=str,
)  # fmt: skip
def test_odd_documents_tell_nothing(document: Any) -> None:
    for signal in ("logs", "metrics"):
        assert not signals.read(signal, document, NOW).told


def ask(signal: str, body: bytes, **headers: str) -> http.Export:
    return http.read(signal, {name.replace("_", "-"): each for name, each in headers.items()}, body, NOW)


def test_the_answer_is_what_exporters_expect() -> None:
    good, bad = logs(event()), logs(event(session=None), event())
    assert ask("logs", json.dumps(good).encode(), content_type="application/json; charset=utf-8").answer() == (b"{}", http.JSON)
    said = json.loads(ask("logs", json.dumps(bad).encode(), content_type="application/json").answer()[0])
    assert said["partialSuccess"]["rejectedLogRecords"] == "1"
    body, type = ask("logs", encoded("logs", bad), content_type=http.PROTOBUF).answer()
    assert (type, ExportLogsServiceResponse.FromString(body).partial_success.rejected_log_records) == (http.PROTOBUF, 1)
    body, _ = ask("metrics", encoded("metrics", metrics(point(1, NOW, session=None))), content_type=http.PROTOBUF).answer()
    assert "session.id" in ExportMetricsServiceResponse.FromString(body).partial_success.error_message


def test_compressed_exports_are_read() -> None:
    assert ask("logs", gzip.compress(json.dumps(logs(event())).encode()), content_type="application/json", content_encoding="gzip").heard.told


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (415, b"{}", {}), (415, b"{}", {"content_type": "text/plain"}), (415, b"{}", {"content_type": http.JSON, "content_encoding": "br"}), (400, b"{", {"content_type": http.JSON}),
        (400, b"[" * 90_000, {"content_type": http.JSON}), (400, b"\x0a\x7f", {"content_type": http.PROTOBUF}), (400, b"hello", {"content_type": http.JSON, "content_encoding": "gzip"}),
        (400, gzip.compress(b"{}" * 900)[:20], {"content_type": http.JSON, "content_encoding": "gzip"}), (413, gzip.compress(b" " * (5 << 20)), {"content_type": http.JSON, "content_encoding": "gzip"}),
        (413, b" " * (2 << 20), {"content_type": http.JSON}), (413, json.dumps(logs(*(event(session=f"s{n}") for n in range(201)))).encode(), {"content_type": http.JSON}),
    ],
    ids=range(11),
)  # fmt: skip
def test_what_is_too_large_or_no_export_is_refused(status: int, body: bytes, headers: dict[str, str]) -> None:
    with pytest.raises(Problem) as refused:
        ask("logs", body, **headers)
    assert refused.value.status == status
