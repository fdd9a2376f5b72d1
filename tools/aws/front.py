"""One address in front of the emulator's two APIs, so that the relay is reached as it is on AWS: at a root, over HTTP and WebSocket.

http://127.0.0.1:PORT/… goes to the HTTP API, ws://127.0.0.1:PORT/ws to the WebSocket API. A connection serves one request.
"""
from __future__ import annotations

import contextlib
import socket
import threading

LARGEST_HEAD = 64 * 1024


class Front:
    def __init__(self, port: int, emulator: int) -> None:
        self.http_path = self.live_path = ""
        self._emulator, self._ears = emulator, socket.create_server(("127.0.0.1", port), backlog=128)
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        # shutdown wakes the thread that waits in accept; close alone would leave it there
        with contextlib.suppress(OSError):
            self._ears.shutdown(socket.SHUT_RDWR)
        self._ears.close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._ears.accept()[0],), daemon=True).start()

    def _serve(self, caller: socket.socket) -> None:
        with caller, contextlib.suppress(OSError, ValueError):
            head, rest = self._head(caller)
            first, *lines = head.split(b"\r\n")
            method, target, version = first.split(b" ", 2)
            is_socket = any(line.lower().startswith(b"upgrade:") for line in lines)
            live = is_socket and target.split(b"?")[0] in (b"/ws", b"/ws/")
            target = self.live_path.encode() + target.removeprefix(b"/ws").removeprefix(b"/") if live else self.http_path.encode() + target
            if not is_socket:
                lines = [line for line in lines if not line.lower().startswith(b"connection:")] + [b"Connection: close"]
            with socket.create_connection(("127.0.0.1", self._emulator)) as there:
                there.sendall(b"\r\n".join([b" ".join((method, target, version)), *lines]) + b"\r\n\r\n" + rest)
                threading.Thread(target=_pipe, args=(caller, there), daemon=True).start()
                _pipe(there, caller)

    def _head(self, caller: socket.socket) -> tuple[bytes, bytes]:
        caller.settimeout(20)
        got = b""
        while b"\r\n\r\n" not in got:
            more = caller.recv(65536)
            if not more or len(got) > LARGEST_HEAD:
                raise ValueError("no request")
            got += more
        caller.settimeout(None)
        head, _, rest = got.partition(b"\r\n\r\n")
        return head, rest


def _pipe(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
