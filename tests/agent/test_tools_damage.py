"""Whatever stands in a tool's files, its reader goes on: nothing raises, and every count stays within bounds."""
from __future__ import annotations

import json
import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local_agent.archive import LOCAL, Archive
from local_agent.readers import lines as lines_of_files
from local_agent.readers.codex import Codex
from local_agent.readers.gemini import Gemini
from local_agent.readers.opencode import Opencode
from local_agent.readers.tool import ToolReader
from tests.agent.trackers import NOW, anything

NAMES = ["type", "payload", "id", "session_id", "timestamp", "cwd", "git", "branch", "model", "info", "total_token_usage", "last_token_usage", "input_tokens", "cached_input_tokens", "output_tokens", "rate_limits", "primary", "secondary", "used_percent", "window_minutes", "resets_at", "resets_in_seconds", "source", "subagent", "thread_spawn", "parent_thread_id", "forked_from_id", "model_context_window", "sessionId", "startTime", "lastUpdated", "messages", "tokens", "input", "output", "cached", "thoughts", "tool", "total", "sessionID", "role", "modelID", "time", "created", "updated", "cache", "read", "write", "cost", "path", "root", "title", "directory"]
WORDS = ("session_meta", "turn_context", "event_msg", "token_count", "gemini", "user", "assistant", "2026-11-18T10:00:00Z", "gpt-5", "x")


def shape(rng: random.Random, depth: int = 4) -> object:
    """A JSON value with the names that readers look for, in the wrong places as often as in the right ones."""
    roll = rng.random()
    if depth and roll < 0.55:
        return {rng.choice(NAMES): shape(rng, depth - 1) for _ in range(rng.randrange(1, 8))}
    if depth and roll < 0.65:
        return [shape(rng, depth - 1) for _ in range(rng.randrange(4))]
    if roll < 0.8:
        return rng.choice(WORDS)
    value = anything(rng)
    return value if not isinstance(value, bytes) else 10**30


def lines(rng: random.Random) -> bytes:
    found = []
    for _ in range(rng.randrange(1, 12)):
        entry = {"type": rng.choice(WORDS), "timestamp": "2026-11-18T10:00:00Z", "payload": {"type": rng.choice(WORDS), **dict.fromkeys(rng.sample(NAMES, 3), shape(rng))}}
        found.append(json.dumps(rng.choice((entry, shape(rng)))).encode())
    return b"\n".join(found) + rng.choice((b"\n", b"", b"\n{\"token_count\""))


def write_codex(home: Path, rng: random.Random) -> ToolReader:
    (home / "sessions").mkdir(parents=True)
    for n in range(3):
        (home / "sessions" / f"rollout-{n}.jsonl").write_bytes(lines(rng))
    return ToolReader(Codex(home))


def write_gemini(home: Path, rng: random.Random) -> ToolReader:
    folder = home / "tmp" / "hash" / "chats"
    folder.mkdir(parents=True)
    (folder / "a.jsonl").write_bytes(lines(rng))
    (folder / "b.json").write_text(json.dumps({"sessionId": "b", "messages": [shape(rng) for _ in range(6)]}))
    (folder / "c.json").write_text(json.dumps(shape(rng)))
    return ToolReader(Gemini(home))


def write_opencode(home: Path, rng: random.Random) -> ToolReader:
    folder = home / "storage" / "message" / "ses_1"
    folder.mkdir(parents=True)
    for n in range(4):
        (folder / f"msg_{n}.json").write_text(json.dumps(shape(rng)))
    database = sqlite3.connect(home / "opencode.db")
    database.execute("CREATE TABLE session (id text, title text, directory text, time_created integer, time_updated integer)")
    database.execute("CREATE TABLE message (id text, session_id text, time_created integer, time_updated integer, data text)")
    for _ in range(6):
        row = [each if not isinstance(each, int) or abs(each) < 1 << 63 else 0 for each in (anything(rng) for _ in range(4))]
        database.execute("INSERT INTO message VALUES (?, ?, ?, ?, ?)", [*row, json.dumps(shape(rng))])
        database.execute("INSERT INTO session VALUES (?, ?, ?, ?, ?)", [*row, NOW])
    database.commit()
    database.close()
    return ToolReader(Opencode(home))


def test_a_line_that_is_too_long_is_passed_over_and_those_after_it_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(lines_of_files, "LONGEST", 100)
    monkeypatch.setattr(lines_of_files, "CHUNK", 64)
    path, taken = tmp_path / "file.jsonl", []
    path.write_bytes(b"one\n" + b"x" * 1000 + b"\ntwo\nnot yet whole")
    reading = lines_of_files.read_on(path, lines_of_files.Place(), taken.append, lambda anew: None)
    assert (taken, reading.long, reading.place.offset) == ([b"one", b"two"], 1, 1009)


@pytest.mark.fault(41)
@pytest.mark.parametrize("write", [write_codex, write_gemini, write_opencode])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_nothing_that_a_file_may_hold_stops_its_reader(tmp_path_factory, write, seed):
    home = tmp_path_factory.mktemp("home")
    archive = Archive(home / "archive.db", source="laptop", clock=lambda: NOW)
    reader = write(home / "tool", random.Random(seed))
    assert reader.poll(archive, NOW).state == "ok"
    assert reader.poll(archive, NOW).changed == 0
    for row in archive.store.rows(LOCAL, "laptop", kind="session"):
        body = json.loads(row.body)
        assert all(0 <= count < 1 << 53 for use in body.get("usage", []) for count in use[5:11])
        assert 0 < len(row.ref.id) <= 128 and row.ref.id.isprintable()
    archive.close()


@pytest.mark.parametrize("write", [write_codex, write_gemini, write_opencode], ids=["codex", "gemini", "opencode"])
def test_folders_and_files_whose_names_are_no_text_are_read_like_others(tmp_path, write):
    folder = tmp_path / os.fsdecode(b"andr\xe9")
    folder.mkdir()
    reader = write(folder / "tool", random.Random(5))
    for path in [path for path in (folder / "tool").rglob("*.json*") if path.is_file()]:
        path.rename(path.with_name(os.fsdecode(b"\xff") + path.name))
    with closing(Archive(tmp_path / "archive.db", source="laptop", clock=lambda: NOW)) as archive:
        found = reader.poll(archive, NOW)
        assert (found.state, found.counted["files"] > 0) == ("ok", True)
        assert json.dumps([found.detail, *found.skipped]).isascii()
        assert reader.poll(archive, NOW).changed == 0
