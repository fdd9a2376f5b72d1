"""Bulk and strangers go one at a time and leave most of the time to others."""
from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from ledger.errors import Problem
from ledger.serving import lane
from ledger.serving.lane import (
    BULK,
    BULK_S,
    BULK_SHARE,
    LONG_S,
    LONGEST_REST_S,
    LONGEST_WAIT_S,
    MOST_BYTES,
    MOST_BYTES_OF_ONE,
    MOST_KNOWN,
    MOST_OF_ADDRESS,
    MOST_OF_SENDER,
    MOST_WAITING,
    RECENT_S,
    STRANGERS_SHARE,
    Lanes,
)

KNOWN, STRANGER = "known", "stranger"


class Loop:
    """A clock that stands still unless told, and what is due later."""

    def __init__(self) -> None:
        self.now = 0.0
        self.senders = 0
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.lanes = Lanes(clock=lambda: self.now, later=lambda seconds, act: self.due.append((seconds, act)))
        self.lanes.heard(KNOWN)

    async def work(self, done: list[str], name: str, seconds: float = 1.0, size: int = BULK, sender: str | None = None) -> None:
        """*sender* is somebody else each time where none is named, and known if it is no stranger's lane that counts."""
        self.senders += 1
        async with self.lanes.turn(sender or f"sender {self.senders}" if size >= BULK else sender or KNOWN, size):
            done.append(name)
            self.now += seconds
            await asyncio.sleep(0)


def run(act: Callable[[Loop], Coroutine[Any, Any, None]]) -> None:
    with ThreadPoolExecutor(1) as thread:  # this one may have a loop already, which a browser's driver left
        thread.submit(asyncio.run, act(Loop())).result()


async def steps() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_bulk_alone_follows_at_once_in_the_order_of_its_coming() -> None:
    async def act(loop: Loop) -> None:
        done: list[str] = []
        await asyncio.gather(*(loop.work(done, str(number)) for number in range(5)))
        assert done == ["0", "1", "2", "3", "4"]
        assert loop.due == []

    run(act)


@pytest.mark.parametrize(
    ("size", "sender", "took", "rested"),
    [(BULK, KNOWN, 0.01, 0.01 / BULK_SHARE - 0.01), (BULK - 1, STRANGER, 0.01, 0.01 / STRANGERS_SHARE - 0.01), (BULK, KNOWN, 5.0, LONGEST_REST_S)], ids=["bulk", "strangers", "a store that stood still"],
)
def test_what_may_wait_rests_while_others_push(size: int, sender: str, took: float, rested: float) -> None:
    async def act(loop: Loop) -> None:
        done: list[str] = []
        first, second = (loop.work(done, name, took, size, sender) for name in ("first", "second"))
        waiting = asyncio.gather(first, second, loop.work(done, "small", 0, size=BULK - 1))
        await steps()
        assert done == ["first", "small"]
        [(rest, go_on)] = loop.due
        assert rest == pytest.approx(rested)
        go_on()
        await waiting
        assert done[-1] == "second"

    run(act)


def test_nothing_rests_once_others_are_silent() -> None:
    async def act(loop: Loop) -> None:
        done: list[str] = []
        await loop.work(done, "small", 0, size=BULK - 1)
        loop.now += RECENT_S
        await asyncio.gather(loop.work(done, "first"), loop.work(done, "second"))
        assert loop.due == []

    run(act)


def test_what_is_small_never_waits() -> None:
    async def act(loop: Loop) -> None:
        async with loop.lanes.turn(KNOWN, MOST_BYTES_OF_ONE), loop.lanes.turn(STRANGER, 1):
            done: list[str] = []
            await loop.work(done, "small", size=BULK - 1)
            assert done == ["small"]

    run(act)


def test_strangers_begin_one_after_the_other_and_do_not_wait_for_bulk() -> None:
    async def act(loop: Loop) -> None:
        done: list[str] = []
        async with loop.lanes.turn(KNOWN, BULK):
            async with loop.lanes.turn(STRANGER, 1):
                waiting = asyncio.create_task(loop.work(done, "another", size=1, sender="another stranger"))
                await steps()
                assert done == []
            await waiting
        assert done == ["another"]

    run(act)


def test_a_stranger_who_was_heard_is_none_until_very_many_others_were() -> None:
    async def act(loop: Loop) -> None:
        done: list[str] = []
        loop.lanes.heard(STRANGER)
        async with loop.lanes.turn("another stranger", 1):
            await loop.work(done, "heard", size=1, sender=STRANGER)
            assert done == ["heard"]
            for number in range(MOST_KNOWN):
                loop.lanes.heard(f"sender {number}")
                loop.lanes.heard(STRANGER)
            await loop.work(done, "still known", size=1, sender=STRANGER)
            forgotten = asyncio.create_task(loop.work(done, "forgotten", size=1, sender=KNOWN))
            await steps()
            assert done == ["heard", "still known"]
        await forgotten

    run(act)


def test_one_who_goes_away_while_waiting_keeps_nobody_waiting() -> None:
    async def act(loop: Loop) -> None:
        done: list[str] = []
        async with loop.lanes.turn(KNOWN, BULK):
            gone = asyncio.create_task(loop.work(done, "gone"))
            stays = asyncio.create_task(loop.work(done, "stays"))
            await steps()
            gone.cancel()
            await steps()
        await stays
        assert done == ["stays"]
        await loop.work(done, "later")
        assert done == ["stays", "later"]

    run(act)


