"""What only the SQLite store has to promise: a file that is shared, locked, full, foreign, new or gone."""
from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import threading

import pytest

from ledger.errors import Busy, Conflict, Full, Misconfigured, Unusable
from ledger.record import Ref
from ledger.store import Head
from ledger.stores import open_store
from ledger.stores.sqlite import WORTH_SETTLING, SqliteStore
from ledger.stores.sqlite_file import APPLICATION_ID, VERSION
from tests.ledger.test_store_contract import ALICE, LAPTOP, a_head, a_row


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "ledger.db"


@pytest.fixture
def store(path):
    store = SqliteStore(path)
    yield store
    store.close()


def test_an_address_names_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for url in ("sqlite:///here.db", f"sqlite:///{tmp_path}/there.db"):
        open_store(url).close()
    assert {"here.db", "there.db"} <= set(os.listdir(tmp_path))


@pytest.mark.parametrize("url", ["sqlite:", "sqlite:///", "sqlite://host/x", "mysql://x", "", "x", "memory"])
def test_an_address_of_no_store_says_what_to_use(url):
    with pytest.raises(Misconfigured, match=r"memory:|sqlite:///"):
        open_store(url)


def test_what_was_applied_is_there_after_opening_again(store, path):
    store.apply(ALICE, None, a_head(), [a_row("one", 0)])
    store.close()
    again = SqliteStore(path)
    assert [row.ref.id for row in again.rows(ALICE, LAPTOP)] == ["one"]
    again.close()


def test_a_commit_waits_for_the_disk_unless_told_otherwise(store):
    level = "PRAGMA synchronous"
    assert store.connection().execute(level).fetchone()[0] == 2
    with store.transaction(synchronous="NORMAL") as sql:
        assert sql.execute(level).fetchone()[0] == 1
    assert store.connection().execute(level).fetchone()[0] == 2
    assert store.connection().execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_a_writer_that_holds_the_file_makes_us_busy_not_broken(store, path):
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store.connection().execute("PRAGMA busy_timeout = 1")
    store._file.writer().execute("PRAGMA busy_timeout = 1")
    with pytest.raises(Busy):
        store.apply(ALICE, None, a_head())
    with pytest.raises(Busy):
        store.put("d", "n", {}, now=0)
    assert store.heads(ALICE) == []
    other.execute("COMMIT")
    store.apply(ALICE, None, a_head())
    other.close()


def test_a_full_disk_writes_nothing_and_can_be_read_on(store):
    store.apply(ALICE, None, a_head(), [a_row("one", 0)])
    sql = store._file.writer()
    pages = sql.execute("PRAGMA page_count").fetchone()[0]
    sql.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Full):
        store.apply(ALICE, a_head(), a_head(seq=1), [a_row(f"big-{n}", 1, body='"' + "x" * 60_000 + '"') for n in range(9)])
    assert store.head(ALICE, LAPTOP) == a_head()
    assert len(list(store.rows(ALICE, LAPTOP))) == 1
    sql.execute("PRAGMA max_page_count = 100000")
    store.apply(ALICE, a_head(), a_head(seq=1), [a_row("two", 1)])


def test_in_a_shared_transaction_one_bad_change_does_not_spoil_the_others(store):
    """Eight push while the pen is held, so they are written together; one of them lost its race."""
    outcomes = {}

    def push(n: int) -> None:
        before = a_head("m0", seq=99) if n == 0 else None
        try:
            store.apply(ALICE, before, a_head(f"m{n}"), [a_row("one", 0)])
            outcomes[n] = "written"
        except Conflict:
            outcomes[n] = "conflict"

    threads = [threading.Thread(target=push, args=(n,)) for n in range(8)]
    with store._pen:
        for thread in threads:
            thread.start()
        while len(store._queue) < 8:
            pass
    for thread in threads:
        thread.join()
    assert outcomes == {0: "conflict", **dict.fromkeys(range(1, 8), "written")}
    assert [head.source for head in store.heads(ALICE)] == [f"m{n}" for n in range(1, 8)]


def test_a_row_no_store_can_hold_fails_alone(store):
    huge = a_head("odd", seq=1 << 70)
    outcomes = {}

    def push(name: str, head: Head) -> None:
        try:
            store.apply(ALICE, None, head)
            outcomes[name] = "written"
        except OverflowError:
            outcomes[name] = "refused"

    threads = [threading.Thread(target=push, args=("odd", huge)), threading.Thread(target=push, args=("even", a_head("even")))]
    with store._pen:
        for thread in threads:
            thread.start()
        while len(store._queue) < 2:
            pass
    for thread in threads:
        thread.join()
    assert outcomes == {"odd": "refused", "even": "written"}


# -- a file of one's own beside the store's tables


