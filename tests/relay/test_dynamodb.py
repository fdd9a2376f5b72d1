"""The DynamoDB store: what the contract of all stores cannot ask, because only this one pays by the kilobyte and may be throttled."""
from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, NoCredentialsError
from moto import mock_aws

from bench.units import Meter
from ledger.errors import Busy, Conflict, Full, Unusable
from ledger.record import Record, Ref
from ledger.store import Head, Row, Tombstone
from ledger.stores.dynamo_items import part, size_of, unpart
from ledger.stores.dynamodb import DynamoStore, connect, meaning_of
from ledger.stores.memory import MemoryStore
from ledger.stores.packing import pack, unpack
from tests.ledger.stores import one_at_a_time

LEASE = "0123456789abcdef" * 2
NOW = 1_763_800_000_000
DAY = 24 * 3600 * 1000


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        yield


@pytest.fixture
def meter(aws: None) -> Meter:
    client = connect(region_name="eu-central-1")
    one_at_a_time(client)
    return Meter(client)


@pytest.fixture
def store(meter: Meter) -> DynamoStore:
    made = DynamoStore("ledger", client=meter, keep_days=lambda tenant: 400, sleep=lambda _: None)
    made.create()
    meter.calls.clear()
    return made


def session(number: int, *, quarters: int = 4, text: str = "") -> Record:
    at = NOW // 900_000 * 900_000
    id = str(uuid.UUID(int=number * 0x9E3779B97F4A7C15F39CC0605CEDC834 % 2**128))
    usage = [[at + n * 900_000, at + n * 900_000 + 41_737, at + n * 900_000 + 862_190, "claude-opus-4-5-20251101", "standard",
              1234 + n * 7, 56_789 - n * 31, 0, 123_456 + n, 9_876_543 - n * 1009, 38 + n, None] for n in range(quarters)]
    body = {"id": id, "session_type": "claude_code", "start_time": at, "last_activity": at + quarters * 900_000, "is_active": True,
            "total_messages": 321, "models_used": ["claude-opus-4-5-20251101"], "estimated_tokens": 12_345_678, "project": "session-relay",
            "title": text or "Find out why the feed skips a beat", "git_branch": "main", "machine": "annas-macbook", "account": "8a7f6e5d",
            "provenance": "observed", "context": {"used": 123_456, "size": 200_000}, "usage": usage}
    return Record("session", id, json.dumps(body, separators=(",", ":")))


def row(record: Record, seq: int, lease: str = LEASE, code: str | None = None) -> Row:
    return Row(record.ref, record.body, record.hash, lease, seq, code)


AGENT = json.dumps({"version": "1.0.0", "boot": "8f14e45f", "uptime_s": 86_400, "os": "darwin", "name": "annas-macbook", "tz": "Europe/Berlin",
                    "readers": {"claude_code": {"state": "ok", "counted": {"sessions": 412}}, "tracker": {"state": "absent"}, "codex": {"state": "absent"}}})


