"""What only the PostgreSQL store has to promise: walls between tenants in the database itself, migrations, a pool."""
from __future__ import annotations

import threading

import pytest

from ledger.errors import Busy, Full, Misconfigured, Unusable
from ledger.stores import open_store
from ledger.stores import postgres as module
from ledger.stores.postgres import PostgresStore
from ledger.stores.postgres_pool import Pool, meaning_of
from ledger.stores.postgres_schema import MIGRATIONS, ROLE
from tests.ledger.stores import postgres, postgres_server
from tests.ledger.test_store_contract import ALICE, BOB, LAPTOP, NEW, NOW, a_head, a_row

psycopg = pytest.importorskip("psycopg")


@pytest.fixture
def store(tmp_path):
    with postgres(tmp_path) as opened:
        yield opened


@pytest.fixture
def database(store):
    """The server's owner, past all our rules."""
    with psycopg.connect(postgres_server(), autocommit=True) as sql:
        yield sql


# -- walls in the database


def test_a_query_that_forgets_the_tenant_shows_nothing_of_others(store):
    for tenant in (ALICE, BOB):
        store.apply(tenant, None, a_head(), [a_row(f"of-{tenant}", 0)])
    with store._as(ALICE) as sql:
        assert sql.execute("SELECT id FROM session_relay.rows").fetchall() == [("of-alice",)]
        assert sql.execute("SELECT tenant FROM session_relay.heads").fetchall() == [(ALICE,)]
        assert sql.execute("UPDATE session_relay.rows SET body = 'x' RETURNING tenant").fetchall() == [(ALICE,)]
        assert sql.execute("DELETE FROM session_relay.rows RETURNING tenant").fetchall() == [(ALICE,)]
    assert [row.ref.id for row in store.rows(BOB, LAPTOP)] == ["of-bob"]


def test_a_row_cannot_be_written_for_another_tenant(store):
    with pytest.raises(Unusable), store._as(ALICE) as sql:
        sql.execute("INSERT INTO session_relay.tombstones VALUES(%s, 's', 'k', 'i', 'l', 1, 1)", (BOB,))
    with pytest.raises(Unusable), store._as("*") as sql:
        sql.execute("INSERT INTO session_relay.tombstones VALUES(%s, 's', 'k', 'i', 'l', 1, 1)", (BOB,))


def test_whoever_names_no_tenant_sees_nothing(store, database):
    store.apply(ALICE, None, a_head(), [a_row("one", 0)])
    database.execute(f"SET ROLE {ROLE}")
    assert database.execute("SELECT * FROM session_relay.rows").fetchall() == []
    assert database.execute("SELECT * FROM session_relay.heads").fetchall() == []


def test_a_name_is_left_behind_on_no_connection(store):
    store.apply(ALICE, None, a_head(), [a_row("one", 0)])
    with store._pool.transaction() as sql:
        left = sql.execute("SELECT current_setting('session_relay.tenant', true), current_user").fetchone()
    assert left in (("", "postgres"), (None, "postgres"))


def test_an_owner_without_power_is_under_the_rules_too(store, database):
    """As at a company that hands out a database and a plain user: no superuser, no right to make roles."""
    database.execute("DROP DATABASE IF EXISTS plain")
    database.execute("DROP ROLE IF EXISTS plain")
    database.execute("CREATE ROLE plain LOGIN")
    database.execute("CREATE DATABASE plain OWNER plain")
    url = postgres_server().replace("/postgres?", "/plain?").replace("postgres:@", "plain:@")
    plain = PostgresStore(url)
    plain.apply(ALICE, None, a_head(), [a_row("one", 0)])
    with plain._as(BOB) as sql:
        assert sql.execute("SELECT * FROM session_relay.rows").fetchall() == []
    assert [row.ref.id for row in plain.rows(ALICE, LAPTOP)] == ["one"]
    plain.close()
    database.execute("DROP DATABASE plain")
    database.execute("DROP ROLE plain")


