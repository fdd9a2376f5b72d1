"""Bulk goes one at a time and leaves most of the time to others."""
from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ledger.errors import Problem
from ledger.serving.lane import BULK, MOST_BYTES, MOST_WAITING, SHARE, Lane


class Loop:
    """A clock that stands still unless told, and what is due later."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.lane = Lane(clock=lambda: self.now, later=lambda seconds, act: self.due.append((seconds, act)))

    async def work(self, done: list[str], name: str, seconds: float = 1.0, size: int = BULK) -> None:
        async with self.lane.turn(size):
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


def test_bulk_rests_while_others_push() -> None:
    async def act(loop: Loop) -> None:
        done: list[str] = []
        waiting = asyncio.gather(loop.work(done, "first", 0.5), loop.work(done, "second"), loop.work(done, "small", 0, size=BULK - 1))
        await steps()
        assert done == ["first", "small"]
        [(rest, go_on)] = loop.due
        assert rest == pytest.approx(0.5 * (1 / SHARE - 1))
        go_on()
        await waiting
        assert done[-1] == "second"

    run(act)


def test_what_is_small_never_waits() -> None:
    async def act(loop: Loop) -> None:
        async with loop.lane.turn(MOST_BYTES):
            done: list[str] = []
            await loop.work(done, "small", size=BULK - 1)
            assert done == ["small"]

    run(act)


def test_one_who_goes_away_while_waiting_keeps_nobody_waiting() -> None:
    async def act(loop: Loop) -> None:
        done: list[str] = []
        async with loop.lane.turn(BULK):
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
        first = loop.lane.turn(BULK)
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
            async with loop.lane.turn(BULK):
                raise ZeroDivisionError
        done: list[str] = []
        await loop.work(done, "next")
        assert done == ["next"]

    run(act)


@pytest.mark.parametrize(("each", "most"), [(BULK, MOST_WAITING), (MOST_BYTES // 4, 3)])
def test_too_many_are_asked_to_come_back(each: int, most: int) -> None:
    async def act(loop: Loop) -> None:
        async with loop.lane.turn(each):
            waiting = [asyncio.create_task(loop.work([], "waits", size=each)) for _ in range(most)]
            await steps()
            with pytest.raises(Problem) as refused:
                await loop.work([], "refused", size=each)
            assert (refused.value.status, refused.value.headers["Retry-After"]) == (503, "10")
        await asyncio.gather(*waiting)
        await loop.work([], "room again", size=each)

    run(act)
