"""The archive: one transaction a step, nothing lost by a kill, a full disk or a damaged file."""
from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ledger.errors import Full
from ledger.record import Record, Ref, add
from ledger.stores import sqlite_refuge
from local_agent.archive import LOCAL, Archive
from local_agent.forgotten import is_forgotten
from local_agent.readers import answers
from local_agent.readers.claude import tables as tables_of_claude

NOW = 1_795_000_000_000


class StoppedClock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def archive(tmp_path: Path, clock: StoppedClock) -> Iterator[Archive]:
    opened = Archive(tmp_path / "archive.db", source="laptop", clock=clock)
    yield opened
    opened.close()


def a_session(n: int, text: str = "") -> Record:
    return Record("session", f"session-{n}", f'{{"id":"session-{n}","title":"{text}"}}')


def put(archive: Archive, *records: Record) -> None:
    with archive.step() as step:
        for record in records:
            step.put(record)


def bodies(archive: Archive) -> dict[str, str]:
    return {row.ref.id: row.body for row in archive.store.rows(LOCAL, "laptop")}


def test_a_step_gives_its_changes_one_number(archive: Archive) -> None:
    before = archive.head()
    put(archive, a_session(1), a_session(2))
    after = archive.head()
    assert (after.seq, after.lease, after.committed) == (before.seq + 1, before.lease, True)
    assert after.digest == add(0, put=[a_session(1).hash, a_session(2).hash])


def test_a_record_that_did_not_change_costs_no_number(archive: Archive) -> None:
    put(archive, a_session(1))
    seq = archive.head().seq
    put(archive, a_session(1))
    assert archive.head().seq == seq


def test_a_changed_record_replaces_its_share_of_the_digest(archive: Archive) -> None:
    put(archive, a_session(1))
    put(archive, a_session(1, "new"))
    assert archive.head().digest == a_session(1, "new").hash


def test_a_deletion_leaves_a_tombstone_and_an_empty_digest(archive: Archive) -> None:
    put(archive, a_session(1))
    with archive.step() as step:
        step.delete(Ref("session", "session-1"))
    head = archive.head()
    _, stones = archive.store.changes(LOCAL, "laptop", head.lease or "", 0)
    assert (head.digest, [stone.ref.id for stone in stones]) == (0, ["session-1"])


def test_a_step_that_fails_leaves_nothing_behind(archive: Archive) -> None:
    with pytest.raises(KeyError), archive.step() as step:
        step.sql.execute("CREATE TABLE places(at INTEGER)")
        step.put(a_session(1))
        raise KeyError
    assert bodies(archive) == {}
    assert not archive.store.connection().execute("SELECT 1 FROM sqlite_master WHERE name = 'places'").fetchone()


def test_a_change_is_told_once_a_step_and_a_mere_place_is_not(archive: Archive) -> None:
    told: list[int] = []
    archive.on_change = lambda: told.append(archive.head().seq)
    put(archive, a_session(1), a_session(2))
    with archive.step() as step:
        step.sql.execute("CREATE TABLE places(at INTEGER)")
    assert told == [archive.head().seq]


def test_what_a_person_forgot_never_comes_back(archive: Archive, clock: StoppedClock) -> None:
    put(archive, a_session(1), a_session(2), Record("usage", "session-1/1", '{"session":"session-1"}'))
    archive.forget(Ref("session", "session-1"))
    put(archive, a_session(1, "again"))
    archive.close()
    again = Archive(archive.path, source="laptop", clock=clock)
    put(again, a_session(1, "and again"), Record("usage", "session-1/1", '{"session":"session-1","n":2}'))
    assert list(bodies(again)) == ["session-2"]
    again.close()


