"""What happens to the laptop: its clock, its sleep, its home, its keys. In one process, real but for the wire."""
from __future__ import annotations

import os
import resource
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from ledger.errors import Full, LedgerError, Unusable
from ledger.keytext import KeyText
from ledger.stores.sqlite_file import VERSION
from local_agent.archive import Archive
from local_agent.delivery import Relay
from local_agent.identity import open_identity
from local_agent.push.pace import Slumber
from tests.agent.transcripts import Desk, Home, line
from tests.faults.hands import a_world, at_work, kept
from tests.journeys.world import AUD, BODIES, IDS, World

HOUR, DAY = 3600, 86_400


@pytest.fixture
def world() -> Iterator[World]:
    with a_world() as made:
        at_work(made)
        yield made


# -- the home


@pytest.mark.fault(31)
def test_an_archive_deleted_under_the_agent_is_made_anew_and_the_relay_is_filled_from_it(world: World) -> None:
    world.converge()
    for part in world.folder.glob("archive.db*"):
        part.unlink()
    assert world.archive.store.head("local", "me") is None  # how the agent notices: it begins anew
    world.archive.store.close()
    world.archive = Archive(world.folder / "archive.db", source="me", clock=world.clock)
    world.start_agent()
    world.write(*((id, BODIES[2]) for id in IDS[:5]))
    assert set(world.visible()), "what was acknowledged stays visible until the new copy is complete"
    world.converge()


@pytest.mark.fault(32)
@pytest.mark.parametrize("at", [0, 100, 4096, 9000, 20_000])
def test_a_damaged_archive_is_set_aside_and_the_relay_keeps_what_it_had_until_all_is_read_again(world: World, at: int) -> None:
    world.write(*((f"more{n}", '{"x":"' + "y" * 400 + '"}') for n in range(80)))
    world.delivery._limit = world.delivery._most = 90
    while not world.step().agreed:
        pass
    world.archive.store.connection().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    world.archive.store.close()  # killed: not marked as closed in order
    path = world.folder / "archive.db"
    content = bytearray(path.read_bytes())
    content[at : at + 3000] = b"\xff" * 3000
    path.write_bytes(content)
    world.archive = Archive(path, source="me", clock=world.clock)
    world.start_agent()
    world.write(*((f"more{n}", '{"x":"' + "y" * 400 + '"}') for n in range(80)), *((id, BODIES[1]) for id in IDS[:3]))
    world.converge()


@pytest.mark.fault(33)
def test_a_home_put_back_from_a_backup_sends_its_truth_anew(world: World) -> None:
    copy = world.copy_archive()
    world.converge()
    for turn in range(3):
        world.write((IDS[turn], BODIES[turn]), (IDS[5], BODIES[turn]))
        world.converge()
    world.restart_with_older_archive(copy)
    world.converge()


@pytest.mark.fault(34)
def test_a_copied_home_pushes_nothing_until_it_has_a_key_of_its_own(tmp_path: Path) -> None:
    first = open_identity(tmp_path, fingerprint="this computer")
    second = open_identity(tmp_path, fingerprint="another computer")
    assert (first.copied, second.copied, second.source) == (False, True, first.source)


@pytest.mark.fault(34)
def test_two_machines_with_one_key_never_mix_their_records_and_are_told(world: World) -> None:
    """The copy was made where computers cannot be told apart: the lease keeps the two from writing into one another."""
    world.converge()
    with a_world(seed=9) as twin:
        twin.store, twin.push, twin.keys = world.store, world.push, world.keys
        twin.boots = 10
        twin.start_agent()
        twin.delivery.relay = Relay(AUD, AUD, "laptop", world.key.id, (world.key.secret,))
        twin.delivery.transport = twin
        twin._check_step = lambda *_: None  # type: ignore[method-assign]
        twin.write(("twin", '{"mine":1}'))
        notices = set()
        for _ in range(10):
            for one in (twin, world):
                one.monotonic += one.delivery.wait_s
                one._check_step = lambda *_: None  # type: ignore[method-assign]
                for _ in range(6):
                    if one.delivery.push_once(one.clock(), ask=True).state != "behind":
                        break
                notices |= {one.delivery._last_state, one.mirror.notes().get("notices", "")}
                assert world.visible() in (world.shown_truth(), twin.shown_truth()) or not world.head().committed  # type: ignore[union-attr]
        assert notices & {"duplicate-source", "halted"}


