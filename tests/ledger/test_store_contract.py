"""What every store of records promises. Written once; tests/ledger/stores.py says which stores must keep it."""
from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from ledger.errors import Conflict
from ledger.record import Record, Ref
from ledger.store import TOMBSTONE_MS, Head, Row, Tombstone

ALICE, BOB = "alice", "bob"
LAPTOP, DESKTOP = "laptop", "desktop"
OLD, NEW = "a" * 32, "b" * 32
NOW = 1_760_000_000_000


def a_row(id: str, seq: int, *, lease: str = OLD, kind: str = "session", body: str = "{}", code: str | None = None) -> Row:
    return Row(Ref(kind, id), body, Record(kind, id, body).hash, lease, seq, code)


def a_tombstone(id: str, seq: int, *, lease: str = OLD, at: int = NOW) -> Tombstone:
    return Tombstone(Ref("session", id), lease, seq, at)


def a_head(source: str = LAPTOP, *, lease: str | None = OLD, seq: int = 0, **more) -> Head:
    return Head(source, lease=lease, seq=seq, last_seen=NOW, **more)


class Writer:
    """Applies one change set after the other to one source, as a relay would."""

    def __init__(self, store, tenant: str = ALICE, source: str = LAPTOP) -> None:
        self.store, self.tenant, self.head = store, tenant, None
        self.source = source

    def write(self, *puts: Row, gone=(), **changed) -> Head:
        after = replace(self.head or a_head(self.source), **changed)
        seqs = [item.seq for item in (*puts, *gone)]
        after = replace(after, seq=max([after.seq, *seqs]))
        self.store.apply(self.tenant, self.head, after, puts, gone)
        self.head = after
        return after


@pytest.fixture
def writer(store) -> Writer:
    return Writer(store)


def ids(rows) -> list[str]:
    return sorted(row.ref.id for row in rows)


# -- heads


def test_an_empty_store_knows_nothing(store):
    assert store.head(ALICE, LAPTOP) is None
    assert store.heads(ALICE) == []
    assert store.tenants() == []
    assert list(store.rows(ALICE, LAPTOP)) == []
    assert store.get(ALICE, LAPTOP, Ref("session", "one")) is None
    assert store.changes(ALICE, LAPTOP, OLD, 0) == ([], [])
    assert store.hashes(ALICE, LAPTOP, OLD, [Ref("session", "one")]) == {}


def test_a_head_comes_back_as_it_was_written(store):
    head = Head(LAPTOP, OLD, 7, (1 << 256) - 1, True, NEW, 1_760_000_000, NOW, 300, '{"name":"Älice 🦉"}', 3)
    store.apply(ALICE, None, head)
    assert store.head(ALICE, LAPTOP) == head
    assert store.heads(ALICE) == [head]


def test_a_head_without_a_lease_comes_back_too(store):
    head = Head(LAPTOP)
    store.apply(ALICE, None, head)
    assert store.head(ALICE, LAPTOP) == head


def test_heads_are_ordered_by_source_and_tenants_by_name(store):
    for tenant in (BOB, ALICE):
        for source in (LAPTOP, DESKTOP, "Z", "é"):
            store.apply(tenant, None, a_head(source))
    assert [head.source for head in store.heads(ALICE)] == ["Z", DESKTOP, LAPTOP, "é"]
    assert store.tenants() == [ALICE, BOB]


def test_a_first_head_is_written_only_where_there_is_none(store):
    store.apply(ALICE, None, a_head())
    with pytest.raises(Conflict):
        store.apply(ALICE, None, a_head(seq=5))
    assert store.head(ALICE, LAPTOP) == a_head()


def test_a_head_that_is_gone_is_a_conflict(store):
    with pytest.raises(Conflict):
        store.apply(ALICE, a_head(), a_head(seq=1))
    assert store.head(ALICE, LAPTOP) is None


