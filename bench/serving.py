"""The relay under load: a real process over SQLite that is asked over loopback, its CPU read from the system.

CPU figures hold on a busy machine too; times and rates are those of this machine at this moment.
"""
from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.process import cpu_s, resident_mib
from bench.table import Figure, percentile
from ledger.keytext import KeyText
from ledger.record import add, hash_of, to_hex
from ledger.stores.memory import MemoryStore
from relay.keys import KeyRing
from tests.compliance.client import Reply, Sender
from tests.processes import ROOT, Running, Site, environment, free_port, site, until

PUSHES, BIG_PUSHES, READS, TURNS, VIEWERS, ROUNDS = 600, 120, 4_000, 5, 500, 20


def figures() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder, site(Path(folder)) as place:
        relay = place.relay(RELAY_RATE="1000000")
        bench = Bench(place, relay)
        found = [*start_and_rest(relay)]
        found += bench.pushes(5, PUSHES, senders=1) + bench.pushes(5, PUSHES, senders=8) + bench.pushes(90, BIG_PUSHES, senders=1) + bench.sustained()
        found += bench.wire_size()
        found += bench.reads()
        found += asyncio.run(bench.live("SSE"))
        found += asyncio.run(bench.live("WebSocket"))
        found += bench.steady()
    return found


def start_and_rest(relay: Running) -> Iterator[Figure]:
    """How long a start takes and what an idle relay holds."""
    assert relay.process is not None
    yield Figure("relay: resident, idle", resident_mib(relay.process.pid), "MiB", "≤ 60")
    times, used = [], []
    # As it is installed, with its code compiled once; a machine may be told not to keep what it compiles.
    env = {name: value for name, value in environment(RELAY_SECRET="x" * 32).items() if name != "PYTHONDONTWRITEBYTECODE"}
    for number in range(6):
        began, cpu = time.monotonic(), os.times()
        with tempfile.TemporaryDirectory() as folder:
            words = [sys.executable, "-m", "relay", "serve", "--port", "0", "--store", f"sqlite:///{folder}/r.db"]
            process = subprocess.Popen(words, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True)
            assert process.stderr is not None
            process.stderr.readline()
            times.append(time.monotonic() - began)
            process.terminate()
            process.wait()
        after = os.times()
        if not number:  # it compiled
            times.clear()
            continue
        used.append(after.children_user + after.children_system - cpu.children_user - cpu.children_system)
    yield Figure("relay: start until it listens", statistics.median(times), "s", "≤ 0.6")
    yield Figure("relay: start and stop, CPU", statistics.median(used), "s")