class Source:
    """A source that pushes: each push goes on from the one before."""

    def __init__(self, store: DynamoStore, name: str = "laptop") -> None:
        self.store, self.name, self.head = store, name, None

    def push(self, *records: Record, gone: tuple[Ref, ...] = (), lease: str = LEASE, commit: bool = True, at: int = NOW) -> Head:
        seq = self.head.seq + 1 if self.head and self.head.lease == lease else 1
        after = Head(self.name, lease, seq, seq * 7, commit, None, at // 1000, at, 60, AGENT, self.head.purged_seq if self.head else 0)
        self.store.apply("alice", self.head, after, [row(record, seq, lease) for record in records],
                         [Tombstone(ref, lease, seq, at) for ref in gone])
        self.head = after
        return after

    def beat(self, at: int) -> None:
        head = self.store.head("alice", self.name)
        assert head
        self.head = Head(head.source, head.lease, head.seq, head.digest, head.committed, None, at // 1000, at, 60, AGENT, head.purged_seq)
        self.store.apply("alice", head, self.head)


@pytest.fixture
def laptop(store: DynamoStore) -> Source:
    return Source(store)


# -- what it costs


def test_a_push_of_one_changed_session_costs_four_write_units(laptop: Source, meter: Meter) -> None:
    laptop.push(session(1), session(2), session(3))
    spent = []
    for n in range(40):
        before = meter.written
        laptop.push(session(1 + n % 3, quarters=1 + n // 2))
        spent.append(meter.written - before)
    assert set(spent) == {4}


def test_the_session_that_somebody_works_in_costs_half(laptop: Source, meter: Meter) -> None:
    laptop.push(session(1), session(2))
    laptop.push(session(1, quarters=1))
    before = meter.written
    for n in range(20):
        laptop.push(session(1, quarters=2 + n))
    assert meter.written - before <= 40


def test_a_head_never_grows_beyond_two_units_for_its_row(laptop: Source, store: DynamoStore) -> None:
    for n in range(60):
        laptop.push(session(1, quarters=1 + n * 2))
        (item,) = store._table.query("H|alice")
        assert size_of(item) <= 2048
    assert store.get("alice", "laptop", session(1).ref).body == session(1, quarters=119).body


class Pair:
    """The same changes on a table and in memory, which must then answer alike."""

    def __init__(self, store: DynamoStore, other: DynamoStore) -> None:
        self.stores, self.memory, self.head = [store, other], MemoryStore(), None

    def apply(self, after: Head, puts: list[Row], gone: list[Tombstone], writer: int) -> None:
        self.stores[writer].apply("alice", self.head, after, puts, gone)
        self.memory.apply("alice", self.head, after, puts, gone)
        self.head = after

    def agree(self, roll: random.Random) -> None:
        refs = [session(n).ref for n in range(8)]
        for store in self.stores:
            assert store.head("alice", "laptop") == self.memory.head("alice", "laptop")
            for lease in {row.lease for row in self.memory.rows("alice", "laptop")} | {self.head.lease}:
                assert store.hashes("alice", "laptop", lease, refs) == self.memory.hashes("alice", "laptop", lease, refs)
                after = roll.randrange(self.head.seq + 1) if roll.random() < 0.7 else max(0, self.head.seq - 1)
                for ours, theirs in zip(store.changes("alice", "laptop", lease, after), self.memory.changes("alice", "laptop", lease, after), strict=True):
                    assert sorted(ours, key=repr) == sorted(theirs, key=repr)
            for kind in (None, "session", "usage"):
                assert sorted(store.rows("alice", "laptop", kind=kind), key=repr) == sorted(self.memory.rows("alice", "laptop", kind=kind), key=repr)
            assert [store.get("alice", "laptop", ref) for ref in refs] == [self.memory.get("alice", "laptop", ref) for ref in refs]


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 12))])
def test_whatever_is_done_the_table_answers_as_memory_does(store: DynamoStore, meter: Meter, seed: int) -> None:
    """Pushes of one and of several, deletions, beats, new copies and sweeps, by two instances, in any order."""
    roll, pair = random.Random(seed), Pair(store, DynamoStore("ledger", client=meter, keep_days=lambda tenant: 400))
    lease, at, favourite = "a" * 32, NOW, 0
    for _ in range(30):
        at += roll.choice([1_000, 60_000, 30 * 3_600_000])
        deed, head = roll.random(), pair.head
        if head and deed < 0.1:
            pair.apply(replace(head, last_seen=at), [], [], roll.randrange(2))
        elif head and deed < 0.2:
            swept = roll.choice(pair.stores)
            while swept.sweep("alice", "laptop", now=at):
                pass
            while pair.memory.sweep("alice", "laptop", now=at):
                pass
            pair.head = pair.memory.head("alice", "laptop")
            assert store.head("alice", "laptop") == pair.head
        else:
            anew = head is None or deed > 0.93
            lease = f"{roll.getrandbits(128):032x}" if anew and head else lease
            if anew and head:
                while pair.memory.sweep("alice", "laptop", now=at) or store.sweep("alice", "laptop", now=at):
                    pass
                pair.head = head = pair.memory.head("alice", "laptop")
            seq = 1 if anew else head.seq + 1
            favourite = favourite if roll.random() < 0.8 else roll.randrange(8)
            chosen = [favourite] if roll.random() < 0.75 else roll.sample(range(8), roll.randrange(1, 6))
            records = [session(n, quarters=roll.randrange(1, 60)) for n in chosen]
            gone = [Tombstone(session(n).ref, lease, seq, at) for n in range(8) if n not in chosen and roll.random() < 0.1]
            after = Head("laptop", lease, seq, roll.getrandbits(200), (not anew and head.committed) or roll.random() < 0.5, None, at // 1000, at, 60, AGENT,
                         0 if anew or head is None else head.purged_seq)  # fmt: skip
            pair.apply(after, [row(record, seq, lease) for record in records], gone, roll.randrange(2))
        pair.agree(roll)
    assert store.forget("alice", "laptop") == pair.memory.forget("alice", "laptop")
    assert list(store._table.query("R|alice|laptop")) == []


