"""A real agent before the stage: its command is run again and again, and talks to a server of ours on loopback."""
from __future__ import annotations

import shlex
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ledger.keytext import KeyText
from tests.compliance.client import Reply
from tests.compliance.stage import Stage

PATIENCE_S = 120


class Theatre:
    """One address for all scenes: whatever comes in goes to the stage that is on."""

    def __init__(self, homes: str) -> None:
        self.stage: Stage | None = None
        self.homes = homes
        theatre = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                theatre.answer(self)

            do_GET = do_PUT = do_HEAD = do_POST

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self._turn = threading.Lock()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        wire = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        with self._turn:
            reply = self._reply(handler, wire, headers)
        if reply is None:
            handler.close_connection = True
            return
        handler.send_response(reply.status)
        for name, value in {**reply.headers, "content-length": str(len(reply.body))}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(reply.body)

    def _reply(self, handler: BaseHTTPRequestHandler, wire: bytes, headers: dict[str, str]) -> Reply | None:
        if self.stage is None:
            return Reply(503, {}, b"")
        if handler.command == "POST" and handler.path == "/v1/push":
            return self.stage.post(wire, headers)
        return self.stage.other(handler.command, handler.path, headers)


@contextmanager
def theatre() -> Iterator[Theatre]:
    with tempfile.TemporaryDirectory(prefix="compliance-", ignore_cleanup_errors=True) as homes:
        house = Theatre(homes)
        thread = threading.Thread(target=house.server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield house
        finally:
            house.server.shutdown()
            house.server.server_close()
            thread.join(5)


@dataclass
class Commanded:
    """*command* with {url}, {key} and {home} in it makes the agent sync once and end; the home is a new one in every scene."""

    house: Theatre
    command: str
    key: KeyText
    said: list[str] = field(default_factory=list)
    home: str = ""

    def run(self, stage: Stage) -> None:
        self.house.stage = stage
        self.home = self.home or tempfile.mkdtemp(dir=self.house.homes)
        words = [word.format(url=self.house.url, key=self.key.text(), home=self.home) for word in shlex.split(self.command)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S, check=False, cwd=Path.cwd())
        self.said.append((done.stdout + done.stderr)[-2000:])

    def cast(self) -> tuple[Stage, Commanded]:
        return Stage(self.key, self.house.url, time.time), Commanded(self.house, self.command, self.key)
