from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from ledger.record import Ref
from local_agent.archive import Archive
from local_agent.readers.opencode import Opencode
from local_agent.readers.tool import ToolReader
from tests.agent.trackers import NOW

SESSION = "ses_469cf929cffeBICghRNeI7BWy6"


def message(id: str, at: int = NOW - 60_000, *, role: str = "assistant", cost: float = 0, **tokens: int) -> dict:
    counts = {"input": 0, "output": 0, "reasoning": 0, "read": 0, "write": 0} | tokens
    return {
        "id": id, "sessionID": SESSION, "role": role, "modelID": "claude-sonnet-4-5", "providerID": "anthropic", "cost": cost,
        "time": {"created": at, "completed": at + 5000}, "path": {"cwd": "/home/ada/relay/sub", "root": "/home/ada/relay"},
        "tokens": {"input": counts["input"], "output": counts["output"], "reasoning": counts["reasoning"],
                   "cache": {"read": counts["read"], "write": counts["write"]}},
    }


class Database:
    def __init__(self, path: Path) -> None:
        self.database = sqlite3.connect(path, isolation_level=None)
        self.database.execute("PRAGMA journal_mode=WAL")
        self.database.execute("CREATE TABLE session (id text primary key, project_id text, directory text, title text, time_created integer, time_updated integer)")
        self.database.execute("CREATE TABLE message (id text primary key, session_id text, time_created integer, time_updated integer, data text)")

    def session(self, id: str = SESSION, title: str = "Tidy the relay") -> None:
        self.database.execute("INSERT OR REPLACE INTO session VALUES (?, 'global', '/home/ada/relay', ?, ?, ?)", (id, title, NOW - 90_000, NOW - 90_000))

    def say(self, said: dict, at: int | None = None) -> None:
        moment = at or said["time"]["created"]
        data = json.dumps({name: value for name, value in said.items() if name not in ("id", "sessionID")})
        self.database.execute("INSERT OR REPLACE INTO message VALUES (?, ?, ?, ?, ?)", (said["id"], said["sessionID"], said["time"]["created"], moment, data))


@pytest.fixture
def home(tmp_path):
    (tmp_path / "opencode").mkdir()
    return tmp_path / "opencode"


def copy(home: Path, said: dict) -> None:
    path = home / "storage" / "message" / said["sessionID"] / f"{said['id']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(said))


def body(archive: Archive) -> dict:
    return json.loads(archive.get(Ref("session", f"opencode:{SESSION}")) or "{}")


def used(found: dict) -> tuple[int, ...]:
    """(input, output, cache write, cache read, requests)"""
    return tuple(sum(row[n] for row in found["usage"]) for n in (5, 6, 7, 9, 10))


def test_a_session_in_the_database_is_the_sum_of_its_messages(archive, home):
    database = Database(home / "opencode.db")
    database.session()
    database.say(message("msg_1", role="user"))
    database.say(message("msg_2", input=100, output=20, reasoning=5, write=7, read=900, cost=0.25))
    report = ToolReader(Opencode(home)).poll(archive, NOW)
    assert (report.state, report.counted) == ("ok", {"files": 1, "sessions": 1})
    found = body(archive)
    assert used(found) == (100, 25, 7, 900, 1)
    assert (found["id"], found["title"], found["project"], found["total_messages"]) == (SESSION, "Tidy the relay", "relay", 2)
    assert found["usage"][0][-1] == 0.25 and "/home" not in json.dumps(found)


def test_what_is_written_later_is_seen_though_the_database_itself_did_not_change(archive, home):
    database = Database(home / "opencode.db")
    database.session()
    database.say(message("msg_1", input=100))
    reader = ToolReader(Opencode(home))
    reader.poll(archive, NOW)
    assert reader.poll(archive, NOW).changed == 0
    database.say(message("msg_1", input=150), at=NOW)
    database.say(message("msg_2", input=1, at=NOW))
    reader.poll(archive, NOW)
    assert used(body(archive))[0] == 151
    assert body(archive)["title"] == "Tidy the relay"


def test_the_json_files_of_older_versions_are_read(archive, home):
    folder = home / "storage" / "session" / "global"
    folder.mkdir(parents=True)
    (folder / f"{SESSION}.json").write_text(json.dumps({"id": SESSION, "title": "Old", "directory": "/home/ada/relay", "time": {"created": NOW - 9, "updated": NOW}}))
    for n in range(3):
        copy(home, message(f"msg_{n}", input=10))
    ToolReader(Opencode(home)).poll(archive, NOW)
    assert used(body(archive))[0] == 30
    assert (body(archive)["title"], body(archive)["project"]) == ("Old", "relay")


def test_where_both_tell_of_a_message_the_database_is_right_in_any_order(archive, home):
    copy(home, message("msg_1", input=999))
    copy(home, message("msg_0", input=5))
    ToolReader(Opencode(home)).poll(archive, NOW)
    database = Database(home / "opencode.db")
    database.session()
    database.say(message("msg_1", input=100))
    ToolReader(Opencode(home)).poll(archive, NOW)
    assert used(body(archive))[0] == 105


def test_a_message_that_was_deleted_stays_paid(archive, home):
    database = Database(home / "opencode.db")
    database.session()
    database.say(message("msg_1", input=100))
    reader = ToolReader(Opencode(home))
    reader.poll(archive, NOW)
    database.database.execute("DELETE FROM message")
    reader.poll(archive, NOW)
    assert used(body(archive))[0] == 100


def test_damage_is_named_and_stops_nothing(archive, home):
    database = Database(home / "opencode.db")
    database.session()
    database.database.execute("INSERT INTO message VALUES ('msg_0', ?, ?, ?, 'not json')", (SESSION, NOW, NOW))
    database.say(message("msg_1", input=100))
    (home / "opencode-beta.db").write_bytes(b"no database at all, but long enough to be looked at" * 30)
    reader = ToolReader(Opencode(home))
    for _ in range(2):
        assert reader.poll(archive, NOW).skipped == {"unreadable file": 1, "damaged row": 1}
    assert used(body(archive))[0] == 100


def test_a_locked_database_is_read_when_it_is_free_again(archive, home):
    database = Database(home / "opencode.db")
    database.database.execute("PRAGMA journal_mode=DELETE")
    database.session()
    database.say(message("msg_1", input=100))
    database.database.execute("BEGIN EXCLUSIVE")
    reader = ToolReader(Opencode(home))
    assert reader.poll(archive, NOW).skipped == {"not readable now": 1}
    database.database.execute("ROLLBACK")
    reader.poll(archive, NOW)
    assert used(body(archive))[0] == 100
