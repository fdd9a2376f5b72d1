"""Telemetry at the agent: one more way to hear of a session, in which transcripts win."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ledger.record import Ref
from local_agent.agent import Agent
from local_agent.identity import Identity
from local_agent.lock import HomeLock
from local_agent.readers import sessions
from local_agent.server import create_app
from local_agent.settings import Settings
from tests.agent.test_server import HERE, Browser
from tests.ledger.test_otlp import ID, NOW, event, logs


@pytest.fixture
def desk(tmp_path: Path) -> Any:
    settings = Settings(home=tmp_path / "home", no_defaults=True, name="laptop")
    with HomeLock(settings.home) as lock:
        agent = Agent(settings, Identity("me", "here"), lock, clock=lambda: NOW)
        app = create_app(agent.serving, agent.live)
        app.test_client_class = Browser
        yield agent, app.test_client()
        agent.archive.close()


def told(browser: Any) -> list[dict[str, Any]]:
    return [{name: each[name] for name in ("id", "provenance", "estimated_tokens")} for each in browser.get("/api/sessions").json["sessions"]]


def test_a_session_of_a_container_is_shown_and_kept(desk: Any) -> None:
    agent, browser = desk
    for _ in range(2):
        assert browser.post("/v1/logs", json=logs(event())).json == {}
    assert told(browser) == [{"id": ID, "provenance": "telemetry", "estimated_tokens": 100}]
    assert b'"otel"' not in browser.get(f"/api/sessions/{ID}").data
    assert agent.archive.head().seq == 1


def test_a_forgotten_session_leaves_nothing_of_what_was_told(desk: Any) -> None:
    agent, browser = desk
    browser.post("/v1/logs", json=logs(event()))
    agent.archive.forget(Ref("session", ID))
    browser.post("/v1/logs", json=logs(event()))
    assert told(browser) == []
    agent.archive.close()
    assert b"claude-sonnet" not in agent.archive.path.read_bytes()


@pytest.mark.parametrize("telemetry_first", [True, False])
def test_a_transcript_wins_whichever_came_first(desk: Any, telemetry_first: bool) -> None:
    agent, browser = desk

    def observed() -> None:
        body = {"id": ID, "session_type": "claude_code", "start_time": NOW - 60_000, "last_activity": NOW - 60_000, "is_active": False, "provenance": "observed",
                "usage": [[NOW - NOW % 900_000, NOW - 60_000, NOW - 60_000, "claude-sonnet-4-5", "standard", 1, 2, 3, 0, 4, 1, None]]}  # fmt: skip
        with agent.archive.step() as step:
            sessions.observe(step, ID, body)

    for act in (lambda: browser.post("/v1/logs", json=logs(event())), observed)[:: 1 if telemetry_first else -1]:
        act()
    browser.post("/v1/logs", json=logs(event(n=7)))
    assert told(browser) == [{"id": ID, "provenance": "observed", "estimated_tokens": 10}]


def test_pages_of_elsewhere_may_not_send_any(desk: Any) -> None:
    _, browser = desk
    for origin in ("https://evil.example", "null"):
        assert browser.post("/v1/logs", json=logs(event()), headers={"Origin": origin}).status_code == 403
    assert browser.post("/v1/logs", data=json.dumps(logs(event())), content_type="text/plain", headers={"Origin": HERE}).status_code == 415
    assert told(browser) == []
