"""Calls signed by hand, held against botocore's own signature, and against a server that hangs up when it likes."""
from __future__ import annotations

import json
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import botocore.auth
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from ledger.aws import CONNECT_S, READ_S, Account, Line, NoAnswer, signed, trust
from ledger.errors import Busy
from ledger.stores.dynamo_http import HttpClient, Refused
from ledger.stores.dynamodb import DynamoStore

NOW = 1_763_800_000
ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize("token", ["", "FwoGZXIvYXdzEJr//////////wEaDExample=="])
@pytest.mark.parametrize(("service", "path", "body"), [
    ("dynamodb", "/", b'{"TableName":"t"}'), ("ssm", "/", b"{}"), ("execute-api", "/prod/@connections/L0SM9cOFvHcCIhw%3D", b'{"type":"feed"}'),
    ("execute-api", "/prod/@connections/a%2Fb%2Bc%3D", "ä🙂".encode()), ("execute-api", "/%24default/@connections/x~y-z_1.2", b""),
])
def test_every_signature_is_the_one_that_botocore_makes(monkeypatch: pytest.MonkeyPatch, service: str, path: str, body: bytes, token: str) -> None:
    headers = {"content-type": "application/x-amz-json-1.0", "x-amz-target": "DynamoDB_20120810.GetItem"}
    host = f"{service}.eu-central-1.amazonaws.com"
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: datetime.fromtimestamp(NOW, UTC), raising=False)

    class Stopped(datetime):
        @classmethod
        def utcnow(cls) -> datetime:
            return datetime.fromtimestamp(NOW, UTC).replace(tzinfo=None)

        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.fromtimestamp(NOW, tz)

    monkeypatch.setattr("datetime.datetime", Stopped)
    request = AWSRequest("POST", f"https://{host}{path}", headers=headers, data=body)
    SigV4Auth(Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG", token or None), service, "eu-central-1").add_auth(request)
    ours = signed(Account("eu-central-1", "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG", token), service, host, path, headers, body, NOW)
    assert ours["x-amz-date"] == request.headers["X-Amz-Date"]
    assert ours["authorization"] == request.headers["Authorization"]


@pytest.mark.parametrize(("account", "address"), [
    (Account("eu-central-1", "k", "s"), "https://dynamodb.eu-central-1.amazonaws.com"), (Account("cn-north-1", "k", "s"), "https://dynamodb.cn-north-1.amazonaws.com.cn"),
    (Account("us-east-1", "k", "s", endpoint="http://127.0.0.1:4566"), "http://127.0.0.1:4566"),
])
def test_services_are_found_by_their_region(account: Account, address: str) -> None:
    assert account.address("dynamodb") == address


def test_the_certificates_to_believe_are_read_once_for_all_services(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[ssl.SSLContext] = []
    monkeypatch.setattr(ssl, "create_default_context", lambda: read.append(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)) or read[-1])
    trust.cache_clear()
    account = Account("eu-central-1", "k", "s")
    for line in (Line(account, "ssm"), Line(account, "dynamodb"), Line(account, "execute-api", "https://live.example/prod")):
        line._fresh()
        line._fresh()
    assert len(read) == 1
    trust.cache_clear()


def test_nothing_that_is_secret_is_shown() -> None:
    assert "s3cret" not in repr(Account("eu-central-1", "k", "s3cret", "s3cret-token"))


class Service:
    """Answers in turn as told: (status, document), or "hang up". Remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.asked: list[tuple[dict[str, str], Any]] = []
        self.connections = 0


@contextmanager
def serving(service: Service) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            service.connections += 1

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            service.asked.append((dict(self.headers), json.loads(body)))
            answer = service.answers.pop(0) if service.answers else (200, {})
            if answer == "hang up":
                self.close_connection = True
                return
            content = json.dumps(answer[1]).encode()
            self.send_response(answer[0])
            self.send_header("content-length", str(len(content)))
            if len(answer) > 2:
                self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a caller who gave up has closed the connection
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def client(service: Service) -> Iterator[HttpClient]:
    with serving(service) as url:
        made = HttpClient(Account("eu-central-1", "k", "s", endpoint=url), sleep=lambda _: None)
        yield made
        made.close()


def test_values_travel_as_dynamodb_writes_them(client: HttpClient, service: Service) -> None:
    service.answers = [(200, {"Item": {"b": {"B": "AP8="}, "n": {"N": "7"}, "s": {"S": "x"}}})]
    assert client.get_item(TableName="t", Key={"p": {"B": b"\x00\xff"}}) == {"Item": {"b": {"B": b"\x00\xff"}, "n": {"N": "7"}, "s": {"S": "x"}}}
    headers, asked = service.asked[0]
    assert headers["x-amz-target"] == "DynamoDB_20120810.GetItem"
    assert asked == {"TableName": "t", "Key": {"p": {"B": "AP8="}}}


def test_a_connection_serves_many_calls(client: HttpClient, service: Service) -> None:
    for _ in range(5):
        client.get_item(TableName="t", Key={})
    assert service.connections == 1


def test_a_connection_that_was_closed_while_idle_costs_one_more_and_no_error(client: HttpClient, service: Service) -> None:
    client.get_item(TableName="t", Key={})
    service.answers = ["hang up"]
    assert client.get_item(TableName="t", Key={}) == {}
    assert service.connections == 2


def test_a_call_that_was_not_answered_in_time_is_not_sent_again_by_the_line_itself(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(service) as url:
        line = Line(Account("eu-central-1", "k", "s", endpoint=url), "dynamodb")
        line.post("/", {}, b"{}")
        connection = line._idle.get_nowait()
        monkeypatch.setattr(connection, "getresponse", lambda: (_ for _ in ()).throw(TimeoutError()))
        line._idle.put(connection)
        with pytest.raises(NoAnswer, match="TimeoutError"):
            line.post("/", {}, b"{}")
        assert service.connections == 1
        line.close()


def test_a_connection_that_the_server_ends_is_not_used_again(client: HttpClient, service: Service) -> None:
    service.answers = [(200, {}, "close")]
    client.get_item(TableName="t", Key={})
    client.get_item(TableName="t", Key={})
    assert service.connections == 2


@pytest.mark.parametrize("trouble", ["hang up", (500, {}), (503, {"__type": "ServiceUnavailable"}), (400, {"__type": "com.amazonaws.dynamodb.v20120810#ThrottlingException"})])
def test_trouble_that_passes_is_tried_again_with_the_same_token(client: HttpClient, service: Service, trouble: Any) -> None:
    service.answers = [trouble, trouble]
    assert client.transact_write_items(TransactItems=[]) == {}
    assert len({asked["ClientRequestToken"] for _, asked in service.asked}) == 1
    assert len(service.asked) == 3


def test_what_is_refused_for_good_is_not_tried_again(client: HttpClient, service: Service) -> None:
    service.answers = [(400, {"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException", "message": "no"})]
    with pytest.raises(Refused) as refusal:
        client.put_item(TableName="t", Item={})
    assert refusal.value.response["Error"]["Code"] == "ConditionalCheckFailedException"
    assert len(service.asked) == 1


def test_a_service_that_stays_in_trouble_makes_the_store_busy(client: HttpClient, service: Service) -> None:
    service.answers = [(400, {"__type": "x#ProvisionedThroughputExceededException"})] * 3
    with pytest.raises(Busy, match="the same again"):
        DynamoStore("ledger", client=client).head("alice", "laptop")
    assert len(service.asked) == 3


def test_nobody_there_makes_the_store_busy() -> None:
    nobody = HttpClient(Account("eu-central-1", "k", "s", endpoint="http://127.0.0.1:9"), sleep=lambda _: None)
    with pytest.raises(Busy, match="does not answer"):
        DynamoStore("ledger", client=nobody).head("alice", "laptop")


def test_a_silent_table_is_given_up_while_the_function_still_has_time_to_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    timeout_s = int(re.search(r"^  timeout: (\d+)$", (ROOT / "serverless.yml").read_text(), re.MULTILINE)[1])
    now = [0.0]

    def silence(*_: Any) -> Any:
        now[0] += CONNECT_S + READ_S
        raise NoAnswer("TimeoutError")

    monkeypatch.setattr(Line, "post", silence)
    patient = HttpClient(Account("eu-central-1", "k", "s"), sleep=lambda seconds: now.__setitem__(0, now[0] + seconds), clock=lambda: now[0])
    with pytest.raises(Busy, match="does not answer"):
        DynamoStore("ledger", client=patient).head("alice", "laptop")
    assert now[0] < timeout_s - 2


def test_an_answer_that_is_cut_off_is_no_answer(service: Service) -> None:
    with serving(service) as url:
        service.answers = ["hang up", "hang up"]
        with pytest.raises(NoAnswer):
            Line(Account("eu-central-1", "k", "s", endpoint=url), "ssm").post("/", {}, b"{}")
