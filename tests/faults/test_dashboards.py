"""What happens between a relay and the pages that look at it: after any of it the page shows what the relay holds.

A page is played by the rules that the real one is tested for (tests/js): a feed is taken only if it continues what the page has,
else the page asks once. The page itself meets a killed server, a revoked key and a wrong clock in tests/dashboard.
"""
from __future__ import annotations

import json
import random
from typing import Any

import pytest

from ledger.errors import Problem
from ledger.record import add, hash_of, to_hex
from ledger.times import iso
from tests.relay.house import RelayHouse

DAY_MS = 86_400_000


class Page:
    """What a page knows, and how it comes to know it."""

    def __init__(self, house: RelayHouse, key: str) -> None:
        self.house, self.key = house, key
        self.cursor: str | None = None
        self.known: dict[str, Any] = {}
        self.asked = 0

    def ask(self) -> None:
        """GET the feed from where we stand."""
        self.asked += 1
        place = f"&cursor={self.cursor}" if self.cursor else ""
        self.take(self.house.get(f"/v1/feed?sessions=500{place}", self.key))

    def take(self, feed: dict[str, Any]) -> None:
        if feed.get("full"):
            self.known.clear()
        for source in feed.get("reset", ()):
            self.known = {key: value for key, value in self.known.items() if value["source"] != source}
        for gone in feed["removed"]:
            self.known.pop(gone["key"], None)
        for record in feed["records"]:
            if record["kind"] == "session":
                self.known[record["key"]] = record["value"]
        self.cursor = feed["cursor"]

    def hear(self, hint: dict[str, Any]) -> None:
        """A message of the live channel: taken if it goes on where we stand."""
        if hint["since"] == self.cursor:
            self.take(hint)
        elif hint["cursor"] != self.cursor:
            self.ask()

    def tokens(self) -> dict[str, int]:
        return {key: value["estimated_tokens"] for key, value in self.known.items()}


class Town:
    """A relay, a machine that writes, and what the channel told."""

    def __init__(self) -> None:
        self.house = RelayHouse()
        self.sender = self.house.sender()
        self.sender.start()
        self.sender.push({}, commit=True)
        self.key = self.house.key()
        self.number = 0
        self.bodies: dict[str, str] = {}
        self.teller = Page(self.house, self.key)
        self.teller.ask()
        self.hints: list[dict[str, Any]] = []

    def work(self) -> None:
        """One session grows or, every fifth time, is deleted, and the channel tells of it from where it stood."""
        self.number += 1
        self.house.clock.now += 1000
        id = f"s{self.number % 7}"
        if self.number % 5 == 0 and id in self.bodies:
            assert self.sender.push(gone={id: self.bodies.pop(id)}).status == 200
        else:
            body = json.dumps({"id": id, "session_type": "claude_code", "start_time": self.house.clock() - 5000, "estimated_tokens": self.number}, separators=(",", ":"))
            assert self.sender.push({id: body}, **self._replacing(id, body)).status == 200
        hint = self.house.get(f"/v1/feed?sessions=500&cursor={self.teller.cursor}", self.key)
        hint["since"] = self.teller.cursor
        self.teller.take(hint)
        self.hints.append(hint)

    def _replacing(self, id: str, body: str) -> dict[str, Any]:
        old = [hash_of("session", id, self.bodies[id])] if id in self.bodies else []
        self.bodies[id] = body
        return {"after": to_hex(add(self.sender.digest, put=[hash_of("session", id, body)], gone=old))}

    def truth(self) -> dict[str, int]:
        page = Page(self.house, self.key)
        page.ask()
        return page.tokens()


@pytest.fixture
def town() -> Town:
    return Town()


@pytest.mark.fault(59)
@pytest.mark.parametrize("seed", range(3))
def test_a_channel_cut_again_and_again_leaves_no_gap(town: Town, seed: int) -> None:
    """Between one and a hundred and twenty changes are heard, then the channel is gone for as many; a page that comes back asks once."""
    chance, page = random.Random(seed), Page(town.house, town.key)
    page.ask()
    for _ in range(8):
        for _ in range(chance.randint(1, 12)):
            town.work()
            page.hear(town.hints[-1])
        assert page.tokens() == town.truth()
        for _ in range(chance.randint(1, 12)):
            town.work()
        before = page.asked
        page.ask()
        assert page.asked == before + 1 and page.tokens() == town.truth()


@pytest.mark.fault(60)
@pytest.mark.parametrize("seed", range(5))
def test_hints_that_are_doubled_lost_or_out_of_order_end_in_the_truth(town: Town, seed: int) -> None:
    chance, page = random.Random(seed), Page(town.house, town.key)
    page.ask()
    for _ in range(40):
        town.work()
    hints = [hint for hint in town.hints for _ in range(chance.choice([0, 1, 1, 2]))]
    for start in range(0, len(hints), 5):
        some = hints[start : start + 5]
        chance.shuffle(some)
        for hint in some:
            page.hear(hint)
    town.work()
    page.hear(town.hints[-1])
    assert page.tokens() == town.truth() and len(page.tokens()) >= 5


@pytest.mark.fault(61)
@pytest.mark.parametrize("age", ["after everything was lost", "older than what is kept of deletions", "of another relay", "nonsense", "of the future"])
def test_a_stale_cursor_gives_everything_once_and_the_page_is_right(town: Town, age: str) -> None:
    page = Page(town.house, town.key)
    town.work()
    page.ask()
    if age == "after everything was lost":
        town.house.store.forget("alice", "laptop")
        town.bodies = {}
        town.sender.start()
        town.sender.push({}, commit=True)
    elif age == "older than what is kept of deletions":
        town.sender.push(gone={"s1": town.bodies["s1"]})
        town.house.clock.now += 2 * DAY_MS
        town.house.store.sweep("alice", "laptop", now=town.house.clock())
    else:
        page.cursor = {"of another relay": Town().teller.cursor, "nonsense": "zzzz", "of the future": f"{page.cursor}9"}[age]
    page.ask()
    assert page.tokens() == town.truth()
    page.ask()
    assert page.tokens() == town.truth()


@pytest.mark.fault(62)
def test_a_key_that_is_revoked_hears_nothing_more_within_a_minute(town: Town) -> None:
    claims = town.house.relay.ring.open(town.key, town.house.clock())
    page = Page(town.house, town.key)
    page.ask()
    town.house.relay.ring.revoke(claims.id)
    town.house.clock.now += 61_000
    assert town.house.ask("/v1/feed", town.key).status_code == 401
    assert town.house.ask("/v1/live-tickets", town.key, method="POST", Origin="https://page.example").status_code in (401, 403)
    with pytest.raises(Problem):
        town.house.relay.ring.open(town.key, town.house.clock())


@pytest.mark.fault(63)
def test_every_answer_says_the_servers_time_so_that_a_browsers_clock_does_not_matter(town: Town) -> None:
    town.work()
    for path in ("/v1/feed", "/v1/ping"):
        assert town.house.get(path, town.key)["server_time"] == iso(town.house.clock()), path