def test_a_transaction_keeps_or_drops_everything_together(store):
    with store.transaction() as sql:
        sql.execute("CREATE TABLE places(n)")
    with store.transaction() as sql:
        sql.execute("INSERT INTO places VALUES(1)")
        store.apply(ALICE, None, a_head(), [a_row("one", 0)])
        assert store.head(ALICE, LAPTOP) == a_head()
    with pytest.raises(ZeroDivisionError), store.transaction() as sql:
        sql.execute("INSERT INTO places VALUES(2)")
        store.apply(ALICE, a_head(), a_head(seq=1), [a_row("two", 1)])
        raise ZeroDivisionError
    assert store.connection().execute("SELECT n FROM places").fetchall() == [(1,)]
    assert store.head(ALICE, LAPTOP) == a_head()


def test_a_look_before_a_write_sees_what_this_thread_has_not_committed_and_nobody_else_does(store):
    store.apply(ALICE, None, a_head(), [a_row("one", 1)])
    seen = []
    with store.transaction():
        store.apply(ALICE, a_head(), a_head(seq=1), [a_row("two", 2)])
        refs = [Ref("session", "one"), Ref("session", "two"), Ref("usage", "one")]
        assert store.head(ALICE, LAPTOP).seq == 1 and len(store.hashes(ALICE, LAPTOP, a_head().lease, refs)) == 2
        other = threading.Thread(target=lambda: seen.append((store.head(ALICE, LAPTOP).seq, len(store.hashes(ALICE, LAPTOP, a_head().lease, refs)))))
        other.start()
        other.join(10)
    assert seen == [(0, 1)], "it neither waits for the writer nor sees what he may yet drop"
    assert store.head(ALICE, LAPTOP).seq == 1


def test_a_conflict_within_a_transaction_leaves_it_to_the_caller(store):
    with store.transaction() as sql:
        sql.execute("CREATE TABLE places(n)")
        with pytest.raises(Conflict):
            store.apply(ALICE, a_head(seq=7), a_head())
        store.apply(ALICE, None, a_head())
    assert store.head(ALICE, LAPTOP) == a_head()
    assert store.connection().execute("SELECT count(*) FROM places").fetchone() == (0,)


def test_a_transaction_within_a_transaction_is_part_of_it(store):
    with pytest.raises(ZeroDivisionError), store.transaction():
        with store.transaction():
            store.apply(ALICE, None, a_head())
        store.put("d", "n", {}, now=0)
        raise ZeroDivisionError
    assert store.heads(ALICE) == []
    assert store.take("d", "n", now=0) is None


def test_a_wrong_statement_of_the_caller_stays_a_programming_error(store):
    with pytest.raises(sqlite3.ProgrammingError), store.transaction() as sql:
        sql.execute("SELECT ?", ())


def test_an_error_of_the_callers_own_files_is_not_the_stores(store):
    with pytest.raises(FileNotFoundError), store.transaction():
        os.stat("/nonexistent/file")


# -- what the file may turn out to be


def test_a_file_that_is_no_database_is_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_bytes(b"my notes, " * 1000)
    with pytest.raises(Unusable, match="not a database"):
        SqliteStore(path)
    assert path.read_bytes() == b"my notes, " * 1000


def test_the_database_of_something_else_is_left_alone(tmp_path):
    path = tmp_path / "tracker.db"
    with sqlite3.connect(path) as sql:
        sql.execute("CREATE TABLE sessions(id)")
    before = path.read_bytes()
    with pytest.raises(Unusable, match="something else"):
        SqliteStore(path)
    assert path.read_bytes() == before


def test_a_newer_ledger_is_left_alone(store, path):
    store.connection().execute(f"PRAGMA user_version = {VERSION + 1}")
    store.close()
    with pytest.raises(Unusable, match="upgrade"):
        SqliteStore(path)


def test_the_file_says_what_it_is(store):
    assert store.connection().execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert store.connection().execute("PRAGMA user_version").fetchone() == (VERSION,)


def test_an_empty_file_becomes_a_ledger(tmp_path):
    (tmp_path / "new.db").touch()
    store = SqliteStore(tmp_path / "new.db")
    store.apply(ALICE, None, a_head())
    store.close()
    again = SqliteStore(tmp_path / "new.db")
    assert again.head(ALICE, LAPTOP) == a_head()
    again.close()


def test_a_folder_that_cannot_be_made_is_said_plainly(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Unusable, match="name another place"):
        SqliteStore(tmp_path / "file" / "ledger.db")
    with pytest.raises(Unusable, match="cannot be opened"):
        SqliteStore(tmp_path)


