"""The functions as Lambda calls them: what they answer, what they refuse, and that a wrong configuration never starts."""
from __future__ import annotations

import base64
import gzip
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.ledger.stores import one_at_a_time

ROOT = Path(__file__).resolve().parent.parent.parent
SETTINGS = {
    "AWS_LAMBDA_FUNCTION_NAME": "session-relay-test-http", "AWS_DEFAULT_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing", "RELAY_STORE": "dynamodb://ledger", "RELAY_SECRET": "s" * 40, "RELAY_URL": "https://relay.example",
    "RELAY_LIVE_URL": "wss://live.example/prod", "RELAY_GATEWAY": "https://live.example/prod", "RELAY_RETENTION": "400d", "STRIP_STAGE_PATH": "yes",
}


@pytest.fixture(scope="module")
def function() -> Any:
    """relay.handler, imported as a new instance imports it, with a table in memory."""
    from moto import mock_aws

    with mock_aws(), pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        from ledger.stores.dynamodb import DynamoStore, connect

        # The table in memory is reached through boto3; the journey on the emulated cloud goes the function's own way.
        patch.setattr("ledger.stores.dynamo_http.HttpClient", lambda account: connect())
        DynamoStore("ledger").create()
        sys.modules.pop("relay.handler", None)
        import relay.handler as handler

        one_at_a_time(handler.store._client)
        yield handler
        sys.modules.pop("relay.handler", None)