def test_one_who_goes_away_just_as_the_turn_comes_gives_it_on() -> None:
    async def act(loop: Loop) -> None:
        done: list[str] = []
        first = loop.lanes.turn(KNOWN, BULK)
        await first.__aenter__()
        leaving, staying = (asyncio.create_task(loop.work(done, name)) for name in ("leaving", "staying"))
        await steps()
        await first.__aexit__(None, None, None)  # the turn is theirs now, and they have not yet heard of it
        leaving.cancel()
        await steps()
        assert done == ["staying"]
        await staying

    run(act)


def test_one_who_fails_gives_the_turn_on() -> None:
    async def act(loop: Loop) -> None:
        with pytest.raises(ZeroDivisionError):
            async with loop.lanes.turn(KNOWN, BULK):
                raise ZeroDivisionError
        done: list[str] = []
        await loop.work(done, "next")
        assert done == ["next"]

    run(act)


@pytest.mark.parametrize(
    ("each", "most"), [(BULK, math.ceil(LONGEST_WAIT_S / BULK_S)), (MOST_BYTES // 4, 3), (BULK - 1, MOST_WAITING)], ids=["bulk", "bytes", "strangers"]
)
def test_too_many_are_asked_to_come_back(each: int, most: int) -> None:
    async def act(loop: Loop) -> None:
        async with loop.lanes.turn(STRANGER, each):
            waiting = [asyncio.create_task(loop.work([], "waits", 0, each, f"{STRANGER} {number}")) for number in range(most)]
            await steps()
            with pytest.raises(Problem) as refused:
                await loop.work([], "refused", 0, each, f"another {STRANGER}")
            assert (refused.value.status, refused.value.headers["Retry-After"]) == (503, "10")
        await asyncio.gather(*waiting)
        await loop.work([], "room again", 0, each, STRANGER)

    run(act)


@pytest.mark.parametrize(
    ("enter", "most"),
    [
        (lambda lanes, who: lanes.turn(who, BULK), MOST_OF_SENDER),
        (lambda lanes, who: lanes.turn(who, BULK - 1), MOST_OF_SENDER),
        (lambda lanes, who: lanes.door(who, 1), MOST_OF_ADDRESS),
        (lambda lanes, who: lanes.door(who, 1 << 20), MOST_BYTES_OF_ONE >> 20),
    ],
    ids=["bulk", "strangers", "door", "bytes at the door"],
)
def test_nobody_has_more_than_his_places(enter: Callable[[Lanes, str], AbstractAsyncContextManager[None]], most: int) -> None:
    async def act(loop: Loop) -> None:
        async def one(who: str) -> None:
            async with enter(loop.lanes, who):
                await asyncio.sleep(0)

        for _ in range(2):  # and has them again when he had his turns
            waiting = [asyncio.create_task(one("greedy")) for _ in range(most)]
            await asyncio.sleep(0)
            with pytest.raises(Problem):
                await one("greedy")
            await asyncio.gather(*waiting, one("another"))

    run(act)


def test_whoever_was_turned_away_long_ago_comes_before_those_who_are_always_there() -> None:
    async def act(loop: Loop) -> None:
        places = math.ceil(LONGEST_WAIT_S / BULK_S)
        waiting = []

        async def enters(name: str) -> bool:
            waiting.append(asyncio.create_task(loop.work([], name, BULK_S, sender=name)))
            await asyncio.sleep(0)
            return not waiting[-1].done()

        turn = loop.lanes.turn("first", BULK)
        await turn.__aenter__()
        assert [await enters(f"had a turn {number}") for number in range(places)] == [True] * places
        assert [await enters(name) for name in ("patient", "late")] == [False, False]
        loop.now += LONG_S
        loop.lanes._bulk._queue.pop().cancel()  # one place is free
        assert [await enters(name) for name in ("had a turn", "late", "patient", "had a turn")] == [False, False, True, False]
        await turn.__aexit__(None, None, None)
        await asyncio.gather(*waiting, return_exceptions=True)
        assert await enters("had a turn") and not loop.lanes._bulk._turned_away

    run(act)


def test_whoever_waits_longer_than_it_was_thought_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "PATIENCE_S", 0.01)

    async def act(loop: Loop) -> None:
        async with loop.lanes.turn(KNOWN, BULK):
            with pytest.raises(Problem) as told:
                await loop.work([], "waits")
        assert (told.value.status, told.value.headers["Retry-After"]) == (503, "10")
        done: list[str] = []
        await loop.work(done, "next")
        assert done == ["next"] and loop.lanes._bulk._bytes == 0

    run(act)


def test_the_door_never_rests() -> None:
    async def act(loop: Loop) -> None:
        await loop.work([], "small", 0, size=BULK - 1)
        async with loop.lanes.door("address", BULK):
            loop.now += 0.5
        assert loop.due == []

    run(act)


@pytest.mark.parametrize("seconds", [0.05, 1.0, 5.0])
def test_nobody_waits_longer_than_an_agent_has_patience(seconds: float) -> None:
    """However slow the store is: how long one takes is measured."""

    async def act(loop: Loop) -> None:
        for _ in range(40):
            await loop.work([], "measured", seconds)
        began, ended = loop.now, []

        async def one() -> None:
            await loop.work([], "waits", seconds)
            ended.append(loop.now - began)

        found = await asyncio.gather(*(one() for _ in range(400)), return_exceptions=True)
        refused = [one for one in found if isinstance(one, Problem)]
        assert len(ended) + len(refused) == 400 and refused
        assert LONGEST_WAIT_S * 0.8 <= max(ended) <= LONGEST_WAIT_S + 2 * seconds + 0.1

    run(act)