def test_a_user_who_may_make_no_tables_works_with_those_of_another(store, database):
    """As at a company whose administrators make the tables and give programs a user that owns nothing."""
    for tenant in (ALICE, BOB):
        store.apply(tenant, None, a_head(), [a_row(f"of-{tenant}", 0)])
    database.execute("DROP ROLE IF EXISTS program")
    database.execute(f"CREATE ROLE program LOGIN IN ROLE {ROLE}")
    program = PostgresStore(postgres_server().replace("postgres:@", "program:@"))
    with program._as(ALICE) as sql:
        assert sql.execute("SELECT id FROM session_relay.rows").fetchall() == [("of-alice",)]
    program.put("drawer", "name", {"a": 1}, now=1)
    assert [row.ref.id for row in program.rows(BOB, LAPTOP)] == ["of-bob"]
    assert program.scour() is False
    program.close()
    with psycopg.connect(postgres_server().replace("postgres:@", "program:@")) as sql:
        assert sql.execute("SELECT * FROM session_relay.rows").fetchall() == []
    database.execute("DROP ROLE program")


def test_a_user_who_may_do_nothing_is_told_what_to_grant(store, database):
    database.execute("DROP ROLE IF EXISTS nobody_yet")
    database.execute("CREATE ROLE nobody_yet LOGIN")
    with pytest.raises(Unusable, match="GRANT session_relay TO this user"):
        PostgresStore(postgres_server().replace("postgres:@", "nobody_yet:@"))
    database.execute("DROP ROLE nobody_yet")


def test_the_tables_are_not_in_the_public_schema(database):
    assert database.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)


# -- versions


def test_opening_again_changes_nothing(store):
    store.apply(ALICE, None, a_head(), [a_row("one", 0)])
    again = open_store(postgres_server())
    assert [row.ref.id for row in again.rows(ALICE, LAPTOP)] == ["one"]
    again.close()


def test_tables_of_a_newer_version_are_left_alone(store, database):
    database.execute("UPDATE session_relay.meta SET version = %s", (len(MIGRATIONS) + 1,))
    try:
        with pytest.raises(Unusable, match="upgrade"):
            open_store(postgres_server())
    finally:
        database.execute("UPDATE session_relay.meta SET version = %s", (len(MIGRATIONS),))


def test_tables_of_an_older_version_are_brought_up_to_date_with_all_they_hold(store, database, monkeypatch):
    store.apply(ALICE, None, a_head(), [a_row("one", 0)])
    step = "CREATE TABLE session_relay.later(tenant text); ALTER TABLE session_relay.rows ADD COLUMN later text; UPDATE session_relay.rows SET later = id;"
    monkeypatch.setattr("ledger.stores.postgres_schema.MIGRATIONS", [*MIGRATIONS, step])
    try:
        newer = open_store(postgres_server())
        assert [row.ref.id for row in newer.rows(ALICE, LAPTOP)] == ["one"]
        with newer._as(ALICE) as sql:
            assert sql.execute("SELECT later FROM session_relay.rows").fetchall() == [("one",)]
            assert sql.execute("SELECT * FROM session_relay.later").fetchall() == []
        newer.close()
        assert database.execute("SELECT version FROM session_relay.meta").fetchall() == [(len(MIGRATIONS) + 1,)]
    finally:
        database.execute("DROP TABLE session_relay.later; ALTER TABLE session_relay.rows DROP COLUMN later")
        database.execute("UPDATE session_relay.meta SET version = %s", (len(MIGRATIONS),))


def test_a_step_that_fails_leaves_the_older_version_whole(store, database, monkeypatch):
    monkeypatch.setattr("ledger.stores.postgres_schema.MIGRATIONS", [*MIGRATIONS, "CREATE TABLE session_relay.half(a int); SELECT nonsense;"])
    with pytest.raises(Unusable):
        open_store(postgres_server())
    assert database.execute("SELECT version, to_regclass('session_relay.half') FROM session_relay.meta").fetchall() == [(len(MIGRATIONS), None)]


def test_several_relays_may_start_at_once_on_an_empty_database(store, database):
    database.execute("DROP SCHEMA session_relay CASCADE")
    failed = []

    def start() -> None:
        try:
            open_store(postgres_server()).close()
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert database.execute("SELECT version FROM session_relay.meta").fetchall() == [(len(MIGRATIONS),)]


# -- the pool, and trouble