def test_a_forgotten_session_that_goes_on_leaves_none_of_its_usage(archive: Archive) -> None:
    put(archive, a_session(1), a_session(2))
    archive.forget(Ref("session", "session-1"))
    put(archive, a_session(1, "longer"), *(Record("usage", f"session-{number}/1", f'{{"session":"session-{number}"}}') for number in (1, 2)))
    assert [(row.ref.kind, row.ref.id) for row in archive.store.rows(LOCAL, archive.source)] == [("session", "session-2"), ("usage", "session-2/1")]


def test_a_path_that_an_earlier_version_kept_as_a_model_goes_when_this_one_starts(archive: Archive, clock: StoppedClock) -> None:
    """Also where the file that it came from is gone, and from what further sums are made of."""
    path, rows = "/home/alice/models/secret-client/llama.gguf", '[[1,1,1,"{0}","standard",1,2,3,4,5,1,null]]'
    kept = {"s1": f'{{"models_used":["{path}","opus"],"title":"a/b","usage":{rows.format(path)}}}', "s2": '{"title":"/home/x", "models_used":["anthropic/opus"]}'}
    put(archive, *(Record("session", id, body) for id, body in kept.items()), Record("usage", "s1/1", f'{{"session":"s1","usage":{rows.format(path)}}}'))
    with archive.step() as step:
        for tables in (answers.SCHEMA, tables_of_claude.SCHEMA):
            for statement in tables.split(";"):
                step.sql.execute(statement)
        step.sql.execute("INSERT INTO claude_classes VALUES (1, ?, 'standard', 0)", (path,))
        step.sql.execute("INSERT INTO tool_answers VALUES (1, 's1', 'a', ?)", (f'[1,"{path}",2]',))
        step.sql.execute("INSERT INTO tool_files(tool, path, rank, place, state, skipped) VALUES ('codex', 'f', 0, '[]', ?, '{}')", (f'{{"model":"{path}"}}',))
        step.sql.execute("INSERT INTO agent_observed VALUES ('s1', ?)", (kept["s1"],))
        step.sql.execute("DELETE FROM agent_notes WHERE name = 'models without paths'")
    seq = archive.head().seq
    archive.close()
    again = Archive(archive.path, source="laptop", clock=clock)
    assert bodies(again)["s1"] == f'{{"models_used":["llama.gguf","opus"],"title":"a/b","usage":{rows.format("llama.gguf")}}}'
    assert bodies(again)["s2"] == kept["s2"] and again.head().seq == seq + 1
    assert [again.store.connection().execute(f"SELECT {column} FROM {table}").fetchone()[0] for table, column in (("claude_classes", "model"), ("tool_answers", "data"), ("tool_files", "state"))] == [
        "llama.gguf", '[1,"llama.gguf",2]', '{"model":"llama.gguf"}']  # fmt: skip
    assert not any("secret-client" in line for line in again.store.connection().iterdump())
    again.close()


def test_a_beat_keeps_the_machine_fresh_and_changes_no_number(archive: Archive) -> None:
    seq = archive.head().seq
    archive.beat(NOW + 5000)
    assert (archive.head().seq, archive.head().last_seen) == (seq, NOW + 5000)


def test_the_lease_and_the_records_outlive_the_process(archive: Archive, clock: StoppedClock) -> None:
    put(archive, a_session(1))
    head = archive.head()
    archive.close()
    again = Archive(archive.path, source="laptop", clock=clock)
    assert (again.head(), list(bodies(again))) == (head, ["session-1"])
    again.close()


def test_on_a_full_disk_the_archive_goes_on_in_memory_and_comes_back_after_a_minute(archive: Archive, clock: StoppedClock, tmp_path: Path) -> None:
    put(archive, a_session(0))
    fill(archive)
    with pytest.raises(Full):
        put(archive, *(a_session(n, "x" * 4000) for n in range(50)))
    assert archive.disk == "full"
    put(archive, *(a_session(n, "x" * 4000) for n in range(50)))
    archive.mend()
    assert (archive.disk, len(bodies(archive))) == ("full", 50)
    assert records_in(archive.path) == 1
    clock.now += 60_000
    archive.mend()
    assert (archive.disk, len(bodies(archive)), records_in(archive.path)) == ("ok", 50, 50)


