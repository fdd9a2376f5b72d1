from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import untidy
from ledger.times import iso, iso_or_none
from local_agent.archive import LOCAL, Archive
from local_agent.readers import tracker_dialects, tracker_file
from local_agent.readers.tracker import TrackerReader
from local_agent.readers.tracker_file import TrackerFile
from tests.agent.trackers import DIALECTS, NOW, Tracker, a_row, anything

DAY = 24 * 3600 * 1000
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tracker.db"


def reader_of(path: Path) -> TrackerReader:
    return TrackerReader(path, zone=BERLIN, file=TrackerFile(path, patience_s=0.01))


def bodies(archive: Archive, kind: str = "session") -> dict[str, dict]:
    return {row.ref.id: json.loads(row.body) for row in archive.store.rows(LOCAL, "laptop", kind=kind)}


def shown(archive: Archive, kind: str = "session") -> set[str]:
    return {body["id"] for body in bodies(archive, kind).values()}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_is_told_apart_by_looking_inside(archive, path, dialect):
    tracker = Tracker(path, dialect)
    tracker.write(**a_row(1))
    tracker.write_block(id="block_1", start_time="2026-11-18T10:00:00Z", total_tokens=5, is_complete=1)
    reader = reader_of(path)
    assert reader.poll(archive, NOW).state == "ok"
    assert reader._file.look() is None or reader._file.look().contents.dialect.name == dialect
    assert shown(archive) == {"session_1"}
    assert shown(archive, "block") == {"block_1"}


def test_a_tracker_that_nothing_was_written_to_costs_no_reading(archive, path, monkeypatch):
    tracker, scans = Tracker(path), []
    monkeypatch.setattr(tracker_file, "read", lambda database: scans.append(path) or tracker_dialects.read(database))
    tracker.write(**a_row(1))
    reader = reader_of(path)
    assert reader.poll(archive, NOW).changed == 1
    before = archive.head()
    assert [reader.poll(archive, NOW).changed for _ in range(3)] == [0, 0, 0]
    assert (archive.head(), len(scans)) == (before, 1)
    tracker.write(**a_row(2))
    assert reader.poll(archive, NOW).changed == 1 and len(scans) == 2


def test_a_row_that_was_deleted_is_deleted_and_a_new_one_is_seen(archive, path):
    tracker = Tracker(path)
    tracker.write(**a_row(1))
    tracker.write(**a_row(2))
    reader = reader_of(path)
    reader.poll(archive, NOW)
    tracker.remove("session_1")
    tracker.write(**a_row(3))
    assert reader.poll(archive, NOW).changed == 2
    assert shown(archive) == {"session_2", "session_3"}


def test_a_row_that_was_deleted_while_nobody_looked_is_deleted(archive, path):
    tracker = Tracker(path)
    for serial in (1, 2):
        tracker.write(**a_row(serial))
    first = reader_of(path)
    first.poll(archive, NOW)
    first.close()
    tracker.remove("session_1")
    reader_of(path).poll(archive, NOW)
    assert shown(archive) == {"session_2"}


def test_the_last_row_can_be_deleted_too(archive, path):
    tracker = Tracker(path)
    tracker.write(**a_row(1))
    reader = reader_of(path)
    reader.poll(archive, NOW)
    tracker.remove("session_1")
    reader.poll(archive, NOW)
    assert shown(archive) == set()


def test_a_file_that_vanished_deletes_nothing(archive, path):
    tracker = Tracker(path)
    tracker.write(**a_row(1))
    reader = reader_of(path)
    reader.poll(archive, NOW)
    tracker.close()
    path.unlink()
    report = reader.poll(archive, NOW)
    assert report.state == "unreadable" and "stays" in report.detail and report.counted["sessions"] == 1
    assert shown(archive) == {"session_1"}


def test_a_tracker_that_never_was_there_is_absent_not_broken(archive, path):
    assert reader_of(path).poll(archive, NOW).state == "absent"


def put_empty(path: Path, aside: Path) -> None:
    Tracker(aside, mode="DELETE").close()
    os.replace(aside, path)


def write_empty_over(path: Path, aside: Path) -> None:
    Tracker(aside, mode="DELETE").close()
    path.write_bytes(aside.read_bytes())


@pytest.mark.fault(40)
@pytest.mark.parametrize("how", [put_empty, write_empty_over])
def test_an_empty_database_in_its_place_deletes_nothing(archive, path, tmp_path, how):
    tracker = Tracker(path, mode="DELETE")
    for serial in range(200):
        tracker.write(**a_row(serial))
    tracker.close()
    reader = reader_of(path)
    reader.poll(archive, NOW)
    how(path, tmp_path / "aside.db")
    report = reader.poll(archive, NOW)
    assert len(shown(archive)) == 200
    assert report.changed == 0 and "stays" in report.detail


