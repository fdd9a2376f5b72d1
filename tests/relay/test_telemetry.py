"""Telemetry at the relay: who may send it, what it becomes, and that transcripts win."""
from __future__ import annotations

import json
import sys
import threading
from typing import Any

import pytest

from ledger.otlp import http
from tests.compliance.client import Sender
from tests.ledger.test_otlp import ID, encoded, event, logs, metrics, point
from tests.relay.house import RelayHouse


@pytest.fixture
def house() -> RelayHouse:
    return RelayHouse()


def send(house: RelayHouse, document: dict[str, Any], *, signal: str = "logs", key: str | None = None, path: str = "", as_json: bool = True) -> Any:
    body = json.dumps(document).encode() if as_json else encoded(signal, document)
    kind = http.JSON if as_json else http.PROTOBUF
    return house.ask(path or f"/v1/{signal}", key or house.key("push", source="box"), method="POST", body=body, Content_Type=kind)


@pytest.mark.parametrize("as_json", [True, False])
def test_a_session_without_an_agent_is_shown_with_its_cost(house: RelayHouse, as_json: bool) -> None:
    answer = send(house, logs(event(house.clock() - 60_000)), as_json=as_json)
    assert (answer.status_code, answer.data) == (200, b"{}" if as_json else b"")
    [session] = house.get("/sessions")["sessions"]
    assert (session["id"], session["provenance"], session["estimated_tokens"], session["is_active"], session["machine"]) == (ID, "telemetry", 100, True, "box")
    assert session["reported_cost"] == 0.25
    assert session["cost"] > 0
    assert '"otel"' not in json.dumps(house.get(f"/sessions/{ID}"))


def test_metrics_alone_are_enough(house: RelayHouse) -> None:
    assert send(house, metrics(point(70, house.clock() - 60_000)), signal="metrics").status_code == 200
    assert house.get("/sessions")["sessions"][0]["estimated_tokens"] == 70


def test_an_export_that_is_repeated_changes_nothing(house: RelayHouse) -> None:
    key, document = house.key("push", source="box"), logs(event(house.clock() - 60_000))
    send(house, document, key=key)
    before = house.relay.store.heads("alice")[0]
    send(house, document, key=key)
    assert house.relay.store.heads("alice")[0] == before


def test_a_session_that_an_agent_tells_of_too_is_counted_from_its_transcript(house: RelayHouse) -> None:
    at = house.clock() - 60_000
    sender: Sender = house.sender("alice", "laptop")
    body = {"id": ID, "session_type": "claude_code", "start_time": at - 9000, "last_activity": at - 9000, "provenance": "observed",
            "usage": [[at - at % 900_000, at - 9000, at - 9000, "claude-sonnet-4-5", "standard", 1, 2, 3, 0, 4, 1, None]]}  # fmt: skip
    sender.start()
    assert sender.push({ID: json.dumps(body)}, commit=True).status == 200
    send(house, logs(event(at)))
    [session] = house.get("/sessions")["sessions"]
    assert (session["provenance"], session["estimated_tokens"]) == ("observed", 10)


def test_other_tenants_see_nothing_of_it(house: RelayHouse) -> None:
    send(house, logs(event(house.clock() - 60_000)))
    assert house.get("/sessions", house.key(tenant="bob"))["sessions"] == []


@pytest.mark.parametrize(("scope", "status"), [("read", 403), ("admin", 403), (None, 401)])
def test_only_a_push_key_may_send(house: RelayHouse, scope: str | None, status: int) -> None:
    key = house.key(scope, source="") if scope else "sr_push_no_key_at"
    assert send(house, logs(event()), key=key).status_code == status


@pytest.mark.parametrize(("body", "type", "status"), [(b"{", http.JSON, 400), (b"\x0a\x7f", http.PROTOBUF, 400), (b"x", "text/plain", 415), (b"", "", 415)])
def test_what_is_no_export_is_refused_with_a_problem(house: RelayHouse, body: bytes, type: str, status: int) -> None:
    answer = house.ask("/v1/logs", house.key("push", source="box"), method="POST", body=body, Content_Type=type)
    assert answer.status_code == status
    assert answer.json["detail"]
    assert house.relay.store.heads("alice") == []


def test_two_exports_at_once_both_count(house: RelayHouse) -> None:
    key, at = house.key("push", source="box"), house.clock() - 60_000
    threads = [threading.Thread(target=send, args=(house, logs(event(at, n))), kwargs={"key": key}) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert house.get("/sessions")["sessions"][0]["estimated_tokens"] == 600


def test_an_export_of_what_nobody_asks_for_keeps_nothing(house: RelayHouse) -> None:
    assert send(house, logs(event(name="user_prompt", prompt="secret"))).status_code == 200
    assert house.relay.store.heads("alice") == []


def test_telemetry_that_ceases_is_no_machine_that_was_lost(house: RelayHouse) -> None:
    send(house, logs(event(house.clock() - 60_000)))
    house.clock.now += 3_600_000
    [machine] = house.get("/v1/alerts")["machines"]
    assert (machine["state"], machine["why"]) == ("off", "telemetry comes only while somebody works")


def test_a_relay_without_the_part_that_reads_it_says_so(house: RelayHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "relay.telemetry", None)
    answer = send(house, logs(event()))
    assert answer.status_code == 501
    assert "run an agent" in answer.json["detail"]


def test_upkeep_finds_what_telemetry_left_in_order(house: RelayHouse) -> None:
    key, at = house.key("push", source="box"), house.clock() - 60_000
    send(house, logs(*(event(at - n * 900_000, n) for n in range(200))), key=key)
    send(house, logs(event(at, 900)), key=key)
    for _ in range(3):
        done = house.relay.upkeep.round()
        assert (done.trouble, done.scrubbed) == ("", "alice/~otel:box: ok")
    [session] = house.get("/sessions")["sessions"]
    assert session["estimated_tokens"] == 20_100
    assert len(house.get(f"/sessions/{ID}")["usage"]) == 200
