"""A relay that keeps three weeks shows three weeks of sessions, and every token that there ever was."""
from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.test_refill import a_tracker
from tests.processes import command, get, site


def test_old_sessions_leave_and_their_tokens_stay(tmp_path: Path) -> None:
    tracker = a_tracker(tmp_path / "tracker.db", 0)
    with sqlite3.connect(tracker) as sql:
        for n in range(60):
            at = (datetime.now(UTC) - timedelta(days=n)).strftime("%Y-%m-%dT12:00:00.000Z")
            sql.execute("INSERT INTO real_sessions(id, session_type, start_time, models_used, estimated_tokens) VALUES(?, 'claude_code', ?, 'claude-opus-4-1', ?)", (f"s{n}", at, 1000 + n))
    sql.close()
    with site(tmp_path) as place:
        relay = place.relay(RELAY_RETENTION="21d")
        home = str(tmp_path / "home")
        assert command("local_agent", "pair", relay.url, "-", "--home", home, text=place.key(relay, "push", source="laptop")).returncode == 0
        for _ in range(2):
            once = command("local_agent", "once", "--home", home, "--no-defaults", "--tracker", str(tracker), "--tz", "UTC")
            assert once.returncode == 0, once.stderr
        ours = json.loads(command("local_agent", "status", "--json", "--home", home, "--no-defaults").stdout)
        theirs = get(f"{relay.url}/v1/feed?tz=UTC", key=place.key(relay, "read"))["summary"]
    assert ours["sessions"]["total"] == 60
    assert 20 <= theirs["sessions_total"] <= 22
    assert tokens(ours) >= sum(1000 + n for n in range(60)), "totals without kinds count, too"
    assert (tokens(theirs), cost(theirs)) == (tokens(ours), pytest.approx(cost(ours)))


def tokens(summary: dict[str, Any]) -> int:
    return int(summary["totals"]["all"]["tokens"])


def cost(summary: dict[str, Any]) -> float:
    return float(summary["totals"]["all"]["cost"])