@pytest.mark.parametrize("how", [put_empty, write_empty_over])
def test_what_an_empty_database_in_its_place_is_filled_with_deletes_nothing_either(archive, path, tmp_path, how):
    tracker = Tracker(path, mode="DELETE")
    for serial in range(200):
        tracker.write(**a_row(serial))
    tracker.close()
    reader = reader_of(path)
    reader.poll(archive, NOW)
    how(path, tmp_path / "aside.db")
    reader.poll(archive, NOW)
    again = sqlite3.connect(path, isolation_level=None)
    again.execute("INSERT INTO five_hour_blocks(id, start_time) VALUES ('b', '2026-11-18T10:00:00Z')")
    reader.poll(archive, NOW)
    assert len(bodies(archive)) == 200
    again.execute("INSERT INTO real_sessions(id, start_time) VALUES ('session_1', '2026-11-20T10:00:00Z')")
    reader.poll(archive, NOW)
    assert len(bodies(archive)) == 201
    again.execute("INSERT INTO real_sessions(id, start_time) VALUES ('session_2', '2026-11-20T11:00:00Z')")
    again.execute("DELETE FROM real_sessions WHERE id = 'session_1'")
    reader_of(path).poll(archive, NOW)
    assert len(bodies(archive)) == 202, "nothing is shared with what was seen, so nothing was surely deleted"
    again.close()


@pytest.mark.fault(40)
@pytest.mark.parametrize("content", [b"", b"not a database, but long enough to be looked at" * 40, b"SQLite format 3\0" + b"\xff" * 4000])
def test_what_is_no_database_is_unreadable_and_deletes_nothing(archive, path, content):
    tracker = Tracker(path, mode="DELETE")
    tracker.write(**a_row(1))
    reader = reader_of(path)
    reader.poll(archive, NOW)
    tracker.close()
    path.write_bytes(content)
    assert reader.poll(archive, NOW).state == "unreadable"
    assert shown(archive) == {"session_1"}
    path.unlink()
    Tracker(path).write(**a_row(1))
    assert reader.poll(archive, NOW).state == "ok"


@pytest.mark.fault(40)
@pytest.mark.parametrize("missing", ["real_sessions", "five_hour_blocks"])
def test_a_half_migrated_tracker_is_unreadable_until_it_is_whole_again(archive, path, missing):
    tracker = Tracker(path)
    tracker.write(**a_row(1))
    reader = reader_of(path)
    reader.poll(archive, NOW)
    tracker.database.execute(f"ALTER TABLE {missing} RENAME TO half_done")
    assert reader.poll(archive, NOW).state == "unreadable"
    assert shown(archive) == {"session_1"}
    tracker.database.execute(f"ALTER TABLE half_done RENAME TO {missing}")
    assert reader.poll(archive, NOW).state == "ok"


@pytest.mark.fault(40)
@pytest.mark.parametrize("column", ["id", "start_time"])
def test_a_table_that_lost_what_tells_its_rows_apart_is_unreadable_and_deletes_nothing(archive, path, column):
    tracker = Tracker(path, mode="DELETE")
    tracker.write(**a_row(1))
    tracker.close()
    reader = reader_of(path)
    reader.poll(archive, NOW)
    known = shown(archive)
    with sqlite3.connect(path) as migrating:
        [(table,)] = migrating.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE '%session%'").fetchall()
        migrating.execute(f"ALTER TABLE {table} RENAME COLUMN {column} TO {column}_old")
    migrating.close()
    report = reader.poll(archive, NOW)
    assert report.state == "unreadable" and "half migrated" in report.detail
    assert shown(archive) == known == {"session_1"}
    reader.close()