class Line:
    """One kept-alive connection that counts how long each answer takes."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.connection.connect()
        self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.times: list[float] = []

    def post(self, body: bytes, headers: Any) -> Reply:
        began = time.perf_counter()
        self.connection.request("POST", "/v1/push", body, dict(headers))
        answer = self.connection.getresponse()
        reply = Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        self.times.append(time.perf_counter() - began)
        return reply


def a_body(number: int, turn: int, ago_ms: int = 0) -> str:
    """A session record of usual size, about a kilobyte, that ended some time ago."""
    now = time.time_ns() // 1_000_000 - ago_ms
    quarter = now - now % 900_000
    usage = [[quarter - step * 900_000, quarter - step * 900_000 + 5, quarter - step * 900_000 + 800_000, "claude-opus-4-7", "standard", 120 + turn, 900, 0, 14_000, 250_000, 12, None] for step in range(8, 0, -1)]
    return json.dumps(
        {
            "id": f"bench-{number}", "session_type": "claude_code", "start_time": usage[0][1], "last_activity": now, "is_active": not ago_ms, "total_messages": 40 + turn,
            "models_used": ["claude-opus-4-7"], "project": "relay", "title": "Batch relay uploads", "git_branch": "main", "context": {"used": 90_000, "size": 200_000}, "usage": usage,
        },
        separators=(",", ":"),
    )  # fmt: skip


class Machine:
    """A source that changes the same few sessions again and again."""

    def __init__(self, line: Line, sender: Sender) -> None:
        self.line, self.sender = line, sender
        self.hashes: dict[str, int] = {}

    def push(self, records: int, turn: int) -> None:
        put = {f"bench-{n}": a_body(n, turn) for n in range(records)}
        new = {id: hash_of("session", id, body) for id, body in put.items()}
        after = add(self.sender.digest, put=new.values(), gone=[self.hashes[id] for id in new if id in self.hashes])
        reply = self.sender.push(put, after=to_hex(after))
        assert reply.status == 200, reply.document
        self.hashes |= new


def machine_of(port: int, key: str) -> Machine:
    """A machine that has begun its copy at the relay on *port*."""
    line = Line(port)
    sender = Sender(line.post, KeyText.parse(key), f"http://127.0.0.1:{port}", lambda: int(time.time()))
    sender.start()
    assert sender.push({}, commit=True).status == 200
    return Machine(line, sender)


class Bench:
    def __init__(self, place: Site, relay: Running) -> None:
        self.place, self.relay = place, relay
        assert relay.process is not None
        self.pid = relay.process.pid
        self.read = place.key(relay, "read")
        self.made = 0
        self.ring = KeyRing([relay.env["RELAY_SECRET"].encode()], MemoryStore(), (), lambda: time.time_ns() // 1_000_000)

    def key(self) -> str:
        """A push key for one machine more."""
        self.made += 1
        return self.ring.issue("push", "alice", f"bench-{self.made}")

    def machine(self) -> Machine:
        return machine_of(self.relay.port, self.key())

    @contextmanager
    def cpu(self) -> Iterator[Callable[[], float]]:
        before = cpu_s(self.pid)
        yield lambda: cpu_s(self.pid) - before

    def pushes(self, records: int, count: int, *, senders: int) -> list[Figure]:
        """Signed, checked, durable pushes: *records* sessions each, from so many machines at once."""
        made = [self.machine() for _ in range(senders)]

        def work(machine: Machine) -> None:
            machine.line.times.clear()
            for turn in range(count // senders):
                machine.push(records, turn)

        threads = [threading.Thread(target=work, args=(one,)) for one in made]
        began = time.perf_counter()
        with self.cpu() as used:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            elapsed, cpu = time.perf_counter() - began, used()
        times = [1000 * one for machine in made for one in machine.line.times]
        what = f"push of {records} records, {senders} {'machine' if senders == 1 else 'machines at once'}"
        return [
            Figure(f"{what}: rate", count / elapsed, "/s", "≥ 100" if records == 5 else ""),
            Figure(f"{what}: p50", percentile(times, 0.5), "ms"),
            Figure(f"{what}: p99", percentile(times, 0.99), "ms", "< 500"),
            Figure(f"{what}: relay CPU", cpu / count * 1e6, "µs"),
        ]

    def sustained(self, machines: int = 50, seconds: float = 20.0) -> list[Figure]:
        """A hundred pushes a second, as 3,000 machines make that push every half minute."""
        made = [self.machine() for _ in range(machines)]
        for machine in made:
            machine.line.times.clear()
        errors: list[BaseException] = []
        threads = [threading.Thread(target=paced, args=(machine, number * 0.5 / machines, seconds, errors)) for number, machine in enumerate(made)]
        began = time.perf_counter()
        with self.cpu() as used:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            elapsed, cpu = time.perf_counter() - began, used()
        times = [1000 * one for machine in made for one in machine.line.times]
        what = f"{machines} machines pushing 5 records twice a second"
        return [
            Figure(f"{what}: kept up with", len(times) / elapsed, "/s", "100"),
            Figure(f"{what}: p99", percentile(times, 0.99), "ms", "< 500"),
            Figure(f"{what}: failed", len(errors), "", "0"),
            Figure(f"{what}: relay's share of a core", cpu / elapsed * 100, "%"),
        ]

    def wire_size(self) -> list[Figure]:
        sizes: list[int] = []
        machine = self.machine()

        def counting(body: bytes, headers: Any) -> Reply:
            sizes.append(len(body))
            return machine.line.post(body, headers)

        machine.sender.post = counting
        machine.push(1, 1)
        return [Figure("bytes of a push for one changed session, without HTTP's headers", sizes[-1], "B", "< 1024")]

    def reads(self) -> list[Figure]:
        """The 20 newest sessions, as pages ask again and again; beside it a server that does nothing but send as many bytes."""
        request = f"GET /sessions/recent?limit=20 HTTP/1.1\r\nHost: 127.0.0.1:{self.relay.port}\r\nAuthorization: Bearer {self.read}\r\n"
        etag, _ = self._once(request)
        found = []
        for what, more in (("200", ""), ("304", f"If-None-Match: {etag}\r\n"), ("200, compressed", "Accept-Encoding: gzip\r\n")):
            ours, floors, times, floor_times = [], [], [], []
            with nothing_but_bytes(self._once(request + more)[1]) as (port, pid):
                for _ in range(TURNS):
                    cpu, took = _many(self.relay.port, self.pid, (request + more + "\r\n").encode())
                    floor, floor_took = _many(port, pid, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                    ours.append(cpu)
                    floors.append(floor)
                    times += took
                    floor_times += floor_took
            ratio = statistics.median(one / floor for one, floor in zip(ours, floors, strict=True))
            found += [
                Figure(f"cached read {what}: relay CPU", statistics.median(ours), "µs"),
                Figure(f"cached read {what}: the same against a server that does nothing else", ratio, "times", "≤ 2", "bare uvicorn, as many bytes"),
                Figure(f"cached read {what}: p99, 16 at once", percentile(times, 0.99), "ms", "≤ 1", f"bare uvicorn: {percentile(floor_times, 0.99):.2f} ms"),
            ]
        return found

    def _once(self, request: str) -> tuple[str, int]:
        """The ETag, and how many bytes the answer has, head and all."""
        with socket.create_connection(("127.0.0.1", self.relay.port)) as line:
            line.sendall((request + "Connection: close\r\n\r\n").encode())
            answer = b"".join(iter(lambda: line.recv(65536), b""))
        head = answer.partition(b"\r\n\r\n")[0].decode()
        return next(text.partition(": ")[2] for text in head.split("\r\n") if text.startswith("etag")), len(answer)

    async def live(self, kind: str) -> list[Figure]:
        """Every page hears of every push: from the moment it was sent until each of them has it."""
        before = resident_mib(self.pid)
        viewers = [await _viewer(self.relay.port, self.read, kind) for _ in range(VIEWERS)]
        held = resident_mib(self.pid) - before
        machine = await asyncio.to_thread(self.machine)
        for viewer in viewers:
            viewer.news.clear()
        delays: list[float] = []
        cpu = cpu_s(self.pid)
        for turn in range(ROUNDS):
            await asyncio.sleep(0.1)
            marks = [len(viewer.news) for viewer in viewers]
            began = time.perf_counter()
            await asyncio.to_thread(machine.push, 1, turn)
            while any(len(viewer.news) == mark for viewer, mark in zip(viewers, marks, strict=True)) and time.perf_counter() - began < 10:
                await asyncio.sleep(0.005)
            delays += [(viewer.news[mark] - began) * 1000 if len(viewer.news) > mark else 10_000 for viewer, mark in zip(viewers, marks, strict=True)]
        cpu = cpu_s(self.pid) - cpu
        for viewer in viewers:
            viewer.transport.abort()
        what = f"live, {VIEWERS} pages by {kind}"
        return [
            Figure(f"{what}: push → page, p50", percentile(delays, 0.5), "ms"),
            Figure(f"{what}: push → page, p95", percentile(delays, 0.95), "ms", "< 1,000"),
            Figure(f"{what}: relay CPU a message", cpu / (ROUNDS * VIEWERS) * 1e6, "µs"),
            Figure(f"{what}: memory a page", held * 1024 / VIEWERS, "KiB", "≤ 20"),
        ]

    def steady(self) -> list[Figure]:
        time.sleep(1)
        with self.cpu() as used:
            time.sleep(10)
            share = used() / 10 * 100
        return [Figure("relay: CPU while nothing happens", share, "%"), Figure("relay: resident after all this", resident_mib(self.pid), "MiB")]


def paced(machine: Machine, begin: float, seconds: float, errors: list[BaseException], records: int = 5) -> None:
    """A push of *records* sessions each half second, on time even after a slow one."""
    due = time.monotonic() + begin
    until_when = due + seconds
    turn = 0
    while due < until_when:
        time.sleep(max(0.0, due - time.monotonic()))
        due += 0.5
        turn += 1
        try:
            machine.push(records, turn)
        except Exception as error:
            errors.append(error)
            return


def _many(port: int, pid: int, request: bytes) -> tuple[float, list[float]]:
    """CPU µs an answer and its times in ms: sixteen pages at once, as fast as they are answered."""
    lines = [socket.create_connection(("127.0.0.1", port)) for _ in range(16)]
    for line in lines:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    times, before = [], cpu_s(pid)
    for _ in range(READS // len(lines)):
        began = time.perf_counter()
        for line in lines:
            line.sendall(request)
        for line in lines:
            _read_answer(line)
            times.append((time.perf_counter() - began) * 1000)
    cpu = cpu_s(pid) - before
    for line in lines:
        line.close()
    return cpu / len(times) * 1e6, times


BARE = """
import sys, uvicorn
from ledger.serving.server import listen
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", sys.argv[2].encode())]})
    await send({"type": "http.response.body", "body": b"x" * int(sys.argv[2])})
