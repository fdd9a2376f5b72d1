from __future__ import annotations

import json
from pathlib import Path

import pytest

from ledger.record import Ref
from local_agent.archive import Archive
from local_agent.readers.gemini import Gemini
from local_agent.readers.tool import ToolReader
from tests.agent.trackers import NOW

CHAT = "f86f5318-f47b-4433-85f8-ec9d9a417f8e"


def user(id: str, at: str = "2026-11-18T14:57:28.974Z") -> dict:
    return {"id": id, "timestamp": at, "type": "user", "content": "a secret prompt"}


def gemini(id: str, at: str = "2026-11-18T14:58:07.161Z", **tokens: int) -> dict:
    counts = {"input": 0, "output": 0, "cached": 0, "thoughts": 0, "tool": 0} | tokens
    counts.setdefault("total", counts["input"] + counts["output"] + counts["thoughts"] + counts["tool"])
    return {"id": id, "timestamp": at, "type": "gemini", "content": "an answer", "model": "gemini-3-pro", "tokens": counts}


def chat(*messages: dict) -> dict:
    return {"sessionId": CHAT, "projectHash": "79b6fa86", "startTime": "2026-11-18T14:57:28.974Z", "lastUpdated": "2026-11-18T14:58:07.161Z",
            "messages": list(messages)}


@pytest.fixture
def chats(tmp_path):
    folder = tmp_path / "tmp" / "79b6fa86" / "chats"
    folder.mkdir(parents=True)
    return folder


def read(archive: Archive, home: Path):
    return ToolReader(Gemini(home)).poll(archive, NOW)


def body(archive: Archive) -> dict:
    return json.loads(archive.get(Ref("session", CHAT)) or "{}")


def used(found: dict) -> tuple[int, int, int, int]:
    """(input, output, cache read, requests)"""
    return tuple(sum(row[n] for row in found["usage"]) for n in (5, 6, 9, 10))  # type: ignore[return-value]


def test_what_was_cached_is_taken_out_of_the_input_and_thoughts_are_output(archive, tmp_path, chats):
    (chats / "session-1.json").write_text(json.dumps(chat(user("u1"), gemini("g1", input=1000, output=50, cached=300, thoughts=20, tool=7))))
    report = read(archive, tmp_path)
    assert (report.state, report.counted) == ("ok", {"files": 1, "sessions": 1})
    found = body(archive)
    assert used(found) == (707, 70, 300, 1)
    assert (found["session_type"], found["total_messages"], found["models_used"]) == ("gemini", 2, ["gemini-3-pro"])
    assert "secret" not in json.dumps(found)


def test_a_total_that_says_so_means_that_the_input_is_without_the_cache(archive, tmp_path, chats):
    (chats / "session-1.json").write_text(json.dumps(chat(gemini("g1", input=1000, output=50, cached=300, total=1350))))
    read(archive, tmp_path)
    assert used(body(archive)) == (1000, 50, 300, 1)


def test_a_document_that_was_written_anew_replaces_what_it_said(archive, tmp_path, chats):
    path = chats / "session-1.json"
    path.write_text(json.dumps(chat(gemini("g1", input=1))))
    reader = ToolReader(Gemini(tmp_path))
    reader.poll(archive, NOW)
    path.write_text(json.dumps(chat(gemini("g1", input=10), gemini("g2", input=5))))
    reader.poll(archive, NOW)
    assert used(body(archive))[0] == 15
    assert reader.poll(archive, NOW).changed == 0


def test_of_the_lines_of_one_message_the_last_is_right_wherever_reading_paused(archive, tmp_path, chats):
    path = chats / "session-1.jsonl"
    lines = [{name: value for name, value in chat().items() if name != "messages"}, user("u1"), gemini("g1", input=4), gemini("g1", input=40, output=2)]
    whole = "".join(json.dumps(line) + "\n" for line in lines).encode()
    reader = ToolReader(Gemini(tmp_path))
    for end in range(0, len(whole) + 97, 97):
        path.write_bytes(whole[:end])
        reader.poll(archive, NOW)
    assert used(body(archive)) == (40, 2, 0, 1)
    assert body(archive)["total_messages"] == 2


def test_a_chat_that_is_there_both_ways_is_counted_once(archive, tmp_path, chats):
    (chats / "session-1.json").write_text(json.dumps(chat(gemini("g1", input=4))))
    (chats / "session-1.jsonl").write_text(json.dumps({"sessionId": CHAT}) + "\n" + json.dumps(gemini("g1", input=40)) + "\n")
    read(archive, tmp_path)
    assert used(body(archive)) == (40, 0, 0, 1)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_document_is_named_and_stops_nothing(archive, tmp_path, chats, content):
    (chats / "a.json").write_bytes(content)
    (chats / "b.json").write_text(json.dumps(chat(gemini("g1", input=4), {"type": "gemini"}, 7)))
    report = read(archive, tmp_path)
    assert report.skipped == {"unreadable file": 1, "no id": 1}
    assert used(body(archive))[0] == 4


def test_a_machine_without_gemini_is_no_problem(archive, tmp_path):
    assert read(archive, tmp_path / "nothing").state == "absent"