@pytest.mark.parametrize("put", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_file_is_unreadable_and_waited_for_by_nobody(archive, path, put):
    put(path)
    report = reader_of(path).poll(archive, NOW)
    assert (report.state, report.changed) == ("unreadable", 0) and "not a file" in report.detail


def test_a_locked_tracker_is_unreadable_for_now(archive, path):
    tracker = Tracker(path, mode="DELETE")
    tracker.write(**a_row(1))
    reader = reader_of(path)
    reader.poll(archive, NOW)
    tracker.database.execute("BEGIN EXCLUSIVE")
    tracker.write(**a_row(2))
    report = reader.poll(archive, NOW)
    assert report.state == "unreadable" and "locked" in report.detail
    tracker.database.execute("COMMIT")
    assert reader.poll(archive, NOW).state == "ok"
    assert shown(archive) == {"session_1", "session_2"}


def test_what_is_not_committed_is_not_seen(archive, path):
    tracker = Tracker(path)
    tracker.write(**a_row(1))
    reader = reader_of(path)
    tracker.database.execute("BEGIN")
    tracker.write(**a_row(2))
    reader.poll(archive, NOW)
    assert shown(archive) == {"session_1"}
    tracker.database.execute("COMMIT")
    reader.poll(archive, NOW)
    assert shown(archive) == {"session_1", "session_2"}


def test_a_tracker_whose_name_is_no_text_is_read_like_another(archive, tmp_path):
    path = tmp_path / os.fsdecode(b"andr\xe9.db")
    reader = reader_of(path)
    assert "andr?.db" in reader.poll(archive, NOW).detail
    Tracker(tmp_path / "plain.db", mode="DELETE").write(**a_row(1))
    (tmp_path / "plain.db").rename(path)
    assert (reader.poll(archive, NOW).state, shown(archive)) == ("ok", {"session_1"})


def test_two_trackers_with_the_same_ids_never_mix(archive, tmp_path):
    for name, tokens in (("a.db", 1), ("b.db", 2)):
        tracker = Tracker(tmp_path / name)
        tracker.write(**a_row(1, estimated_tokens=tokens))
        reader_of(tmp_path / name).poll(archive, NOW)
    assert sorted(body["estimated_tokens"] for body in bodies(archive).values()) == [1, 2]
    assert shown(archive) == {"session_1"}


@pytest.mark.fault(40)
def test_another_tracker_at_the_same_place_does_not_mix_with_the_one_before(archive, path, tmp_path):
    first = Tracker(path, mode="DELETE")
    first.write(**a_row(1, estimated_tokens=11))
    first.close()
    reader = reader_of(path)
    reader.poll(archive, NOW)
    kept = shutil.copy(path, tmp_path / "kept.db")
    second = Tracker(tmp_path / "second.db", mode="DELETE")
    second.write(**a_row(9, id="session_1", estimated_tokens=22))
    second.close()
    os.replace(tmp_path / "second.db", path)
    reader.poll(archive, NOW)
    assert sorted(body["estimated_tokens"] for body in bodies(archive).values()) == [11, 22]
    os.replace(kept, path)
    assert reader.poll(archive, NOW).changed == 0


@pytest.mark.fault(40)
def test_a_tracker_put_back_to_an_older_copy_is_believed(archive, path, tmp_path):
    tracker = Tracker(path, mode="DELETE")
    tracker.write(**a_row(1))
    older = shutil.copy(path, tmp_path / "older.db")
    tracker.write(**a_row(2))
    reader = reader_of(path)
    reader.poll(archive, NOW)
    os.replace(older, path)
    reader.poll(archive, NOW)
    assert shown(archive) == {"session_1"}


def test_a_session_goes_stale_by_the_clock_alone(archive, path):
    tracker = Tracker(path)
    sign = iso(NOW - DAY + 1)
    tracker.write(**a_row(1, is_active=1, start_time=sign, end_time=None))
    reader = reader_of(path)
    reader.poll(archive, NOW)
    [body] = bodies(archive).values()
    assert body["is_active"]
    assert reader.poll(archive, NOW + 1).changed == 1
    [body] = bodies(archive).values()
    assert not body["is_active"] and body["stale"]
    assert reader.poll(archive, NOW + 2).changed == 0


def test_a_session_of_a_tracker_that_is_gone_goes_stale_too(archive, path):
    tracker = Tracker(path)
    tracker.write(**a_row(1, is_active=1, start_time=iso(NOW), end_time=None))
    first = reader_of(path)
    first.poll(archive, NOW)
    first.close()
    tracker.close()
    path.unlink()
    reader_of(path).poll(archive, NOW + DAY)
    [body] = bodies(archive).values()
    assert body["stale"]


def test_skipped_rows_are_counted_by_reason(archive, path):
    tracker = Tracker(path)
    tracker.write(**a_row(1))
    tracker.write(**a_row(2, id=""))
    tracker.write(**a_row(3, start_time="", end_time=None))
    reader = reader_of(path)
    assert reader.poll(archive, NOW).skipped == {"no id": 1, "no time": 1}
    assert reader.poll(archive, NOW).skipped == {"no id": 1, "no time": 1}
    assert reader.poll(archive, NOW).counted == {"sessions": 1, "blocks": 0}


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1 << 32))
def test_reading_on_equals_reading_anew(tmp_path_factory, seed):
    rng, folder = random.Random(seed), tmp_path_factory.mktemp("walk")
    tracker = Tracker(folder / "t.db", rng.choice(list(DIALECTS)), rng.choice(("WAL", "DELETE")))
    archive = Archive(folder / "on.db", source="laptop", clock=lambda: NOW)
    reader = reader_of(tracker.path)
    for serial in range(rng.randrange(1, 25)):
        tracker.write(**a_row(serial % 9, **({"metadata": anything(rng)} if rng.random() < 0.3 else {})))
        if rng.random() < 0.3:
            tracker.remove(f"session_{rng.randrange(9)}")
        if rng.random() < 0.5:
            reader.poll(archive, NOW)
    reader.poll(archive, NOW)
    anew = Archive(folder / "anew.db", source="laptop", clock=lambda: NOW)
    reader_of(tracker.path).poll(anew, NOW)
    assert bodies(archive) == bodies(anew)
    for each in (reader, archive, anew, tracker):
        each.close()