def test_connections_are_kept_and_at_most_so_many(store):
    few = PostgresStore(postgres_server(), size=2)
    for _ in range(20):
        few.heads(ALICE)
    assert len(few._pool._idle) == 1
    threads = [threading.Thread(target=few.heads, args=(ALICE,)) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= len(few._pool._idle) <= 2
    few.close()
    with pytest.raises(Unusable, match="closed"):
        few.heads(ALICE)


def test_whoever_waits_too_long_for_a_connection_is_told_to_come_again():
    pool = Pool(postgres_server(), 1, patience=0.01)
    with pool.connection(), pytest.raises(Busy), pool.connection():
        pass
    pool.close()


def test_a_connection_that_the_server_closed_is_replaced(store, database):
    clock = [0.0]
    store._pool._monotonic = lambda: clock[0]
    store.heads(ALICE)
    database.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'session-relay'")
    clock[0] = 60.0
    assert store.heads(ALICE) == []


def test_a_failure_within_a_transaction_leaves_nothing(store):
    with pytest.raises(Unusable), store._as(ALICE) as sql:
        sql.execute("INSERT INTO session_relay.tombstones VALUES(%s, 's', 'k', 'i', 'l', 1, 1)", (ALICE,))
        sql.execute("SELECT nonsense")
    with store._as(ALICE) as sql:
        assert sql.execute("SELECT * FROM session_relay.tombstones").fetchall() == []


@pytest.mark.parametrize("url, error, says", [
    ("postgresql://nobody:hunter2@127.0.0.1:1/x", Busy, "127.0.0.1:1/x does not answer: see that it runs"),
    ("postgresql://nobody:hunter2@localhost:notaport/x", Unusable, "cannot be used"), ("postgresql://nobody:hunter2@[x/x", Unusable, "cannot be used"),
    ("postgresql://nobody:hunter2@localhost/x?nonsense=1", Unusable, "cannot be used"),
])  # fmt: skip
def test_a_database_that_cannot_be_reached_is_said_plainly_and_without_the_password(url, error, says):
    with pytest.raises(error, match=says) as caught:
        open_store(url)
    assert "hunter2" not in str(caught.value)


def test_a_copy_that_begins_while_the_one_before_is_swept_loses_nothing(store, monkeypatch):
    """A sweep that read the head removes what is not of its lease: a new lease must wait until it is through."""
    store.apply(ALICE, None, a_head(committed=True), [a_row("one", 0)])
    before, sweep_rows = store.head(ALICE, LAPTOP), module._sweep_rows
    done, overtaken = threading.Event(), []

    def begin_anew() -> None:
        store.apply(ALICE, before, a_head(lease=NEW, seq=1, committed=True), [a_row("one", 1, lease=NEW), a_row("two", 1, lease=NEW)])
        done.set()

    beginner = threading.Thread(target=begin_anew)

    def in_between(sql, tenant, head):
        beginner.start()
        overtaken.append(done.wait(0.5))
        return sweep_rows(sql, tenant, head)

    monkeypatch.setattr(module, "_sweep_rows", in_between)
    store.sweep(ALICE, LAPTOP, now=NOW)
    beginner.join(10)
    assert overtaken == [False] and done.is_set()
    assert [row.ref.id for row in store.rows(ALICE, LAPTOP)] == ["one", "two"]


def test_a_database_that_does_not_exist_cannot_be_used():
    with pytest.raises(Unusable, match="does not exist"):
        open_store(postgres_server().replace("/postgres?", "/nowhere?"))


@pytest.mark.parametrize("error, meaning", [
    (psycopg.errors.DeadlockDetected(), Busy), (psycopg.errors.SerializationFailure(), Busy), (psycopg.errors.QueryCanceled(), Busy),
    (psycopg.errors.TooManyConnections(), Busy), (psycopg.errors.AdminShutdown(), Busy), (psycopg.OperationalError("server closed the connection"), Busy),
    (psycopg.errors.DiskFull(), Full), (psycopg.errors.ReadOnlySqlTransaction(), Full),
    (psycopg.errors.UndefinedTable("x"), Unusable), (psycopg.DataError("x"), Unusable), (psycopg.errors.InsufficientPrivilege("x"), Unusable),
    (psycopg.OperationalError('FATAL: password authentication failed for user "x"'), Unusable),
])  # fmt: skip
def test_every_error_says_what_can_be_done(error, meaning):
    assert type(meaning_of(error, "db")) is meaning


def test_a_url_of_the_web_is_no_database():
    with pytest.raises(Misconfigured):
        open_store("https://project.supabase.co")
