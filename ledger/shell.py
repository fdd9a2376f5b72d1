"""The thin ASGI shell around a Flask app: live viewers, cached answers, and a bridge for everything else.

One uvicorn process serves it, for the relay and for the agent's own port alike.
"""
from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ledger.clock import now_ms
from ledger.errors import Busy, Full, LedgerError, Problem
from ledger.http.request import Request
from ledger.serving.bridge import Bridge, Gone, Wsgi, problem_answer, read_body
from ledger.serving.cache import Answer, AnswerCache, Headers, complete, compressed, head_of, header, prepared, with_head
from ledger.serving.lane import Lanes
from ledger.serving.live import Live
from ledger.serving.subscription import Subscription, subscription_of
from ledger.serving.turns import Turns
from ledger.serving.viewers import Admission, Viewer

THREADS = 8
BIGGEST_BODY = 1 << 20
HEARD_OUT, HEARD_OUT_S = 16 << 20, 2.0
"""So much of a refused body, for so long, is read and thrown away."""
_KNOWN, WHOLE = "relay.asked", "relay.whole"
"""Where a scope says who asked, once somebody looked; and how an answer is sent in one piece, head and body, if that is still possible."""
_VOUCHED = (200, 409)
"""Only who was found to be who he says is answered so."""
log = logging.getLogger("shell")


Admit = Callable[[Request], Admission]
Logger = Callable[[Request, int, int, float], None]


@dataclass(frozen=True, slots=True)
class Native:
    """A path that is answered without Flask: *answer*, whether its sender is whom the request names, which is quickly seen, and what counts as one address."""

    answer: Callable[[Request, bytes], Answer]
    is_signed: Callable[[Request, bytes], bool]
    address: Callable[[Request], str]

    def refusal(self, asked: Request, body: bytes) -> Answer | None:
        """The answer, if nobody vouches for the sender."""
        return None if self.is_signed(asked, body) else self.answer(asked, body)


def _asked(scope: Mapping[str, Any]) -> Request:
    headers: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name, text = raw.decode("latin-1"), value.decode("latin-1")
        headers[name] = f"{headers[name]},{text}" if name in headers else text
    client = scope.get("client")
    return Request(scope.get("method", "GET"), scope["path"], scope["query_string"].decode("latin-1"), headers, client[0] if client else "")