@pytest.mark.parametrize("moved", [
    {"seq": 2}, {"lease": NEW}, {"digest": 9}, {"committed": True}, {"pending_lease": NEW}, {"last_timestamp": 1},
    {"last_seen": 1}, {"beat_s": 300}, {"agent": '{"boot":"x"}'}, {"purged_seq": 1},
])  # fmt: skip
def test_a_change_computed_for_another_state_is_refused_whole(store, moved):
    now = a_head(seq=1)
    store.apply(ALICE, None, now, [a_row("kept", 1)])
    with pytest.raises(Conflict):
        store.apply(ALICE, replace(now, **moved), a_head(seq=3), [a_row("new", 3)], [a_tombstone("kept", 3)])
    assert store.head(ALICE, LAPTOP) == now
    assert ids(store.rows(ALICE, LAPTOP)) == ["kept"]
    assert store.changes(ALICE, LAPTOP, OLD, 1) == ([], [])


def test_of_many_writers_on_one_state_exactly_one_wins(store):
    store.apply(ALICE, None, a_head())
    won, lost = [], []
    start = threading.Barrier(6)

    def write(n: int) -> None:
        start.wait()
        try:
            store.apply(ALICE, a_head(), a_head(seq=1, digest=n), [a_row(f"from-{n}", 1)])
            won.append(n)
        except Conflict:
            lost.append(n)

    together([lambda n=n: write(n) for n in range(6)])
    assert (len(won), len(lost)) == (1, 5)
    assert store.head(ALICE, LAPTOP).digest == won[0]
    assert ids(store.rows(ALICE, LAPTOP)) == [f"from-{won[0]}"]


def test_writers_of_different_sources_do_not_disturb_each_other(store):
    def write(n: int) -> None:
        writer = Writer(store, source=f"machine-{n}")
        for seq in range(1, 6):
            writer.write(a_row(f"s{seq}", seq))

    together([lambda n=n: write(n) for n in range(6)])
    assert [head.seq for head in store.heads(ALICE)] == [5] * 6
    assert all(len(list(store.rows(ALICE, f"machine-{n}"))) == 5 for n in range(6))


