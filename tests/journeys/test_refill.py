"""A relay that lost everything, or went back in time, is made whole by the agents alone, within two beats."""
from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.processes import Running, Site, get, site, until

BEAT_S = 1
TWO_BEATS_S = 2 * BEAT_S + 4
"""And what a busy machine needs to start, to answer and to look."""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        yield made


def a_tracker(path: Path, rows: int) -> Path:
    with sqlite3.connect(path) as sql:
        sql.execute("CREATE TABLE IF NOT EXISTS real_sessions(id TEXT PRIMARY KEY, session_type TEXT, start_time TIMESTAMP, end_time TIMESTAMP, conversation_id TEXT,"
                    " models_used TEXT, estimated_tokens INTEGER, is_active BOOLEAN, metadata TEXT)")  # fmt: skip
        sql.execute("CREATE TABLE IF NOT EXISTS five_hour_blocks(id TEXT PRIMARY KEY, start_time TIMESTAMP, end_time TIMESTAMP, total_sessions INTEGER, total_tokens INTEGER,"
                    " efficiency_score REAL, is_complete BOOLEAN)")  # fmt: skip
        sql.executemany("INSERT OR REPLACE INTO real_sessions(id, session_type, start_time, estimated_tokens) VALUES(?, 'claude_code', '2026-11-20T10:00:00.000Z', 5)",
                        [(f"session_{n}",) for n in range(rows)])  # fmt: skip
    sql.close()
    return path


def total(relay: Running, key: str) -> int:
    return int(get(f"{relay.url}/sessions?limit=1", key=key)["total"])


@pytest.mark.parametrize("store", ["memory", "deleted", "older copy"])
def test_the_relay_is_refilled_by_itself(place: Site, store: str) -> None:
    file = place.folder / "relay.db"
    relay = place.relay(store="memory:" if store == "memory" else f"sqlite:///{file}", RELAY_BEAT=str(BEAT_S))
    key = place.key(relay, "read")
    tracker = a_tracker(place.folder / "tracker.db", 40)
    agent = place.agent(relay, place.key(relay, "push", source="laptop"), "agent", "--tracker", str(tracker), "--interval", "1")
    until(lambda: total(relay, key) == 40, "the first filling")
    LOSSES[store](relay, file, lambda: more_rows(agent, relay, key, tracker))
    began = time.monotonic()
    until(lambda: total(relay, key) == (120 if store == "older copy" else 40), "the refilling")
    assert time.monotonic() - began < TWO_BEATS_S


def more_rows(agent: Running, relay: Running, key: str, tracker: Path) -> None:
    a_tracker(tracker, 120)
    until(lambda: total(relay, key) == 120, "the second filling")


def restart(relay: Running, file: Path, more: Callable[[], None]) -> None:
    relay.kill()
    relay.start()


def delete(relay: Running, file: Path, more: Callable[[], None]) -> None:
    relay.kill()
    for part in file.parent.glob(f"{file.name}*"):
        part.unlink()
    relay.start()


def put_back(relay: Running, file: Path, more: Callable[[], None]) -> None:
    relay.kill(2)
    copy = file.with_suffix(".old")
    shutil.copy(file, copy)
    relay.start()
    more()
    relay.kill()
    for part in file.parent.glob(f"{file.name}*"):
        part.unlink()
    shutil.copy(copy, file)
    relay.start()


LOSSES = {"memory": restart, "deleted": delete, "older copy": put_back}
