"""Whatever the network does to a push, the relay ends equal to the truth: real agent code, real sockets, real stores."""
from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ledger.keytext import KeyText
from ledger.record import Record, Ref
from ledger.stores import open_store
from local_agent.archive import LOCAL, Archive
from local_agent.delivery import Delivery, Outcome, Relay
from local_agent.push.mirror import Mirror
from local_agent.push.transport import HttpTransport, open_session
from relay.keys import KeyRing
from relay.limits import Buckets, Limits, Rate
from relay.push import Push
from tests.journeys.fault_proxy import FAULTS, FaultProxy
from tests.long import counted, shares

NOW = 1_790_000_000_000
AUD = "https://relay.example"
FREE = Buckets(Rate(1e9, 1e9))


class World:
    """A laptop, a relay behind a bad network, and a clock that only moves when somebody waits."""

    def __init__(self, folder: Path, url: str, plan: list[str]) -> None:
        self.store = open_store(url)
        self.waited = 0.0
        ring = KeyRing([b"the master secret of this test"], self.store, frozenset(), lambda: NOW)
        key = KeyText.parse(ring.issue("push", "alice", "laptop"))
        self.push = Push(self.store, ring, aud=AUD, limits=Limits(FREE, FREE, FREE), clock=lambda: NOW)
        self.server = serve(self.push)
        self.proxy = FaultProxy(("127.0.0.1", self.server.server_port), [(name, FAULTS[name]) for name in plan])
        self.archive = Archive(folder / "archive.db", source="me", clock=lambda: NOW)
        self.place = Relay(f"http://127.0.0.1:{self.proxy.port}", AUD, "laptop", key.id, (key.secret,))
        self.restart()

    def restart(self) -> None:
        """As after a crash: only what is on the disk is known."""
        mirror = Mirror(self.archive.store, tenant=LOCAL, source="me")
        transport = HttpTransport(open_session(self.place.url))
        self.delivery = Delivery(mirror, transport, self.place, monotonic=lambda: self.waited, roll=lambda: 1.0)

    def write(self, bodies: dict[str, str]) -> None:
        with self.archive.step() as step:
            for id, body in bodies.items():
                step.put(Record("session", id, body))

    def delete(self, *ids: str) -> None:
        with self.archive.step() as step:
            for id in ids:
                step.delete(Ref("session", id))

    def step(self) -> Outcome:
        outcome = self.delivery.push_once(NOW, ask=True)
        self.waited += outcome.wait_s
        return outcome

    def settle(self, most: int = 40) -> int:
        """Steps until the relay itself agrees; how many it took."""
        for count in range(1, most + 1):
            if self.step().agreed and not self.proxy.plan:
                return count
        raise AssertionError(f"no agreement after {most} steps; met {self.proxy.met}")

    def truth(self) -> dict[Ref, str]:
        return {row.ref: row.body for row in self.archive.store.rows(LOCAL, "me")}

    def shown(self) -> dict[Ref, str]:
        return {row.ref: row.body for row in self.store.rows("alice", "laptop")}

    def close(self) -> None:
        self.proxy.close()
        self.server.shutdown()
        self.server.server_close()
        self.archive.close()
        self.store.close()


def serve(push: Push) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, headers, body = push.answer("POST", self.path, dict(self.headers.items()), self.rfile.read, address="127.0.0.1")
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory:" if request.param == "memory" else f"sqlite:///{tmp_path / 'relay.db'}"


@pytest.fixture
def worlds(tmp_path: Path) -> Iterator[list[World]]:
    made: list[World] = []
    yield made
    for world in made:
        world.close()


def bodies(count: int, version: int = 0) -> dict[str, str]:
    return {f"s{n}": f'{{"id":"s{n}","estimated_tokens":{n * 7 + version}}}' for n in range(count)}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_while_the_first_copy_is_sent_loses_nothing(fault: str, url: str, worlds: list[World], tmp_path: Path) -> None:
    world = World(tmp_path, url, [fault, fault, "request lost", fault])
    worlds.append(world)
    world.write(bodies(200))
    world.settle()
    assert world.shown() == world.truth() and len(world.truth()) == 200


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_amid_changes_and_deletions_loses_nothing_and_revives_nothing(fault: str, url: str, worlds: list[World], tmp_path: Path) -> None:
    world = World(tmp_path, url, [])
    worlds.append(world)
    world.write(bodies(5))
    world.settle()
    for version in range(1, 4):
        world.proxy.plan.append((fault, FAULTS[fault]))
        world.write(bodies(3, version))
        world.delete(f"s{version + 1}")
        world.step()
        world.restart()
        world.write(bodies(2, version + 10))
        world.settle()
        assert world.shown() == world.truth(), (fault, version)


@pytest.mark.parametrize("seeds", shares("catalogue"), ids=str)
def test_any_sequence_of_faults_and_crashes_ends_in_agreement(seeds: range, url: str, tmp_path: Path) -> None:
    with counted("catalogue", len(seeds)):
        for seed in seeds:
            (tmp_path / str(seed)).mkdir()
            a_life_on_the_wire(seed, url.replace("relay.db", f"relay{seed}.db"), tmp_path / str(seed))


def a_life_on_the_wire(seed: int, url: str, folder: Path) -> None:
    chance = random.Random(seed)
    with closing(World(folder, url, chance.choices(list(FAULTS), k=8))) as world:
        live(world, chance)


def live(world: World, chance: random.Random) -> None:
    for turn in range(8):
        world.write(bodies(chance.randrange(1, 120), turn))
        if chance.random() < 0.4:
            world.delete(f"s{chance.randrange(40)}")
        for _ in range(chance.randrange(3)):
            world.step()
        if chance.random() < 0.3:
            world.restart()
    world.settle()
    assert world.shown() == world.truth()


def test_every_recorded_message_replayed_changes_nothing(url: str, worlds: list[World], tmp_path: Path) -> None:
    world = World(tmp_path, url, [])
    worlds.append(world)
    for version in range(4):
        world.write(bodies(4, version))
        world.settle()
    before, head = world.shown(), world.store.head("alice", "laptop")
    for recorded, _ in itertools.product(world.proxy.recorded, range(3)):
        world.proxy.forward(recorded)
    after = world.store.head("alice", "laptop")
    assert world.shown() == before
    assert head is not None and after is not None and (after.lease, after.seq, after.digest) == (head.lease, head.seq, head.digest)


def test_a_relay_that_lost_everything_is_refilled_by_itself(url: str, worlds: list[World], tmp_path: Path) -> None:
    world = World(tmp_path, url, [])
    worlds.append(world)
    world.write(bodies(150))
    world.settle()
    world.store.forget("alice", "laptop")
    assert world.settle() <= 3 + 2 + 1
    assert world.shown() == world.truth()
