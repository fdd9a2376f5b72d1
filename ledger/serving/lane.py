"""Lanes for what may wait: bulk, and senders that nobody heard of yet, each one at a time and never with more than their share.

Two hundred machines that come back at once would otherwise make each small push of the others wait behind a queue of
beginnings first, and of large pushes afterwards. While nobody else pushes, nothing rests and a refill goes as fast as it can.
"""
from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from ledger.errors import Problem

BULK = 4 << 10
"""Bytes on the wire from which a push is bulk; five changed sessions are below."""
BULK_SHARE, STRANGERS_SHARE = 0.03, 0.25
"""The part of the time that a lane may have while others push."""
BULK_S, STRANGERS_S = 0.15, 0.006
"""What one of them takes with its rest, before it was measured."""
RECENT_S = 1.0
LONGEST_REST_S = 1.0
"""A store that stood still once must not keep a lane still for long."""
LONGEST_WAIT_S = 15.0
"""An agent gives up after twenty."""
MOST_WAITING, MOST_BYTES = 1_000, 32 << 20
MOST_KNOWN = 20_000
Clock = Callable[[], float]
Later = Callable[[float, Callable[[], None]], object]


class Lanes:
    """Not for threads: it lives on one loop. *later* runs a function after so many seconds."""

    def __init__(self, *, clock: Clock = time.monotonic, later: Later | None = None) -> None:
        self._clock = clock
        self._passed_at = float("-inf")
        self._known: dict[str, None] = {}
        self._bulk, self._strangers = (Lane(share, each, self._others, clock, later) for share, each in ((BULK_SHARE, BULK_S), (STRANGERS_SHARE, STRANGERS_S)))

    def turn(self, sender: str, size: int) -> AbstractAsyncContextManager[None]:
        """Wait until a request of *size* bytes may be worked on; a small one of a known sender never does. Raises Problem 503 if too many wait already."""
        if size >= BULK:
            return self._bulk.turn(size)
        if sender not in self._known:
            return self._strangers.turn(size)
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
    its rest included."""

    def __init__(self, share: float, each: float, others: Callable[[], bool], clock: Clock, later: Later | None) -> None:
        self._share, self._each, self._others, self._clock, self._later = share, each, others, clock, later
        self._busy = False
        self._queue: deque[asyncio.Future[None]] = deque()
        self._bytes = 0

    @asynccontextmanager
    async def turn(self, size: int) -> AsyncIterator[None]:
        """Wait for one's turn. Raises Problem 503 for whom it would not come in time."""
        waiting = len(self._queue)
        if waiting >= MOST_WAITING or waiting * self._each >= LONGEST_WAIT_S or self._bytes + size > MOST_BYTES:
            raise Problem(503, "store-unavailable", "many machines refill this relay: the same again in 10 s", headers={"Retry-After": "10"})
        self._bytes += size
        try:
            await self._come()
            began = self._clock()
            try:
                yield
            finally:
                self._leave(self._clock() - began)
        finally:
            self._bytes -= size

    async def _come(self) -> None:
        if not self._busy:
            self._busy = True
            return
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(mine)
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
