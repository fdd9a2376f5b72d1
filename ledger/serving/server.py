"""The process around the shell: uvicorn, alone, with an end to how long and how large the head of a request may be."""
from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from ledger.errors import LedgerError
from ledger.shell import WHOLE, Shell

BIGGEST_MESSAGE = 1 << 20
"""No viewer has so much to say; up to here it is heard out and ignored, beyond it the channel is closed."""
BIGGEST_HEAD = 32 * 1024
HEAD_S = 20.0
"""A caller has this long to finish its request line and headers."""
SWITCH_S = 0.0005
"""A thread that computes lets others run so often: what waits for the disk or a caller need not wait for it as well, again and again."""


class _Http(HttpToolsProtocol):
    """uvicorn's, with an end to how long and how large the head of a request may be, a way to cut a stuck viewer, and a short way for
    answers that are kept: they leave before a task is made for them."""

    _size = 0
    _in_head = True
    _may_be_short = False
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._deadline = self.loop.call_later(HEAD_S, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._calm()
        super().connection_lost(exc)

    def _calm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def data_received(self, data: bytes) -> None:
        self._may_be_short = True
        super().data_received(data)
        if self._in_head and self._deadline is None:  # most heads come whole, and need none
            self._deadline = self.loop.call_later(HEAD_S, self.transport.abort)

    def _count(self, more: int) -> None:
        self._size += more
        if self._size > BIGGEST_HEAD:
            raise ValueError("the head of the request is too large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._size, self._in_head = 0, True
        self.scope["abort"] = self.transport.abort  # type: ignore[typeddict-unknown-key]
        self.scope["is_gone"] = self.transport.is_closing  # type: ignore[typeddict-unknown-key]

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._calm()
        if not self.url.startswith(b"/") and b"://" in self.url:
            self.headers[:] = [pair for pair in self.headers if pair[0] != b"host"] + [(b"host", _host_of(self.url))]
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        # One of a burst at most: the others take turns with everybody else's.
        may, self._may_be_short = self._may_be_short, False
        found = app.at_once(cycle.scope) if may and not self.pipeline and self._may_be_whole(cycle) else None
        if found is not None:
            self._send_whole(cycle, *found)
            return
        cycle.scope[WHOLE] = partial(self._send_whole, cycle)  # type: ignore[literal-required]
        super()._start_asgi_task(cycle, app)

    def _may_be_whole(self, cycle: RequestResponseCycle) -> bool:
        return cycle.keep_alive and not (cycle.response_started or cycle.disconnected or self.flow.write_paused)

    def _send_whole(self, cycle: RequestResponseCycle, head: bytes, body: bytes) -> bool:
        """Send an answer in one piece; False where that cannot be now."""
        if not self._may_be_whole(cycle):
            return False
        cycle.response_started = cycle.response_complete = True
        more = [b"%s: %s\r\n" % pair for pair in self.server_state.default_headers]
        self.transport.write(b"".join((head, *more, b"\r\n", body)))
        cycle.message_event.set()
        cycle.on_response()
        return True


def _host_of(target: bytes) -> bytes:
    """Whom a whole URL asks. It counts instead of the Host header, by which we know whether somebody else is meant."""
    return re.split(rb"[/?#]", target.partition(b"://")[2], maxsplit=1)[0]


class _Ws(WebSocketsSansIOProtocol):
    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if hasattr(self, "scope"):
            self.scope["abort"] = self.transport.abort  # type: ignore[typeddict-unknown-key]


class _Proxied(ProxyHeadersMiddleware):
    """The shell behind proxies that are believed when they say who called."""

    def __init__(self, shell: Shell, proxies: str) -> None:
        super().__init__(shell, proxies)
        self._shell, self._names = shell, ProxyHeadersMiddleware(_nothing, proxies)

    def at_once(self, scope: Any) -> tuple[bytes, bytes] | None:
        with contextlib.suppress(StopIteration):  # which it ends with: nothing in it waits
            self._names(scope, _nothing, _nothing).send(None)  # type: ignore[arg-type]
        return self._shell.at_once(scope)


async def _nothing(*_: Any) -> None:
    """Nobody is asked further."""


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, shell: Shell, ready: Callable[[int], None] | None, stop: threading.Event | None) -> None:
        super().__init__(config)
        self._shell, self._ready, self._stop = shell, ready, stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._ready and sockets:
            self._ready(sockets[0].getsockname()[1])

    async def on_tick(self, counter: int) -> bool:
        return bool(self._stop and self._stop.is_set()) or await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._shell.live.stop()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Being told to stop is a good end: the process leaves with 0, not by the signal."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises LedgerError with what to do when the port cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP, because asyncio turns Nagle's delay off only where it reads that: 40 ms an answer otherwise.
    one = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind((host, port))
        one.listen(2048)
        one.setblocking(False)
    except (OSError, OverflowError) as error:
        one.close()
        raise LedgerError(f"port {port} of {host} cannot be had ({getattr(error, 'strerror', None) or error}): stop what uses it, or choose another with --port") from None
    return one


def serve(
    shell: Shell,
    host: str,
    port: int,
    *,
    ready: Callable[[int], None] | None = None,
    stop: threading.Event | None = None,
    proxies: str = "",
    also: Sequence[socket.socket] = (),
) -> None:
    """Serve until *stop* is set or a signal says so. *proxies* are addresses whose X-Forwarded-For is believed,
    *also* are further listening sockets. Raises LedgerError when the port cannot be had."""
    # The server's own lines would repeat ours, and hold tracebacks for what callers send.
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL + 1)
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL + 1)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    sys.setswitchinterval(SWITCH_S)
    config = uvicorn.Config(
        _Proxied(shell, proxies) if proxies else shell, http=_Http, ws=_Ws, loop="asyncio", lifespan="on", ws_per_message_deflate=False, ws_max_size=BIGGEST_MESSAGE,
        timeout_keep_alive=75, timeout_graceful_shutdown=3, log_config=None, access_log=False, server_header=False,
        proxy_headers=False, backlog=2048,
    )  # fmt: skip
    sockets = [listen(host, port), *also]
    _Server(config, shell, ready, stop).run(sockets)
