"""What the relay does without being asked."""
from __future__ import annotations

from dataclasses import replace

import pytest

from ledger.errors import Busy
from ledger.stores.memory import MemoryStore
from relay.upkeep import Upkeep
from tests.ledger.ledgerkit import DAY, MINUTE, Laptop, StoppedClock, a_session


@pytest.fixture
def clock():
    return StoppedClock()


@pytest.fixture
def store():
    return MemoryStore()


def laptop(store, clock, source="laptop", tenant="alice"):
    return Laptop(store, source, tenant, clock=clock)


def sound(store, machine):
    """Give the head the digest that its rows have."""
    head = machine.head()
    digest = sum(row.hash for row in store.rows(machine.tenant, machine.source)) % (1 << 256)
    store.apply(machine.tenant, head, replace(head, digest=digest))


def test_what_a_new_copy_superseded_is_swept(store, clock):
    one = laptop(store, clock)
    one.pushes(a_session("a"), a_session("b"))
    one.lease = "2" * 32
    one.pushes(a_session("a"))
    assert Upkeep(store, keep_days=None, clock=clock).round().swept == 1


def test_a_source_that_never_came_again_is_forgotten_well_behind_the_horizon_of_its_totals(store, clock):
    laptop(store, clock).pushes(a_session("a"))
    upkeep = Upkeep(store, keep_days=10, totals_days=20, clock=clock)
    clock.goes(49 * DAY)
    assert upkeep.round().forgotten == 0
    clock.goes(2 * DAY)
    assert upkeep.round().forgotten == 1 and store.tenants() == []


def test_without_a_horizon_nothing_is_ever_forgotten(store, clock):
    laptop(store, clock).pushes(a_session("a"))
    clock.goes(4000 * DAY)
    assert Upkeep(store, keep_days=None, clock=clock).round().forgotten == 0


def test_each_round_scrubs_the_next_source_and_a_damaged_one_is_refilled(store, clock):
    told, machines = [], [laptop(store, clock, name) for name in ("one", "two")]
    for machine in machines:
        machine.pushes(a_session("a"))
    sound(store, machines[0])
    upkeep = Upkeep(store, keep_days=None, clock=clock, on_change=told.append)
    said = [upkeep.round().scrubbed for _ in range(3)]
    assert [text.split(":")[0] for text in said] == ["alice/one", "alice/two", "alice/one"]
    assert said[0].endswith("ok") and "refilling" in said[1] and told == ["alice"]
    assert machines[1].head().lease is None and len(list(store.rows("alice", "two"))) == 1


def test_pages_hear_once_of_a_machine_that_fell_silent(store, clock):
    told = []
    laptop(store, clock).pushes(a_session("a"))
    laptop(store, clock, tenant="bob").pushes(a_session("b"))
    upkeep = Upkeep(store, keep_days=None, clock=clock, on_change=told.append)
    upkeep.tell_silent()
    clock.goes(2 * MINUTE)
    laptop(store, clock, tenant="bob").beats()
    assert upkeep.tell_silent() == []
    clock.goes(MINUTE)
    assert upkeep.tell_silent() == told == ["alice"]
    assert upkeep.tell_silent() == [] and upkeep.round().silent == 1


def test_one_step_that_fails_does_not_stop_the_others(clock):
    class Sick(MemoryStore):
        def sweep(self, *_, **__):
            raise Busy("the disk is asleep")

    sick = Sick()
    machine = laptop(sick, clock)
    machine.pushes(a_session("a"))
    sound(sick, machine)
    done = Upkeep(sick, keep_days=400, clock=clock).round()
    assert "the disk is asleep" in done.trouble and done.scrubbed
