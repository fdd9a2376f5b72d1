"""kill -9 of the agent at any moment, then a start: the relay ends equal to the truth.

The relay is a process of its own. Each life of the agent is a fork that reads real files, commits, signs and pushes, and that
is killed for good (SIGKILL, no clean-up) at one of the thousands of calls it makes: before, within and after every write to its
database and every byte on the wire.
"""
from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import requests

from ledger.clock import now_ms
from ledger.prices import PriceBook
from ledger.stores import open_store
from local_agent.archive import LOCAL, Archive
from local_agent.commands.once import push
from local_agent.delivery import Delivery, Relay
from local_agent.identity import open_identity
from local_agent.lock import HomeLock
from local_agent.parts import Eyes, machine_of
from local_agent.push.horizon import DayHorizon
from local_agent.push.mirror import Mirror
from local_agent.push.transport import HttpTransport, open_session
from local_agent.readers import build_readers
from local_agent.settings import Settings
from relay.keys import Found
from relay.limits import Limits
from relay.push import Push
from tests.long import count, counted

TURNS = count("kills")
"""Each is a kill and a start; every third is killed twice before it may live: 200 kills for each change."""
SECRET, KEY_ID, SOURCE = b"k" * 32, "a" * 24, "laptop"
BOOK = PriceBook.load()


# -- the relay


class OneKey:
    def find(self, key_id: str, now: int, *, anew: bool = False) -> Found:
        return Found("alice", SOURCE, "push", [SECRET], key_id)

    def touch(self, id: str, now: int) -> None:
        pass


def serve_relay(store_url: str, ready: int) -> None:
    """A relay with nothing but its push endpoint, and a way to look at what it shows."""
    store: Any = open_store(store_url)
    push_door: Push

    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            self._send(*push_door.answer("POST", self.path, dict(self.headers.items()), body))

        def do_GET(self) -> None:
            shown = sorted([row.ref.kind, row.ref.id, row.body] for row in store.rows("alice", SOURCE))
            self._send(200, {}, json.dumps(shown).encode())

        def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    server.daemon_threads = True
    push_door = Push(store, OneKey(), aud="http://relay", limits=Limits.usual(1_000_000), clock=now_ms)
    os.write(ready, str(server.server_address[1]).encode())
    os.close(ready)
    server.serve_forever()