def test_sessions_that_take_turns_by_the_dozen_cost_little_more(laptop: Source, meter: Meter) -> None:
    for n in range(200):
        laptop.push(session(n % 60))
    assert meter.written / 200 <= 4.5


def test_a_session_of_six_busy_hours_is_still_one_write_unit() -> None:
    assert len(pack(session(1, quarters=24).body)) < 900


def test_a_beat_costs_one_write_unit(laptop: Source, meter: Meter) -> None:
    laptop.push(session(1))
    before = meter.written
    laptop.beat(NOW + 60_000)
    assert meter.written - before == 1


def test_the_newest_change_is_read_by_key_without_touching_other_rows(laptop: Source, store: DynamoStore, meter: Meter) -> None:
    for start in range(0, 450, 90):
        laptop.push(*(session(n) for n in range(start, start + 90)))
    head = laptop.push(session(7, quarters=9))
    meter.calls.clear()
    rows, _ = store.changes("alice", "laptop", LEASE, head.seq - 1)
    assert [found.ref for found in rows] == [session(7).ref]
    assert meter.calls == ["get_item", "batch_get_item"]


def test_changes_of_some_time_ago_are_found_through_pages_of_the_log(laptop: Source, store: DynamoStore, meter: Meter) -> None:
    laptop.push(*(session(n) for n in range(1000, 1090)))
    for n in range(120):
        laptop.push(session(n))
    for after in (1, 2, 50, 119, 120, 121):
        rows, _ = store.changes("alice", "laptop", LEASE, after)
        assert [found.seq for found in rows] == list(range(after + 1, 122))
    meter.calls.clear()
    store.changes("alice", "laptop", LEASE, 60)
    assert meter.calls == ["get_item", "query", "batch_get_item"]


