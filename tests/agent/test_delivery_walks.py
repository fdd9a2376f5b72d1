"""Random walks of a real agent and a real relay through a network that loses, repeats and delays, with crashes and losses on both sides.

Whatever happened, once the network is calm both sides agree within a bounded number of messages, nothing was ever shown
that was never true, and replaying everything that was ever sent changes nothing.
"""
from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import pytest

from ledger.record import Record, Ref
from ledger.stores.memory import MemoryStore
from local_agent.archive import LOCAL, Archive
from local_agent.delivery import Delivery, Relay
from local_agent.push.mirror import Mirror
from local_agent.push.transport import Reply
from relay.keys import Found
from relay.limits import Limits
from relay.push import Push

SECRET, KEY_ID, URL = b"s" * 32, "a" * 24, "https://relay.example.org"
WALKS, STEPS = 120, 50


class OneKey:
    def find(self, key_id: str, now: int, *, anew: bool = False) -> Found:
        return Found("alice", "laptop", "push", [SECRET], key_id)

    def touch(self, id: str, now: int) -> None:
        pass


class Killed(BaseException):
    """kill -9, as far as one process can play it."""


class World:
    def __init__(self, folder: Path, seed: int) -> None:
        self.random, self.now, self.mono = random.Random(seed), 1_700_000_000_000, 0.0
        self.archive = Archive(folder / f"{seed}.db", source="me", clock=lambda: self.now)
        self.sent: list[tuple[Mapping[str, str], bytes]] = []
        self.ever: dict[tuple[str, str], set[str]] = {}
        self.kept: MemoryStore | None = None
        self.calm = False
        self.begin_relay(MemoryStore())
        self.begin_agent()

    def begin_relay(self, store: MemoryStore) -> None:
        self.store = store
        self.push = Push(store, OneKey(), aud=URL, limits=Limits.usual(1_000_000), clock=lambda: self.now)

    def begin_agent(self) -> None:
        mirror = Mirror(self.archive.store, tenant=LOCAL, source="me")
        self.delivery = Delivery(mirror, self, Relay(URL, URL, "laptop", KEY_ID, (SECRET,)), monotonic=lambda: self.mono, roll=self.random.random)

    # -- the network

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        self.sent.append((headers, body))
        fate = 9 if self.calm else self.random.randrange(10)
        if fate == 0:
            raise ConnectionResetError("the request was lost")
        if fate == 1:
            raise Killed("before it left")
        if fate == 2:
            self.deliver(*self.random.choice(self.sent))
        answer = self.deliver(headers, body)
        if fate == 3:
            raise ConnectionResetError("the answer was lost")
        if fate == 4:
            raise Killed("before the answer was read")
        if fate == 5:
            return Reply(200, {"content-type": "text/html"}, b"<html>log in</html>")
        return answer

    def drop_connections(self) -> None:
        pass

    def deliver(self, headers: Mapping[str, str], body: bytes) -> Reply:
        return Reply(*self.push.answer("POST", "/v1/push", {**headers, "content-length": str(len(body))}, body))

    # -- what may happen

    def write(self) -> None:
        with self.archive.step() as step:
            for _ in range(self.random.choice((1, 1, 2, 100))):
                record = Record("session", f"s{self.random.randrange(150)}", f'{{"n":{self.random.randrange(1000)}}}')
                step.put(record)
                self.ever.setdefault((record.kind, record.id), set()).add(record.body)

    def delete(self) -> None:
        with self.archive.step() as step:
            step.delete(Ref("session", f"s{self.random.randrange(150)}"))

    def step(self) -> None:
        try:
            self.mono += self.random.choice((0, 1, 60, 400))
            self.now += 1000
            self.delivery.push_once(self.now, ask=self.random.random() < 0.3)
        except Killed:
            self.begin_agent()

    def crash(self) -> None:
        self.begin_agent()

    def lose_relay(self) -> None:
        self.begin_relay(MemoryStore())

    def keep_relay(self) -> None:
        self.kept = copied(self.store)

    def restore_relay(self) -> None:
        if self.kept is not None:
            self.begin_relay(copied(self.kept))

    def replay(self) -> None:
        if self.sent:
            self.deliver(*self.random.choice(self.sent))

    def walk(self) -> None:
        acts = [self.write] * 6 + [self.delete] * 2 + [self.step] * 12 + [self.crash, self.keep_relay, self.replay, self.replay]
        acts += [self.lose_relay, self.restore_relay]
        for _ in range(STEPS):
            self.random.choice(acts)()
            self.nothing_shown_was_never_true()

    # -- what must hold

    def shown(self) -> dict[tuple[str, str], str]:
        return {(row.ref.kind, row.ref.id): row.body for row in self.store.rows("alice", "laptop")}

    def truth(self) -> dict[tuple[str, str], str]:
        return {(row.ref.kind, row.ref.id): row.body for row in self.archive.store.rows(LOCAL, "me")}

    def nothing_shown_was_never_true(self) -> None:
        for ref, body in self.shown().items():
            assert body in self.ever[ref]

    def settle(self) -> None:
        self.calm, exchanges = True, len(self.sent)
        while not self.delivery.push_once(self.now, ask=True).agreed:
            self.mono += self.delivery.wait_s
            assert len(self.sent) - exchanges < 20, "too many messages to converge"
        self.delivery.mirror.look_again()
        assert self.delivery.mirror.difference(1) == []
        most = 3 + -(-len(self.truth()) // 90) + 1
        assert len(self.sent) - exchanges <= most
        assert self.shown() == self.truth()

    def replay_everything(self) -> None:
        before = self.shown()
        for message in self.sent:
            self.deliver(*message)
        assert self.shown() == before


def copied(store: MemoryStore) -> MemoryStore:
    """As a backup would: all of it, later changes apart."""
    made = MemoryStore()
    for head in store.heads("alice"):
        made.apply("alice", None, head, list(store.rows("alice", head.source)) if head.committed else all_rows(store))
    return made


def all_rows(store: MemoryStore) -> list:
    return list(store.rows("alice", "laptop"))


@pytest.mark.parametrize("seeds", [range(start, start + WALKS // 4) for start in range(0, WALKS, WALKS // 4)])
def test_whatever_happens_both_sides_agree_in_the_end(tmp_path: Path, seeds: range) -> None:
    for seed in seeds:
        world = World(tmp_path, seed)
        world.walk()
        world.settle()
        world.replay_everything()
        world.archive.close()