@pytest.mark.fault(43)
def test_an_archive_of_a_newer_version_is_left_alone_and_said_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "archive.db"
    Archive(path, source="me", clock=lambda: 0).close()
    with closing(sqlite3.connect(path)) as sql:
        sql.execute(f"PRAGMA user_version = {VERSION + 1}")
    before = path.read_bytes()
    with pytest.raises(Unusable, match=r"newer version.*upgrade"):
        Archive(path, source="me", clock=lambda: 0)
    assert path.read_bytes() == before


@pytest.mark.fault(43)
def test_an_archive_without_the_tables_of_this_version_gets_them_and_loses_nothing(world: World) -> None:
    """An upgrade finds the state of an agent that did not know some tables yet."""
    world.converge()
    tables = ["agent_observed", "mirror_stubs", "mirror_flights", "mirror_flight_rows", "mirror_place", "mirror_notes", "mirror_rows"]
    with world.archive.store.transaction() as sql:
        for table in tables:
            sql.execute(f"DROP TABLE {table}")
    world.archive.close()
    world.archive = Archive(world.folder / "archive.db", source="me", clock=world.clock)
    world.start_agent()
    world.converge()


@pytest.mark.fault(28)
@pytest.mark.parametrize("when", ["before a push", "while one is unanswered", "after the first copy began"])
def test_beside_a_full_disk_pushes_go_on_and_a_crash_costs_one_copy(world: World, when: str) -> None:
    if when == "while one is unanswered":
        world.step(World.lose_answer)
    elif when == "after the first copy began":
        world.relay_loses_everything()
        world.step()
    world.archive.store.connection().execute("PRAGMA max_page_count = 1")
    with pytest.raises(Full):
        world.write((IDS[4], '{"x":"' + "y" * 50_000 + '"}'))
    assert world.archive.disk == "full"
    world.start_agent()  # its mirror lives in the same memory
    world.write(*((id, BODIES[2]) for id in IDS))
    world.converge()
    acknowledged = world.visible()
    world.archive.store.close()  # a crash: memory is gone, the file is as old as it is
    world.archive = Archive(world.folder / "archive.db", source="me", clock=world.clock)
    world.start_agent()
    kept(world, acknowledged)
    world.write(*((id, BODIES[2]) for id in IDS))  # read again
    world.converge()


@pytest.mark.fault(28)
def test_room_on_the_disk_ends_it_within_a_minute_and_nothing_is_sent_again(world: World) -> None:
    world.archive.store.connection().execute("PRAGMA max_page_count = 1")
    with pytest.raises(Full):
        world.write((IDS[4], '{"x":"' + "y" * 50_000 + '"}'))
    world.start_agent()
    world.write((IDS[4], BODIES[2]))
    world.converge()
    world.time_passes(60)
    world.archive.mend()
    assert world.archive.disk == "ok"
    world.start_agent()
    assert world.converge() == 1, "one beat, and all is known"


# -- time


@pytest.mark.fault(37)
@pytest.mark.parametrize("slept", [60, 8 * HOUR, 30 * DAY])
def test_after_a_sleep_the_agent_is_in_touch_within_five_seconds(world: World, slept: int) -> None:
    awake, always = [0.0], [0.0]
    slumber = Slumber(lambda: awake[0], lambda: always[0])
    for _ in range(5):
        world.step(World.lose_request)  # a backoff is running when the lid closes
    awake[0], always[0] = awake[0] + 1, always[0] + 1 + slept
    world.seconds += slept
    assert slumber.slept() and not slumber.slept()
    world.delivery.wake()
    assert world.delivery.wait_s <= 5
    world.converge()


@pytest.mark.fault(38, 56)
@pytest.mark.parametrize("off", [HOUR, -HOUR, 3650 * DAY, -3650 * DAY, 299, -299, 301, -301])
def test_a_clock_that_is_off_costs_one_exchange(world: World, off: int) -> None:
    """It is the difference that counts: the same for the laptop's and for the relay's clock."""
    world.converge()
    world.write((IDS[2], BODIES[2]))
    began = world.exchanges
    for _ in range(12):
        world.monotonic += world.delivery.wait_s
        if world.delivery.push_once(world.clock() + off * 1000, ask=True).agreed:
            break
    else:
        raise AssertionError("no agreement with a clock that is off")
    assert world.visible() == world.shown_truth() and world.exchanges - began <= world.bound() + 1


