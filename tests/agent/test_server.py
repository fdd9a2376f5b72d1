"""localhost as browsers, old scripts and strangers' pages meet it."""
from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from ledger.record import Record
from local_agent.agent import Agent, is_no_news
from local_agent.identity import Identity
from local_agent.lock import HomeLock
from local_agent.server import create_app
from local_agent.settings import Settings
from tests.agent.test_doctor import a_key

NOW = 1_795_000_000_000
HERE, FOREIGN, EVIL = "http://localhost:3001", "https://relay.example.org", "https://evil.example"


class Browser(FlaskClient):
    """One that went to our address."""

    def open(self, *words: Any, **more: Any) -> Any:
        return super().open(*words, **{"base_url": HERE, **more})


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    settings = Settings(home=tmp_path / "home", no_defaults=True, origins=(FOREIGN,), name="laptop")
    with HomeLock(settings.home) as lock:
        made = Agent(settings, Identity("me", "here"), lock, clock=lambda: NOW)
        with made.archive.step() as step:
            for n in range(30):
                at = NOW - n * 3_600_000
                body = {"id": f"s{n}", "session_type": "claude_code", "start_time": at, "last_activity": at, "is_active": n == 0, "provenance": "observed",
                        "usage": [[at - at % 900_000, at, at, "claude-sonnet-4-5", "standard", 10, 20, 0, 0, 5, 1, None]]}  # fmt: skip
                step.put(Record("session", f"s{n}", json.dumps(body)))
        yield made
        made.archive.close()


@pytest.fixture
def browser(agent: Agent) -> FlaskClient:
    app = create_app(agent.serving, agent.live)
    app.test_client_class = Browser
    return app.test_client()


def test_the_predecessors_paths_answer_in_its_shapes(browser: FlaskClient) -> None:
    status = browser.get("/api/status").json
    assert {"status", "version", "connected_clients", "port", "websocket_endpoint", "features", "statistics", "timestamp"} <= set(status)
    assert status["status"] == "running"
    assert set(status["statistics"]) == {"total_connections", "current_connections", "messages_sent", "errors"}
    assert [session["id"] for session in browser.get("/api/sessions/active").json] == ["s0"]
    assert len(browser.get("/api/sessions/recent?limit=20").json) == 20
    analytics = browser.get("/api/analytics/current").json
    assert {"today", "weekly", "current_block", "total_active_sessions", "last_updated"} <= set(analytics)
    assert len(browser.get("/api/five-hour-blocks?limit=2").json) == 2
    config = browser.get("/api/dashboard-config").json
    assert (config["localhost_port"], config["real_time_enabled"]) == (3001, True)


def test_a_machine_is_found_by_every_name_that_it_has_here_and_at_the_relay(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", no_defaults=True, name="Alice's laptop", relay="http://127.0.0.1:1", key=a_key())
    with HomeLock(settings.home) as lock:
        agent = Agent(settings, Identity("me", "here"), lock, clock=lambda: NOW)
        try:
            with agent.archive.step() as step:
                step.put(Record("machine", "me", json.dumps({"name": settings.name})))
                step.put(Record("session", "s1", json.dumps({"id": "s1", "session_type": "codex", "start_time": NOW, "last_activity": NOW, "is_active": False})))
            asked = {name: agent.serving.ask("/sessions", machine=name)["total"] for name in ("me", "Alice's laptop", "laptop", "desktop")}
        finally:
            agent.archive.close()
    assert asked == {"me": 1, "Alice's laptop": 1, "laptop": 1, "desktop": 0}


def test_a_list_that_did_not_change_is_not_sent_twice(browser: FlaskClient) -> None:
    etag = browser.get("/api/sessions?limit=5").headers["etag"]
    again = browser.get("/api/sessions?limit=5", headers={"If-None-Match": etag})
    assert (again.status_code, again.data) == (304, b"")


def test_the_page_is_served_with_a_strict_policy(browser: FlaskClient) -> None:
    page = browser.get("/")
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert browser.get("/", headers={"If-None-Match": page.headers["etag"]}).status_code == 304


@pytest.mark.parametrize("path", ["/../local_agent/agent.py", "/%2e%2e/ledger/record.py", "/tools/vendor.py", "/.git/config", "/nothing", "/js", "/css/../../pyproject.toml", "/index.html%00.js"])
def test_nothing_but_the_page_is_served(browser: FlaskClient, path: str) -> None:
    assert browser.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/api/status", "/api/sessions", "/api/v1/feed", "/api/export", "/api/openapi.json", "/", "/metrics", "/healthz"])
def test_a_foreign_page_gets_not_one_byte_of_data(browser: FlaskClient, path: str) -> None:
    for headers in ({"Origin": EVIL}, {"Origin": "null"}, {"Host": "evil.example:3001"}, {"Origin": EVIL, "Sec-Fetch-Site": "cross-site"}):
        answer = browser.get(path, headers=headers)
        assert answer.status_code == 403
        assert json.loads(answer.data)["status"] == 403
        assert "access-control-allow-origin" not in answer.headers


def test_an_allowed_page_may_read(browser: FlaskClient) -> None:
    answer = browser.get("/api/sessions/active", headers={"Origin": FOREIGN})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == FOREIGN
    assert "Origin" in answer.headers["vary"]


def test_a_preflight_is_answered_for_those_who_may(browser: FlaskClient) -> None:
    for origin in (HERE, FOREIGN):
        answer = browser.options("/ws", headers={"Origin": origin})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, origin)
        assert "X-API-Key" in answer.headers["access-control-allow-headers"]
    assert browser.options("/ws", headers={"Origin": EVIL}).status_code == 403