def test_every_thread_goes_on_in_the_same_memory(archive: Archive) -> None:
    fill(archive)
    with pytest.raises(Full):
        put(archive, *(a_session(n, "x" * 4000) for n in range(50)))
    put(archive, a_session(1))
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(len(bodies(archive))))
    thread.start()
    thread.join()
    assert seen == [1]


def test_an_archive_too_large_for_memory_waits_for_room(archive: Archive, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_refuge, "LARGEST", 0)
    fill(archive)
    with pytest.raises(Full):
        put(archive, *(a_session(n, "x" * 4000) for n in range(50)))
    with pytest.raises(Full, match="each minute"):
        put(archive, a_session(1))
    archive.store.connection().execute("PRAGMA max_page_count = 1000000")
    clock.now += 60_000
    put(archive, a_session(1))
    assert (archive.disk, list(bodies(archive))) == ("ok", ["session-1"])


def test_a_file_that_was_put_in_its_place_meanwhile_counts(archive: Archive, clock: StoppedClock, tmp_path: Path) -> None:
    other = Archive(tmp_path / "other.db", source=archive.source, clock=clock)
    put(other, a_session(7))
    other.close()
    fill(archive)
    with pytest.raises(Full):
        put(archive, *(a_session(n, "x" * 4000) for n in range(50)))
    os.replace(tmp_path / "other.db", archive.path)
    clock.now += 60_000
    archive.mend()
    assert list(bodies(archive)) == ["session-7"]


def fill(archive: Archive) -> None:
    """As if the disk had no room from now on, as far as this thread's connection to the file is concerned."""
    archive.store.connection().execute("PRAGMA max_page_count = 1")


def records_in(path: Path) -> int:
    with closing(sqlite3.connect(path)) as file:
        return int(file.execute("SELECT count(*) FROM ledger_rows").fetchone()[0])


def damage(path: Path) -> None:
    """Zeros over the middle of the file, as a lost sector leaves it."""
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2 // 4096 * 4096)
        file.write(bytes(8192))


def left_running(archive: Archive) -> None:
    """What a kill leaves: the file without the mark that it was closed in order."""
    archive.store.close()


def test_a_damaged_file_is_set_aside_and_what_can_be_read_is_kept(archive: Archive, clock: StoppedClock) -> None:
    put(archive, *(a_session(n, "x" * 500) for n in range(200)), Record("session", "a", '{"models_used":["/home/alice/of-an-earlier-version"]}'))
    archive.forget(Ref("session", "session-7"))
    left_running(archive)
    damage(archive.path)
    again = Archive(archive.path, source="laptop", clock=clock)
    assert again.rescued is not None and 100 < again.rescued < 200
    assert len(bodies(again)) == again.rescued
    assert is_forgotten(again.store.connection(), "session-7") and not any("/home/alice" in body for body in bodies(again).values())
    assert (archive.path.parent / f"archive.db.corrupt-{NOW}").exists()
    again.close()


def test_a_file_that_is_no_database_is_set_aside_and_two_of_them_are_kept(tmp_path: Path, clock: StoppedClock) -> None:
    for _ in range(4):
        (tmp_path / "archive.db").write_bytes(b"not a database at all " * 500)
        clock.now += 1
        Archive(tmp_path / "archive.db", source="laptop", clock=clock).close()
    assert sorted(path.name for path in tmp_path.glob("*.corrupt-*")) == [f"archive.db.corrupt-{NOW + n}" for n in (3, 4)]


def test_a_file_that_was_only_killed_is_kept_as_it_is(archive: Archive, clock: StoppedClock) -> None:
    put(archive, a_session(1))
    left_running(archive)
    again = Archive(archive.path, source="laptop", clock=clock)
    assert (again.rescued, list(bodies(again))) == (None, ["session-1"])
    again.close()
