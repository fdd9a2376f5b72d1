"""A page of elsewhere against the agent on localhost: other names for this computer, forged posts, a hijacked channel."""
from __future__ import annotations

import base64
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.processes import Running, environment, free_port, get

EVIL = "https://evil.example"


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder, port = tmp_path_factory.mktemp("agent"), free_port()
    transcripts(folder / "claude")
    words = ["local_agent", "run", "--home", str(folder / "home"), "--port", str(port), "--no-defaults", "--transcripts", str(folder / "claude")]
    running = Running(words, port, folder / "log", environment()).start()
    yield running
    running.kill()


def transcripts(home: Path) -> None:
    folder = home / "projects" / "-home-alice-canary"
    folder.mkdir(parents=True)
    usage = {"input_tokens": 5, "output_tokens": 7}
    line = {"type": "assistant", "sessionId": "11111111-1111-4111-8111-111111111111", "timestamp": "2026-11-22T10:00:00.000Z", "cwd": "/home/alice/canary", "requestId": "r",
            "message": {"id": "m", "role": "assistant", "model": "claude-opus-4-5", "usage": usage}}  # fmt: skip
    (folder / "11111111-1111-4111-8111-111111111111.jsonl").write_text(json.dumps(line, separators=(",", ":")) + "\n")


def says(agent: Running, request: str) -> tuple[int, bytes]:
    """Status and the rest of what is answered to the request's very bytes; 0 for a connection that was closed without a word."""
    with socket.create_connection(("127.0.0.1", agent.port), timeout=10) as wire:
        wire.sendall(request.replace("\n", "\r\n").encode("utf-8", "surrogateescape"))
        got = bytearray()
        try:
            while chunk := wire.recv(65536):
                got += chunk
                if b" 101 " in got.partition(b"\r\n")[0]:
                    break
        except (TimeoutError, ConnectionError):
            pass
    return (int(got.split(b" ", 2)[1]) if got.startswith(b"HTTP/") else 0), bytes(got)


def names(port: int) -> list[str]:
    """Names that a web page can have pointed at this computer, or that look like it."""
    plain = ["localhost", "127.0.0.1", "[::1]", "", "evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "localhost.", "127.0.0.1.", "0.0.0.0", "0", "127.1", "2130706433", "0x7f.1",
             "017700000001", "127.0.0.2", "[::]", "[::ffff:127.0.0.1]", "[0:0:0:0:0:0:0:1]", "::1", "localhost\t", "localhost localhost", "localhost,evil.example", "evil.example,localhost", "ⓛocalhost",
             "local%68ost", "user@localhost", "localhost/evil", "xn--localhost-", "evil.example#localhost", "*", "localhost;evil"]  # fmt: skip
    with_port = [f"{name}:{port}" for name in plain]
    other_port = [f"{name}:{port + 1}" for name in plain[:3]] + [f"localhost:{port}0", f"localhost:0{port}", f"localhost:{port}:{port}", f"localhost:+{port}", f"localhost:{port}@evil.example"]
    return list(dict.fromkeys([*with_port, *plain[:12], *other_port]))


def test_only_this_computers_three_names_with_the_port_are_answered(agent: Running) -> None:
    tried = names(agent.port)
    assert len(tried) >= 40
    passed, leaked = [], []
    for host in tried:
        status, answer = says(agent, f"GET /api/sessions HTTP/1.1\nHost: {host}\nConnection: close\n\n")
        passed += [host] if status == 200 else []
        leaked += [host] if b"canary" in answer and status != 200 else []
    assert sorted(passed) == sorted(f"{name}:{agent.port}" for name in ("localhost", "127.0.0.1", "[::1]"))
    assert not leaked


@pytest.mark.parametrize("lines", [
    "GET http://evil.example/api/sessions HTTP/1.1\nHost: evil.example", "GET /api/sessions HTTP/1.0", "GET /api/sessions HTTP/1.1",
    "GET /api/sessions HTTP/1.1\nHost: evil.example\nX-Forwarded-Host: localhost:{port}", "GET /api/sessions HTTP/1.1\nHost: evil.example\nForwarded: host=localhost:{port}",
])  # fmt: skip
def test_no_other_way_to_say_the_name_helps(agent: Running, lines: str) -> None:
    status, answer = says(agent, lines.format(port=agent.port) + "\nConnection: close\n\n")
    assert status in (0, 400, 403) and b"canary" not in answer


