"""Scripts and pages of the predecessor, unchanged: its push client, its polling and its WebSocket talk."""
from __future__ import annotations

import json
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.processes import Running, get, site, until

SECRET = "the-shared-secret-of-old"
FUNCTION = "/.netlify/functions/session-sync"


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Running]]:
    folder = tmp_path_factory.mktemp("predecessor")
    with site(folder) as place:
        relay = place.relay(API_SECRET=SECRET)
        yield place.agent(relay, place.key(relay, "push", source="laptop"), "agent", "--tracker", str(a_tracker(folder))), relay


def a_tracker(folder: Path) -> Path:
    path = folder / "sessions.db"
    now = datetime.now()
    with sqlite3.connect(path) as sql:
        sql.execute("CREATE TABLE real_sessions(id TEXT PRIMARY KEY, session_type TEXT, start_time TIMESTAMP, end_time TIMESTAMP, conversation_id TEXT, models_used TEXT,"
                    " estimated_tokens INTEGER, is_active BOOLEAN, metadata TEXT, process_id INTEGER, project_path TEXT, total_messages INTEGER, five_hour_block_id TEXT,"
                    " created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)")  # fmt: skip
        sql.execute("CREATE TABLE five_hour_blocks(id TEXT PRIMARY KEY, start_time TIMESTAMP, end_time TIMESTAMP, total_sessions INTEGER, total_tokens INTEGER,"
                    " efficiency_score REAL, is_complete BOOLEAN)")  # fmt: skip
        for n in range(25):
            sql.execute("INSERT INTO real_sessions(id, session_type, start_time, models_used, estimated_tokens, is_active, total_messages, metadata) VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
                        (f"session_{n}", "claude-code", (now - timedelta(minutes=10 * n)).isoformat(), "claude-sonnet-4", 1000 + n, n == 0, 3, '{"efficiency": 0.5}'))  # fmt: skip
        for n in range(7):
            sql.execute("INSERT INTO five_hour_blocks VALUES(?, ?, ?, 2, 2000, 0.5, 0)", (f"block_{n}", f"2025-08-{10 + n}T10:00:00", f"2025-08-{10 + n}T15:00:00"))
    sql.close()
    return path


def ask(url: str, *, key: str | None = SECRET, post: Any = None) -> tuple[int, Any]:
    headers = {"Content-Type": "application/json"} | ({"X-API-Key": key} if key else {})
    request = urllib.request.Request(url, headers=headers, data=json.dumps(post).encode() if post is not None else None)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_the_push_clients_sequence_works_unchanged(homes: tuple[Running, Running]) -> None:
    """Status, four GETs from localhost, one POST to the function, and what a page then reads from it."""
    agent, relay = homes
    assert get(f"{agent.url}/api/status")["status"] == "running"
    data = {
        "active_sessions": get(f"{agent.url}/api/sessions/active"), "recent_sessions": get(f"{agent.url}/api/sessions/recent?limit=20"),
        "analytics": get(f"{agent.url}/api/analytics/current"), "five_hour_blocks": get(f"{agent.url}/api/five-hour-blocks?limit=10"),
    }  # fmt: skip
    assert [len(data[part]) for part in ("active_sessions", "recent_sessions", "five_hour_blocks")] == [1, 20, 7]
    first = data["recent_sessions"][0]
    assert {"id", "session_type", "start_time", "end_time", "models_used", "estimated_tokens", "is_active", "metadata", "duration_minutes", "total_messages"} <= set(first)
    assert (first["session_type"], first["models_used"], first["metadata"]) == ("claude_code", ["claude-sonnet-4"], {"efficiency": 0.5})
    assert {"progress_percent", "duration_minutes", "total_tokens"} <= set(data["five_hour_blocks"][0])
    posted = {"source": "session-tracker", "timestamp": datetime.now().isoformat(), "data": data}
    status, answer = ask(f"{relay.url}{FUNCTION}", post=posted)
    assert status == 200
    assert answer["status"] == "received" and answer["source"] == "session-tracker"
    assert answer["cached_items"] == {"active_sessions": 1, "recent_sessions": 20, "five_hour_blocks": 7}
    function = f"{relay.url}{FUNCTION}"
    assert ask(f"{function}/status")[1]["status"] == "running"
    assert {session["id"] for session in data["recent_sessions"]} <= {session["id"] for session in ask(f"{function}/sessions/recent?limit=100")[1]}
    assert "session_0" in {session["id"] for session in ask(f"{function}/sessions/active")[1]}
    assert {"today", "weekly", "current_block"} <= set(ask(f"{function}/analytics/current")[1])
    assert len(ask(f"{function}/five-hour-blocks?limit=10")[1]) == 7
    config = ask(f"{function}/dashboard-config")[1]
    assert config["localhost_fallback"] is True and "localhost_url" in config


def test_a_sparse_post_with_unknown_parts_is_accepted(homes: tuple[Running, Running]) -> None:
    _, relay = homes
    sparse = {"source": "old", "timestamp": "2025-08-16T21:37:00", "data": {"recent_sessions": [{"id": "test", "session_type": "test"}], "extra": 1}}
    assert ask(f"{relay.url}{FUNCTION}", post=sparse)[0] == 200


def test_a_wrong_key_and_a_bad_body_get_an_error_in_the_old_form(homes: tuple[Running, Running]) -> None:
    _, relay = homes
    for status, key, body in ((401, "wrong", {"source": "x", "timestamp": "2025-08-16T21:37:00", "data": {}}), (400, SECRET, {"source": "x"})):
        found, answer = ask(f"{relay.url}{FUNCTION}", key=key, post=body)
        assert (found, set(answer)) == (status, {"error"})


