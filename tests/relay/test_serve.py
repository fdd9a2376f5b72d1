"""A real relay process on a free port, as people, agents, pages and monitors meet it."""
from __future__ import annotations

import gzip
import http.client
import json
import re
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from ledger.keytext import KeyText
from relay.routes import OLD
from tests.compliance.client import Sender, over_http
from tests.ledger.ledgerkit import a_session, use
from tests.processes import Running, Site, command, site, until

SHARED = "the shared key of old"


class Public:
    """A running relay, with keys of Alice's made by its own command."""

    def __init__(self, place: Site, relay: Running) -> None:
        self.place, self.relay, self.url = place, relay, relay.url
        self.read, self.push = place.key(relay, "read"), place.key(relay, "push", source="laptop")

    def ask(self, path: str, key: str | None = None, *, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        line = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=15)
        given = {name.replace("_", "-"): value for name, value in headers.items()} | ({"Authorization": f"Bearer {key}"} if key else {})
        line.request(method, path, body, given)
        answer = line.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def get(self, path: str, key: str | None = None) -> Any:
        status, _, body = self.ask(path, key or self.read)
        assert status == 200, body
        return json.loads(body)

    def sender(self) -> Sender:
        return Sender(over_http(self.url), KeyText.parse(self.push), self.url, lambda: int(time.time()))

    def ticket(self, **headers: str) -> str:
        status, _, body = self.ask("/v1/live-tickets", self.read, method="POST", **headers)
        assert status == 200, body
        return json.loads(body)["ticket"]

    def watch(self, ticket: str | None = None, *, path: str = "/ws", **headers: str) -> Any:
        query = f"?ticket={ticket}" if ticket else ""
        return connect(f"{self.url.replace('http', 'ws')}{path}{query}", additional_headers=headers or None, open_timeout=15, close_timeout=1)


def session_now(id: str, **more: Any) -> str:
    now = time.time_ns() // 1_000_000
    return json.dumps(a_session(id, use(now - 1000), **more)[2])


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Public]:
    with site(tmp_path_factory.mktemp("relay")) as place:
        yield Public(place, place.relay(API_SECRET=SHARED, RELAY_RATE="100000"))


@pytest.fixture(scope="module")
def laptop(public: Public) -> Sender:
    sender = public.sender()
    sender.start()
    assert sender.push({"first": session_now("first")}, commit=True).status == 200
    return sender


def test_what_is_pushed_is_read_at_every_mount(public: Public, laptop: Sender) -> None:
    for mount in ("", "/api", "/.netlify/functions/session-sync"):
        assert "first" in [one["id"] for one in public.get(f"{mount}/sessions/recent")]
    assert public.get("/v1/ping")["home"] == "relay" and public.get("/machines")


def test_the_relay_signs_its_answers(laptop: Sender) -> None:
    assert laptop.believes(laptop.push({"signed": session_now("signed")}))


def heard(viewer: Any) -> dict[str, Any]:
    return json.loads(viewer.recv(timeout=15))


def test_a_page_with_a_ticket_sees_a_push_the_moment_it_is_acknowledged(public: Public, laptop: Sender) -> None:
    ticket = public.ticket(Origin=public.url)
    with public.watch(ticket, Origin=public.url) as page:
        page.send(json.dumps({"type": "subscribe", "cursor": None, "tz": "Europe/Rome", "sessions": 200}))
        first = heard(page)
        assert first["type"] == "feed" and first["full"] and first["home"] == "relay"
        assert laptop.push({"watched": session_now("watched")}).status == 200
        news = heard(page)
        assert news["since"] == first["cursor"] and "watched" in [one["value"]["id"] for one in news["records"]]
    with pytest.raises(InvalidStatus) as again:
        public.watch(ticket, Origin=public.url)
    assert again.value.response.status_code == 401


