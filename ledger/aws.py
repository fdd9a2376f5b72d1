"""Calls to AWS signed by hand: the few that a function makes.

botocore needs 160 ms of processor at every cold start, more than everything of ours together, and a millisecond for
every call. What it does for us there is one signature (Signature Version 4) and one POST, which is below; the tests hold it
against botocore's own. Where a person's profile or sign-on must be found, boto3 is used.
"""
from __future__ import annotations

import contextlib
import hmac
import http.client
import queue
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from typing import Any
from urllib.parse import quote, urlsplit

CONNECT_S, READ_S = 1.0, 4.0
IDLE_CONNECTIONS = 10


@dataclass(frozen=True, slots=True)
class Account:
    """Who calls, and where. *endpoint* is one address for every service, as emulators have."""

    region: str
    key_id: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)
    endpoint: str = ""

    def address(self, service: str) -> str:
        suffix = "amazonaws.com.cn" if self.region.startswith("cn-") else "amazonaws.com"
        return self.endpoint or f"https://{service}.{self.region}.{suffix}"


class NoAnswer(Exception):
    """Nobody answered in time; what was asked may have been done or not."""


def signed(account: Account, service: str, host: str, path: str, headers: Mapping[str, str], body: bytes, now: float) -> dict[str, str]:
    """*headers* of a POST to *path* (encoded as it is sent), with those that prove who sends it."""
    at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    sent = {**headers, "host": host, "x-amz-date": at, **({"x-amz-security-token": account.token} if account.token else {})}
    names = ";".join(sorted(sent))
    request = "\n".join(["POST", quote(path, safe="/-_.~"), "", *(f"{name}:{sent[name].strip()}" for name in sorted(sent)), "", names, sha256(body).hexdigest()])
    scope = f"{at[:8]}/{account.region}/{service}/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", at, scope, sha256(request.encode()).hexdigest()])
    key = f"AWS4{account.secret}".encode()
    for part in (at[:8], account.region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), sha256)
    signature = hmac.new(key, text.encode(), sha256).hexdigest()
    return {**sent, "authorization": f"AWS4-HMAC-SHA256 Credential={account.key_id}/{scope}, SignedHeaders={names}, Signature={signature}"}


@cache
def trust() -> ssl.SSLContext:
    """Whose certificates are believed: what the system believes. To read them takes 18 ms of processor, so all lines share one."""
    return ssl.create_default_context()


class Line:
    """Connections to one service, kept open between calls and shared by threads."""

    def __init__(self, account: Account, service: str, url: str = "", *, clock: Callable[[], float] = time.time) -> None:
        parts = urlsplit(url or account.address(service))
        self._account, self._service, self._clock = account, service, clock
        self._host, self._path, self._is_tls = parts.netloc, parts.path.rstrip("/"), parts.scheme == "https"
        self._idle: queue.LifoQueue[http.client.HTTPConnection] = queue.LifoQueue()

    def post(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer. Raises NoAnswer."""
        path = self._path + path
        sent = signed(self._account, self._service, self._host, path, headers, body, self._clock())
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            return self._exchange(self._fresh(), path, sent, body)
        try:
            return self._exchange(connection, path, sent, body)
        except NoAnswer as lost:
            # An idle connection may have been closed while nobody looked; that shows at once and says nothing about the service.
            if isinstance(lost.__cause__, TimeoutError):
                raise
            return self._exchange(self._fresh(), path, sent, body)

    def _fresh(self) -> Any:
        if not self._is_tls:
            return http.client.HTTPConnection(self._host, timeout=CONNECT_S)
        return http.client.HTTPSConnection(self._host, timeout=CONNECT_S, context=trust())

    def _exchange(self, connection: Any, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        try:
            if connection.sock is None:
                connection.connect()  # http.client itself turns off the delay of small packets
                opened: socket.socket = connection.sock  # type: ignore[assignment, unused-ignore]
                opened.settimeout(READ_S)
            connection.request("POST", path, body, dict(headers))
            answer = connection.getresponse()
            status, content = answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise NoAnswer(type(error).__name__) from error
        if answer.will_close or self._idle.qsize() >= IDLE_CONNECTIONS:
            connection.close()
        else:
            self._idle.put(connection)
        return status, content

    def close(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()