def event(method: str, path: str, body: bytes | None = None, query: str = "", **headers: str) -> dict[str, Any]:
    """What an HTTP API gives a function for this request: only a few types of body come as text."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    made: dict[str, Any] = {
        "version": "2.0", "routeKey": f"{method} /{{path+}}", "rawPath": path, "rawQueryString": query, "headers": {"host": "relay.example", "x-forwarded-proto": "https", **named},
        "requestContext": {"http": {"method": method, "path": path, "sourceIp": "192.0.2.1"}, "stage": "$default"}, "isBase64Encoded": False,
    }  # fmt: skip
    if body is not None:
        made["headers"]["content-length"] = str(len(body))
        is_text = named.get("content-type", "").startswith(("text/", "application/json"))
        made |= {"body": body.decode(errors="replace")} if is_text else {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}
    return made


def body_of(said: Any) -> bytes:
    return base64.b64decode(said["body"]) if said["isBase64Encoded"] else said["body"].encode()


def sender(function: Any, tenant: str = "alice") -> Any:
    from ledger.keytext import KeyText
    from tests.compliance.client import Reply, Sender

    def post(body: bytes, headers: Any) -> Any:
        said = function.http(event("POST", "/v1/push", body, **{name.replace("-", "_"): value for name, value in headers.items()}), None)
        return Reply(said["statusCode"], {name.lower(): value for name, value in said["headers"].items()}, body_of(said))

    return Sender(post, KeyText.parse(function.relay.ring.issue("push", tenant, "laptop")), "https://relay.example", lambda: function.now_ms() // 1000)


def test_the_compliance_suite_holds_through_the_gateways_events(function: Any) -> None:
    from tests.compliance.receiver import verdicts

    assert {verdict.name: verdict.failure for verdict in verdicts(sender(function)) if verdict.failure} == {}


def test_a_compressed_push_survives_the_gateway_and_is_read_back(function: Any) -> None:
    laptop = sender(function)
    laptop.start()
    assert laptop.push({"s1": '{"id":"s1","session_type":"codex","start_time":1763800000000}'}, commit=True).status == 200
    key = function.relay.ring.issue("read", "alice")
    said = function.http(event("GET", "/sessions", authorization=f"Bearer {key}"), None)
    assert [session["id"] for session in json.loads(said["body"])["sessions"]] == ["s1"]


def test_the_table_itself_removes_what_everybody_else_should_have_removed(function: Any) -> None:
    function.relay.tenants.create("hoarder", keep_days=0)

    def expiry(tenant: str) -> int | None:
        laptop = sender(function, tenant)
        laptop.start()
        laptop.push({"s2": '{"id":"s2","session_type":"codex","start_time":1763800000000}'}, commit=True)
        (item,) = function.store._table.query(f"R|{tenant}|laptop", "rsession/s2")
        return int(item["x"]["N"]) if "x" in item else None

    days_left = (expiry("alice") or 0) / 86_400 - function.now_ms() / 86_400_000
    assert days_left == pytest.approx(400 + 400 + 90, abs=1)
    assert expiry("hoarder") is None


class Moody:
    """A table that is throttled, races with others, or does what it is asked and loses the answer; *calls* counts what it was asked."""

    CODES = (("ProvisionedThroughputExceededException",), ("ThrottlingException",), ("InternalServerError",), ("TransactionCanceledException", "TransactionConflict"),
             ("TransactionCanceledException", "ThrottlingError"), ("TransactionInProgressException",))  # fmt: skip

    def __init__(self, client: Any, roll: random.Random) -> None:
        self.client, self.roll, self.calls, self.often = client, roll, 0, 0.4

    def __getattr__(self, name: str) -> Any:
        def call(**arguments: Any) -> Any:
            from botocore.exceptions import ClientError

            self.calls += 1
            if self.roll.random() >= self.often:
                return getattr(self.client, name)(**arguments)
            code, *reasons = self.roll.choice(self.CODES)
            if self.roll.random() < 0.2 and not reasons:
                getattr(self.client, name)(**arguments)
            raise ClientError({"Error": {"Code": code}, "CancellationReasons": [{"Code": reason} for reason in reasons]}, name)

        return call


@pytest.mark.parametrize("seed", range(6))
def test_whatever_the_table_refuses_is_503_with_a_time_and_nothing_is_lost(function: Any, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    roll = random.Random(seed)
    moody = Moody(function.store._client, roll)
    laptop = sender(function, f"moody{seed}")
    laptop.start()
    monkeypatch.setattr(function.store, "_client", moody)
    monkeypatch.setattr(function.store, "_sleep", lambda seconds: None)
    truth: dict[str, str] = {}
    refused = 0
    for turn in range(25):
        put = {f"s{roll.randrange(6)}": f'{{"id":"x","session_type":"codex","start_time":{turn}}}'}
        old = {id: truth[id] for id in put if id in truth}
        message = laptop.message(put=put, gone=old, commit=True) | {"del": []}
        for _ in range(200):
            moody.calls = 0
            reply = laptop.send(message)
            assert moody.calls <= 20, "tries are bounded"
            if reply.status == 200:
                break
            assert (reply.status, int(reply.headers["retry-after"]) >= 1) == (503, True), reply.document
            refused += 1
        laptop.seq, laptop.digest = message["seq"], int(message["after"], 16)
        truth |= put
    assert refused > 5
    moody.often = 0.0
    assert {row.ref.id: row.body for row in function.store.rows(f"moody{seed}", "laptop")} == truth
    assert laptop.send(laptop.message("beat")).status == 200


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/feed"), ("GET", "/sessions"), ("POST", "/v1/live-tickets")])
def test_a_read_of_a_throttled_table_is_503_with_a_time(function: Any, monkeypatch: pytest.MonkeyPatch, method: str, path: str) -> None:
    key = function.relay.ring.issue("read", "throttled")
    moody = Moody(function.store._client, random.Random(1))
    moody.often = 1.0
    monkeypatch.setattr(function.store, "_client", moody)
    monkeypatch.setattr(function.store, "_sleep", lambda seconds: None)
    said = function.http(event(method, path, b"" if method == "POST" else None, authorization=f"Bearer {key}", origin="https://relay.example"), None)
    assert said["statusCode"] == 503 and int({name.lower(): value for name, value in said["headers"].items()}["retry-after"]) >= 1


def test_agents_are_told_how_far_apart_to_push(function: Any) -> None:
    laptop = sender(function)
    laptop.start()
    assert laptop.push({}, commit=True).document["apart_s"] == 30


def test_what_is_done_with_keys_is_told_whatever_the_level_of_others(function: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.clear()
    assert sender(function, "carol").start().status == 409
    assert function.http(event("GET", "/status", authorization="Bearer sr_read_wrong"), None)["statusCode"] == 401
    said = [record.getMessage() for record in caplog.records if record.name == "audit"]
    assert said == ["key issued", "refused: unknown-key"], "the audit log is written where nobody asked for it"


def test_a_socket_never_reaches_flask(function: Any) -> None:
    assert function.http({"requestContext": {"connectionId": "x", "eventType": "CONNECT"}}, None) == {"statusCode": 400}


def test_the_page_and_its_files_come_from_the_zip(function: Any) -> None:
    said = function.http(event("GET", "/", accept_encoding="gzip"), None)
    body = body_of(said)
    assert b"<!doctype html" in (gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body).lower()[:200]


def test_a_page_on_a_slow_line_gets_its_feed_compressed_and_asks_again_for_nothing(function: Any) -> None:
    laptop = sender(function, "distant")
    laptop.start()
    put = {f"s{n}": f'{{"id":"s{n}","session_type":"codex","start_time":1763800000000,"title":"number {n}"}}' for n in range(40)}
    assert laptop.push(put, commit=True).status == 200
    asked = {"authorization": f"Bearer {function.relay.ring.issue('read', 'distant')}"}
    for path, query in (("/v1/feed", "sessions=200"), ("/sessions", ""), ("/export", "format=csv"), ("/export", "format=jsonl")):
        plain = function.http(event("GET", path, query=query, **asked), None)
        packed = function.http(event("GET", path, query=query, Accept_Encoding="br, gzip", **asked), None)
        headers = {name.lower(): value for name, value in packed["headers"].items()}
        assert headers["content-encoding"] == "gzip" and "Accept-Encoding" in headers["vary"], path
        assert len(packed["body"]) < len(plain["body"]) / 2, path
        assert strip_time(gzip.decompress(body_of(packed))) == strip_time(body_of(plain)), path
        if "etag" in headers:
            assert function.http(event("GET", path, query=query, accept_encoding="gzip", if_none_match=headers["etag"], **asked), None)["statusCode"] == 304, path


def strip_time(body: bytes) -> bytes:
    return re.sub(rb'"server_time":"[^"]*"', b"", body)


def test_an_answer_that_a_function_may_not_give_says_what_to_ask_instead(function: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    laptop = sender(function, "vast")
    laptop.start()
    put = {f"s{n}": f'{{"id":"s{n}","session_type":"codex","start_time":1763800000000,"title":"number {n}"}}' for n in range(40)}
    assert laptop.push(put, commit=True).status == 200
    monkeypatch.setattr("relay.payload.LARGEST", 6_000)
    asked = {"authorization": f"Bearer {function.relay.ring.issue('read', 'vast')}"}
    said = function.http(event("GET", "/export", query="format=json", **asked), None)
    assert (said["statusCode"], json.loads(said["body"])["type"]) == (413, "too-large") and "--compressed" in said["body"]
    assert "Strict-Transport-Security" in said["headers"]
    assert function.http(event("GET", "/export", query="format=json", accept_encoding="gzip", **asked), None)["statusCode"] == 200


def test_no_answer_lets_in_every_origin(function: Any) -> None:
    for method, path in (("GET", "/v1/ping"), ("OPTIONS", "/sessions"), ("GET", "/sessions"), ("POST", "/v1/live-tickets")):
        said = function.http(event(method, path, origin="https://elsewhere.example"), None)
        assert "Access-Control-Allow-Origin" not in said["headers"], (method, path)


def test_a_ticket_names_the_channel_of_the_gateway(function: Any) -> None:
    key = function.relay.ring.issue("read", "alice")
    said = json.loads(function.http(event("POST", "/v1/live-tickets", b"", authorization=f"Bearer {key}", origin="https://relay.example"), None)["body"])
    assert (said["url"], said["expires_in_s"]) == ("wss://live.example/prod", 30)


def test_upkeep_says_what_it_did(function: Any) -> None:
    assert "swept" in function.upkeep({"source": "aws.events"}, None)


def test_upkeep_asks_the_live_function_to_tell_who_watches(function: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its role may not speak to viewers. What it removed is news all the same."""
    from relay.live.connections import Connections, Watcher
    from relay.live.fanout import CROWDS, FanOut

    monkeypatch.setattr(FanOut, "_reach", lambda *_: pytest.fail("upkeep speaks to a viewer"))
    monkeypatch.setattr(function.relay, "on_change", function.relay.on_change)
    Connections(function.store, function.now_ms).subscribed(Watcher("watched", "w="))
    function.upkeep({"only": "alerts"}, None)
    for tenant in ("watched", "unwatched"):
        function.relay.changed(tenant)
    assert [name for name, _ in function.store.list(CROWDS, now=function.now_ms())] == ["watched"]