def test_old_scripts_post_as_they_always_did(browser: FlaskClient, agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[dict] = []
    monkeypatch.setattr(agent.live, "broadcast", lambda tenant, message: heard.append(message))
    update = {"event": "session_started", "session": {"id": "test", "session_type": "test"}, "timestamp": "2025-08-16T21:37:00"}
    answer = browser.post("/api/session-update", json=update)
    assert (answer.status_code, answer.json) == (200, {"status": "received"})
    assert heard == [{"type": "session_update", **update}]
    assert browser.post("/api/session-update", data=json.dumps({"event": "x", "session": {}})).json == {"status": "received"}
    assert browser.post("/api/netlify-sync").json == {"status": "sync_started"}


@pytest.mark.parametrize("update", [{}, {"event": "x"}, {"session": {}}, {"event": "", "session": {}}, {"event": "x", "session": "s1"}, {"event": "x", "session": None}])
def test_an_update_that_tells_of_no_session_is_refused_and_goes_to_nobody(browser: FlaskClient, agent: Agent, monkeypatch: pytest.MonkeyPatch, update: dict) -> None:
    heard: list[dict] = []
    monkeypatch.setattr(agent.live, "broadcast", lambda tenant, message: heard.append(message))
    answer = browser.post("/api/session-update", json=update)
    assert (answer.status_code, answer.json["type"], heard) == (400, "malformed", [])


@pytest.mark.parametrize("content", [{"data": b"{"}, {"data": b"[]"}, {"data": b"null"}, {"data": b""}, {"data": b'{"a":NaN}'}, {"data": b"\xff"}, {"data": b"[" * 100_000}])
def test_a_body_that_is_no_object_is_refused_in_words(browser: FlaskClient, content: dict) -> None:
    answer = browser.post("/api/session-update", **content)
    assert (answer.status_code, answer.json["type"]) == (400, "malformed")


FORMS = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "text/plain; application/json", "application/json+evil"]


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("path", ["/api/session-update", "/api/netlify-sync"])
def test_what_a_form_could_send_is_refused(browser: FlaskClient, path: str, kind: str) -> None:
    for origin in (HERE, FOREIGN, EVIL, "null"):
        answer = browser.post(path, data=b'{"event":"x"}', content_type=kind, headers={"Origin": origin})
        assert answer.status_code in (403, 415)
    assert browser.post(path, data=b'{"event":"x"}', content_type=kind, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403


def test_reading_changes_nothing_and_nothing_changes_by_reading(browser: FlaskClient) -> None:
    for path in ("/api/session-update", "/api/netlify-sync"):
        assert browser.get(path).status_code in (404, 405)


@pytest.mark.parametrize(
    ("method", "path", "status", "type"),
    [
        ("GET", "/nothing", 404, "not-found"), ("GET", "/api/nothing", 404, "not-found"), ("POST", "/nothing", 405, "method-not-allowed"),
        ("POST", "/api/nothing", 405, "method-not-allowed"), ("DELETE", "/", 405, "method-not-allowed"), ("PUT", "/api/session-update", 405, "method-not-allowed"),
        ("POST", "/metrics", 405, "method-not-allowed"), ("POST", "/api/sessions", 405, "method-not-allowed"),
    ],
)  # fmt: skip
def test_every_refusal_is_a_problem_document(browser: FlaskClient, method: str, path: str, status: int, type: str) -> None:
    answer = browser.open(path, method=method)
    assert (answer.status_code, answer.content_type, answer.json["type"]) == (status, "application/problem+json", type)
    assert status == 404 or answer.headers["allow"]


def test_a_monitor_finds_its_numbers_and_whether_all_is_well(browser: FlaskClient, agent: Agent) -> None:
    agent.eyes.reports['odd "name"'] = {"state": "unreadable", "skipped": {"no id": 2, "no time": 3}}
    text = browser.get("/metrics").get_data(as_text=True)
    assert 'session_agent_reader_ok{reader="odd \\"name\\""} 0' in text
    assert 'session_agent_left_out{reader="odd \\"name\\""} 5' in text
    assert browser.get("/healthz").json == {"ok": True, "trouble": []}
    agent.archive._full_until = NOW + 1
    agent.eyes.looked_at -= 10**6
    red = browser.get("/healthz")
    assert (red.status_code, red.json["trouble"]) == (503, ["reading has stopped", "the disk is full"])


def test_the_greeting_is_the_predecessors(agent: Agent) -> None:
    class SomeViewer:
        id = "client_1"

    [greeting] = agent.serving.initial_data(SomeViewer())  # type: ignore[arg-type]
    assert (greeting["type"], greeting["client_id"]) == ("initial_data", "client_1")
    assert (len(greeting["active_sessions"]), len(greeting["recent_sessions"]), len(greeting["five_hour_blocks"])) == (1, 10, 5)
    assert set(greeting["config"]) == {"ping_interval", "auto_refresh"}
    assert {"today", "weekly", "current_block"} <= set(greeting["analytics"])


def test_only_what_can_be_news_wakes_the_readers() -> None:
    quiet = is_no_news(Settings(home=Path("/u/home"), trackers=(Path("/u/db/a.db"), Path("/u/db/b.db"), Path("/u/home/own.db")), transcripts=(Path("/u/.claude"),)))
    for path in ("/u/home/archive.db-wal", "/u/db/other.log"):
        assert quiet(path)
    for path in ("/u/db/a.db", "/u/db/b.db-wal", "/u/home/own.db-journal", "/u/home/statusline/x.json", "/u/.claude/projects/p/s.jsonl"):
        assert not quiet(path)
