"""Lanes for what may wait: bulk, and senders that nobody heard of yet, each one at a time and never with more than their share.

Two hundred machines that come back at once would otherwise make each small push of the others wait behind a queue of
beginnings first, and of large pushes afterwards. While nobody else pushes, nothing rests and a refill goes as fast as it can.
Whoever may have to wait is asked at a door who he is: a crowd that nobody knows would otherwise have every place.
"""
from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from itertools import takewhile

from ledger.errors import Problem

BULK = 4 << 10
"""Bytes on the wire from which a push is bulk; five changed sessions are below."""
BULK_SHARE, STRANGERS_SHARE = 0.03, 0.25
"""The part of the time that a lane may have while others push."""
BULK_S, STRANGERS_S = 0.15, 0.006
"""What one of them takes with its rest, before it was measured."""
DOOR_S = 0.001
RECENT_S = 1.0
LONGEST_REST_S = 1.0
"""A store that stood still once must not keep a lane still for long."""
LONGEST_WAIT_S, PATIENCE_S = 15.0, 18.0
"""An agent gives up after twenty: who would wait so long is not let in, and who did, because the store became slow, is told."""
LONG_S, MOST_KEPT = 60.0, 0.5
"""For whom was turned away so long ago room is kept, up to so much of all."""
MOST_WAITING, MOST_BYTES = 1_000, 32 << 20
MOST_OF_SENDER, MOST_OF_ADDRESS = 4, MOST_WAITING // 4
"""A sender has one message under way, and perhaps others that he gave up; there may be many behind one address."""
MOST_BYTES_OF_ONE = MOST_BYTES // 4
MOST_KNOWN = 20_000
Clock = Callable[[], float]
Later = Callable[[float, Callable[[], None]], object]


class Lanes:
    """Not for threads: it lives on one loop. *later* runs a function after so many seconds."""

    def __init__(self, *, clock: Clock = time.monotonic, later: Later | None = None) -> None:
        self._clock = clock
        self._passed_at = float("-inf")
        self._known: dict[str, None] = {}
        self._bulk, self._strangers, self._door = (
            Lane(share, each, most, self._others, clock, later)
            for share, each, most in ((BULK_SHARE, BULK_S, MOST_OF_SENDER), (STRANGERS_SHARE, STRANGERS_S, MOST_OF_SENDER), (1.0, DOOR_S, MOST_OF_ADDRESS))
        )

    def may_wait(self, sender: str, size: int) -> bool:
        """Whether a request of *size* bytes may have to wait, and must show at the door whose it is; a small one of a known sender need not."""
        return size >= BULK or sender not in self._known

    def door(self, address: str, size: int) -> AbstractAsyncContextManager[None]:
        """Held, by one at a time, while it is found out who sent a request of *size* bytes. Raises Problem 503 if too many stand there, or of *address*."""
        return self._door.turn(address, size)

    def turn(self, sender: str, size: int) -> AbstractAsyncContextManager[None]:
        """Wait until a request of *size* bytes may be worked on. Raises Problem 503 if too many wait already."""
        if self.may_wait(sender, size):
            return (self._bulk if size >= BULK else self._strangers).turn(sender, size)
        self._passed_at = self._clock()
        return nullcontext()

    def heard(self, sender: str) -> None:
        """*sender* is who it says: from now on its small requests wait for nobody."""
        self._known.pop(sender, None)
        self._known[sender] = None
        if len(self._known) > MOST_KNOWN:
            del self._known[next(iter(self._known))]

    def _others(self) -> bool:
        return self._clock() - self._passed_at < RECENT_S


class Lane:
    """One at a time; while there are *others*, it rests after each so that it has its *share* of the time. *each* is a first guess at how long one takes,
    its rest included. Nobody has more than *most* places."""

    def __init__(self, share: float, each: float, most: int, others: Callable[[], bool], clock: Clock, later: Later | None) -> None:
        self._share, self._each, self._most, self._others, self._clock, self._later = share, each, most, others, clock, later
        self._busy = False
        self._queue: deque[asyncio.Future[None]] = deque()
        self._bytes = 0
        self._places: dict[str, tuple[int, int]] = {}
        """How many requests each has here, and of how many bytes."""
        self._turned_away: dict[str, float] = {}
        """Who found no room since the queue was empty, and when first."""

    @asynccontextmanager
    async def turn(self, who: str, size: int) -> AsyncIterator[None]:
        """Wait for one's turn. Raises Problem 503 for whom it would not come in time, and for whom has his places already."""
        places, held = self._places.get(who, (0, 0))
        if places >= self._most or held + size > MOST_BYTES_OF_ONE or not self._has_room(who, size):
            raise _full()
        self._take(who, 1, size)
        try:
            await self._come()
            began = self._clock()
            try:
                yield
            finally:
                self._leave(self._clock() - began)
        finally:
            self._take(who, -1, -size)

    def _has_room(self, who: str, size: int) -> bool:
        """Whether *who* may come in, with room left for those who go before him; who may not is noted."""
        if not self._queue:
            self._turned_away.clear()
        places = min(MOST_WAITING, LONGEST_WAIT_S / self._each) if self._each else MOST_WAITING
        free = 1 - min(self._before(who) / places, MOST_KEPT)
        if len(self._queue) < places * free and self._bytes + size <= MOST_BYTES * free:
            self._turned_away.pop(who, None)
            return True
        if len(self._turned_away) < MOST_WAITING:
            self._turned_away.setdefault(who, self._clock())
        return False

    def _before(self, who: str) -> int:
        """How many were turned away long ago, and before *who* was: whoever had a turn is back at once, and would always be there first."""
        long_ago = self._clock() - LONG_S
        return sum(1 for _ in takewhile(lambda one: one[0] != who and one[1] <= long_ago, self._turned_away.items()))

    def _take(self, who: str, places: int, size: int) -> None:
        self._bytes += size
        before, held = self._places.pop(who, (0, 0))
        if before + places:
            self._places[who] = before + places, held + size

    async def _come(self) -> None:
        if not self._busy:
            self._busy = True
            return
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(mine)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._my_turn(mine)
        except TimeoutError:
            raise _full() from None

    async def _my_turn(self, mine: asyncio.Future[None]) -> None:
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self._next()  # the turn came as its owner went
            raise

    def _leave(self, took: float) -> None:
        rest = min(took * (1 / self._share - 1), LONGEST_REST_S) if self._others() else 0.0
        self._each += (took + rest - self._each) / 8  # a moving average
        if rest:
            (self._later or asyncio.get_running_loop().call_later)(rest, self._next)
        else:
            self._next()

    def _next(self) -> None:
        while self._queue:
            first = self._queue.popleft()
            if not first.done():
                first.set_result(None)
                return
        self._busy = False


def _full() -> Problem:
    return Problem(503, "store-unavailable", "many machines refill this relay: the same again in 10 s", headers={"Retry-After": "10"})