FORGED = {
    "a form": ("application/x-www-form-urlencoded", {"Origin": EVIL}, "a=b"),
    "a form with a file": ("multipart/form-data; boundary=x", {"Origin": EVIL}, "--x\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n--x--\r\n"),
    "text that is JSON": ("text/plain", {"Origin": EVIL}, "{}"),
    "JSON": ("application/json", {"Origin": EVIL}, "{}"),
    "a page without an origin": ("application/json", {"Origin": "null"}, "{}"),
    "a browser that hides the origin": ("application/json", {"Sec-Fetch-Site": "cross-site"}, "{}"),
    "a neighbour's page": ("application/json", {"Sec-Fetch-Site": "same-site"}, "{}"),
    "a form that navigates": ("application/x-www-form-urlencoded", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, "a=b"),
    "a beacon": ("text/plain;charset=UTF-8", {"Origin": EVIL, "Sec-Fetch-Mode": "no-cors"}, "{}"),
    "another port's page": ("application/json", {"Origin": "http://localhost:1"}, "{}"),
    "https of this name": ("application/json", {"Origin": "https://localhost:{port}"}, "{}"),
    "a longer name": ("application/json", {"Origin": "http://localhost:{port}.evil.example"}, "{}"),
    "an empty origin": ("application/json", {"Origin": ""}, "{}"),
    "two origins": ("application/json", {"Origin": "http://localhost:{port}, https://evil.example"}, "{}"),
}


@pytest.mark.parametrize("shape", FORGED)
@pytest.mark.parametrize("path", ["/api/session-update", "/api/netlify-sync"])
def test_what_another_page_posts_is_refused(agent: Running, shape: str, path: str) -> None:
    kind, headers, body = FORGED[shape]
    told = "".join(f"{name}: {value.format(port=agent.port)}\n" for name, value in headers.items())
    status, answer = says(agent, f"POST {path} HTTP/1.1\nHost: localhost:{agent.port}\n{told}Content-Type: {kind}\nContent-Length: {len(body)}\nConnection: close\n\n" + body)
    assert status in (400, 403, 415), answer
    assert b"access-control-allow-origin" not in answer.lower()


@pytest.mark.parametrize("target", ["http://evil.example/api/status", "http://localhost/api/status", "HTTP://me@localhost:{port}/api/status", "ws://evil.example/ws"])
def test_a_target_of_another_host_is_refused_whatever_the_header_says(agent: Running, target: str) -> None:
    status, _ = says(agent, f"GET {target.format(port=agent.port)} HTTP/1.1\nHost: localhost:{agent.port}\nConnection: close\n\n")
    assert status in (400, 403)
    assert says(agent, f"GET http://localhost:{agent.port}/api/status HTTP/1.1\nHost: evil.example\nConnection: close\n\n")[0] == 200


def test_nothing_that_looks_like_reading_changes_anything(agent: Running) -> None:
    before = get(f"{agent.url}/api/sessions")
    for path in ("/api/session-update", "/api/netlify-sync", "/api/session-update?_method=POST", "/api/netlify-sync?data=%7B%7D"):
        for line in ("X-HTTP-Method-Override: POST", "X-Method-Override: POST", "Accept: */*"):
            status, _ = says(agent, f"GET {path} HTTP/1.1\nHost: localhost:{agent.port}\n{line}\nConnection: close\n\n")
            assert status in (404, 405)
    assert get(f"{agent.url}/api/sessions") == before


@pytest.mark.parametrize("origin", [EVIL, "null", "http://localhost:1", "https://localhost", "file://", "chrome-extension://abc", "http://localhost:{port}.evil.example", "http://127.0.0.1"])
def test_a_channel_is_not_opened_to_another_page(agent: Running, origin: str) -> None:
    key = base64.b64encode(os.urandom(16)).decode()
    status, answer = says(
        agent, f"GET /ws HTTP/1.1\nHost: localhost:{agent.port}\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Key: {key}\nSec-WebSocket-Version: 13\nOrigin: {origin.format(port=agent.port)}\n\n"
    )  # fmt: skip
    assert status == 403 and b"canary" not in answer


@pytest.mark.parametrize("origin", [EVIL, "null", "http://localhost:1"])
@pytest.mark.parametrize("path", ["/api/sessions", "/api/v1/feed", "/api/v1/live", "/api/status", "/api/export", "/metrics", "/healthz", "/api/v1/ping"])
def test_another_page_reads_not_one_byte(agent: Running, path: str, origin: str) -> None:
    status, answer = says(agent, f"GET {path} HTTP/1.1\nHost: localhost:{agent.port}\nOrigin: {origin}\nConnection: close\n\n")
    assert status == 403 and b"canary" not in answer and b"access-control-allow-origin" not in answer.lower()


def test_paths_cannot_be_spelled_past_the_guard(agent: Running) -> None:
    for path in ("//api/sessions", "/./api/sessions", "/%61pi/sessions", "/api//sessions", "/API/sessions", "/" + quote("api/sessions", safe=""), "/x/../api/sessions", "/api/sessions;x", "/api%2fsessions"):
        _, answer = says(agent, f"GET {path} HTTP/1.1\nHost: localhost:{agent.port}\nSec-Fetch-Site: cross-site\nSec-Fetch-Mode: navigate\nSec-Fetch-Dest: document\nConnection: close\n\n")
        assert b"canary" not in answer, path
