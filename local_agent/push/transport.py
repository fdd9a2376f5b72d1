"""One POST to the relay: bounded in time and size, never redirected, nothing secret on the wire.

A redirect, a login page or a slow drip is an answer like any other here; what it means is decided elsewhere.
"""
from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

import requests
import truststore
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

CONNECT_S, READ_S, TOTAL_S = 5.0, 20.0, 30.0
LONGEST_ANSWER = 1 << 20


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it came; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """The answer, whatever its status. Raises OSError or requests.RequestException if there is none."""
        ...

    def drop_connections(self) -> None: ...


class HttpTransport:
    """*session* is a requests session; its pool is kept, so that a push costs one round trip."""

    def __init__(self, session: requests.Session, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._session, self._monotonic = session, monotonic

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        return self._ask("POST", url, body, headers)

    def get(self, url: str) -> Reply:
        return self._ask("GET", url, None, {"accept-encoding": "identity"})

    def _ask(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> Reply:
        deadline = self._monotonic() + TOTAL_S
        with self._session.request(
            method, url, data=body, headers=dict(headers), timeout=(CONNECT_S, READ_S), allow_redirects=False, stream=True
        ) as answer:
            content = self._read(answer, deadline)
            return Reply(answer.status_code, {name.lower(): value for name, value in answer.headers.items()}, content)

    def _read(self, answer: requests.Response, deadline: float) -> bytes:
        """The bytes exactly as they came, because those are what is signed."""
        content = bytearray()
        while chunk := answer.raw.read1(64 << 10, decode_content=False):
            content += chunk
            if len(content) > LONGEST_ANSWER:
                raise requests.exceptions.ContentDecodingError("the answer is too long")
            if self._monotonic() > deadline:
                raise requests.exceptions.ReadTimeout("the answer takes too long")
        return bytes(content)

    def drop_connections(self) -> None:
        """After a sleep the kept connections are dead, and finding out would cost a timeout."""
        self._session.close()


class _Impatient:
    """A connection that waits for the head of an answer only so long, however busily it trickles in."""

    sock: socket.socket | None

    def getresponse(self) -> Any:
        guard = threading.Timer(TOTAL_S, self._give_up)
        guard.daemon = True
        guard.start()
        try:
            return super().getresponse()  # type: ignore[misc]
        finally:
            guard.cancel()

    def _give_up(self) -> None:
        with suppress(OSError, AttributeError):
            self.sock.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]


class _Plain(_Impatient, HTTPConnection):
    pass


class _Secure(_Impatient, HTTPSConnection):
    pass


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Secure


POOLS = {"http": _PlainPool, "https": _SecurePool}


class Adapter(HTTPAdapter):
    """Believes whom this computer believes, so that a company's own authority works as it does in a browser."""

    def init_poolmanager(self, *words: Any, **options: Any) -> Any:
        super().init_poolmanager(*words, **options, ssl_context=trust())
        self.poolmanager.pool_classes_by_scheme = POOLS

    def proxy_manager_for(self, proxy: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options, ssl_context=trust())
        manager.pool_classes_by_scheme = POOLS
        return manager


def trust() -> ssl.SSLContext:
    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def open_session(url: str) -> requests.Session:
    """A session for this relay: certificates as this system judges them, no retries behind our back, no passwords from
    ~/.netrc, no proxy to this computer itself."""
    session = requests.Session()
    session.auth = _no_password
    session.trust_env = urlsplit(url).hostname not in ("localhost", "127.0.0.1", "::1")
    for scheme in ("http://", "https://"):
        session.mount(scheme, Adapter(pool_connections=1, pool_maxsize=2, max_retries=0))
    session.headers.clear()
    return session


def _no_password(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
