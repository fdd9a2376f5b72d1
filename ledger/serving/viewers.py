"""One viewer of the live channel: its frames, its place, and a way to send that needs no task of its own."""
from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ledger.serving.frames import encode

Message = dict[str, Any]
Send = Callable[[Mapping[str, Any]], Coroutine[Any, Any, None]]
_ASKS, _ASKS_PER_S = 30.0, 1.0


@dataclass(frozen=True, slots=True)
class Admission:
    """Who was let in. *still* is asked every ten seconds whether they may stay."""

    tenant: str
    still: Callable[[], bool] = lambda: True


class Frame:
    """A message as it goes out, built once for every viewer and both kinds of channel."""

    __slots__ = ("sse", "text")

    def __init__(self, message: Mapping[str, Any] | bytes) -> None:
        body = message if isinstance(message, bytes) else encode(message)
        self.text: Message = {"type": "websocket.send", "text": body.decode()}
        self.sse: Message = {"type": "http.response.body", "body": b"data: " + body + b"\n\n", "more_body": True}


@dataclass(eq=False, slots=True)
class Viewer:
    """One open channel. *cursor* is where its page stands; None until it subscribed."""

    id: str
    admission: Admission
    send: Send
    is_sse: bool
    abort: Callable[[], None]
    heard: int
    subscribed: bool = False
    cursor: str | None = None
    tz: str = ""
    sessions: int = 200
    turn: int = 0
    hinted: int = 0
    waiting: deque[Frame] = field(default_factory=deque)
    busy: asyncio.Task[None] | None = None
    busy_since: float = 0.0
    asks: float = _ASKS
    asked_at: int = 0
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def tenant(self) -> str:
        return self.admission.tenant

    def may_ask(self, now: int) -> bool:
        """Costly questions are answered thirty at once, then one a second."""
        self.asks = min(_ASKS, self.asks + max(0, now - self.asked_at) / 1000 * _ASKS_PER_S)
        self.asked_at = now
        if self.asks < 1:
            return False
        self.asks -= 1
        return True


class Rest(Awaitable[None]):
    """What is left of a coroutine that was stepped once and had to wait for *until*."""

    def __init__(self, begun: Coroutine[Any, Any, None], until: Any) -> None:
        self.begun, self.until = begun, until

    def __await__(self) -> Generator[Any, Any, None]:
        until = self.until
        try:
            while True:
                try:
                    yield until
                except BaseException as error:
                    until = self.begun.throw(error)
                else:
                    until = self.begun.send(None)
        except StopIteration:
            return