class Shell:
    """An ASGI app. *admit* lets live viewers in (it may block, and raises Problem), *native* answers single paths without
    Flask, *who* names the tenant whose cached answers a caller may have (it must not block; None: ask the app).
    *always* are headers that every answer carries unless it says otherwise, *refusal* is how a caller hears of a problem."""

    def __init__(
        self,
        app: Wsgi,
        live: Live,
        admit: Admit,
        *,
        who: Callable[[Request], str | None] | None = None,
        native: Mapping[str, Native] | None = None,
        sockets: Sequence[str] = ("/ws",),
        streams: Sequence[str] = ("/v1/live",),
        always: Sequence[tuple[str, str]] = (),
        logger: Logger | None = None,
        clock: Callable[[], int] = now_ms,
        cache: AnswerCache | None = None,
        refusal: Callable[[Request, Problem], Answer] = lambda asked, problem: problem_answer(problem),
    ) -> None:
        self.live, self._admit, self._who, self._native = live, admit, who, native or {}
        self._sockets, self._streams = frozenset(sockets), frozenset(streams)
        self._always = [(name.lower().encode(), value.encode()) for name, value in always]
        self._logger, self._clock, self._refusal = logger, clock, refusal
        self._cache = cache or AnswerCache()
        self._flying: dict[Hashable, asyncio.Event] = {}
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="shell")
        # Of their own, so that a crowd of pushes waiting for the disk keeps no reader and no viewer waiting.
        self._natives = ThreadPoolExecutor(max(1, THREADS // 2), thread_name_prefix="native")
        self._lanes = Lanes()
        self._turns = Turns()
        self._bridge = Bridge(app, self._pool, self._turns)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        else:
            await self._lifespan(receive, send)

    async def _lifespan(self, receive: Any, send: Any) -> None:
        await receive()
        self.live.start(self._pool, self._turns)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.live.stop()
        for pool in (self._pool, self._natives):
            pool.shutdown(wait=False, cancel_futures=True)
        await send({"type": "lifespan.shutdown.complete"})

    # Requests.

    def at_once(self, scope: Any) -> tuple[bytes, bytes] | None:
        """Head and body of a cached answer, as they go out, without a task and without waiting; the head lacks its empty line.
        None: call the shell as usual, it goes on from here."""
        began, asked = time.perf_counter(), _asked(scope)
        if asked.method != "GET" or asked.path in self._streams or asked.path in self._native:
            return None
        try:
            tenant = self._whose(asked)
            answer = None if tenant is None else self._look(tenant, asked)
        except Exception as error:
            answer = with_head(self._refusal(asked, _problem_of(error, asked)), self._always)
        if answer is None:
            scope[_KNOWN] = asked, tenant
            return None
        if self._logger:
            self._logger(asked, answer.status, len(answer.body), time.perf_counter() - began)
        return b"".join([answer.head, *(b"%s: %s\r\n" % pair for pair in _noted(asked))]), answer.body

    async def _http(self, scope: Any, receive: Any, send: Any) -> None:
        began = time.perf_counter()
        asked = scope[_KNOWN][0] if _KNOWN in scope else _asked(scope)
        try:
            if asked.path in self._streams and asked.method == "GET":
                await self._stream(asked, scope, receive, send)
                answer = None
            else:
                answer = await self._answer(asked, scope, receive, send)
        except Gone:
            return
        except Exception as error:
            answer = self._refusal(asked, _problem_of(error, asked))
        if answer is not None:
            await self._send(scope, send, answer, asked, receive)
        if self._logger:
            self._logger(asked, answer.status if answer else 200, len(answer.body) if answer else 0, time.perf_counter() - began)

    async def _answer(self, asked: Request, scope: Any, receive: Any, send: Any) -> Answer | None:
        native = self._native.get(asked.path) if asked.method != "OPTIONS" else None  # a browser's first question is the app's everywhere
        if native is not None:
            return await self._native_answer(native, asked, await read_body(scope, receive, BIGGEST_BODY), scope.get("is_gone"))
        tenant = scope[_KNOWN][1] if _KNOWN in scope else self._whose(asked)
        if tenant is None:
            answer = await self._bridge.call(scope, await read_body(scope, receive, BIGGEST_BODY), send, asked.note)
            if answer is None or asked.method != "GET" or "gzip" not in asked.headers.get("accept-encoding", ""):
                return answer
            return await asyncio.get_running_loop().run_in_executor(self._pool, compressed, answer)
        return await self._cached_answer(tenant, asked, scope, send)

    async def _native_answer(self, native: Native, asked: Request, body: bytes, is_gone: Callable[[], bool] | None) -> Answer:
        sender, run = asked.headers.get("relay-key", ""), asyncio.get_running_loop().run_in_executor
        if self._lanes.may_wait(sender, len(body)):
            async with self._lanes.door(native.address(asked), len(body)):
                refusal = await run(self._natives, native.refusal, asked, body)
            if refusal is not None:
                return refusal
        async with self._lanes.turn(sender, len(body)):
            if is_gone is not None and is_gone():  # while it waited: it sends the same again, and others wait behind it
                raise Gone
            answer = await run(self._natives, native.answer, asked, body)
        if answer.status in _VOUCHED:
            self._lanes.heard(sender)
        return answer

    def _whose(self, asked: Request) -> str | None:
        """The tenant whose cached answers the caller may have. Raises Problem."""
        return self._who(asked) if self._who and asked.method == "GET" else None

    def _look(self, tenant: str, asked: Request) -> Answer | None:
        tag, packed = asked.headers.get("if-none-match", "").encode("latin-1"), "gzip" in asked.headers.get("accept-encoding", "")
        return self._cache.look(_key(tenant, asked), self.live.version(tenant), self._clock(), if_none_match=tag, gzip_ok=packed)

    async def _cached_answer(self, tenant: str, asked: Request, scope: Any, send: Any) -> Answer | None:
        """From the cache; else from the app, once for all who ask the same at this moment."""
        key = _key(tenant, asked)
        for _ in range(2):
            found = self._look(tenant, asked)
            if found is not None:
                return found
            if key not in self._flying:
                break
            await self._flying[key].wait()
        landed = self._flying.setdefault(key, asyncio.Event())
        version = self.live.version(tenant)

        async def in_parts(message: Any) -> None:
            landed.set()  # this one is for its caller alone: whoever waits for the same asks anew
            await send(message)

        try:
            # The app is asked without the caller's If-None-Match, so that the answer can be kept whole.
            plain = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"if-none-match"]}
            answer = await self._bridge.call(plain, b"", in_parts, asked.note, tenant)
            if answer is None:
                return None
            both = await asyncio.get_running_loop().run_in_executor(self._pool, prepared, answer)
            if both is None:
                return answer
            self._cache.keep(key, version, self._clock(), both, self._always)
            one = self._look(tenant, asked)
            return _with_rest(one or both["gzip" in asked.headers.get("accept-encoding", "")], answer)
        finally:
            landed.set()
            self._flying.pop(key, None)

    async def _send(self, scope: Any, send: Any, answer: Answer, asked: Request, receive: Any) -> None:
        headers = complete(answer, self._always)
        if "headers" in asked.note:
            names = {name for name, _ in headers}
            headers += [pair for pair in _noted(asked) if pair[0] not in names]
        body = b"" if asked.method == "HEAD" else answer.body
        if WHOLE in scope and not header(headers, b"connection") and scope[WHOLE](head_of(answer.status, headers), body):
            return
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        unread = (b"connection", b"close") in answer.headers
        await send({"type": "http.response.body", "body": body, "more_body": unread})
        if unread:
            await _hear_out(receive)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    # Live viewers.

    async def _let_in(self, asked: Request) -> Admission:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._admit, asked)

    async def _socket(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        asked, began = _asked(scope), time.perf_counter()
        status = await self._watched(asked, scope, receive, send)
        if self._logger:
            self._logger(asked, status, 0, time.perf_counter() - began)

    async def _watched(self, asked: Request, scope: Any, receive: Any, send: Any) -> int:
        """Serve a viewer to its end; 101, or the status it was refused with."""
        try:
            if asked.path not in self._sockets:
                raise Problem(404, "malformed", "there is no live channel here")
            admission = await self._let_in(asked)
            viewer = self.live.join(admission, send, is_sse=False, abort=scope.get("abort", _nothing))
        except Exception as error:
            refusal = self._refusal(asked, _problem_of(error, asked))
            await self._refuse(send, refusal)
            return refusal.status
        try:
            await send({"type": "websocket.accept"})
            await self.live.greet(viewer)
            await self._listen(viewer, receive)
            with contextlib.suppress(Exception):  # closing a channel that is closed already
                await asyncio.wait_for(send({"type": "websocket.close", "code": 1001}), 1)
        except LedgerError as error:
            log.warning("a viewer could not be greeted: %s", error)
        except Exception as error:  # it left while we spoke, or we are at fault: the others go on
            if not viewer.gone.is_set():
                log.error("a viewer was lost", exc_info=error)
        finally:
            self.live.leave(viewer)
        return 101

    async def _listen(self, viewer: Viewer, receive: Any) -> None:
        gone = asyncio.ensure_future(viewer.gone.wait())
        try:
            while not viewer.gone.is_set():
                heard = asyncio.ensure_future(receive())
                await asyncio.wait({heard, gone}, return_when=asyncio.FIRST_COMPLETED)
                if not heard.done():
                    heard.cancel()
                    return
                message = heard.result()
                if message["type"] != "websocket.receive":
                    return
                raw = message.get("text")
                await self.live.hear(viewer, raw if raw is not None else message.get("bytes") or b"")
        finally:
            gone.cancel()

    async def _refuse(self, send: Any, answer: Answer) -> None:
        headers = [*answer.headers, (b"content-length", str(len(answer.body)).encode())]
        with contextlib.suppress(Exception):  # the caller may have left
            await send({"type": "websocket.http.response.start", "status": answer.status, "headers": headers})
            await send({"type": "websocket.http.response.body", "body": answer.body})

    async def _stream(self, asked: Request, scope: Any, receive: Any, send: Any) -> None:
        admission = await self._let_in(asked)
        viewer = self.live.join(admission, send, is_sse=True, abort=scope.get("abort", _nothing))
        try:
            given: Headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]
            given += _noted(asked)
            names = {name for name, _ in given}
            await send({"type": "http.response.start", "status": 200, "headers": given + [pair for pair in self._always if pair[0] not in names]})
            await self.live.greet(viewer)
            await self.live.subscribe(viewer, _subscription(asked.arguments))
            left = asyncio.ensure_future(_left(receive))
            gone = asyncio.ensure_future(viewer.gone.wait())
            await asyncio.wait({left, gone}, return_when=asyncio.FIRST_COMPLETED)
            left.cancel()
            gone.cancel()
        except LedgerError as error:
            log.warning("a viewer could not be served: %s", error)
        finally:
            self.live.leave(viewer)
            with contextlib.suppress(Exception):  # ending a stream that is gone already
                await asyncio.wait_for(send({"type": "http.response.body", "body": b"", "more_body": False}), 1)