def forked(work: Callable[[], None]) -> int:
    """Run *work* in a process that shares nothing with us but what is on the disk."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is such a place: a kill loses nothing that was written there, and thousands of waits for a disk fall away."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as made:
        yield Path(made)


@pytest.fixture
def relay(folder: Path) -> Iterator[str]:
    reader, writer = os.pipe()
    child = forked(lambda: serve_relay(f"sqlite:///{folder / 'relay.db'}", writer))
    os.close(writer)
    port = os.read(reader, 16).decode()
    os.close(reader)
    yield f"http://127.0.0.1:{port}"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def shown_by(relay: str) -> list[list[str]]:
    return requests.get(f"{relay}/rows", timeout=10).json()


# -- what the agent reads


class Sources:
    """A tracker and transcripts in which something happens before every life of the agent."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.random, self.clock = rng, 1_760_000_000
        self.tracker, self.claude = folder / "tracker.db", folder / "claude"
        (self.claude / "projects/-home-alice-shop").mkdir(parents=True)
        with sqlite3.connect(self.tracker) as sql:
            sql.execute("CREATE TABLE real_sessions(id TEXT PRIMARY KEY, session_type TEXT, start_time TEXT, end_time TEXT, conversation_id TEXT, models_used TEXT,"
                        " estimated_tokens INTEGER, is_active INTEGER, metadata TEXT, process_id INTEGER, project_path TEXT, total_messages INTEGER,"
                        " five_hour_block_id TEXT, created_at TEXT)")  # fmt: skip
            sql.execute("CREATE TABLE IF NOT EXISTS five_hour_blocks(id TEXT PRIMARY KEY, start_time TIMESTAMP, end_time TIMESTAMP, total_sessions INTEGER, total_tokens INTEGER,"
                        " efficiency_score REAL, is_complete BOOLEAN)")  # fmt: skip

    def happen(self) -> None:
        self.clock += 60
        self.random.choice((self._row, self._row, self._line, self._line, self._line, self._delete))()

    def _row(self) -> None:
        with sqlite3.connect(self.tracker) as sql:
            sql.execute(
                "INSERT OR REPLACE INTO real_sessions(id, session_type, start_time, models_used, estimated_tokens, is_active) VALUES(?, 'claude_code', ?, '[\"m\"]', ?, 0)",
                (f"session_{self.random.randrange(12)}", "2025-10-09T10:00:00.000Z", self.random.randrange(1, 10**6)),
            )
        sql.close()

    def _delete(self) -> None:
        with sqlite3.connect(self.tracker) as sql:
            sql.execute("DELETE FROM real_sessions WHERE id = ?", (f"session_{self.random.randrange(12)}",))
        sql.close()

    def _line(self) -> None:
        session = f"{self.random.randrange(6):08d}-0000-4000-8000-000000000000"
        at = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(self.clock))
        name = f"{self.random.randrange(10**12)}"
        usage = {"input_tokens": 10, "output_tokens": self.random.randrange(1, 999), "cache_creation_input_tokens": 0, "cache_read_input_tokens": 5}
        message = {"id": f"msg_{name}", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5-20250929", "content": [], "usage": usage}
        line = {"type": "assistant", "sessionId": session, "timestamp": at, "uuid": name, "requestId": f"req_{name}", "cwd": "/home/alice/shop", "message": message}
        with (self.claude / f"projects/-home-alice-shop/{session}.jsonl").open("a") as file:
            file.write(json.dumps(line, separators=(",", ":")) + "\n")

    def settings(self, home: Path) -> Settings:
        return Settings(home=home, trackers=(self.tracker,), tracker_tz="UTC", transcripts=(self.claude,), no_defaults=True, name="laptop")


# -- the agent's lives


def a_life(settings: Settings, relay: str) -> None:
    """Read everything, push until the relay agrees, close."""
    identity = open_identity(settings.home)
    with HomeLock(settings.home):
        archive = Archive(settings.archive, source=identity.source, clock=now_ms)
        Eyes(archive, build_readers(settings, book=BOOK), machine_of(settings)).look(whole=True)
        mirror = Mirror(archive.store, tenant=LOCAL, source=identity.source)
        horizon = DayHorizon(archive.store, mirror, tenant=LOCAL, source=identity.source, tz="UTC")
        transport = HttpTransport(open_session(relay))
        delivery = Delivery(mirror, transport, Relay(relay, "http://relay", SOURCE, KEY_ID, (SECRET,)), horizon=horizon, roll=lambda: 0.0)
        outcome, _ = push(delivery)
        assert outcome.agreed, outcome
        archive.close()


class Death:
    """Kills this process at its n-th call of anything, Python's or C's; counts calls for ever if n is 0."""

    def __init__(self, at: int) -> None:
        self.at, self.calls = at, 0

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        self.calls += 1
        if self.calls == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def die_at(call: int, settings: Settings, relay: str) -> bool:
    """Let a life end at that call; False if it was over before."""
    def work() -> None:
        sys.setprofile(Death(call))
        a_life(settings, relay)

    _, status = os.waitpid(forked(work), 0)
    return os.WIFSIGNALED(status)


def calls_of_a_life(settings: Settings, relay: str, folder: Path) -> int:
    def work() -> None:
        death = Death(0)
        sys.setprofile(death)
        a_life(settings, relay)
        sys.setprofile(None)
        (folder / "calls").write_text(str(death.calls))

    assert os.WEXITSTATUS(os.waitpid(forked(work), 0)[1]) == 0
    return int((folder / "calls").read_text())


def live_well(settings: Settings, relay: str) -> None:
    _, status = os.waitpid(forked(lambda: a_life(settings, relay)), 0)
    assert status == 0


def truth_of(settings: Settings) -> list[list[str]]:
    """What the agent's archive holds."""
    store: Any = open_store(f"sqlite:///{settings.archive}")
    try:
        return sorted([row.ref.kind, row.ref.id, row.body] for row in store.rows(LOCAL, open_identity(settings.home).source))
    finally:
        store.close()


def read_anew(settings: Settings, home: Path) -> list[list[str]]:
    """What an agent that never was killed makes of the same files."""
    fresh = replace(settings, home=home)
    home.mkdir(mode=0o700)
    shutil.copy(settings.home / "identity.json", home)

    def work() -> None:
        archive = Archive(fresh.archive, source=open_identity(home).source, clock=now_ms)
        Eyes(archive, build_readers(fresh, book=BOOK), machine_of(fresh)).look(whole=True)
        archive.close()

    assert os.waitpid(forked(work), 0)[1] == 0
    return [row for row in truth_of(fresh) if row[0] != "machine"]


@pytest.mark.fault(26)
def test_a_killed_agent_ends_equal_to_the_truth_whenever_it_was_killed(folder: Path, relay: str) -> None:
    rng = random.Random(20261122)
    sources = Sources(folder, rng)
    settings = sources.settings(folder / "home")
    build_readers(settings, book=BOOK)  # what they import is imported once, not in each life
    for _ in range(30):
        sources.happen()
    calls = calls_of_a_life(settings, relay, folder)
    sources.happen()
    calls_later = calls_of_a_life(settings, relay, folder)
    with counted("kills", TURNS):
        live_and_die(settings, sources, relay, folder, rng, (calls, calls_later))


def live_and_die(settings: Settings, sources: Sources, relay: str, folder: Path, rng: random.Random, many: tuple[int, int]) -> None:
    calls, calls_later = many
    kills = 0
    for turn in range(TURNS):
        for _ in range(rng.randrange(1, 4)):
            sources.happen()
        # Now and then everything at once: a first life, as in a new home.
        if turn % 40 == 39:
            for file in settings.home.glob("archive.db*"):
                file.unlink()
        kills += die_at(rng.randrange(1, calls if turn % 40 == 39 else calls_later), settings, relay)
        if turn % 3 == 0:
            kills += die_at(rng.randrange(1, calls_later), settings, relay)
        live_well(settings, relay)
        assert shown_by(relay) == truth_of(settings)
        if turn % 50 == 49:
            assert [row for row in shown_by(relay) if row[0] != "machine"] == read_anew(settings, folder / f"fresh{turn}")
    assert kills >= TURNS * 1.2
    assert {row[0] for row in shown_by(relay)} >= {"session", "machine"}