class Night:
    """The context of an invocation with this much time left, a minute less at each look."""

    def __init__(self, ms: int) -> None:
        self.ms = ms

    def get_remaining_time_in_millis(self) -> int:
        self.ms -= 60_000
        return self.ms


def test_a_night_looks_at_every_source_once_or_at_as_many_as_time_allows(function: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from relay.upkeep import Done

    rounds: list[int] = []

    def round() -> Done:
        rounds.append(1)
        return Done(scrubbed=f"alice/source{len(rounds) % 4}: ok")

    monkeypatch.setattr(function.relay.upkeep, "round", round)
    function.upkeep({}, Night(10_000_000))
    assert len(rounds) == 5
    rounds.clear()
    function.upkeep({}, Night(240_000))
    assert len(rounds) == 3


def test_the_schedule_looks_after_alerts_and_waits_until_they_are_sent(function: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.ledger.ledgerkit import Laptop, a_session, use

    alerts, now, sent = function.relay.alerts, function.relay.clock(), []
    monkeypatch.setattr("relay.alerts.webhook.post", lambda url, body, headers, **_: sent.append(json.loads(body)) or 204)
    alerts.book.change("night", {"channels": [{"name": "ops", "url": "https://hooks.example/"}], "rules": {"day": {"usd": 0.01}, "runaway": {"on": False}}})
    Laptop(function.store, "mbp", "night", clock=function.relay.clock).pushes(a_session("s", use(now, output=100_000)))
    assert [function.upkeep({"only": "alerts"}, None) for _ in range(2)] == ["1 new alerts", "0 new alerts"]
    assert [one["data"]["rule"] for one in sent] == ["day"]
    monkeypatch.setattr(alerts.watch, "check", lambda tenant: 1 // 0)
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        function.upkeep({"only": "alerts"}, None)


def test_upkeep_that_could_not_finish_fails_loudly(function: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from ledger.errors import Busy

    def busy() -> Any:
        raise Busy()

    monkeypatch.setattr(function.store, "tenants", busy)
    with pytest.raises(RuntimeError, match="busy"):
        function.upkeep({}, None)


@pytest.mark.parametrize(("changed", "says"), [
    ({"RELAY_STORE": "memory:"}, "set RELAY_STORE=dynamodb://TABLE"),
    ({"RELAY_STORE": "sqlite:///relay.db"}, "set RELAY_STORE=dynamodb://TABLE"),
    ({"RELAY_STORE": ""}, "set RELAY_STORE=dynamodb://TABLE"),
    ({"RELAY_SECRET": ""}, "RELAY_SECRET is not set"),
    ({"RELAY_SECRET": "secret"}, "can be guessed"),
    ({"RELAY_ORIGINS": "*"}, "a wildcard is not allowed"),
])
@pytest.mark.parametrize("module", ["relay.handler", "relay.live.handler"])
def test_a_configuration_that_must_not_run_does_not_start(module: str, changed: dict[str, str], says: str) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("RELAY_", "AWS_"))} | SETTINGS | changed
    done = subprocess.run([sys.executable, "-c", f"import {module}"], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert says in done.stderr.strip().splitlines()[-1]


def test_what_only_a_server_of_our_own_needs_is_never_loaded() -> None:
    heavy = ["asyncio", "uvicorn", "websockets", "requests", "sqlite3", "psycopg", "ledger.serving.live", "ledger.shell", "apispec", "stringzilla", "boto3", "botocore"]
    program = f"import sys, relay.handler; print([name for name in {heavy} if name in sys.modules])"
    env = {name: value for name, value in os.environ.items() if not name.startswith(("RELAY_", "AWS_"))} | SETTINGS
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_live_function_needs_no_flask() -> None:
    program = "import sys, relay.live.handler; print([name for name in ('flask', 'marshmallow', 'werkzeug', 'asyncio', 'boto3', 'botocore') if name in sys.modules])"
    env = {name: value for name, value in os.environ.items() if not name.startswith(("RELAY_", "AWS_"))} | SETTINGS
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr
