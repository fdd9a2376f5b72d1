"""The shell as its callers see it: over real sockets, with a plain WSGI app behind it."""
from __future__ import annotations

import asyncio
import contextlib
import gzip
import http.client
import itertools
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from ledger import shell
from ledger.errors import Busy, LedgerError, Problem
from ledger.http.request import Request
from ledger.serving.bridge import MOST_STREAMS, environ_of
from ledger.serving.cache import Answer, AnswerCache
from ledger.serving.lane import BULK
from ledger.serving.live import Live
from ledger.serving.server import listen, serve
from ledger.serving.turns import THREADS_OF_ONE
from ledger.serving.viewers import Admission, Viewer
from ledger.shell import THREADS, Native, Shell
from tests.processes import until

PATIENCE = 10


class House:
    """A ledger of one number per tenant, with everything around it that the shell needs."""

    def __init__(self) -> None:
        self.number, self.calls, self.busy, self.allowed = 0, 0, False, True
        self.callers: list[str] = []
        self.taken: list[bytes] = []
        self.hosts: list[str] = []
        self.logged: list[tuple[str, int, int]] = []
        self.live = Live(self.feed, clock=lambda: 1_700_000_000_000, first=lambda viewer: [{"type": "initial_data", "client_id": viewer.id}], beat_ms=100_000)
        self.shell = Shell(self.app, self.live, self.admit, who=self.who, native={"/native": Native(self.native, lambda asked, body: asked.query != "unsigned", lambda asked: asked.client)}, always=[("X-Content-Type-Options", "nosniff")],
                           logger=lambda asked, status, size, seconds: self.logged.append((asked.path, status, size)), cache=AnswerCache(age_ms=10**9))  # fmt: skip
        self.port, self.parts_made, self.closed = 0, 0, 0
        self.begun, self.over = threading.Semaphore(0), threading.Event()

    def download(self) -> Iterator[bytes]:
        """Longer than all that a connection takes before somebody reads."""
        try:
            for _ in range(400):
                self.parts_made += 1
                yield b"x" * 60_000
        finally:
            self.closed += 1

    def feed(self, tenant: str, cursor: str | None, tz: str, sessions: int) -> dict[str, Any]:
        if self.busy:
            self.busy = False
            raise Busy
        if tz == "slow":
            self.begun.release()
            self.over.wait(PATIENCE)
        new = cursor != str(self.number)
        return {"cursor": str(self.number), "head": str(self.number), "records": [{"key": "x" * (30_000 if self.number == 99 else 1), "tz": tz, "sessions": sessions}] if new else []}

    def admit(self, asked: Request) -> Admission:
        if asked.arguments.get("ticket") == "no":
            raise Problem(401, "unknown-key")
        return Admission(asked.arguments.get("tenant", "alice"), lambda: self.allowed)

    def who(self, asked: Request) -> str | None:
        self.callers.append(asked.client)
        self.hosts.append(asked.headers["host"])
        if asked.path == "/kept" and asked.query == "much":
            raise Problem(429, "rate-limited", headers={"Retry-After": "7"})
        asked.note["headers"] = {"RateLimit-Policy": "q=9"} if asked.path == "/kept" else {}
        return asked.headers.get("x-tenant", "alice") if asked.path in ("/kept", "/kept-slow", "/kept-download") else None

    def native(self, asked: Request, body: bytes) -> Answer:
        self.taken.append(body)
        if asked.query == "slow":
            self.begun.release()
            self.over.wait(PATIENCE)
        return Answer(403 if asked.query in ("no", "unsigned") else 200, [(b"content-type", b"text/plain")], body[::-1])

    def app(self, environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes] | Iterator[bytes]:
        self.calls += 1
        match environ["PATH_INFO"]:
            case "/kept":
                start("200 OK", [("Content-Type", "application/json"), ("ETag", f'"{self.number}"'), ("RateLimit", "r=1")])
                return [json.dumps({"number": self.number, "of": environ.get("HTTP_X_TENANT"), "padding": "x" * 2000}).encode()]
            case "/parts":
                start("200 OK", [("Content-Type", "text/plain")])
                return (part for part in (b"one ", b"two ", b"three"))
            case "/download" | "/kept-download":
                start("200 OK", [("Content-Type", "text/plain")])
                environ["relay.note"]["tenant"] = environ["QUERY_STRING"]
                return self.download()
            case "/slow" | "/kept-slow":
                self.begun.release()
                self.over.wait(PATIENCE)
                start("200 OK", [("Content-Type", "text/plain")])
                return [b"at last"]
            case "/echo":
                start("200 OK", [("Content-Type", "text/plain")])
                return [environ["wsgi.input"].read(), environ["QUERY_STRING"].encode()]
            case "/two-lines":
                start("200 OK", [("X-Made", "of\r\nSet-Cookie: parts")])
                return [b""]
            case "/bad":
                raise ZeroDivisionError
        start("404 Not Found", [])
        return [b""]

    def change(self, number: int) -> None:
        self.number = number
        self.live.changed("alice")

    def ask(self, path: str, *, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        line.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = line.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def watch(self, query: str = "") -> ClientConnection:
        return connect(f"ws://127.0.0.1:{self.port}/ws{query}", open_timeout=PATIENCE, close_timeout=1, max_size=None)


@contextlib.contextmanager
def opened(**more: Any) -> Iterator[House]:
    house, stop, ready = House(), threading.Event(), threading.Event()

    def is_ready(port: int) -> None:
        house.port = port
        ready.set()

    thread = threading.Thread(target=serve, args=(house.shell, "127.0.0.1", 0), kwargs={"ready": is_ready, "stop": stop, **more})
    thread.start()
    try:
        assert ready.wait(PATIENCE)
        yield house
    finally:
        stop.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()


@pytest.fixture
def house() -> Iterator[House]:
    with opened() as one:
        yield one


def told(viewer: ClientConnection) -> dict[str, Any]:
    return json.loads(viewer.recv(timeout=PATIENCE))


def subscribed(viewer: ClientConnection, cursor: str | None = None, **more: Any) -> dict[str, Any]:
    assert told(viewer)["type"] == "initial_data"
    viewer.send(json.dumps({"type": "subscribe", "cursor": cursor, **more}))
    return told(viewer)


def test_a_viewer_is_greeted_then_gets_what_it_missed_then_every_change(house: House) -> None:
    with house.watch() as viewer:
        first = subscribed(viewer, tz="Europe/Rome", sessions=7)
        assert first["type"] == "feed" and first["since"] is None and first["records"] == [{"key": "x", "tz": "Europe/Rome", "sessions": 7}]
        house.change(1)
        second = told(viewer)
        assert (second["since"], second["cursor"]) == ("0", "1")


def test_changes_that_come_fast_are_told_together_and_the_chain_never_breaks(house: House) -> None:
    with house.watch() as viewer:
        at, frames = subscribed(viewer)["cursor"], 0
        for number in range(1, 200):
            house.change(number if number != 99 else 98)
        while at != "199":
            message = told(viewer)
            assert message["since"] == at
            at, frames = message["cursor"], frames + 1
        assert frames < 100


def test_a_feed_too_large_is_announced_only(house: House) -> None:
    with house.watch() as viewer:
        subscribed(viewer)
        house.change(99)
        assert told(viewer) == {"type": "changed", "head": "99"}
        house.change(100)
        assert told(viewer)["since"] == "99"


def test_another_tenant_hears_nothing(house: House) -> None:
    with house.watch("?tenant=charlie") as stranger:
        subscribed(stranger)
        house.change(1)
        stranger.send('{"type":"ping"}')
        assert told(stranger)["type"] == "pong"


def test_the_predecessors_talk_is_understood(house: House) -> None:
    with house.watch() as viewer:
        assert told(viewer) == {"type": "initial_data", "client_id": "client_1"}
        for sent, answered in (("ping", "pong"), ("heartbeat", "heartbeat_ack"), ("request_data", "initial_data")):
            viewer.send(json.dumps({"type": sent}))
            assert told(viewer)["type"] == answered


@pytest.mark.parametrize("nonsense", ["", "{", "[]", "7", "null", '{"type":7}', '{"type":"what"}', '{"type":["ping"]}', '{"type":"pong"}', "\ud7ff", b"\xff\xfe", b"", "[" * 5000, '{"type":"subscribe","cursor":{"a":1},"sessions":-1,"tz":9}'])
def test_nonsense_never_closes_the_channel(house: House, nonsense: str | bytes) -> None:
    with house.watch() as viewer:
        told(viewer)
        viewer.send(nonsense)
        viewer.send('{"type":"ping"}')
        kinds = [told(viewer)["type"]]
        while kinds[-1] != "pong":
            kinds.append(told(viewer)["type"])
        assert kinds in (["pong"], ["feed", "pong"])


def test_a_message_too_long_is_ignored_and_the_channel_stays(house: House) -> None:
    with house.watch() as viewer:
        viewer.send(json.dumps({"type": "ping", "padding": "x" * 1_000_000}))
        viewer.send(json.dumps({"type": "heartbeat"}))
        assert told(viewer)["type"] == "initial_data"
        assert told(viewer)["type"] == "heartbeat_ack"


def test_a_broadcast_reaches_who_never_subscribed(house: House) -> None:
    with house.watch() as viewer:
        told(viewer)
        house.live.broadcast("alice", {"type": "session_update", "event": "x"})
        assert told(viewer)["event"] == "x"


def test_who_is_not_let_in_learns_why(house: House) -> None:
    with pytest.raises(InvalidStatus) as refused:
        house.watch("?ticket=no")
    assert refused.value.response.status_code == 401
    assert house.ask("/v1/live?ticket=no")[0] == 401


def test_a_viewer_whose_key_was_revoked_is_sent_away(house: House) -> None:
    with house.watch() as viewer:
        told(viewer)
        house.allowed = False
        assert house.live._loop is not None
        asyncio.run_coroutine_threadsafe(house.live.tick(recheck=True), house.live._loop).result(PATIENCE)
        with pytest.raises(ConnectionClosed):
            viewer.recv(timeout=PATIENCE)


@pytest.mark.parametrize(("asked", "sessions"), [("3", 3), ("%C2%B2", 200)])
def test_a_stream_tells_the_same_feed(house: House, asked: str, sessions: int) -> None:
    line = http.client.HTTPConnection("127.0.0.1", house.port, timeout=PATIENCE)
    line.request("GET", f"/v1/live?cursor=&sessions={asked}")
    answer = line.getresponse()
    assert answer.getheader("content-type") == "text/event-stream" and answer.getheader("x-content-type-options") == "nosniff"
    messages = (json.loads(text[6:]) for text in iter(answer.readline, b"") if text.startswith(b"data: "))
    assert next(messages)["type"] == "initial_data"
    assert next(messages)["records"][0]["sessions"] == sessions
    house.change(5)
    assert next(messages)["cursor"] == "5"
    line.close()
    until(lambda: house.live.count == 0, "the stream's end being noticed")


def test_a_busy_store_delays_the_feed_and_loses_nothing(house: House) -> None:
    with house.watch() as viewer:
        subscribed(viewer)
        house.busy = True
        house.change(1)
        assert told(viewer)["cursor"] == "1"


def test_one_viewer_who_never_reads_delays_nobody(house: House) -> None:
    stuck = socket.create_connection(("127.0.0.1", house.port))
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stuck.sendall(b"GET /v1/live HTTP/1.1\r\nHost: x\r\n\r\n")
    with house.watch() as viewer:
        subscribed(viewer)
        until(lambda: house.live.count == 2, "both watching")
        for number in range(400):
            house.live.broadcast("alice", {"type": "note", "n": number, "padding": "x" * 20_000})
            assert told(viewer)["n"] == number
        held = next(one for one in house.live._viewers["alice"] if one.is_sse)
        assert held.busy and len(held.waiting) <= 65
    stuck.close()


def test_a_kept_answer_is_the_apps_answer_until_the_ledger_changes(house: House) -> None:
    first = house.ask("/kept")
    assert first[2] == house.ask("/kept")[2] and house.calls == 1
    assert house.ask("/kept", If_None_Match=first[1]["etag"])[0] == 304
    assert house.ask("/kept", If_None_Match='"other", W/' + first[1]["etag"])[0] == 304
    house.change(1)
    assert json.loads(house.ask("/kept", If_None_Match=first[1]["etag"])[2])["number"] == 1 and house.calls == 2


def test_a_kept_answer_is_compressed_for_those_who_can_read_it(house: House) -> None:
    plain, packed = house.ask("/kept"), house.ask("/kept", Accept_Encoding="br, gzip")
    assert gzip.decompress(packed[2]) == plain[2] and packed[1]["content-encoding"] == "gzip"
    assert packed[1]["etag"] == f"W/{plain[1]['etag']}" and "Accept-Encoding" in plain[1]["vary"]
    assert len(packed[2]) < len(plain[2])


def test_what_is_kept_for_one_tenant_is_never_given_to_another(house: House) -> None:
    for _ in range(2):  # neither has news, so nothing but the name tells them apart
        for tenant in ("bob", "charlie"):
            assert json.loads(house.ask("/kept", X_Tenant=tenant)[2])["of"] == tenant
    assert house.calls == 2


def test_how_much_one_caller_may_ask_is_never_told_to_another(house: House) -> None:
    assert "ratelimit" in house.ask("/kept")[1]
    assert "ratelimit" not in house.ask("/kept")[1]


def test_a_kept_answer_has_every_header_of_the_first_one(house: House) -> None:
    first, kept, same = (house.ask("/kept", **more) for more in ({}, {}, {"If_None_Match": '"0"'}))
    assert {**first[1], "date": ""} == {**kept[1], "date": "", "ratelimit": "r=1"} and kept[1]["ratelimit-policy"] == "q=9"
    assert kept[1]["content-length"] == str(len(kept[2])) and kept[1]["x-content-type-options"] == "nosniff"
    assert same[0] == 304 and "content-length" not in same[1] and same[1]["etag"] == '"0"' and same[1]["ratelimit-policy"] == "q=9"


def test_every_request_is_asked_about_and_logged_once(house: House) -> None:
    sizes = [len(house.ask(path)[2]) for path in ("/kept", "/kept", "/echo")]
    assert house.callers == ["127.0.0.1"] * 3
    until(lambda: len(house.logged) == 3, "three lines")
    assert house.logged == [("/kept", 200, sizes[0]), ("/kept", 200, sizes[1]), ("/echo", 200, 0)]


def test_whoever_asks_too_much_is_refused_at_once(house: House) -> None:
    status, headers, body = house.ask("/kept?much")
    assert (status, headers["retry-after"], headers["x-content-type-options"]) == (429, "7", "nosniff") and json.loads(body)["type"] == "rate-limited"


@pytest.mark.parametrize("last", [b"HTTP/1.1\r\nConnection: close", b"HTTP/1.0"])
def test_requests_in_one_breath_are_answered_in_their_order_kept_or_not(house: House, last: bytes) -> None:
    house.ask("/kept")
    paths = (b"kept", b"echo?first", b"kept", b"kept", b"echo?last")
    sent = b"".join(b"GET /%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % (path, house.port) for path in paths)
    answers = raw(house.port, sent + b"GET /kept %s\r\nHost: x\r\n\r\n" % last, is_all=False).split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert [next(word for word in (b"number", b"first", b"last") if word in answer) for answer in answers] == [b"number", b"first", b"number", b"number", b"last", b"number"]


def test_behind_a_proxy_that_is_believed_the_caller_is_who_it_says_even_for_a_kept_answer() -> None:
    with opened(proxies="127.0.0.1") as house:
        for _ in range(2):
            house.ask("/kept", X_Forwarded_For="192.0.2.7")
        assert set(house.callers) == {"192.0.2.7"} and house.calls == 1


def test_an_answer_in_parts_arrives_whole(house: House) -> None:
    assert house.ask("/parts")[2] == b"one two three"


def begins_to_download(house: House, tenant: str = "alice", path: str = "/download") -> socket.socket:
    """A caller who asks for much and reads nothing; the first of it is on its way."""
    made, caller = house.parts_made, socket.socket()
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    caller.connect(("127.0.0.1", house.port))
    caller.settimeout(PATIENCE)
    caller.sendall(f"GET {path}?{tenant} HTTP/1.1\r\nHost: 127.0.0.1:{house.port}\r\n\r\n".encode())
    until(lambda: house.parts_made > made + 1, "the download's beginning")
    return caller


def test_those_who_download_and_do_not_read_delay_nobody(house: House) -> None:
    callers = [begins_to_download(house, f"tenant{number % 3}") for number in range(2 * THREADS)]
    for _ in range(3):
        assert house.ask("/echo", method="POST", body=b"at once")[2] == b"at once"
    for caller in callers:
        caller.close()
    until(lambda: house.closed == len(callers), "the end of downloads that nobody waits for")
    assert house.parts_made < 400 * len(callers) / 2


def test_whoever_asks_for_the_same_download_does_not_wait_for_the_end_of_another(house: House) -> None:
    with begins_to_download(house, path="/kept-download"):
        assert len(house.ask("/kept-download?alice")[2]) == 400 * 60_000


def test_a_download_that_stands_still_is_given_up(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.serving.bridge.STUCK_S", 0.2)
    caller = begins_to_download(house)
    until(lambda: house.closed, "giving up")
    with contextlib.suppress(ConnectionResetError):
        while caller.recv(1 << 20):
            pass  # what was on its way comes, and then the end
    assert house.parts_made < 400


def test_one_tenants_downloads_leave_room_for_those_of_others(house: House) -> None:
    callers = [begins_to_download(house) for _ in range(MOST_STREAMS)]
    status, headers, _ = house.ask("/download?alice")
    assert status == 503 and headers["retry-after"]
    assert len(house.ask("/download?bob")[2]) == 400 * 60_000
    for caller in callers:
        caller.close()
    until(lambda: house.ask("/download?alice")[0] == 200, "room for another download of the same tenant")


def test_one_caller_who_asks_for_much_at_once_leaves_threads_to_others(house: House) -> None:
    with ThreadPoolExecutor(3 * THREADS) as many:
        asked = [many.submit(house.ask, "/slow", X_API_Key="one", Authorization="Bearer loud") for _ in range(3 * THREADS)]
        for _ in range(THREADS_OF_ONE):
            assert house.begun.acquire(timeout=PATIENCE)
        assert house.ask("/echo", method="POST", body=b"at once", Authorization="Bearer other")[2] == b"at once"
        house.over.set()
        assert {one.result()[2] for one in asked} == {b"at last"}


def test_all_keys_and_shares_of_one_tenant_leave_threads_to_others(house: House) -> None:
    with ThreadPoolExecutor(3 * THREADS) as many:
        asked = [many.submit(house.ask, f"/kept-slow?{n}", Authorization=f"Bearer {n}", X_Tenant=f"alice|{n % 3}" if n % 2 else "alice") for n in range(3 * THREADS)]
        for _ in range(THREADS_OF_ONE):
            assert house.begun.acquire(timeout=PATIENCE)
        assert house.ask("/kept", X_Tenant="bob")[0] == 200 and not house.begun.acquire(blocking=False)
        house.over.set()
        assert {one.result()[2] for one in asked} == {b"at last"}


def test_viewers_who_subscribe_to_much_leave_threads_to_others(house: House) -> None:
    with contextlib.ExitStack() as stack:
        viewers = [stack.enter_context(house.watch(f"?tenant=alice%7C{n % 3}" if n % 2 else "")) for n in range(2 * THREADS)]
        for viewer in viewers:
            viewer.send(json.dumps({"type": "subscribe", "tz": "slow"}))
        for _ in range(THREADS_OF_ONE):
            assert house.begun.acquire(timeout=PATIENCE)
        assert house.ask("/kept", X_Tenant="bob")[0] == 200 and not house.begun.acquire(blocking=False)
        house.over.set()
        assert [[told(viewer)["type"] for _ in range(2)] for viewer in viewers] == [["initial_data", "feed"]] * len(viewers)


def test_one_caller_who_floods_leaves_places_to_others(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.serving.bridge.MOST_OF_ONE", THREADS_OF_ONE)
    with ThreadPoolExecutor(THREADS_OF_ONE) as many:
        asked = [many.submit(house.ask, "/slow", Authorization="Bearer loud") for _ in range(THREADS_OF_ONE)]
        for _ in asked:
            assert house.begun.acquire(timeout=PATIENCE)
        refused, _, _ = house.ask("/echo", Authorization="Bearer loud")
        assert refused == 503 and house.ask("/parts", Authorization="Bearer other")[0] == 200
        house.over.set()
        assert {one.result()[0] for one in asked} == {200}
    assert house.ask("/parts", Authorization="Bearer loud")[0] == 200


@pytest.mark.parametrize(("target", "host"), [("http://evil.example/kept", "evil.example"), ("HTTP://me@evil.example:80/x?http://y", "me@evil.example:80"), ("/kept?u=http://evil.example/", "localhost")])
def test_a_target_that_names_a_host_is_asked_of_that_host(house: House, target: str, host: str) -> None:
    """RFC 9112, 3.2.2: the Host header counts for nothing then."""
    with socket.create_connection(("127.0.0.1", house.port), PATIENCE) as line:
        line.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        while line.recv(65536):
            pass
    assert house.hosts == [host]


def test_body_and_query_reach_the_app_as_they_were_sent(house: House) -> None:
    body = bytes(range(256)) * 40
    assert house.ask("/echo?a=%C3%A9&b", method="POST", body=body)[2] == body + b"a=%C3%A9&b"
    assert house.ask("/native", method="POST", body=body)[2] == body[::-1]


def test_a_crowd_of_strangers_keeps_nobody_waiting_who_was_heard_before(house: House) -> None:
    for sender, query in (("heard", ""), ("refused", "?no")):
        house.ask(f"/native{query}", method="POST", body=b"x", relay_key=sender)
    with ThreadPoolExecutor(THREADS) as callers:
        crowd = [callers.submit(house.ask, "/native?slow", method="POST", body=b"x", relay_key=f"stranger {number}") for number in range(THREADS - 1)]
        assert house.begun.acquire(timeout=PATIENCE)
        refused = callers.submit(house.ask, "/native", method="POST", body=b"x", relay_key="refused")
        assert house.ask("/native", method="POST", body=b"abc", relay_key="heard")[2] == b"cba"
        assert not house.begun.acquire(blocking=False) and not refused.done(), "strangers go one at a time, and who was refused is still one"
        house.over.set()
        assert {one.result()[0] for one in [*crowd, refused]} == {200}


@pytest.mark.parametrize("size", [1, BULK])
def test_whoever_nobody_vouches_for_is_refused_at_once_and_has_no_place_among_those_who_wait(house: House, size: int) -> None:
    with ThreadPoolExecutor(1) as another:
        waits = another.submit(house.ask, "/native?slow", method="POST", body=b"x" * size, relay_key="signed")
        assert house.begun.acquire(timeout=PATIENCE)
        assert house.ask("/native?unsigned", method="POST", body=b"x" * size, relay_key="claimed")[0] == 403
        assert not waits.done()
        house.over.set()
        assert waits.result()[0] == 200


def test_what_was_given_up_while_it_waited_is_not_worked_on(house: House) -> None:
    def waiting() -> int:
        return len(house.shell._lanes._bulk._queue)

    gone, stays = b"g" * BULK, b"s" * BULK
    with ThreadPoolExecutor(2) as others:
        first = others.submit(house.ask, "/native?slow", method="POST", body=b"x" * BULK, relay_key="first")
        assert house.begun.acquire(timeout=PATIENCE)
        with socket.create_connection(("127.0.0.1", house.port), PATIENCE) as line:
            line.sendall(b"POST /native HTTP/1.1\r\nHost: x\r\nRelay-Key: gone\r\nContent-Length: %d\r\n\r\n" % len(gone) + gone)
            until(lambda: waiting() == 1, "waiting")
        second = others.submit(house.ask, "/native", method="POST", body=stays, relay_key="stays")
        until(lambda: waiting() == 2, "waiting")
        assert house.ask("/echo")[0] == 200, "the loop has heard of whoever left before"
        house.over.set()
        assert [one.result()[0] for one in (first, second)] == [200, 200]
    assert stays in house.taken and gone not in house.taken
    assert house.shell._lanes._bulk._bytes == 0 and not house.shell._lanes._bulk._places


def test_a_body_without_end_is_refused(house: House) -> None:
    assert house.ask("/echo", method="POST", Content_Length=str(10**7))[0] == 413
    endless = (b"x" * 65536 for _ in itertools.count())
    line = http.client.HTTPConnection("127.0.0.1", house.port, timeout=PATIENCE)
    try:
        line.request("POST", "/echo", endless, encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    except OSError:
        pass  # cut off while it was still talking
    else:
        assert line.getresponse().status == 413


@pytest.mark.parametrize("head", [b"Content-Length: 9000000", b"Transfer-Encoding: chunked"])
def test_whoever_sends_too_much_hears_so_though_it_speaks_to_the_end(house: House, head: bytes) -> None:
    body = b"x" * 9_000_000
    with socket.create_connection(("127.0.0.1", house.port), timeout=PATIENCE) as line:
        line.sendall(b"POST /native HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n" + (body if b"Length" in head else b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)))
        said = b"".join(iter(lambda: line.recv(65536), b""))
    assert said.startswith(b"HTTP/1.1 413 ") and b"too-large" in said


def test_whoever_speaks_without_end_is_cut_off(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "HEARD_OUT", 2 << 20)
    with socket.create_connection(("127.0.0.1", house.port), timeout=PATIENCE) as line, pytest.raises(OSError):
        line.sendall(b"POST /native HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        for _ in range(1000):
            line.sendall(b"x" * 1_000_000)


def test_a_failure_of_the_app_tells_nothing_of_its_inside(house: House) -> None:
    status, headers, body = house.ask("/bad")
    assert status == 500 and b"ZeroDivision" not in body and headers["content-type"] == "application/problem+json"


def test_a_header_of_two_lines_never_leaves(house: House) -> None:
    status, headers, _ = house.ask("/two-lines")
    assert status == 500 and "set-cookie" not in headers and "x-made" not in headers
    assert house.ask("/echo")[0] == 200


def test_a_head_is_asked_for_without_its_body(house: House) -> None:
    status, headers, body = house.ask("/kept", method="HEAD")
    assert status == 200 and int(headers["content-length"]) > 2000 and body == b""


def raw(port: int, sent: bytes, *, is_all: bool = True) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as line:
        line.sendall(sent)
        if is_all:
            line.shutdown(socket.SHUT_WR)
        parts = []
        try:
            while part := line.recv(65536):
                parts.append(part)
        except ConnectionResetError:
            pass
        return b"".join(parts)


@pytest.mark.parametrize(
    "sent",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"y" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET http://[::1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nab",
        b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: short\r\nSec-WebSocket-Version: 13\r\n\r\n",
        b"GET /elsewhere HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        b"GET /%ff%fe?%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_a_malformed_request_is_refused_and_harms_nobody(house: House, sent: bytes) -> None:
    answered = raw(house.port, sent)
    assert not answered or answered.split()[1].startswith(b"4"), answered[:200]
    assert house.ask("/echo")[0] == 200


def test_a_port_in_use_is_said_in_one_line(house: House) -> None:
    with pytest.raises(LedgerError, match=r"cannot be had.*--port"):
        listen("127.0.0.1", house.port)


def test_viewers_are_sent_away_in_good_order_when_the_server_stops() -> None:
    with contextlib.ExitStack() as later:
        with opened() as house:
            viewer = later.enter_context(house.watch())
            told(viewer)
        with pytest.raises(ConnectionClosed):
            viewer.recv(timeout=PATIENCE)


@pytest.mark.parametrize("before", [b"", b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_a_caller_who_never_finishes_its_head_is_cut_off(monkeypatch: pytest.MonkeyPatch, before: bytes) -> None:
    monkeypatch.setattr("ledger.serving.server.HEAD_S", 0.5)
    with opened() as house, socket.create_connection(("127.0.0.1", house.port), timeout=PATIENCE) as line:
        if before:
            line.sendall(before)
            assert line.recv(1000).startswith(b"HTTP/1.1 404")
        line.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        with contextlib.suppress(ConnectionResetError):
            assert line.recv(100) == b""


def test_a_body_that_drips_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.serving.bridge.BODY_MS", 200)
    with opened() as house, socket.create_connection(("127.0.0.1", house.port), timeout=PATIENCE) as line:
        line.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nab")
        assert b" 408 " in line.recv(1000)


def test_a_viewer_stuck_for_too_long_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.serving.live.STUCK_S", 0.0)
    with opened() as house, socket.create_connection(("127.0.0.1", house.port)) as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.sendall(b"GET /v1/live HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: house.live.count == 1, "the viewer being let in")

        def flooded() -> bool:
            house.live.broadcast("alice", {"type": "note", "padding": "x" * 200_000})
            return house.live.count == 0

        until(flooded, "the stuck viewer being closed")


def test_a_fault_of_ours_does_not_close_the_channel(house: House) -> None:
    with house.watch() as viewer:
        subscribed(viewer)
        whole, house.live._feed = house.live._feed, lambda *ask: {}["missing"]
        viewer.send('{"type":"subscribe"}')
        viewer.send('{"type":"ping"}')
        assert told(viewer)["type"] == "pong"
        house.live._feed = whole
        viewer.send('{"type":"subscribe"}')
        assert told(viewer)["type"] == "feed"


def test_who_is_silent_is_asked_and_stays(house: House) -> None:
    with house.watch() as viewer:
        told(viewer)
        assert house.live._loop is not None
        next(iter(house.live._viewers["alice"])).heard -= 60_000
        asyncio.run_coroutine_threadsafe(house.live.tick(), house.live._loop).result(PATIENCE)
        assert told(viewer)["type"] == "ping"
        viewer.send('{"type":"pong"}')
        viewer.send('{"type":"ping"}')
        assert told(viewer)["type"] == "pong"


def test_what_time_alone_changed_is_told_too_and_nothing_where_nothing_did(house: House) -> None:
    with house.watch() as viewer:
        subscribed(viewer)
        assert house.live._loop is not None
        house.live._loop.call_soon_threadsafe(house.live.refresh)
        viewer.send('{"type":"ping"}')
        assert told(viewer)["type"] == "pong"
        until(lambda: not house.live._due, "the first look being over")
        house.number = 1
        house.live._loop.call_soon_threadsafe(house.live.refresh)
        assert told(viewer)["cursor"] == "1"


def test_a_header_with_an_underscore_never_stands_for_one_with_a_hyphen():
    scope = {"method": "GET", "path": "/", "query_string": b"", "http_version": "1.1", "headers": [(b"x_api_key", b"theirs"), (b"x-api-key", b"ours"), (b"accept", b"a"), (b"accept", b"b")]}
    environ = environ_of(scope, b"", {})
    assert (environ["HTTP_X_API_KEY"], environ["HTTP_ACCEPT"]) == ("ours", "a,b")


def test_costly_questions_of_one_viewer_are_thirty_at_once_and_then_one_a_second():
    async def nothing(message: Any) -> None: ...

    viewer = Viewer("a", Admission("alice"), nothing, is_sse=False, abort=lambda: None, heard=0)
    assert [viewer.may_ask(0) for _ in range(31)] == [True] * 30 + [False]
    assert [viewer.may_ask(1000), viewer.may_ask(1000), viewer.may_ask(1500)] == [True, False, False]
    assert [viewer.may_ask(10**9) for _ in range(31)].count(True) == 30