def test_a_log_with_a_hole_is_not_believed(laptop: Source, store: DynamoStore, meter: Meter) -> None:
    for n in range(120):
        laptop.push(session(n))
    pages = list(store._table.query("R|alice|laptop", "l"))
    store._table.delete(pages[len(pages) // 2])
    rows, _ = store.changes("alice", "laptop", LEASE, 3)
    assert [found.seq for found in rows] == list(range(4, 121))


def test_nothing_scans_the_table(laptop: Source, store: DynamoStore, meter: Meter) -> None:
    laptop.push(session(1), session(2))
    laptop.push(gone=(session(2).ref,))
    store.tenants(), store.heads("alice"), list(store.rows("alice", "laptop")), store.get("alice", "laptop", session(1).ref)
    store.sweep("alice", "laptop", now=NOW + 2 * DAY)
    store.put("tickets", "t", {"a": 1}, now=NOW)
    list(store.list("tickets", now=NOW))
    store.forget("alice", "laptop")
    assert "scan" not in meter.calls


def test_a_sweep_with_nothing_to_do_reads_only_the_head(laptop: Source, store: DynamoStore, meter: Meter) -> None:
    laptop.push(session(1))
    while store.sweep("alice", "laptop", now=NOW):
        pass
    meter.calls.clear()
    assert store.sweep("alice", "laptop", now=NOW + 9 * DAY) == 0
    assert meter.calls == ["get_item"]


# -- what the table removes by itself


def test_only_what_ages_expires_and_well_behind_the_horizon(laptop: Source, store: DynamoStore) -> None:
    laptop.push(session(1), Record("day", "2026-01-01", "{}"), Record("machine", "laptop", "{}"))
    expiries = {item["s"]["S"].split("/")[0]: int(item["x"]["N"]) if "x" in item else None for item in store._table.query("R|alice|laptop", "r")}
    assert expiries == {"rsession": NOW // 1000 + (400 + 400 + 90) * 86_400, "rday": None, "rmachine": None}


def test_a_relay_that_keeps_everything_gives_no_row_an_expiry(meter: Meter) -> None:
    store = DynamoStore("ledger", client=meter)
    store.create()
    Source(store).push(session(1))
    assert all("x" not in item for item in store._table.query("R|alice|laptop", "r"))


def test_a_document_that_the_table_has_not_removed_yet_is_gone_all_the_same(store: DynamoStore) -> None:
    store.put("tickets", "t", {"for": "alice"}, now=NOW, expires=NOW + 30_000)
    assert store.take("tickets", "t", now=NOW + 30_000) is None
    assert store.put("tickets", "t", {"for": "bob"}, now=NOW + 30_000, expect=0) == 1


# -- races


def test_of_two_instances_that_answer_one_source_exactly_one_wins(laptop: Source, store: DynamoStore, meter: Meter) -> None:
    head = laptop.push(session(1))
    other = DynamoStore("ledger", client=meter)
    assert other.head("alice", "laptop") == head

    def push(instance: DynamoStore, number: int) -> bool:
        after = Head("laptop", LEASE, 2, number, True, None, 0, NOW + number, 60, AGENT, 0)
        try:
            instance.apply("alice", head, after, [row(session(number), 2)])
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(push, [store, other] * 8, range(100, 116)))
    assert sum(won) == 1
    winner = 100 + won.index(True)
    assert {found.ref for found in store.rows("alice", "laptop")} == {session(1).ref, session(winner).ref}
    assert other.head("alice", "laptop").digest == winner


def test_a_row_that_came_back_while_it_was_swept_stays(laptop: Source, store: DynamoStore, monkeypatch: pytest.MonkeyPatch) -> None:
    laptop.push(session(1), session(2))
    laptop.push(session(3), lease="f" * 32)
    delete = store._table.delete

    def race(item: Any, **more: Any) -> bool:
        monkeypatch.undo()
        laptop.push(session(1), lease="f" * 32)
        return delete(item, **more)

    monkeypatch.setattr(store._table, "delete", race)
    while store.sweep("alice", "laptop", now=NOW):
        pass
    assert {found.ref for found in store.rows("alice", "laptop")} == {session(1).ref, session(3).ref}
    assert session(2).ref not in store.hashes("alice", "laptop", LEASE, [session(2).ref])


def test_rows_left_by_an_interrupted_forget_are_never_shown_by_a_source_that_begins_again(laptop: Source, store: DynamoStore) -> None:
    laptop.push(session(1))
    store._table.delete(next(iter(store._table.query("H|alice"))))
    fresh = Source(store)
    fresh.push(session(2), lease="e" * 32)
    assert [found.ref for found in store.rows("alice", "laptop")] == [session(2).ref]
    assert store.sweep("alice", "laptop", now=NOW) == 1


def test_a_ticket_has_one_taker_however_many_reach_for_it(store: DynamoStore) -> None:
    store.put("tickets", "t", {}, now=NOW)
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda _: store.drop("tickets", "t"), range(16))) == 1


def test_documents_that_are_written_at_once_keep_every_version(store: DynamoStore) -> None:
    with ThreadPoolExecutor(4) as pool:
        versions = list(pool.map(lambda n: store.put("drawer", "name", {"n": n}, now=NOW), range(4)))
    assert sorted(versions) == [1, 2, 3, 4]


# -- a table that is busy, full or absent


def refusal(code: str, *reasons: str, operation: str = "TransactWriteItems") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "secret detail"}, "CancellationReasons": [{"Code": reason} for reason in reasons]}, operation)


@pytest.mark.parametrize(("error", "meaning"), [
    (refusal("TransactionCanceledException", "ConditionalCheckFailed", "None"), Conflict),
    (refusal("TransactionCanceledException", "ConditionalCheckFailed", "TransactionConflict"), Conflict),
    (refusal("TransactionCanceledException", "None", "TransactionConflict"), Busy),
    (refusal("TransactionCanceledException", "None", "ThrottlingError"), Busy),
    (refusal("TransactionCanceledException", "ProvisionedThroughputExceeded"), Busy),
    (refusal("TransactionCanceledException", "ValidationError"), Full),
    (refusal("TransactionInProgressException"), Busy),
    (refusal("TransactionConflictException", operation="PutItem"), Busy),
    (refusal("ConditionalCheckFailedException", operation="PutItem"), Conflict),
    (refusal("ThrottlingException"), Busy),
    (refusal("ProvisionedThroughputExceededException"), Busy),
    (refusal("InternalServerError"), Busy),
    (refusal("ResourceNotFoundException"), Unusable),
    (refusal("AccessDeniedException"), Unusable),
    (ConnectTimeoutError(endpoint_url="https://x"), Busy),
    (NoCredentialsError(), Unusable),
])
def test_every_error_of_the_api_says_what_to_do(error: Any, meaning: type) -> None:
    told = meaning_of(error, "ledger")
    assert type(told) is meaning
    assert ("secret detail" not in str(told) and ":" in str(told)) or meaning is Full


