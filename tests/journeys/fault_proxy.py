"""A bad network on loopback: stands between an agent and a relay and spoils one push after another.

Each fault is a function of the proxy, the request's bytes and the client's socket. A plan is a list of faults; when
it is used up, everything passes. What each fault did is for the test to see in `met`.
"""
from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable

HTML = b"<html>Please log in to the network</html>"
Fault = Callable[["FaultProxy", bytes, socket.socket], None]


class FaultProxy:
    """Listens on a free port of 127.0.0.1 and forwards to *upstream* (host, port); only pushes are spoiled."""

    def __init__(self, upstream: tuple[str, int], plan: list[tuple[str, Fault]]) -> None:
        self.upstream, self.plan, self.met = upstream, list(plan), list[str]()
        self.recorded: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError, ValueError):
            while request := read_message(client):
                if b" /v1/push " not in request.split(b"\r\n", 1)[0]:
                    client.sendall(self.forward(request))
                    continue
                self.recorded.append(request)
                if not self.plan:
                    client.sendall(self.forward(request))
                    continue
                name, fault = self.plan.pop(0)
                self.met.append(name)
                fault(self, request, client)

    def forward(self, request: bytes) -> bytes:
        """The relay's whole answer to *request*."""
        with socket.create_connection(self.upstream, timeout=10) as relay:
            relay.sendall(request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            relay.settimeout(10)
            return read_message(relay)


def read_message(from_: socket.socket) -> bytes:
    """One HTTP message: head and as much body as it announces; b"" at the end of the connection."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = from_.recv(65536)
        if not more:
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length:
        more = from_.recv(65536)
        if not more:
            break
        body += more
    return head + b"\r\n\r\n" + body


def answer(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = "".join(f"{header}\r\n" for header in headers)
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{lines}\r\n".encode() + body


def reset(client: socket.socket) -> None:
    """Close with RST instead of FIN."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


# -- faults of the network


def request_lost(proxy: FaultProxy, request: bytes, client: socket.socket) -> None:
    client.close()


def answer_lost(proxy: FaultProxy, request: bytes, client: socket.socket) -> None:
    proxy.forward(request)
    client.close()


def request_twice(proxy: FaultProxy, request: bytes, client: socket.socket) -> None:
    proxy.forward(request)
    client.sendall(proxy.forward(request))


def an_old_request_first(proxy: FaultProxy, request: bytes, client: socket.socket) -> None:
    proxy.forward(proxy.recorded[0])
    client.sendall(proxy.forward(request))


def overtaken_by_its_successor(proxy: FaultProxy, request: bytes, client: socket.socket) -> None:
    """The request hangs in a buffer and arrives after the next one."""
    client.close()
    threading.Thread(target=late, args=(proxy, request), daemon=True).start()


def late(proxy: FaultProxy, request: bytes) -> None:
    seen = len(proxy.recorded)
    until = time.monotonic() + 10
    while len(proxy.recorded) <= seen and time.monotonic() < until:
        time.sleep(0.01)
    with contextlib.suppress(OSError):
        proxy.forward(request)


def request_cut(proxy: FaultProxy, request: bytes, client: socket.socket) -> None:
    with socket.create_connection(proxy.upstream, timeout=10) as relay:
        relay.sendall(request[: len(request) - 20])
    client.close()


def answer_cut(proxy: FaultProxy, request: bytes, client: socket.socket) -> None:
    client.sendall(proxy.forward(request)[:-25])
    client.close()


def reset_in_the_body(proxy: FaultProxy, request: bytes, client: socket.socket) -> None:
    client.sendall(proxy.forward(request)[:60])
    reset(client)


def dripped(proxy: FaultProxy, request: bytes, client: socket.socket) -> None:
    whole = proxy.forward(request)
    for start in range(0, len(whole), 64):
        client.sendall(whole[start : start + 64])
        time.sleep(0.005)


def constant(status: str, body: bytes = b"", *headers: str) -> Fault:
    """Somebody else answers: a portal, a proxy, another server."""

    def fault(proxy: FaultProxy, request: bytes, client: socket.socket) -> None:
        client.sendall(answer(status, body, *headers))

    return fault


def edited(change: Callable[[bytes], bytes]) -> Fault:
    """The relay's own answer, changed on its way."""

    def fault(proxy: FaultProxy, request: bytes, client: socket.socket) -> None:
        client.sendall(change(proxy.forward(request)))

    return fault


def without_signature(message: bytes) -> bytes:
    head, mark, body = message.partition(b"\r\n\r\n")
    return b"\r\n".join(line for line in head.split(b"\r\n") if not line.lower().startswith(b"webhook-")) + mark + body


FAULTS: dict[str, Fault] = {
    "request lost": request_lost,
    "answer lost": answer_lost,
    "request twice": request_twice,
    "an old request arrives again": an_old_request_first,
    "overtaken by its successor": overtaken_by_its_successor,
    "request cut": request_cut,
    "answer cut": answer_cut,
    "reset in the body": reset_in_the_body,
    "dripped": dripped,
    "captive portal": constant("200 OK", HTML, "content-type: text/html"),
    "redirect to a login": constant("302 Found", b"", "location: http://127.0.0.1:9/login"),
    "network authentication": constant("511 Network Authentication Required", HTML, "content-type: text/html"),
    "bad gateway": constant("502 Bad Gateway", HTML),
    "gateway timeout": constant("504 Gateway Timeout"),
    "proxy authentication": constant("407 Proxy Authentication Required", b"", "proxy-authenticate: Basic"),
    "throttled without a time": constant("429 Too Many Requests"),
    "throttled for a negative time": constant("429 Too Many Requests", b"", "retry-after: -5"),
    "throttled with nonsense": constant("503 Service Unavailable", b"", "retry-after: soon"),
    "an unsigned 200": constant("200 OK", b'{"v":1,"seq":99,"digest":"00","committed":true}', "content-type: application/json"),
    "an unsigned 409": constant("409 Conflict", b'{"type":"lease","status":409,"lease":"00"}', "content-type: application/problem+json"),
    "an empty 200": constant("200 OK"),
    "no HTTP at all": lambda proxy, request, client: client.sendall(b"\x16\x03\x01\x00nonsense\r\n\r\n"),
    "signature stripped": edited(without_signature),
    "a byte of the answer changed": edited(lambda message: message[:-3] + b"9" + message[-2:]),
}