def test_a_damaged_page_is_unusable_not_a_crash(store, path):
    store.apply(ALICE, None, a_head(), [a_row(f"{n}", 0, body='"' + "x" * 3000 + '"') for n in range(200)])
    store.close()
    with open(path, "r+b") as file:
        for page in range(3, 60):
            file.seek(page * 4096)
            file.write(b"\xa5" * 4096)
    with pytest.raises(Unusable, match="damaged"):
        again = SqliteStore(path)
        list(again.rows(ALICE, LAPTOP))


def test_a_file_deleted_under_us_is_made_anew(store, path):
    store.apply(ALICE, None, a_head(), [a_row("one", 0)])
    store.put("d", "n", {}, now=0)
    for name in os.listdir(path.parent):
        os.unlink(path.parent / name)
    assert store.head(ALICE, LAPTOP) is None
    assert store.take("d", "n", now=0) is None
    store.apply(ALICE, None, a_head(seq=3))
    store.close()
    again = SqliteStore(path)
    assert again.head(ALICE, LAPTOP) == a_head(seq=3)
    again.close()


def test_an_older_copy_put_back_under_us_is_what_counts(store, path):
    store.apply(ALICE, None, a_head(seq=1))
    with sqlite3.connect(path) as sql:
        sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(path, path.with_name("copy"))
    store.apply(ALICE, a_head(seq=1), a_head(seq=2))
    for name in ("ledger.db-wal", "ledger.db-shm"):
        (path.parent / name).unlink()
    os.replace(path.with_name("copy"), path)
    assert store.head(ALICE, LAPTOP) == a_head(seq=1)
    store.apply(ALICE, a_head(seq=1), a_head(seq=5))
    assert store.head(ALICE, LAPTOP) == a_head(seq=5)


def test_a_closed_store_says_so(store):
    store.close()
    with pytest.raises(Unusable, match="closed"):
        store.head(ALICE, LAPTOP)


def test_two_processes_may_share_the_file(store, path):
    """Each adds one to the same head twenty times; whoever loses the race reads again."""
    code = (
        "import sys; from dataclasses import replace\n"
        "from ledger.errors import Conflict\nfrom ledger.store import Head\nfrom ledger.stores.sqlite import SqliteStore\n"
        "store, done = SqliteStore(sys.argv[1]), 0\n"
        "while done < 20:\n"
        "    head = store.head('alice', 'laptop')\n"
        "    try: store.apply('alice', head, replace(head, seq=head.seq + 1)); done += 1\n"
        "    except Conflict: pass\n"
    )
    store.apply(ALICE, None, a_head())
    processes = [subprocess.Popen([sys.executable, "-c", code, str(path)]) for _ in range(2)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    assert store.head(ALICE, LAPTOP).seq == 40


def test_a_kill_loses_nothing_that_was_acknowledged(path):
    code = (
        "import sys; from ledger.store import Head\nfrom ledger.stores.sqlite import SqliteStore\n"
        "from tests.ledger.test_store_contract import a_head, a_row\n"
        "store, head = SqliteStore(sys.argv[1]), None\n"
        "for seq in range(100000):\n"
        "    after = a_head(seq=seq)\n"
        "    store.apply('alice', head, after, [a_row(str(seq), seq)]); head = after\n"
        "    print(seq, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    acknowledged = [int(process.stdout.readline()) for _ in range(50)]
    process.kill()
    acknowledged += [int(line) for line in process.stdout.read().splitlines() if line]
    process.wait()
    store = SqliteStore(path)
    assert store.head(ALICE, LAPTOP).seq >= max(acknowledged)
    assert store.connection().execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert store.get(ALICE, LAPTOP, Ref("session", str(max(acknowledged)))) is not None
    store.close()


def test_what_is_settled_is_in_the_file_and_no_more_in_the_log_alone(store, path, tmp_path):
    def in_the_file() -> int:
        alone = tmp_path / "alone.db"
        shutil.copy(path, alone)
        with contextlib.closing(sqlite3.connect(alone)) as sql:
            return sql.execute("SELECT count(*) FROM ledger_rows").fetchone()[0]

    store.connection().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    rows = [a_row(f"s{number}", 0) for number in range(WORTH_SETTLING)]
    store.apply(ALICE, None, a_head(), rows[:-1])
    store.settle()
    assert in_the_file() == WORTH_SETTLING - 1
    store.apply(ALICE, a_head(), a_head(seq=1), rows[-1:])
    store.settle()
    assert in_the_file() == WORTH_SETTLING - 1, "for a little it is not worth while"
    assert len(list(store.rows(ALICE, LAPTOP))) == WORTH_SETTLING


def test_other_users_of_the_computer_cannot_read_a_new_store(tmp_path):
    store = open_store(f"sqlite:///{tmp_path / 'relay.db'}")
    store.apply("alice", None, Head("laptop", "1" * 32, 1, committed=True))
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    store.close()