class Moody:
    """A client that refuses as told before it does what it is asked."""

    def __init__(self, client: Any, *refusals: ClientError) -> None:
        self.client, self.refusals = client, list(refusals)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(**arguments: Any) -> Any:
            if self.refusals:
                raise self.refusals.pop()
            return getattr(self.client, name)(**arguments)

        return call


def test_a_lost_race_of_transactions_is_run_again(store: DynamoStore, meter: Meter) -> None:
    waits: list[float] = []
    race = refusal("TransactionCanceledException", "TransactionConflict")
    moody = DynamoStore("ledger", client=Moody(meter, race, race), sleep=waits.append, roll=lambda: 1.0)
    Source(moody).push(session(1))
    assert waits == [0.1, 0.2]


def test_a_throttled_table_is_busy_after_bounded_tries_and_loses_nothing(laptop: Source, store: DynamoStore, meter: Meter) -> None:
    laptop.push(session(1))
    throttle = refusal("TransactionCanceledException", "ThrottlingError")
    patience: list[float] = []
    moody = DynamoStore("ledger", client=Moody(meter, *[throttle] * 3), sleep=patience.append)
    source = Source(moody)
    source.head = store.head("alice", "laptop")
    moody._known = dict(store._known)
    with pytest.raises(Busy) as busy:
        source.push(session(2))
    assert busy.value.retry_after >= 1 and len(patience) == 2
    assert store.head("alice", "laptop") == laptop.head
    source.push(session(2))
    assert {found.ref for found in store.rows("alice", "laptop")} == {session(1).ref, session(2).ref}


def test_what_the_table_holds_back_is_asked_for_again(laptop: Source, store: DynamoStore, meter: Meter, monkeypatch: pytest.MonkeyPatch) -> None:
    laptop.push(*(session(n) for n in range(90)))
    whole = meter.client.batch_get_item

    def stingy(**arguments: Any) -> Any:
        (table, asked), = arguments["RequestItems"].items()
        answer = whole(**arguments | {"RequestItems": {table: {**asked, "Keys": asked["Keys"][:30]}}})
        if asked["Keys"][30:]:
            answer["UnprocessedKeys"] = {table: {"Keys": asked["Keys"][30:]}}
        return answer

    monkeypatch.setattr(meter.client, "batch_get_item", stingy)
    assert len(store.hashes("alice", "laptop", LEASE, [session(n).ref for n in range(90)])) == 90


def test_a_table_that_is_not_there_is_named(aws: None) -> None:
    with pytest.raises(Unusable, match="there is no table nowhere"):
        DynamoStore("nowhere", client=connect(region_name="eu-central-1")).head("alice", "laptop")


# -- how things are written down


@pytest.mark.parametrize("names", [("a|b", "c"), ("a", "b|c"), ("a%7C", "b"), ("", "x"), ("é🙂", "|%|")])
def test_names_are_told_apart_whatever_stands_in_them(names: tuple[str, str]) -> None:
    assert unpart(part(*names)) == list(names)


@pytest.mark.parametrize("text", ["", "x", '{"title":"é🙂"}', "a" * 65_536, session(1, quarters=40).body])
def test_what_was_packed_is_unpacked_whole(text: str) -> None:
    assert unpack(pack(text)) == text
    assert len(pack(text)) <= len(text.encode()) + 1


def test_what_was_written_by_the_first_version_is_read_for_ever() -> None:
    assert unpack(bytes.fromhex(FIRST_VERSION)) == session(1, quarters=1).body


def test_an_unknown_way_of_packing_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="install a newer version"):
        unpack(b"\x07abc")


FIRST_VERSION = (
    "019595410e82301045af3207a04961da4ee702dec2452925241a1662625878778680498d82b29cd5b4fffdf97fc5cb0989b86645ad098a6229b7891c"
    "55d44edb989ae8d11c648dc48c9b70d16b5dfd4b18ab4dc69f17f79d7085c63af239d3f533ea96ae61cc009fa4a441221a1edd08f72e419b520373df"
    "0c10a09638fe6981d0f76150324b915ede4ed5076a5db2cd11932c8fdfb54a26f66b32252115abd4a59348d4bb39951945f615b35a3c7b6559ce9e9c"
    "3558a05fbc737e4e"
)