def _subscription(arguments: Mapping[str, str]) -> Subscription:
    sessions = arguments.get("sessions", "")
    return subscription_of({**arguments, "sessions": int(sessions) if sessions.isascii() and sessions.isdecimal() and len(sessions) < 5 else None})


def _key(tenant: str, asked: Request) -> Hashable:
    return tenant, asked.path, asked.query, asked.headers.get("origin"), asked.headers.get("host")


def _noted(asked: Request) -> Headers:
    """Headers that whoever let the caller in wants it to have."""
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in asked.note.get("headers", {}).items()]


async def _hear_out(receive: Any) -> None:
    """Let a caller whose body is refused unread finish speaking, within reason: cut off in the middle of it, it would see a reset instead of the answer."""

    async def heard() -> None:
        size = 0
        while size < HEARD_OUT and (message := await receive())["type"] == "http.request" and message.get("more_body"):
            size += len(message.get("body", b""))

    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(heard(), HEARD_OUT_S)


async def _left(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _nothing() -> None:
    """Where the server offers no way to cut a connection."""


def _with_rest(kept: Answer, fresh: Answer) -> Answer:
    """The headers that belong to this request only (how much it may still ask) come from the fresh answer."""
    rest = [pair for pair in fresh.headers if pair[0].startswith(b"ratelimit")]
    return Answer(kept.status, [*kept.headers, *rest], kept.body) if rest else kept


def _problem_of(error: Exception, asked: Request) -> Problem:
    """What a caller hears of a failure: never more than it can act on."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, Busy):
        return Problem(503, "store-unavailable", "the store is busy: try again", headers={"Retry-After": str(max(1, round(error.retry_after)))})
    if isinstance(error, Full):
        return Problem(507, "quota", "the store is full: make room, then try again", headers={"Retry-After": "300"})
    log.error("%s %s failed", asked.method, asked.path, exc_info=error)
    return Problem(500, "store-unavailable", "this is our fault, and it is in the relay's log")
