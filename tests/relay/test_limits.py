"""How much one caller may ask."""
from __future__ import annotations

import pytest

from ledger.errors import Problem
from relay.limits import Buckets, Limits, Rate, address_of
from tests.compliance.client import Reply
from tests.ledger.stores import STORES
from tests.relay.pushing import Office


def test_a_burst_is_allowed_then_the_steady_rate():
    buckets = Buckets(Rate(3, 2))
    for _ in range(3):
        buckets.take("alice", 0)
    with pytest.raises(Problem) as refused:
        buckets.take("alice", 0)
    assert (refused.value.status, refused.value.type, refused.value.headers["Retry-After"]) == (429, "rate-limited", "1")
    buckets.take("alice", 500)


def test_the_answer_says_how_much_is_left():
    assert Buckets(Rate(3, 1)).take("alice", 0) == {"RateLimit-Policy": '"default";q=3;w=3', "RateLimit": '"default";r=2'}


def test_one_caller_does_not_use_up_anothers_share():
    buckets = Buckets(Rate(1, 1))
    buckets.take("alice", 0)
    assert buckets.take("bob", 0)


def test_a_clock_that_goes_back_gives_nothing_away():
    buckets = Buckets(Rate(1, 1))
    buckets.take("alice", 10_000)
    with pytest.raises(Problem):
        buckets.take("alice", 0)


def test_a_clock_that_goes_back_locks_nobody_out():
    buckets = Buckets(Rate(5, 1))
    buckets.take("alice", 3_600_000)
    for _ in range(4):
        buckets.take("alice", 0)
    with pytest.raises(Problem) as refused:
        buckets.take("alice", 0)
    assert refused.value.headers["Retry-After"] == "1", "an hour of the clock is no hour of debt"


def test_a_flood_of_addresses_does_not_fill_the_memory():
    buckets = Buckets(Rate(2, 1), most=100)
    for number in range(10_000):
        buckets.take(f"address {number}", number)
    assert len(buckets) <= 100


def test_a_flood_of_others_gives_nobody_who_asked_too_much_a_fresh_start():
    buckets = Buckets(Rate(2, 1), most=10)
    buckets.take("greedy", 0, cost=2)
    for number in range(9):
        buckets.take(f"guest {number}", 0)
    buckets.take("one more", 1000)  # by now the guests' buckets are full again, and only those are forgotten
    with pytest.raises(Problem):
        buckets.take("greedy", 1000, cost=2)


def test_a_household_with_ipv6_is_one_caller():
    assert address_of("2001:db8:1:2:3:4:5:6") == address_of("2001:db8:1:2::9") == "2001:db8:1:2"
    assert address_of("2001:db8::5:1:2:3:4") == "2001:db8:0:5" != address_of("2001:db8::6:1:2:3:4"), "zeros are left out in the middle of the network, too"
    assert address_of("::1") == "0:0:0:0" and address_of("fe80::1%eth0") == "fe80:0:0:0" and address_of("::ffff:192.0.2.7") == "192.0.2.7" and address_of("no:address") == "no:address"
    assert address_of("192.0.2.7") == "192.0.2.7" and address_of("") == address_of(None) == "unknown"


def test_many_machines_do_not_give_a_tenant_more_than_its_share_of_pushes():
    generous = Buckets(Rate(1e9, 1e9))
    office = Office(limits=Limits(generous, generous, generous, Buckets(Rate(20, 10))))
    alice = [office.begun(source=f"m{number}") for number in range(5)]
    assert [sender.send(sender.message("beat")).status for sender in alice * 3].count(429) == 5, "each began with two messages of the twenty"
    refused = alice[0].send(alice[0].message("beat"))
    assert refused.status == 429 and refused.headers["Retry-After"] == "1" and "r=0" in refused.headers["RateLimit"]
    assert alice[0].believes(Reply(429, {name.lower(): value for name, value in refused.headers.items()}, refused.body)), "the relay's own word"
    assert office.sender("bob").start().kind == "409 lease"
    office.now += 1
    assert alice[0].send(alice[0].message("beat")).status == 200


def test_a_machine_that_asks_too_much_leaves_the_others_of_its_tenant_their_share():
    generous = Buckets(Rate(1e9, 1e9))
    office = Office(limits=Limits(generous, Buckets(Rate(5, 1)), generous, Buckets(Rate(20, 1))))
    loud, quiet = office.begun(source="loud"), office.begun(source="quiet")
    assert [loud.send(loud.message("beat")).status for _ in range(40)].count(200) == 3
    assert quiet.send(quiet.message("beat")).status == 200


def test_an_answer_to_a_push_says_how_many_more_there_may_be():
    office = Office(limits=Limits.usual(10))
    sender = office.sender()
    sender.start()
    reply = sender.push(commit=True)
    assert reply.status == 200 and reply.headers["RateLimit-Policy"] == '"default";q=12;w=6' and reply.headers["RateLimit"].startswith('"default";r=')


@pytest.mark.parametrize("kind_of_store", STORES)
def test_the_limits_hold_whatever_the_store(kind_of_store, tmp_path):
    generous = Buckets(Rate(1e9, 1e9))
    with STORES[kind_of_store](tmp_path) as store:
        for limits, kind in ((Limits(Buckets(Rate(3, 1)), generous, generous), "address"), (Limits(generous, Buckets(Rate(3, 1)), generous), "key"), (Limits(generous, generous, generous, Buckets(Rate(3, 1))), "tenant")):
            sender = Office(store, limits=limits).sender(source=kind)
            assert [sender.send(sender.message()).status for _ in range(5)] == [409, 409, 409, 429, 429], kind