def together(acts) -> None:
    threads = [threading.Thread(target=act) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# -- rows


def test_a_row_comes_back_as_it_was_written(writer, store):
    row = a_row("Ünï 🦉/#|'\"", 1, body='{"title":"naïve \\u0000 🦉"}')
    writer.write(row)
    assert list(store.rows(ALICE, LAPTOP)) == [row]
    assert store.get(ALICE, LAPTOP, row.ref) == row
    assert store.hashes(ALICE, LAPTOP, OLD, [row.ref]) == {row.ref: row.hash}


def test_the_largest_record_fits(writer, store):
    row = a_row("x" * 128, 1, body='{"a":"' + "é" * 32_000 + '"}')
    writer.write(row)
    assert store.get(ALICE, LAPTOP, row.ref) == row


def test_the_largest_change_set_is_one_transaction(writer, store):
    writer.write(*(a_row(f"s{n:02}", 1) for n in range(45)))
    writer.write(*(a_row(f"t{n:02}", 2) for n in range(45)), gone=[a_tombstone(f"s{n:02}", 2) for n in range(45)])
    assert ids(store.rows(ALICE, LAPTOP)) == [f"t{n:02}" for n in range(45)]


def test_a_stub_keeps_the_hash_and_says_why(writer, store):
    stub = Row(Ref("session", "odd"), "", 12345, OLD, 1, "malformed")
    writer.write(stub)
    assert list(store.rows(ALICE, LAPTOP)) == [stub]
    assert store.hashes(ALICE, LAPTOP, OLD, [stub.ref]) == {stub.ref: 12345}


def test_a_put_replaces_the_row_of_the_same_ref(writer, store):
    writer.write(a_row("one", 1, body='{"v":1}'))
    writer.write(a_row("one", 2, body='{"v":2}'))
    assert list(store.rows(ALICE, LAPTOP)) == [a_row("one", 2, body='{"v":2}')]


def test_a_put_replaces_a_stub_and_a_stub_a_put(writer, store):
    writer.write(a_row("one", 1, code="malformed"))
    writer.write(a_row("one", 2))
    assert store.get(ALICE, LAPTOP, Ref("session", "one")).code is None
    writer.write(a_row("one", 3, code="too-large"))
    assert store.get(ALICE, LAPTOP, Ref("session", "one")).code == "too-large"


def test_rows_of_one_kind_can_be_asked_for(writer, store):
    writer.write(a_row("one", 1), a_row("one", 1, kind="sessions"), a_row("one", 1, kind="block"))
    assert [row.ref for row in store.rows(ALICE, LAPTOP, kind="session")] == [Ref("session", "one")]
    assert [row.ref for row in store.rows(ALICE, LAPTOP, kind="nothing")] == []


def test_hashes_are_those_of_one_lease_and_of_what_was_asked(writer, store):
    writer.write(a_row("one", 1), a_row("two", 1))
    writer.write(a_row("three", 1, lease=NEW), lease=NEW, seq=0)
    asked = [Ref("session", id) for id in ("one", "three", "absent")]
    assert set(store.hashes(ALICE, LAPTOP, OLD, asked)) == {asked[0]}
    assert set(store.hashes(ALICE, LAPTOP, NEW, asked)) == {asked[1]}
    assert store.hashes(ALICE, LAPTOP, NEW, []) == {}


def test_ninety_hashes_are_one_question(writer, store):
    rows = [a_row(f"s{n}", 1) for n in range(90)]
    writer.write(*rows)
    assert store.hashes(ALICE, LAPTOP, OLD, [row.ref for row in rows]) == {row.ref: row.hash for row in rows}


# -- what is visible


def test_every_row_is_visible_until_a_head_is_committed(writer, store):
    writer.write(a_row("old", 1), committed=True)
    writer.write(a_row("new", 1, lease=NEW), lease=NEW, seq=0, committed=False)
    assert ids(store.rows(ALICE, LAPTOP)) == ["new", "old"]
    assert store.get(ALICE, LAPTOP, Ref("session", "old")) is not None


def test_a_committed_head_shows_its_own_lease_only(writer, store):
    writer.write(a_row("old", 1), a_row("both", 1), committed=True)
    writer.write(a_row("both", 1, lease=NEW), lease=NEW, seq=0, committed=False)
    writer.write(committed=True)
    assert ids(store.rows(ALICE, LAPTOP)) == ["both"]
    assert store.get(ALICE, LAPTOP, Ref("session", "old")) is None
    assert store.get(ALICE, LAPTOP, Ref("session", "both")).lease == NEW


def test_a_put_under_a_new_lease_takes_the_place_of_the_old_row(writer, store):
    writer.write(a_row("one", 1, body='{"v":1}'), committed=True)
    writer.write(a_row("one", 1, lease=NEW, body='{"v":2}'), lease=NEW, seq=0, committed=False)
    assert [row.body for row in store.rows(ALICE, LAPTOP)] == ['{"v":2}']
    assert store.hashes(ALICE, LAPTOP, OLD, [Ref("session", "one")]) == {}


def test_rows_can_be_walked_while_others_write(writer, store):
    writer.write(*(a_row(f"s{n}", 1) for n in range(20)), committed=True)
    walk = store.rows(ALICE, LAPTOP)
    first = next(walk)
    writer.write(a_row("s5", 2), gone=[a_tombstone("s6", 2)])
    assert len({first.ref, *(row.ref for row in walk)}) >= 19


# -- what changed


def test_changes_are_what_came_after_ordered_by_seq(writer, store):
    writer.write(a_row("c", 1), a_row("b", 1))
    writer.write(a_row("a", 2), a_row("c", 2))
    writer.write(a_row("z", 3))
    rows, stones = store.changes(ALICE, LAPTOP, OLD, 1)
    assert [(row.seq, row.ref.id) for row in sorted(rows, key=lambda row: (row.seq, row.ref))] == [(2, "a"), (2, "c"), (3, "z")]
    assert [row.seq for row in rows] == [2, 2, 3]
    assert stones == []
    assert store.changes(ALICE, LAPTOP, OLD, 3) == ([], [])


def test_many_small_changes_can_be_followed_from_any_point(writer, store):
    for seq in range(1, 40):
        writer.write(a_row(f"s{seq % 7}", seq), committed=True)
    for after in (0, 1, 20, 35, 38):
        rows, _ = store.changes(ALICE, LAPTOP, OLD, after)
        assert [row.seq for row in rows] == list(range(max(33, after + 1), 40))


def test_changes_are_those_of_one_lease(writer, store):
    writer.write(a_row("old", 1), gone=[a_tombstone("was", 1)], committed=True)
    writer.write(a_row("new", 1, lease=NEW), lease=NEW, seq=0, committed=False)
    assert [row.ref.id for row in store.changes(ALICE, LAPTOP, NEW, 0)[0]] == ["new"]
    assert store.changes(ALICE, LAPTOP, NEW, 0)[1] == []
    assert store.changes(ALICE, LAPTOP, "c" * 32, 0) == ([], [])


def test_a_deletion_removes_the_row_and_leaves_a_tombstone(writer, store):
    writer.write(a_row("one", 1), a_row("two", 1), committed=True)
    writer.write(gone=[a_tombstone("one", 2)])
    assert ids(store.rows(ALICE, LAPTOP)) == ["two"]
    assert store.hashes(ALICE, LAPTOP, OLD, [Ref("session", "one")]) == {}
    assert store.changes(ALICE, LAPTOP, OLD, 1) == ([], [a_tombstone("one", 2)])
    assert store.changes(ALICE, LAPTOP, OLD, 2) == ([], [])


def test_a_deletion_of_what_is_not_there_leaves_a_tombstone_too(writer, store):
    writer.write(gone=[a_tombstone("never", 1)])
    assert store.changes(ALICE, LAPTOP, OLD, 0) == ([], [a_tombstone("never", 1)])


def test_what_comes_again_is_no_longer_deleted(writer, store):
    writer.write(a_row("one", 1))
    writer.write(gone=[a_tombstone("one", 2)])
    writer.write(a_row("one", 3))
    rows, stones = store.changes(ALICE, LAPTOP, OLD, 0)
    assert (rows, stones) == ([a_row("one", 3)], [])


# -- upkeep


def swept(store, now=NOW, tenant=ALICE, source=LAPTOP) -> int:
    """Everything that is to be swept; a store does a bounded amount at a time."""
    total = 0
    for _ in range(1000):
        removed = store.sweep(tenant, source, now=now)
        if not removed:
            return total
        total += removed
    raise AssertionError("sweeping never ends")


def test_sweeping_removes_what_a_committed_head_superseded(writer, store):
    writer.write(*(a_row(f"old-{n}", 1) for n in range(30)), committed=True)
    writer.write(a_row("new", 1, lease=NEW), lease=NEW, seq=0, committed=False)
    assert swept(store) == 0
    writer.write(committed=True)
    assert swept(store) == 30
    assert ids(store.rows(ALICE, LAPTOP)) == ["new"]
    assert [row.ref.id for row in store.changes(ALICE, LAPTOP, OLD, 0)[0]] == []


def test_swept_rows_do_not_come_back_with_the_next_lease(writer, store):
    writer.write(a_row("old", 1), committed=True)
    writer.write(a_row("new", 1, lease=NEW), lease=NEW, seq=0, committed=True)
    swept(store)
    writer.head = store.head(ALICE, LAPTOP)
    writer.write(lease="c" * 32, seq=0, committed=False)
    assert ids(store.rows(ALICE, LAPTOP)) == ["new"]


def test_sweeping_removes_tombstones_after_a_day_and_says_so(writer, store):
    writer.write(a_row("one", 1), a_row("two", 1), committed=True)
    writer.write(gone=[a_tombstone("one", 2, at=NOW)])
    writer.write(gone=[a_tombstone("two", 3, at=NOW + 1000)])
    assert swept(store, NOW + TOMBSTONE_MS - 1) == 0
    assert swept(store, NOW + TOMBSTONE_MS) == 1
    assert store.changes(ALICE, LAPTOP, OLD, 0)[1] == [a_tombstone("two", 3, at=NOW + 1000)]
    assert store.head(ALICE, LAPTOP) == replace(writer.head, purged_seq=2)


def test_sweeping_nothing_leaves_the_head_as_it_was(writer, store):
    head = writer.write(a_row("one", 1), committed=True)
    assert swept(store) == 0
    assert store.head(ALICE, LAPTOP) == head
    assert swept(store, source="unknown") == 0


def test_pushes_go_on_after_a_sweep(writer, store):
    writer.write(a_row("old", 1), committed=True)
    writer.write(a_row("new", 1, lease=NEW), lease=NEW, seq=0, committed=True)
    swept(store)
    writer.head = store.head(ALICE, LAPTOP)
    writer.write(a_row("more", 2, lease=NEW))
    assert ids(store.rows(ALICE, LAPTOP)) == ["more", "new"]


def test_forgetting_a_source_leaves_nothing_of_it_and_all_of_the_others(store):
    for tenant in (ALICE, BOB):
        for source in (LAPTOP, DESKTOP):
            writer = Writer(store, tenant, source)
            writer.write(a_row("one", 1), a_row("two", 1), committed=True)
            writer.write(gone=[a_tombstone("two", 2)])
    assert store.forget(ALICE, LAPTOP) == 1
    assert store.forget(ALICE, LAPTOP) == 0
    assert store.head(ALICE, LAPTOP) is None
    assert list(store.rows(ALICE, LAPTOP)) == []
    assert store.changes(ALICE, LAPTOP, OLD, 0) == ([], [])
    for tenant, source in ((ALICE, DESKTOP), (BOB, LAPTOP), (BOB, DESKTOP)):
        assert ids(store.rows(tenant, source)) == ["one"]
    assert store.tenants() == [ALICE, BOB]
    store.forget(ALICE, DESKTOP)
    assert store.tenants() == [BOB]


# -- walls


@pytest.mark.parametrize("mine, other", [
    (("alice", "laptop"), ("bob", "laptop")),
    (("alice", "laptop"), ("alice", "desktop")),
    (("ab", "c"), ("a", "bc")),
    (("a/b", "c"), ("a", "b/c")),
    (("a|b", "c"), ("a", "b|c")),
    (("a#b", "c"), ("a", "b#c")),
    (("a", "lap"), ("a", "laptop")),
    (("A", "laptop"), ("a", "laptop")),
    (("a%", "laptop"), ("ab", "laptop")),
    (("a_", "laptop"), ("ab", "laptop")),
    (("\u00e9", "laptop"), ("e\u0301", "laptop")),
])  # fmt: skip
def test_nothing_of_one_source_or_tenant_is_seen_by_another(store, mine, other):
    Writer(store, *mine).write(a_row("secret", 1), gone=[a_tombstone("gone", 1)], committed=True)
    tenant, source = other
    assert store.head(tenant, source) is None
    assert list(store.rows(tenant, source)) == []
    assert list(store.rows(tenant, source, kind="session")) == []
    assert store.get(tenant, source, Ref("session", "secret")) is None
    assert store.changes(tenant, source, OLD, 0) == ([], [])
    assert store.hashes(tenant, source, OLD, [Ref("session", "secret")]) == {}
    assert store.sweep(tenant, source, now=NOW + 2 * TOMBSTONE_MS) == 0
    assert store.forget(tenant, source) == 0
    assert [head.source for head in store.heads(tenant)] == ([mine[1]] if tenant == mine[0] else [])
    assert ids(store.rows(*mine)) == ["secret"]


def test_kinds_and_ids_that_look_alike_are_different_records(writer, store):
    refs = [Ref("a", "bc"), Ref("ab", "c"), Ref("a", "b/c"), Ref("a", "b|c"), Ref("a", "B/C"), Ref("a", "b%"), Ref("a", "b_"), Ref("a", "b ")]
    rows = [a_row(ref.id, 1, kind=ref.kind) for ref in refs]
    writer.write(*rows)
    assert store.hashes(ALICE, LAPTOP, OLD, refs) == {row.ref: row.hash for row in rows}
    assert {row.ref for row in store.rows(ALICE, LAPTOP)} == set(refs)