config = uvicorn.Config(app, http="httptools", loop="asyncio", lifespan="off", log_config=None, access_log=False)
uvicorn.Server(config).run([listen("127.0.0.1", int(sys.argv[1]))])
"""


@contextmanager
def nothing_but_bytes(length: int) -> Iterator[tuple[int, int]]:
    """The floor: uvicorn alone, answering *length* bytes; its port and process."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", BARE, str(port), str(length)], cwd=ROOT)
    try:
        until(lambda: socket.create_connection(("127.0.0.1", port)).close() is None, "a bare server")
        yield port, process.pid
    finally:
        process.kill()
        process.wait()


def _read_answer(line: socket.socket) -> None:
    """Read one answer of known length."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += line.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for name in head.split(b"\r\n")[1:]:
        if name.lower().startswith(b"content-length"):
            length = int(name.partition(b":")[2])
    rest = length - len(body)
    while rest > 0:
        rest -= len(line.recv(65536))


class _Viewer(asyncio.Protocol):
    """A page that does nothing but note when news came; WebSocket frames and SSE events are told apart by their first bytes."""

    def __init__(self, request: bytes, subscribe: bytes) -> None:
        self.request, self.subscribe = request, subscribe
        self.news: list[float] = []
        self.began = asyncio.get_running_loop().create_future()
        self.open = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        if not self.open:
            assert data.startswith((b"HTTP/1.1 101", b"HTTP/1.1 200")), data[:200]
            self.open = True
            self.transport.write(self.subscribe)
        if b'"type":"feed"' in data or b'"type":"changed"' in data:
            self.news.append(time.perf_counter())
            if not self.began.done():
                self.began.set_result(None)


async def _viewer(port: int, key: str, kind: str) -> _Viewer:
    common = f"Host: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n"
    if kind == "SSE":
        request, subscribe = f"GET /v1/live?sessions=20 HTTP/1.1\r\n{common}\r\n".encode(), b""
    else:
        upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        text = b'{"type":"subscribe","sessions":20}'
        request, subscribe = f"GET /ws HTTP/1.1\r\n{common}{upgrade}\r\n".encode(), bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text
    _, viewer = await asyncio.get_running_loop().create_connection(lambda: _Viewer(request, subscribe), "127.0.0.1", port)
    await asyncio.wait_for(viewer.began, 30)
    return viewer