def talk(agent: Running, **more: Any) -> ClientConnection:
    return connect(agent.url.replace("http", "ws") + "/ws", open_timeout=5, **more)


def hear(channel: ClientConnection, *types: str) -> dict[str, Any]:
    """The next message of one of those types."""
    while True:
        message = json.loads(channel.recv(timeout=5))
        if message["type"] in types:
            return message


def test_the_websocket_talk_works_unchanged(homes: tuple[Running, Running]) -> None:
    agent, _ = homes
    with talk(agent) as channel:
        first = json.loads(channel.recv(timeout=5))
        assert first["type"] == "initial_data"
        assert {"client_id", "server_time", "active_sessions", "recent_sessions", "analytics", "five_hour_blocks", "config"} <= set(first)
        assert (len(first["active_sessions"]), len(first["recent_sessions"]), len(first["five_hour_blocks"])) == (1, 10, 5)
        channel.send('{"type":"ping"}')
        assert "timestamp" in hear(channel, "pong")
        channel.send('{"type":"heartbeat"}')
        assert "timestamp" in hear(channel, "heartbeat_ack")
        for nonsense in ("not json", '{"type":"unknown"}', "[]", "null", '{"type":"pong"}', "{" * 1000):
            channel.send(nonsense)
        channel.send('{"type":"request_data"}')
        assert json.loads(channel.recv(timeout=5))["type"] == "initial_data"


def test_an_update_of_a_tracker_is_broadcast_to_everybody(homes: tuple[Running, Running]) -> None:
    agent, _ = homes
    with talk(agent) as one, talk(agent) as two:
        for channel in (one, two):
            hear(channel, "initial_data")
        update = {"event": "session_started", "session": {"id": "session_9"}, "timestamp": "2025-08-16T21:37:00"}
        assert ask(f"{agent.url}/api/session-update", post=update) == (200, {"status": "received"})
        for channel in (one, two):
            assert hear(channel, "session_update") == {"type": "session_update", **update}


def test_a_subscribed_page_gets_the_feed_and_a_heartbeat(homes: tuple[Running, Running]) -> None:
    agent, _ = homes
    with talk(agent, origin=agent.url) as channel:
        hear(channel, "initial_data")
        channel.send(json.dumps({"type": "subscribe", "cursor": None, "tz": "Europe/Berlin"}))
        feed = hear(channel, "feed", "changed")
        assert feed.get("cursor") or feed.get("head")
        assert "server_time" in hear(channel, "hb")


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:9"])
def test_a_foreign_page_gets_no_channel(homes: tuple[Running, Running], origin: str) -> None:
    agent, _ = homes
    with pytest.raises(Exception, match="403"):
        talk(agent, origin=origin)


def test_the_predecessors_sync_call_answers_and_pushes(homes: tuple[Running, Running], tmp_path: Path) -> None:
    agent, _ = homes
    assert ask(f"{agent.url}/api/netlify-sync", post={}) == (200, {"status": "sync_started"})


def test_two_agents_are_shown_together_and_a_stranger_sees_nothing(tmp_path: Path) -> None:
    with site(tmp_path) as place:
        relay = place.relay(store="memory:")
        session = "5ad8b1a2-0000-4000-8000-00000000000a"
        agents = []
        for name, tokens in (("laptop", 100), ("desk", 250)):
            folder = tmp_path / name / "projects/p"
            folder.mkdir(parents=True)
            for lines, id in ((1, session), (1, f"5ad8b1a2-0000-4000-8000-00000000000{'b' if name == 'desk' else 'c'}")):
                write_transcript(folder / f"{id}.jsonl", id, tokens, lines)
            agents.append(place.agent(relay, place.key(relay, "push", source=name), f"home-{name}", "--transcripts", str(tmp_path / name)))
        key = place.key(relay, "read")
        shown = until(lambda: (found := get(f"{relay.url}/sessions", key=key)) and found["total"] == 3 and found, "all three sessions shown")
        once = [one for one in shown["sessions"] if one["id"] == session]
        assert len(once) == 1 and once[0]["tokens"]["output"] == 250
        assert {machine["source"] for machine in machines(relay, key)} == {"laptop", "desk"}
        stranger = place.key(relay, "read", tenant="charlie")
        for path in ("/sessions", "/sessions/active", "/sessions/recent", "/v1/feed", "/machines", "/five-hour-blocks", "/limits", "/export?format=jsonl", "/analytics/current"):
            request = urllib.request.Request(relay.url + path, headers={"Authorization": f"Bearer {stranger}"})
            with urllib.request.urlopen(request, timeout=10) as answer:
                content = answer.read()
            assert b"5ad8b1a2" not in content and b"laptop" not in content
        assert ask(f"{relay.url}/sessions/{session}", key=stranger)[0] == 404


def machines(relay: Running, key: str) -> list[dict[str, Any]]:
    found = get(f"{relay.url}/machines", key=key)
    return found["machines"] if isinstance(found, dict) else found


def write_transcript(path: Path, session: str, tokens: int, lines: int) -> None:
    usage = {"input_tokens": 1, "output_tokens": tokens, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    with path.open("a") as file:
        for n in range(lines):
            message = {"id": f"msg_{session}{n}", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5-20250929", "content": [], "usage": usage}
            line = {"type": "assistant", "sessionId": session, "timestamp": f"2026-11-20T10:0{n}:00.000Z", "uuid": f"{session}{n}", "requestId": f"req_{session}{n}",
                    "cwd": "/home/alice/shop", "message": message}  # fmt: skip
            file.write(json.dumps(line, separators=(",", ":")) + "\n")

