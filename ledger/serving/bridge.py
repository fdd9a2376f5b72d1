"""From the loop to a WSGI app and back, through a pool of threads, with a body that cannot grow without end."""
from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from ledger.errors import Problem
from ledger.serving.cache import Answer, Headers
from ledger.serving.turns import Turns
from ledger.views.share import owner_of

BODY_MS = 30_000
MOST_WAITING, MOST_OF_ONE = 256, 192
"""So many requests are under way or wait, of all callers and of one."""
STUCK_S = 30.0
"""A caller who takes nothing of an answer for so long is given up."""
MOST_STREAMS, MOST_STREAMS_IN_ALL = 8, 64
"""So many answers in parts are under way at once: for one tenant, and for all."""
_PROBLEM = "application/problem+json"
Scope = Mapping[str, Any]
Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Gone(Exception):
    """The caller hung up before its request was whole."""


def problem_answer(problem: Problem) -> Answer:
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in problem.headers.items()]
    return Answer(problem.status, [(b"content-type", _PROBLEM.encode()), (b"cache-control", b"no-store"), *headers], problem.document())


async def read_body(scope: Scope, receive: Callable[[], Any], most: int) -> bytes:
    """The whole body. Raises Problem 400, 408 or 413, or Gone."""
    declared = next((value for name, value in scope["headers"] if name == b"content-length"), None)
    if declared is not None and (not declared.isdigit() or len(declared) > 18):
        raise Problem(400, "malformed", "content-length is not a number")
    if declared is not None and int(declared) > most:
        raise Problem(413, "too-large", f"a request here is at most {most} bytes", headers={"Connection": "close"})
    if declared in (None, b"0") and not any(name == b"transfer-encoding" for name, _ in scope["headers"]):
        return b""
    try:
        async with asyncio.timeout(BODY_MS / 1000):
            return await _collected(receive, most)
    except TimeoutError:
        raise Problem(408, "malformed", "the request took too long to arrive", headers={"Connection": "close"}) from None


async def _collected(receive: Callable[[], Any], most: int) -> bytes:
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Gone
        part = message.get("body", b"")
        size += len(part)
        if size > most:
            raise Problem(413, "too-large", f"a request here is at most {most} bytes", headers={"Connection": "close"})
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


@dataclass(frozen=True, slots=True)
class _Parts:
    """An answer that is made as it is sent."""

    status: int
    headers: Headers
    begun: tuple[bytes, bytes]
    rest: Iterator[bytes]
    close: Callable[[], object]


