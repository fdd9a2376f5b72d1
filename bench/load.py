"""The relay's worst hours: a hundred pushes a second, a refill of everything, two hundred machines that return at once.

LOAD_SECONDS says how long the pushes go on (60; ten minutes are `LOAD_SECONDS=600`). All senders share this machine with the relay.
"""
from __future__ import annotations

import json
import os
import random
import tempfile
import threading
import time
import urllib.request
from concurrent.futures import ProcessPoolExecutor
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
    """A relay that lost everything, 200 machines that bring it back, and what the others notice of it."""
    relay = place.relay(store=f"sqlite:///{place.folder / 'lost.db'}", RELAY_RATE="1000000")
    bench = Bench(place, relay)
    others = [bench.machine() for _ in range(OTHERS)]
    quiet, _ = among(others, 10.0)
    keys = [bench.key() for _ in range(SOURCES)]
    before = sessions(bench)
    began = time.perf_counter()
    # In a process of their own: who measures the others must not wait for his own interpreter.
    returning = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    refilled = returning.submit(refill_all, relay.port, keys)
    ended = threading.Event()
    busy: list[float] = []
    failed: list[int] = []

    def watch() -> None:
        while not ended.is_set():
            times, errors = among(others, 5.0)
            busy.extend(times)
            failed.append(errors)

    watcher = threading.Thread(target=watch)
    watcher.start()
    refilled.result()
    took = time.perf_counter() - began
    ended.set()
    watcher.join()
    returning.shutdown()
    what = f"{SOURCES} machines refill a lost relay with {SOURCES * EACH:,} sessions"
    began = time.perf_counter()
    missing = before + SOURCES * EACH - sessions(bench)
    first = time.perf_counter() - began
    return [
        Figure(what, took / 60, "min", "< 10"),
        Figure(f"{what}: p99 of {OTHERS} others", percentile(busy, 0.99) * 1000, "ms"),
        Figure(f"{what}: the same against before", percentile(busy, 0.99) / percentile(quiet, 0.99), "times", "< 2"),
        Figure(f"{what}: failed pushes of others", sum(failed), "", "0"),
        Figure(f"{what}: rows missing afterwards", missing, "", "0"),
        Figure(f"{what}: the first read of all that", first, "s"),
    ]


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
