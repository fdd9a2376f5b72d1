"""From the loop to a WSGI app and back, through a pool of threads, with a body that cannot grow without end."""
from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from io import BytesIO
from itertools import chain
from typing import Any

from ledger.errors import Problem
from ledger.serving.cache import Answer, Headers

BODY_MS = 30_000
MOST_WAITING = 256
_STUCK_S = 30.0
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


class Bridge:
    """Calls *app* in *pool*. Short answers come back whole; an answer of several parts is sent as it is made."""

    def __init__(self, app: Wsgi, pool: Executor) -> None:
        self._app, self._pool = app, pool
        self._room = MOST_WAITING

    async def call(self, scope: Scope, body: bytes, send: Callable[[Any], Any], note: dict[str, Any]) -> Answer | None:
        """The whole answer, or None if it went out in parts already."""
        if self._room <= 0:
            raise Problem(503, "store-unavailable", "too many requests at once: try again in a second", headers={"Retry-After": "1"})
        self._room -= 1
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, self._run, loop, environ_of(scope, body, note), send)
        finally:
            self._room += 1

    def _run(self, loop: asyncio.AbstractEventLoop, environ: dict[str, Any], send: Callable[[Any], Any]) -> Answer | None:
        begun: list[tuple[int, Headers]] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
            begun[:] = [(int(status[:3]), [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers])]
            return lambda data: None

        parts = self._app(environ, start_response)
        try:
            rest = iter(parts)
            first = next(rest, b"")
            second = next(rest, None)
            status, headers = begun[0]
            if second is None:
                return Answer(status, headers, first)
            self._stream(loop, send, status, headers, first, second, rest)
            return None
        finally:
            if hasattr(parts, "close"):
                parts.close()

    @staticmethod
    def _stream(loop: asyncio.AbstractEventLoop, send: Callable[[Any], Any], status: int, headers: Headers, first: bytes, second: bytes, rest: Iterable[bytes]) -> None:
        def out(message: dict[str, Any]) -> None:
            # Waiting here is what keeps a slow reader from filling our memory.
            asyncio.run_coroutine_threadsafe(send(message), loop).result(_STUCK_S)

        out({"type": "http.response.start", "status": status, "headers": headers})
        for part in chain((first, second), rest):
            out({"type": "http.response.body", "body": part, "more_body": True})
        out({"type": "http.response.body", "body": b"", "more_body": False})


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
