"""Old sessions of a silent machine become day totals, and no sum changes."""
from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ledger.prices import PriceBook
from ledger.store import AT_ONCE
from ledger.views.tenants import Views
from relay.people.tenants import Tenants
from relay.upkeep import Upkeep
from tests.ledger.ledgerkit import DAY, HOUR, NOW, Laptop, StoppedClock, a_session, use
from tests.ledger.stores import STORES


@pytest.fixture(params=STORES)
def store(request, tmp_path):
    with STORES[request.param](tmp_path) as opened:
        yield opened


@pytest.fixture
def clock():
    return StoppedClock()


def filled(store, clock, sessions=20):
    """A laptop with sessions of many days, two of them with older parts."""
    machine = Laptop(store, clock=clock)
    records = [("machine", "mbp-16", {"name": "mbp-16", "tz": "America/New_York"})]
    for number in range(sessions):
        rows = [use(NOW - number * DAY - hour * HOUR, input=number, reported=0.25) for hour in (0, 30, 60)]
        records.append(a_session(f"s{number}", *rows, project=f"project {number % 3}"))
    records.append(a_session("long", use(NOW - 3 * DAY), more=1))
    records.append(("usage", "long/1", {"session": "long", "usage": [use(NOW - 5 * DAY, output=77)]}))
    for place in range(0, len(records), 80):
        machine.pushes(*records[place : place + 80])
    head = machine.head()
    store.apply("alice", head, replace(head, digest=sum(row.hash for row in store.rows("alice", "mbp-16")) % (1 << 256)))
    return machine


def sums(store, clock):
    """Everything that is added up, as a reader sees it who starts from nothing."""
    view = Views(store, PriceBook.load(), clock).view("alice")
    tally, days = view.tally, view.days("America/New_York").days
    # The hour of a total is not known, and a session of a day is counted as long as it is one.
    return (
        tally.kinds, tally.cost, tally.reported, tally.requests, {name: cell[:2] for name, cell in tally.models.items()},
        {date: (day.tokens, day.cost, {name: cell[:2] for name, cell in day.projects.items()}, {name: cell[:2] for name, cell in day.tools.items()}) for date, day in days.items()},
    )  # fmt: skip


def test_sums_are_equal_before_and_after_and_the_digest_still_fits(store, clock):
    filled(store, clock)
    clock.goes(60 * DAY)
    before = sums(store, clock)
    done = Upkeep(store, keep_days=10, clock=clock).round()
    kinds = [row.ref.kind for row in store.rows("alice", "mbp-16")]
    assert done.retired == 21 and done.scrubbed.endswith("ok") and not done.trouble
    assert "session" not in kinds and "usage" not in kinds and kinds.count("day") == 23
    assert sums(store, clock) == before


def test_what_is_younger_than_the_horizon_stays_a_session(store, clock):
    filled(store, clock, sessions=3)
    clock.goes(39 * DAY)
    assert Upkeep(store, keep_days=10, clock=clock).round().retired == 0


def test_a_viewer_who_looks_on_sees_the_same_sums_at_every_step(clock):
    with STORES["memory"](None) as store:
        machine = filled(store, clock, sessions=130)
        clock.goes(200 * DAY)
        before, seen, apply = sums(store, clock), [], store.apply

        def watched(*words):
            apply(*words)
            seen.append(sums(store, clock))
            assert len(words[3]) + len(words[4]) <= AT_ONCE

        store.apply = watched
        Upkeep(store, keep_days=10, clock=clock).round()
        assert len(seen) > 3 and all(one == before for one in seen)
        assert machine.head().seq > 5


def test_totals_end_at_their_own_horizon_and_then_the_machine_is_forgotten(store, clock):
    filled(store, clock, sessions=5)
    Tenants(store, clock).create("alice", keep_days=10, keep_totals_days=100)
    upkeep = Upkeep(store, keep_days=None, clock=clock)
    clock.goes(60 * DAY)
    assert upkeep.round().retired == 6
    clock.goes(38 * DAY)
    upkeep.round()
    left = [json.loads(row.body)["date"] for row in store.rows("alice", "mbp-16", kind="day")]
    assert left and min(left) == "2026-11-20"
    clock.goes(40 * DAY)
    assert upkeep.round().forgotten == 1 and store.heads("alice") == []


def test_a_tenant_may_keep_for_ever_what_the_relay_would_not(store, clock):
    filled(store, clock, sessions=2)
    Tenants(store, clock).create("alice", keep_days=0)
    clock.goes(900 * DAY)
    assert Upkeep(store, keep_days=10, clock=clock).round().retired == 0


def test_a_copy_that_is_not_whole_yet_is_left_to_its_agent(clock):
    with STORES["memory"](None) as store:
        machine = filled(store, clock, sessions=5)
        store.apply("alice", machine.head(), replace(machine.head(), committed=False))
        clock.goes(60 * DAY)
        assert Upkeep(store, keep_days=10, clock=clock).round().retired == 0


def test_a_session_that_another_machine_has_too_is_not_counted_twice(clock):
    with STORES["memory"](None) as store:
        filled(store, clock, sessions=3)
        other = Laptop(store, "desktop", clock=clock)
        other.pushes(a_session("s1", *[use(NOW - DAY - hour * HOUR, input=1, reported=0.25) for hour in (0, 30, 60)], project="project 1"))
        clock.goes(60 * DAY)
        other.beats()
        before = sums(store, clock)[0]
        assert Upkeep(store, keep_days=10, clock=clock).round().retired == 4
        assert sums(store, clock)[0] == before