@pytest.mark.parametrize(("seed", "zone"), [
    (1, "Europe/Berlin"), (2, "America/St_Johns"), (3, "Australia/Lord_Howe"), (4, "Asia/Kathmandu"), (5, "Pacific/Chatham"), (6, "UTC"),
])
def test_generated_databases_are_read_as_their_truth_says(archive, tmp_path, generate, seed, zone):
    folder = tmp_path / "trackers"
    generate("make_trackers.py", seed, folder, "--tz", zone, "--sessions", 120)
    truth = json.loads((folder / "truth.json").read_text("utf-8"))
    now = untidy.moment(truth["now"])
    for name, expected in truth["databases"].items():
        before, blocks_before = set(bodies(archive)), set(bodies(archive, "block"))
        report = TrackerReader(folder / f"{name}.db", zone=ZoneInfo(zone)).poll(archive, now)
        assert report.skipped == expected["skipped"]
        found = {body["id"]: body for key, body in bodies(archive).items() if key not in before}
        assert set(found) == {each["id"] for each in expected["sessions"]}
        for each in expected["sessions"]:
            assert as_truth(found[each["id"]]) == each
        blocks = {body["id"]: body for key, body in bodies(archive, "block").items() if key not in blocks_before}
        assert [block_as_truth(blocks[each["id"]]) for each in expected["blocks"]] == expected["blocks"]
        assert len(blocks) == len(expected["blocks"])


def as_truth(body: dict) -> dict:
    rows = {row[4]: row for row in body["usage"]}
    reading, writing, five, hour, cached, _, cost = rows.get("standard", [0] * 11 + [None])[5:]
    rest = rows["undivided"][5] if "undivided" in rows else 0
    assert rest == max(0, body.get("estimated_tokens", 0) - reading - writing - five - hour - cached), "every declared token is in a row"
    return {
        "id": body["id"], "session_type": body["session_type"], "start_time": iso_or_none(body["start_time"]),
        "end_time": iso_or_none(body.get("end_time")), "total_messages": body.get("total_messages", 0),
        "models_used": body.get("models_used", []), "estimated_tokens": body.get("estimated_tokens", 0),
        "says_active": body["is_active"] or body.get("stale", False), "reported_cost": cost or 0,
        "tokens": {"input": reading, "output": writing, "cache_write": five + hour, "cache_read": cached},
        "project": body.get("project"),
    }


def block_as_truth(body: dict) -> dict:
    return {
        "id": body["id"], "start_time": iso_or_none(body["start_time"]), "end_time": iso_or_none(body.get("end_time")),
        "total_sessions": body["total_sessions"], "total_tokens": body["total_tokens"], "is_complete": body["is_complete"],
    }


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1 << 32))
def test_a_damaged_file_never_stops_the_reader(tmp_path_factory, seed):
    rng, folder = random.Random(seed), tmp_path_factory.mktemp("damage")
    tracker = Tracker(folder / "t.db", "sessions", "DELETE")
    for serial in range(30):
        tracker.write(**a_row(serial))
    tracker.close()
    archive = Archive(folder / "archive.db", source="laptop", clock=lambda: NOW)
    reader = reader_of(tracker.path)
    reader.poll(archive, NOW)
    content = bytearray(tracker.path.read_bytes())
    for _ in range(rng.choice((1, 20, 2000))):
        content[rng.randrange(len(content))] = rng.randrange(256)
    tracker.path.write_bytes(content[: rng.choice((len(content), rng.randrange(len(content))))])
    report = reader.poll(archive, NOW)
    assert report.state in ("ok", "unreadable")
    if report.state == "unreadable":
        assert len(shown(archive)) == 30
    reader.close()
    archive.close()
