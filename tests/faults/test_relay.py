"""What happens to the relay: it is emptied, put back, throttled, doubled, cut off. The agent alone makes it whole again, within two beats."""
from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pytest

from ledger import signing, wire
from ledger.errors import Busy, Conflict, Full
from ledger.keytext import KeyText
from ledger.store import Head
from ledger.stores import open_store
from local_agent.push.transport import Reply
from relay.keys import KeyRing
from relay.protocol import Signed, Terms, alive, changes_of, taken
from relay.push import Push
from relay.scrub import scrub
from tests.faults.hands import a_world, at_work, kept, survives
from tests.journeys.world import AUD, BODIES, IDS, Lost, Message, World
from tests.long import count, counted
from tests.relay.pushing import Office, unlimited

STORES = ["memory:", "sqlite:///{folder}/relay.db"]
TWO_BEATS_S = 120


@pytest.fixture(params=STORES, ids=["memory", "sqlite"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with a_world(request.param) as made:
        at_work(made)
        made.converge()
        yield made


def back_within_two_beats(world: World) -> None:
    """Nobody asks: the agent's own beats find out."""
    began = world.monotonic
    while world.visible() != world.shown_truth():
        world.time_passes(1)
        while world.delivery.push_once(world.clock()).state == "behind":
            pass
        assert world.monotonic - began <= TWO_BEATS_S
    world.converge()


# -- what it holds is gone


@pytest.mark.fault(44)
def test_a_relay_that_restarts_with_empty_memory_is_refilled() -> None:
    with a_world() as world:
        at_work(world)
        world.converge()
        world.relay_lives += 1
        world._open_relay(open_store("memory:"))
        back_within_two_beats(world)


@pytest.mark.fault(45)
def test_a_relay_whose_store_is_emptied_is_refilled(world: World) -> None:
    world.relay_loses_everything()
    back_within_two_beats(world)


@pytest.mark.fault(46)
@pytest.mark.parametrize("later", [1, 3])
def test_a_relay_put_back_to_an_older_backup_is_brought_up_to_date(world: World, later: int) -> None:
    older = world.copy_relay()
    for turn in range(later):
        world.write((IDS[turn], f'{{"later":{turn}}}'))
        world.delete(IDS[2])
        world.converge()
    world.relay_goes_back_to(older)
    back_within_two_beats(world)


@pytest.mark.fault(47)
def test_a_lost_row_is_found_by_the_scrub_and_refilled(world: World) -> None:
    world.relay_loses_a_row(0.5)
    back_within_two_beats(world)


@pytest.mark.fault(47)
def test_an_altered_row_is_found_by_the_scrub_not_shown_and_refilled(world: World) -> None:
    head, rows = world.head(), list(world.store.rows("alice", "laptop"))
    assert head is not None
    altered = [replace(rows[0], body='{"v":666}'), *rows[1:]]
    world.relay_goes_back_to([head, altered])
    assert not scrub(world.store, "alice", "laptop", now=world.clock())
    assert '{"v":666}' not in world.visible().values()
    back_within_two_beats(world)


@pytest.mark.fault(48)
def test_a_lost_head_with_its_rows_kept_shows_them_until_the_new_copy_is_whole(world: World) -> None:
    head = world.head()
    assert head is not None
    world.store.apply("alice", head, replace(head, lease=None, seq=0, digest=0, committed=False, purged_seq=0))
    assert world.visible() == world.shown_truth()
    back_within_two_beats(world)


# -- it fails in the middle


@pytest.mark.fault(49)
def test_a_crash_between_transaction_and_answer_counts_the_batch_once(world: World) -> None:
    def crashes(world: World, message: Message) -> Reply:
        world.deliver(message)
        if world.url == "memory:":
            raise Lost
        world.store.close()
        world._open_relay(open_store(world.url, **world._options))
        raise Lost

    for turn in range(3):
        world.write((IDS[turn], f'{{"crash":{turn}}}'))
        world.step(crashes)
        world.converge()


class Troubled:
    """A store whose calls fail as *plan* says, one after another, and then work."""

    def __init__(self, store: Any, plan: list[Exception | None]) -> None:
        self._store, self.plan = store, plan

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in ("head", "apply", "hashes", "sweep"):
            return found

        def call(*words: Any, **more: Any) -> Any:
            trouble = self.plan.pop(0) if self.plan else None
            if trouble:
                raise trouble
            return found(*words, **more)

        return call


@contextmanager
def troubled(world: World, plan: list[Exception | None]) -> Iterator[None]:
    calm = world.push
    world.push = Push(Troubled(world.store, plan), world.keys, aud=AUD, limits=unlimited(), clock=world.clock, terms=Terms(max_changes=2))
    yield
    world.push = calm


@pytest.mark.fault(50)
@pytest.mark.parametrize("seed", range(10))
def test_a_store_that_throttles_times_out_or_conflicts_costs_only_waiting(world: World, seed: int) -> None:
    chance = random.Random(seed)
    plan = [chance.choice([None, Busy("throttled", retry_after=1), Conflict("lost the race"), Busy("timeout", retry_after=20)]) for _ in range(12)]
    for turn in range(4):
        world.write((IDS[turn], f'{{"trouble":{turn}}}'))
        with troubled(world, plan[turn * 3 : turn * 3 + 3]):
            assert tolerant(world).state in ("synced", "behind", "throttled")
    world.converge()


def tolerant(world: World) -> Any:
    """A step whose answer may be a 503: the relay is in trouble on purpose."""

    def deliver(world: World, message: Message) -> Reply:
        return Reply(*world.push.answer("POST", "/v1/push", {**message[0], "content-length": str(len(message[1]))}, message[1]))

    outcome = world.step(deliver)
    world._note_truth()
    return outcome


@pytest.mark.fault(54)
def test_a_quota_that_is_reached_throttles_the_agent_and_loses_nothing_and_room_ends_it() -> None:
    with a_world() as world:
        generous = world.push
        world.push = Push(world.store, world.keys, aud=AUD, limits=unlimited(), clock=world.clock, terms=Terms(max_changes=2, max_records=4))
        world.write(*((id, BODIES[0]) for id in IDS))
        for _ in range(8):
            outcome = tolerant(world)
        assert outcome.state == "throttled" and len(world.visible()) <= 4
        world.push = generous
        world.converge()


@pytest.mark.fault(54)
def test_a_store_without_room_throttles_the_agent_and_loses_nothing(world: World) -> None:
    world.write((IDS[0], '{"full":1}'))
    with troubled(world, [None, None, Full("no room")]):
        assert tolerant(world).state == "throttled"
    world.converge()


@pytest.mark.fault(58)
def test_a_batch_is_written_whole_or_not_at_all() -> None:
    """Every statement of the transaction fails once; whatever came of it, the digest is the sum of the rows."""
    with a_world(STORES[1]) as world:
        at_work(world)
        broken = 0
        for failing in range(1, 14):
            world.write(*((id, f'{{"half":{failing}}}') for id in IDS))
            broken += breaking(world, failing)
            world.check_digest()
            world.converge()
        assert broken >= 5


def breaking(world: World, failing: int) -> bool:
    """Interrupt the relay's transaction after so many steps of its machine; whether it came to that."""
    writer = world.store._file.writer()
    left = [failing]

    def refuse(*_: object) -> int:
        left[0] -= 1
        return 0 if left[0] else 1  # SQLITE_OK, or interrupt

    writer.set_progress_handler(refuse, 12)
    try:
        return tolerant(world).state == "throttled"
    finally:
        writer.set_progress_handler(None, 0)


# -- there are several of it


@pytest.mark.fault(51)
def test_two_instances_that_answer_one_source_end_equal_to_the_truth() -> None:
    with a_world(STORES[1]) as world:
        other = Push(open_store(world.url, synchronous="OFF"), world.keys, aud=AUD, limits=unlimited(), clock=world.clock, terms=Terms(max_changes=2))
        first = world.push
        for turn in range(30):
            world.push = (first, other)[turn % 2]
            world.write((IDS[turn % 6], f'{{"turn":{turn}}}'))
            world.step(World.deliver_twice if turn % 3 else None)
        world.converge()
        other._store.close()  # type: ignore[attr-defined]


@pytest.mark.fault(51)
def test_two_instances_that_get_the_same_message_at_once_apply_it_once() -> None:
    with a_world(STORES[1]) as world:
        instances = [Push(open_store(world.url, synchronous="OFF"), world.keys, aud=AUD, limits=unlimited(), clock=world.clock) for _ in range(2)]
        at_work(world)

        def both(world: World, message: Message) -> Reply:
            headers = {**message[0], "content-length": str(len(message[1]))}
            with ThreadPoolExecutor(4) as pool:
                answers = [Reply(*found) for found in pool.map(lambda n: instances[n % 2].answer("POST", "/v1/push", headers, message[1]), range(4))]
            return random.Random(1).choice(answers)

        for turn in range(8):
            world.write((IDS[turn % 6], f'{{"both":{turn}}}'))
            world.step(both)
            world.check_digest()
        world.converge()
        for instance in instances:
            instance._store.close()  # type: ignore[attr-defined]


@pytest.mark.fault(52)
def test_a_function_that_is_cut_off_at_its_timeout_is_a_failure_to_wait_out() -> None:
    """The gateway answers 504 itself, 29 s later; the function may have written or not."""
    timeout = Reply(504, {"content-type": "application/json"}, b'{"message":"Endpoint request timed out"}')
    survives(lambda world, message: timeout)

    def written(world: World, message: Message) -> Reply:
        world.deliver(message)
        world.time_passes(29)
        return timeout

    survives(written)


@pytest.mark.fault(53)
def test_versions_that_take_turns_agree_with_one_agent() -> None:
    """The older one knows neither notices nor a wish for fewer messages, and its answers look different; an upgrade goes back and forth."""

    def older(world: World, message: Message) -> Reply:
        reply = world.deliver(message)
        document = json.loads(reply.body)
        for name in ("notices", "apart_s", "keep_days", "max_changes", "durable"):
            document.pop(name, None)
        body = json.dumps(document, indent=1).encode()
        signed = signing.headers(body, [world.key.secret], message[0]["webhook-id"], world.seconds)
        return Reply(reply.status, {**reply.headers, **signed}, body)

    with a_world() as world:
        at_work(world)
        for turn in range(12):
            world.write((IDS[turn % 6], f'{{"deploy":{turn}}}'))
            world.step(older if turn % 2 else None)
        world.converge()


@pytest.mark.fault(56)
@pytest.mark.parametrize("off", [3600, -3600, 3650 * 86_400])
def test_a_relay_whose_clock_jumps_keeps_showing_what_it_has_and_goes_on(world: World, off: int) -> None:
    acknowledged = world.visible()
    laptop = world.clock()
    world.seconds += off
    world.write((IDS[5], '{"clock":1}'))
    for _ in range(8):
        if world.delivery.push_once(laptop, ask=True).agreed:
            break
        kept(world, acknowledged)
    assert world.visible() == world.shown_truth()
    world.seconds -= off  # and it is put right
    for _ in range(8):
        world.monotonic += world.delivery.wait_s
        if world.delivery.push_once(laptop, ask=True).agreed:
            break
    assert world.visible() == world.shown_truth()


@pytest.mark.fault(56)
def test_an_instance_whose_clock_is_behind_makes_no_machine_look_silent() -> None:
    head = Head("laptop", lease="a" * 32, seq=1, committed=True, last_timestamp=1000, last_seen=2_000_000)
    for type in ("push", "beat", "bye"):
        message = wire.Push(1, type, AUD, "laptop", head.lease, 1, "0" * 64, "0" * 64, False, [], [], {})
        behind = Signed(message, at=1500, now=1_500_000)
        after = taken(head, behind, changes_of(behind, head, {}), Terms()) if type == "push" else alive(head, behind, Terms())
        assert (after.last_seen, after.last_timestamp) == (2_000_000, 1500), type
    # A laptop whose clock was put back: what it said before stays older than what it says next, or a recorded beat would count as news.
    late = Signed(wire.Push(1, "push", AUD, "laptop", head.lease, 2, "0" * 64, "0" * 64, False, [], [], {}), at=900, now=2_100_000)
    assert taken(head, late, changes_of(late, head, {}), Terms()).last_timestamp == 1000


@pytest.mark.fault(57)
def test_a_rotated_master_secret_leaves_no_gap_and_a_lost_one_halts_without_loss(world: World) -> None:
    def with_masters(*masters: bytes) -> None:
        world.keys = KeyRing(list(masters), world.store, frozenset(), world.clock)
        world.push = Push(world.store, world.keys, aud=AUD, limits=unlimited(), clock=world.clock, terms=Terms(max_changes=2))

    with_masters(b"n" * 32, b"m" * 32)
    world.write((IDS[0], '{"rotated":1}'))
    world.converge()
    acknowledged = world.visible()
    with_masters(b"n" * 32)
    world.write((IDS[1], '{"rotated":2}'))
    assert tolerant(world).state == "halted"
    kept(world, acknowledged)
    world.key = KeyText.parse(world.keys.issue("push", "alice", "laptop"))
    world.start_agent()
    world.converge()


# -- there are many agents


@pytest.mark.fault(55)
def test_many_sources_that_refill_a_lost_relay_together_all_converge() -> None:
    """Each holds a few records; the relay's store is one SQLite file, and eight come at once."""
    sources = count("resync")
    with counted("resync", sources), an_office() as office:
        began = time.monotonic()
        senders = [office.sender(source=f"machine{n}") for n in range(sources)]
        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(refilled, senders))
        assert set(statuses) == {200}
        assert len(office.store.heads("alice")) == sources and all(head.committed for head in office.store.heads("alice"))
        assert time.monotonic() - began < 600


def refilled(sender: Any) -> int:
    assert sender.start().status == 409
    return int(sender.push({f"s{n}": f'{{"n":{n}}}' for n in range(20)}, commit=True).status)


@contextmanager
def an_office() -> Iterator[Office]:
    with a_world(STORES[1]) as world, ExitStack() as stack:
        store = open_store(f"sqlite:///{world.folder / 'many.db'}", synchronous="OFF")
        stack.callback(store.close)
        yield Office(store)

