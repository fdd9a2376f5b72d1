"""The relay's worst hours: a hundred pushes a second, a refill of everything, two hundred machines that return at once.

LOAD_SECONDS says how long the pushes go on (60; ten minutes are `LOAD_SECONDS=600`). All senders share this machine with the relay.
"""
from __future__ import annotations

import json
import os
import random
import statistics
import tempfile
import threading
import time
import urllib.request
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

from bench.serving import Bench, Machine, a_body, machine_of, paced
from bench.table import Figure, percentile
from ledger.record import add, hash_of, to_hex
from ledger.sizes import MAX_CHANGES
from tests.processes import Site, site

SECONDS = float(os.environ.get("LOAD_SECONDS", "60"))
HOUR = 3_600_000
REFILL, SOURCES, EACH, OTHERS = 10_000, 200, 270, 10
ROUNDS, QUIET_S = 3, 30.0


def figures() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder, site(Path(folder)) as place:
        bench = Bench(place, place.relay(RELAY_RATE="1000000"))
        return [*bench.sustained(seconds=SECONDS), *refill(bench), *lost(place)]


def refill(bench: Bench) -> list[Figure]:
    """One machine brings 10,000 sessions, as after a relay lost its store."""
    machine = bench.machine()
    began = time.perf_counter()
    fill(machine, REFILL)
    return [Figure(f"refill of {REFILL:,} sessions", time.perf_counter() - began, "s", "< 30")]


def fill(machine: Machine, count: int) -> None:
    """Push *count* new sessions of this machine's own, as many in a push as one may hold."""
    made = {f"{machine.sender.key.claims.source}-{n}": a_body(n, 0, (n + 1) * HOUR) for n in range(count)}
    names = list(made)
    for begin in range(0, count, MAX_CHANGES):
        put = {name: made[name] for name in names[begin : begin + MAX_CHANGES]}
        after = add(machine.sender.digest, put=[hash_of("session", name, body) for name, body in put.items()], gone=())
        while (reply := machine.sender.push(put, after=to_hex(after))).status == 503:
            time.sleep(float(reply.headers["retry-after"]) * random.uniform(1, 1.5))
        if reply.status != 200:
            raise RuntimeError(f"a push was answered {reply.kind}")


def lost(place: Site) -> list[Figure]:
    """A relay that lost everything, 200 machines that bring it back, and what the others notice of it: several times, because a
    hundredth of a few hundred pushes is a handful."""
    relay = place.relay(store=f"sqlite:///{place.folder / 'lost.db'}", RELAY_RATE="1000000")
    bench = Bench(place, relay)
    others = [bench.machine() for _ in range(OTHERS)]
    among(others, 1.0)
    before = sessions(bench)
    rounds = [lost_once(bench, others)]
    began = time.perf_counter()
    sessions(bench)
    first = time.perf_counter() - began
    rounds += [lost_once(bench, others) for _ in range(1, ROUNDS)]
    missing = before + ROUNDS * SOURCES * EACH - sessions(bench)
    what = f"{SOURCES} machines refill a lost relay with {SOURCES * EACH:,} sessions"
    return [
        Figure(what, statistics.median(one.took for one in rounds) / 60, "min", "< 10"),
        Figure(f"{what}: p99 of {OTHERS} others", statistics.median(percentile(one.busy, 0.99) for one in rounds) * 1000, "ms"),
        Figure(f"{what}: the same against before, median of {ROUNDS}", statistics.median(one.ratio for one in rounds), "times", "< 2"),
        Figure(f"{what}: failed pushes of others", sum(one.failed for one in rounds), "", "0"),
        Figure(f"{what}: rows missing afterwards", missing, "", "0"),
        Figure(f"{what}: the first read of all that", first, "s"),
    ]


@dataclass
class Round:
    """*quiet* and *busy* are the seconds of the others' pushes, *took* those of the refill."""

    quiet: list[float]
    busy: list[float] = field(default_factory=list)
    failed: int = 0
    took: float = 0.0

    @property
    def ratio(self) -> float:
        return percentile(self.busy, 0.99) / percentile(self.quiet, 0.99)


def lost_once(bench: Bench, others: list[Machine]) -> Round:
    """200 machines that this relay does not know yet bring everything, in one moment."""
    found = Round(among(others, QUIET_S)[0])
    keys = [bench.key() for _ in range(SOURCES)]
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            times, errors = among(others, 5.0)
            found.busy.extend(times)
            found.failed += errors

    began = time.perf_counter()
    # In a process of their own, which gives way: who measures the others must not wait for what machines elsewhere do on processors of their own.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=os.nice, initargs=(19,)) as returning:
        refilled = returning.submit(refill_all, bench.relay.port, keys)
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            refilled.result()
        finally:
            found.took = time.perf_counter() - began
            ended.set()
            watcher.join()
    return found


def refill_all(port: int, keys: list[str]) -> None:
    """A machine for each of *keys* brings its sessions back, all at once."""
    threads = [threading.Thread(target=lambda key=key: fill(machine_of(port, key), EACH)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def sessions(bench: Bench) -> int:
    """How many sessions the relay shows."""
    request = urllib.request.Request(f"{bench.relay.url}/sessions?limit=1", headers={"Authorization": f"Bearer {bench.read}"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return int(json.load(answer)["total"])


def among(machines: list[Machine], seconds: float) -> tuple[list[float], int]:
    """Seconds that each push took while every machine pushes one session twice a second, and how many failed."""
    for machine in machines:
        machine.line.times.clear()
    errors: list[BaseException] = []
    threads = [threading.Thread(target=paced, args=(machine, number * 0.5 / len(machines), seconds, errors, 1)) for number, machine in enumerate(machines)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [one for machine in machines for one in machine.line.times], len(errors)