@pytest.mark.fault(38)
def test_a_clock_that_steps_within_a_request_or_twice_is_followed(world: World) -> None:
    for step in (2 * HOUR, -DAY, 3650 * DAY, -3650 * DAY):
        world.write((IDS[1], f'{{"v":"{step}"}}'))

        def stepping(world: World, message: object, step: int = step) -> object:
            world.seconds += step  # the relay's clock moves while the message is under way
            return world.deliver(message)  # type: ignore[arg-type]

        world.step(stepping)  # type: ignore[arg-type]
        world._note_truth()
        for _ in range(12):
            world.monotonic += world.delivery.wait_s
            if world.delivery.push_once(world.clock(), ask=True).agreed:
                break
        assert world.visible() == world.shown_truth()


@pytest.mark.fault(38)
def test_summer_time_changes_nothing_that_is_sent(tmp_path: Path) -> None:
    """All instants are UTC: the same moment in another zone is the same message."""
    with pytest.MonkeyPatch.context() as patch:
        home = Home(tmp_path / "claude")
        # Both sides of the hour that Berlin has twice.
        for n, at in enumerate((1_792_886_400_000, 1_792_890_000_000, 1_792_893_600_000)):
            home.write(line(f"msg_{n}", 5, at=at), name=f"{n:036}.jsonl")
        states = []
        for zone in ("UTC", "Europe/Berlin", "America/New_York"):
            patch.setenv("TZ", zone)
            time.tzset()
            with closing(Desk(tmp_path / f"{zone.replace('/', '')}.db", home.folder)) as desk:
                desk.look()
                states.append(desk.bodies())
        assert states[0] == states[1] == states[2] and states[0]
    time.tzset()


# -- limits


@contextmanager
def at_most(what: int, amount: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(what)
    resource.setrlimit(what, (amount, hard))
    try:
        yield
    finally:
        resource.setrlimit(what, (soft, hard))


@pytest.mark.fault(39)
def test_without_file_descriptors_a_step_fails_and_the_next_one_goes_on(world: World) -> None:
    world.archive.store._file.reopen()
    taken = []
    with at_most(resource.RLIMIT_NOFILE, 256):
        with pytest.raises(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        with pytest.raises((LedgerError, OSError)):
            world.write((IDS[0], BODIES[2]))
        for descriptor in taken:
            os.close(descriptor)
    world.write((IDS[0], BODIES[2]))
    world.converge()


@pytest.mark.fault(39)
def test_without_memory_a_step_fails_and_the_next_one_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(world, "post", none)
        assert not world.step().agreed
    world.converge()


# -- keys


@pytest.mark.fault(42)
def test_a_revoked_key_stops_the_agent_and_loses_nothing_and_a_new_one_goes_on(world: World) -> None:
    world.converge()
    acknowledged = world.visible()
    world.keys.revoke(world.key.id)
    world.time_passes(61)
    world.write((IDS[4], BODIES[3]))
    outcome = world.step()
    assert outcome.state == "halted" and outcome.wait_s == 900 and "revoked" in outcome.detail
    kept(world, acknowledged)
    world.key = KeyText.parse(world.keys.issue("push", "alice", "laptop"))
    world.start_agent()
    world.converge()


@pytest.mark.fault(42)
def test_a_key_that_expires_within_the_copy_halts_and_its_successor_completes_it() -> None:
    with a_world() as world:
        world.key = KeyText.parse(world.keys.issue("push", "alice", "laptop", world.seconds + 100))
        world.start_agent()
        world.write(*((id, BODIES[0]) for id in IDS))
        world.step()
        world.step()
        world.time_passes(200)
        assert world.step().state == "halted"
        world.key = KeyText.parse(world.keys.issue("push", "alice", "laptop"))
        world.start_agent()
        world.converge()


@pytest.mark.fault(42)
def test_a_key_that_is_rotated_while_a_push_is_unanswered_counts_it_once(world: World) -> None:
    world.step(World.lose_answer)
    world.key = KeyText.parse(world.keys.issue("push", "alice", "laptop"))
    world.start_agent()
    world.converge()

