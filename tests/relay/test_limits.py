"""How much one caller may ask."""
from __future__ import annotations

import pytest

from ledger.errors import Problem
from relay.limits import Buckets, Rate, address_of


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


def test_a_flood_of_addresses_does_not_fill_the_memory():
    buckets = Buckets(Rate(2, 1), most=100)
    for number in range(10_000):
        buckets.take(f"address {number}", number)
    assert len(buckets) <= 100


def test_a_household_with_ipv6_is_one_caller():
    assert address_of("2001:db8:1:2:3:4:5:6") == address_of("2001:db8:1:2::9") == "2001:db8:1:2"
    assert address_of("192.0.2.7") == "192.0.2.7" and address_of("") == address_of(None) == "unknown"