class Bridge:
    """Calls *app* in *pool*. Short answers come back whole; an answer of several parts is sent as it is made, and nobody in the pool waits
    while its caller reads."""

    def __init__(self, app: Wsgi, pool: Executor, turns: Turns) -> None:
        self._app, self._pool, self._turns = app, pool, turns
        self._room = MOST_WAITING
        self._streams: Counter[str] = Counter()
        self._asked: Counter[bytes] = Counter()

    async def call(self, scope: Scope, body: bytes, send: Callable[[Any], Any], note: dict[str, Any], tenant: str | None = None) -> Answer | None:
        """The whole answer, or None if it went out in parts already. *tenant* asks, where that is known: all its keys and shares are one caller."""
        caller = caller_of(scope) if tenant is None else b"tenant " + owner_of(tenant).encode()
        if self._room <= 0 or self._asked[caller] >= MOST_OF_ONE:
            raise Problem(503, "store-unavailable", "too many requests at once: try again in a second", headers={"Retry-After": "1"})
        turn = self._turns.of_caller(caller) if tenant is None else self._turns.of_tenant(tenant)
        self._room -= 1
        self._asked[caller] += 1
        try:
            async with turn:
                made = await asyncio.get_running_loop().run_in_executor(self._pool, self._run, environ_of(scope, body, note))
        finally:
            self._room += 1
            self._asked -= Counter({caller: 1})
        if isinstance(made, Answer):
            return made
        try:
            await self._stream(made, scope, send, str(note.get("tenant", "")), turn)
        finally:
            with suppress(RuntimeError, ValueError):  # at a stop the pool is gone, or still makes a part
                await asyncio.get_running_loop().run_in_executor(self._pool, made.close)
        return None

    def _run(self, environ: dict[str, Any]) -> Answer | _Parts:
        begun: list[tuple[int, Headers]] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
            begun[:] = [(int(status[:3]), [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers])]
            return lambda data: None

        parts = self._app(environ, start_response)
        close = getattr(parts, "close", _nothing)
        try:
            rest = iter(parts)
            first, second = next(rest, b""), next(rest, None)
            status, headers = begun[0]
        except BaseException:
            close()
            raise
        if second is not None:
            return _Parts(status, headers, (first, second), rest, close)
        close()
        return Answer(status, headers, first)

    async def _stream(self, made: _Parts, scope: Scope, send: Callable[[Any], Any], tenant: str, turn: asyncio.Semaphore) -> None:
        """Send part after part. Raises Gone where the caller left or stands still, Problem 503 where too many are under way."""
        if self._streams[tenant] >= MOST_STREAMS or self._streams.total() >= MOST_STREAMS_IN_ALL:
            raise Problem(503, "store-unavailable", "too many downloads at once: try again when one has ended", headers={"Retry-After": "10"})
        self._streams[tenant] += 1
        try:
            await _out(scope, send, {"type": "http.response.start", "status": made.status, "headers": made.headers})
            async for part in self._each(made, turn):
                await _out(scope, send, {"type": "http.response.body", "body": part, "more_body": True})
            await _out(scope, send, {"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._streams -= Counter({tenant: 1})

    async def _each(self, made: _Parts, turn: asyncio.Semaphore) -> AsyncIterator[bytes]:
        for part in made.begun:
            yield part
        while (more := await self._next(made, turn)) is not None:
            yield more

    async def _next(self, made: _Parts, turn: asyncio.Semaphore) -> bytes | None:
        async with turn:
            return await asyncio.get_running_loop().run_in_executor(self._pool, next, made.rest, None)


def caller_of(scope: Scope) -> bytes:
    """Who counts as one caller before anybody looked at the key: whoever sends the same one, else the address."""
    found = [value for name, value in scope["headers"] if name in (b"authorization", b"x-api-key")]
    return b"key " + b"\n".join(found) if found else str((scope.get("client") or ("",))[0]).encode()


async def _out(scope: Scope, send: Callable[[Any], Any], message: dict[str, Any]) -> None:
    """Waiting here is what keeps a slow reader from filling our memory. Raises Gone where the caller left or stands still."""
    try:
        async with asyncio.timeout(STUCK_S):
            await send(message)
    except TimeoutError:
        scope.get("abort", _nothing)()
        raise Gone from None
    if scope.get("is_gone", _nothing)():
        raise Gone


def _nothing() -> None:
    """Where the server tells nothing of the connection, or an answer needs no closing."""


def environ_of(scope: Scope, body: bytes, note: dict[str, Any]) -> dict[str, Any]:
    """The request as PEP 3333 has it. A header that came twice is joined, an underscore in its name drops it."""
    server = scope.get("server") or ("127.0.0.1", 80)
    client = scope.get("client") or ("", 0)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": scope["path"].encode("utf-8", "surrogateescape").decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": str(server[0]),
        "SERVER_PORT": str(server[1] or 80),
        "REMOTE_ADDR": str(client[0]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "relay.note": note,
    }
    for name, value in scope["headers"]:
        if b"_" in name:
            continue
        text, key = value.decode("latin-1"), name.decode("latin-1").upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        environ[key] = f"{environ[key]},{text}" if key in environ else text
    if body:
        environ["CONTENT_LENGTH"] = str(len(body))
    return environ