def test_a_script_streams_with_its_key(public: Public, laptop: Sender) -> None:
    line = http.client.HTTPConnection(public.url.removeprefix("http://"), timeout=15)
    line.request("GET", "/v1/live?sessions=5", headers={"Authorization": f"Bearer {public.read}"})
    stream = line.getresponse()
    assert stream.getheader("content-type") == "text/event-stream"
    messages = (json.loads(text[6:]) for text in iter(stream.readline, b"") if text.startswith(b"data: "))
    assert len(next(messages)["records"]) <= 5
    laptop.push({"streamed": session_now("streamed")})
    assert "streamed" in [one["value"]["id"] for one in next(messages)["records"]]
    line.close()


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "null", "http://127.0.0.1"])
def test_a_foreign_page_gets_no_channel_and_no_ticket(public: Public, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        public.watch(public.ticket(), Origin=origin)
    assert refused.value.response.status_code == 403
    assert public.ask("/v1/live-tickets", public.read, method="POST", Origin=origin)[0] == 403
    with pytest.raises(InvalidStatus):
        public.watch()


@pytest.mark.slow
def test_a_revoked_key_ends_its_reads_and_its_live_channel(public: Public, laptop: Sender) -> None:
    key = public.place.key(public.relay, "read")
    with public.watch(Authorization=f"Bearer {key}") as page:
        page.send('{"type":"ping"}')
        assert heard(page)["type"] == "pong"
        assert command("relay", "keys", "revoke", KeyText.parse(key).id, env=public.relay.env).returncode == 0
        with pytest.raises(ConnectionClosed):
            while True:
                page.recv(timeout=70)
    assert public.ask("/status", key)[0] == 401


def test_a_kept_answer_is_byte_for_byte_the_answer_of_the_app(public: Public, laptop: Sender) -> None:
    for path in ("/sessions/recent?limit=3", "/sessions?limit=2", "/five-hour-blocks", "/dashboard-config"):
        fresh, kept = public.ask(path, public.read), public.ask(path, public.read)
        assert (fresh[0], fresh[2]) == (kept[0], kept[2])
        assert {name: value for name, value in fresh[1].items() if name in ("etag", "content-type", "cache-control")}.items() <= kept[1].items()
        assert kept[1].get("vary", "").startswith(fresh[1].get("vary", ""))
        again = public.ask(path, public.read, If_None_Match=kept[1]["etag"])
        assert again[0] == 304
        for each in (fresh, kept, again):
            assert each[1]["ratelimit-policy"] == fresh[1]["ratelimit-policy"] and each[1]["ratelimit"].startswith('"default";r='), "how much more may be asked"
        packed = public.ask(path, public.read, Accept_Encoding="gzip")
        assert (gzip.decompress(packed[2]) if packed[1].get("content-encoding") else packed[2]) == kept[2]


def test_a_kept_answer_is_never_anothers_nor_of_yesterday(public: Public, laptop: Sender) -> None:
    stranger = public.place.key(public.relay, "read", tenant="charlie")
    before = public.get("/sessions/recent?limit=500")
    assert public.get("/sessions/recent?limit=500", stranger) == []
    laptop.push({"newer": session_now("newer")})
    assert len(public.get("/sessions/recent?limit=500")) == len(before) + 1


def test_old_clients_post_and_read(public: Public) -> None:
    body = json.dumps({"source": "old", "timestamp": "2026-11-22T10:00:00", "data": {"active_sessions": [{"id": "test", "session_type": "test"}]}}).encode()
    status, _, answer = public.ask("/.netlify/functions/session-sync", method="POST", body=body, X_API_Key=SHARED)
    assert status == 200 and json.loads(answer)["status"] == "received"
    assert [one["id"] for one in json.loads(public.ask("/sessions/active", X_API_Key=SHARED)[2])] == ["test"]


@pytest.mark.parametrize("path", ["/", OLD, f"{OLD}/"])
def test_an_old_client_hears_of_a_post_too_large_in_its_own_words(public: Public, path: str) -> None:
    """The size is judged before the app sees the request, and yet as the app would say it."""
    status, headers, body = public.ask(path, SHARED, method="POST", body=b" " * ((1 << 20) + 1))
    assert status == 413 and headers["content-type"] == "application/json" and "at most" in json.loads(body)["error"]


def test_an_old_client_hears_of_a_wrong_key_in_its_own_words(public: Public) -> None:
    status, headers, body = public.ask(f"{OLD}/status", "not the key")
    assert status == 401 and headers["content-type"] == "application/json" and set(json.loads(body)) == {"error"}
    assert public.ask("/status", "not the key")[1]["content-type"] == "application/problem+json"


def test_the_page_comes_with_a_strict_policy_and_is_not_sent_twice(public: Public) -> None:
    status, headers, body = public.ask("/")
    assert status == 200 and b"<!doctype html>" in body.lower() and "script-src 'self'" in headers["content-security-policy"]
    assert public.ask("/", If_None_Match=headers["etag"])[0] == 304


@pytest.mark.parametrize("path", ["/v1/push", "/api/v1/push", "/status", "/ws", "/"])
def test_a_browsers_first_question_is_answered_alike_everywhere(public: Public, path: str) -> None:
    status, headers, body = public.ask(path, method="OPTIONS", Origin="http://localhost:3001", Access_Control_Request_Method="POST")
    assert (status, body) == (204, b"") and headers["access-control-allow-origin"] == "http://localhost:3001"


def test_a_monitor_finds_health_and_figures(public: Public) -> None:
    assert json.loads(public.ask("/healthz")[2]) == {"status": "ok"}
    until(lambda: b"session_relay_answers_total{status=\"200\"}" in public.ask("/metrics")[2], "answers being counted")


def test_the_log_names_no_secret_and_has_no_traceback(public: Public) -> None:
    secrets = [key.split("_")[3] for key in (public.read, public.push)]
    public.ask(f"/status?key={public.read}")
    public.ask(f"/{public.read}")
    public.ask("/status", X_API_Key=public.read)
    public.ask("/%0a%1b[31mforged%20line")
    until(lambda: "forged" in public.relay.log.read_text(), "the access log being written")
    log = public.relay.log.read_text()
    assert not [secret for secret in secrets if secret in log] and SHARED not in log and "ticket=" not in log
    assert "Traceback" not in log and "\x1b" not in log
    assert all(re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z (access|info|warning|error)", line) for line in log.splitlines()), log
    assert re.search(r"info audit: key used key=\w{12} scope=read tenant=alice address=127.0.0.1", log)


def test_the_access_log_says_whose_key_pushed_whatever_the_answer_and_nothing_of_a_stranger_s(public: Public) -> None:
    sender, end = public.sender(), public.push.split("_")[2][-12:]
    sender.start()
    assert sender.push({"second": session_now("second")}, commit=True).status == 200
    assert sender.send(sender.message("beat", seq=99)).kind == "409 state"
    assert sender.send(sender.message("beat", source="studio")).kind == "403 source-mismatch"
    before = len(public.relay.log.read_text())
    assert sender.raw(b"{}", secret=b"\1" * 32).status == 401
    until(lambda: "/v1/push 401 " in public.relay.log.read_text()[before:], "the access log being written")
    pushes = {line.split()[4]: line for line in public.relay.log.read_text().splitlines() if " access: POST /v1/push " in line}
    assert {"200", "409", "403", "401"} <= pushes.keys()
    assert all(pushes[status].endswith(f" 127.0.0.1 tenant=alice key={end}") for status in ("200", "409", "403")), pushes
    assert pushes["401"].endswith(" 127.0.0.1"), "who did not prove to hold the key is not named by it"


def test_a_relay_with_one_address_taken_says_so(public: Public) -> None:
    done = command("relay", "serve", "--port", str(public.relay.port), "--store", "memory:", env=public.relay.env)
    assert done.returncode == 1 and "--port" in done.stderr and done.stderr.count("\n") == 1


def test_told_to_stop_it_ends_well_and_closes_its_viewers(tmp_path) -> None:
    with site(tmp_path) as place:
        public = Public(place, place.relay(store="memory:", LOG="x"))
        with public.watch(Authorization=f"Bearer {public.read}") as page:
            page.send('{"type":"ping"}')
            heard(page)
            public.relay.kill(signal.SIGTERM)
            with pytest.raises(ConnectionClosed):
                page.recv(timeout=10)
        assert public.relay.process is not None and public.relay.process.returncode == 0
        assert "nothing outlives this process" in public.relay.log.read_text()
