"""What a monitor is told of an agent."""
from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from ledger.record import Record
from local_agent import metrics
from local_agent.agent import Agent
from local_agent.delivery import Outcome
from local_agent.identity import Identity
from local_agent.lock import HomeLock
from local_agent.settings import Settings

NOW = 1_795_000_000_000


@contextmanager
def an_agent(folder: Path) -> Iterator[Agent]:
    """One with a session, a limit, a reader and a relay."""
    settings = Settings(home=folder / "home", no_defaults=True, name="Alice's laptop")
    with HomeLock(settings.home) as lock:
        agent = Agent(settings, Identity("me", "here"), lock, clock=lambda: NOW)
        usage = [[(at := NOW - minutes * 60_000) - at % 900_000, at, at, "claude-sonnet-4-5", "standard", 10, 20, 0, 0, 5, 1, None] for minutes in (50, 1)]
        body = {"id": "s", "session_type": "claude_code", "account": "a", "start_time": NOW - 3_000_000, "last_activity": NOW - 60_000, "provenance": "observed", "usage": usage, "project": "secret"}
        limit = {"tool": "claude_code", "account": "a", "window": "five_hour", "used_percent": 42.5, "resets_at": NOW + 3_600_000, "observed_at": NOW, "source": "statusline"}
        with agent.archive.step() as step:
            step.put(Record("session", "s", json.dumps(body)))
            step.put(Record("limit", "claude_code/a/five_hour", json.dumps(limit)))
        agent.eyes.reports = {"claude_code": {"state": "ok", "skipped": {"damaged line": 3}}}
        agent.courier = SimpleNamespace(outcome=Outcome("synced", agreed=True), agreed=7, clock_offset_ms=0)  # type: ignore[assignment]
        yield agent
        agent.archive.close()


def everything_of_an_agent() -> str:
    with tempfile.TemporaryDirectory() as folder, an_agent(Path(folder)) as agent:
        return metrics.text(agent)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    with an_agent(tmp_path) as made:
        yield made


def test_use_is_told_in_numbers(agent: Agent) -> None:
    text = metrics.text(agent)
    assert 'session_agent_usage_limit_used_percent{tool="claude_code",window="five_hour"} 42.5' in text
    assert 'session_agent_usage_tokens{span="all"} 70' in text
    assert "session_agent_usage_sessions_active 1" in text
    assert 'session_agent_left_out{reader="claude_code"} 3' in text
    assert "secret" not in text
    assert "Alice" not in text
    assert all(re.fullmatch(r'#.*|[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9.e+-]+|', line) for line in text.split("\n"))


def test_health_is_green_while_all_is_well(agent: Agent) -> None:
    assert metrics.trouble(agent) == []
    assert "session_agent_healthy 1" in metrics.text(agent)


def test_health_is_red_for_each_reason(agent: Agent) -> None:
    agent.eyes.looked_at = NOW - metrics.LATE_MS - 1
    assert metrics.trouble(agent) == ["reading has stopped"]
    agent.eyes.looked_at = NOW
    assert agent.courier
    agent.courier.clock_offset_ms = -400_000  # type: ignore[misc]
    assert metrics.trouble(agent) == ["this computer's clock is -400 s off by the relay's"]
    agent.courier.clock_offset_ms = 0  # type: ignore[misc]
    agent.courier.outcome = replace(agent.courier.outcome, state="halted", detail="the key was revoked")
    assert metrics.trouble(agent) == ["the key was revoked"]
    agent.archive._full_until = NOW + 1
    assert metrics.trouble(agent)[0] == "the disk is full"
    assert "session_agent_healthy 0" in metrics.text(agent)
