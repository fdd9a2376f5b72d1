"""A lane for bulk: what refills a whole copy goes one at a time and never has more than its share, so that everybody else notices little.

A hundred machines that come back at once would otherwise make each small push wait behind a queue of large ones. While
nobody else pushes, nothing rests and a refill goes as fast as it can.
"""
from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from ledger.errors import Problem

BULK = 4 << 10
"""Bytes on the wire from which a push is bulk; five changed sessions are below."""
SHARE = 0.1
"""The part of the time that bulk may have while others push."""
RECENT_S = 1.0
MOST_WAITING = 150
"""A push of bulk takes about a hundredth of a second: so many are through before the last of their agents gives up."""
MOST_BYTES = 32 << 20
Later = Callable[[float, Callable[[], None]], object]


class Lane:
    """Not for threads: it lives on one loop. *later* runs a function after so many seconds."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, later: Later | None = None) -> None:
        self._clock, self._later = clock, later
        self._busy = False
        self._queue: deque[asyncio.Future[None]] = deque()
        self._bytes = 0
        self._small_at = float("-inf")

    def is_free_for(self, size: int) -> bool:
        """Whether a request of *size* bytes need not wait; what is no bulk never does."""
        if size >= BULK:
            return False
        self._small_at = self._clock()
        return True

    @asynccontextmanager
    async def turn(self, size: int) -> AsyncIterator[None]:
        """Wait until a request of *size* bytes may be worked on. Raises Problem 503 if too many wait already."""
        if self.is_free_for(size):
            yield
            return
        if len(self._queue) >= MOST_WAITING or self._bytes + size > MOST_BYTES:
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
        others = self._clock() - self._small_at < RECENT_S
        if others:
            (self._later or asyncio.get_running_loop().call_later)(took * (1 / SHARE - 1), self._next)
        else:
            self._next()

    def _next(self) -> None:
        while self._queue:
            first = self._queue.popleft()
            if not first.done():
                first.set_result(None)
                return
        self._busy = False
