"""The agent's whole cycle, broken at single system calls: killed, out of room, or with a disk that fails."""
from __future__ import annotations

import json
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import pytest

from tests.journeys.test_refill import a_tracker, total
from tests.long import counted, shares
from tests.processes import ROOT, Running, Site, command, environment, get, site

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="needs strace: apt-get install strace")
BREAKS = [("fdatasync", "error=EIO"), ("pwrite64", "signal=KILL"), ("pwrite64", "error=ENOSPC"), ("sendto", "signal=KILL"), ("pwrite64", "error=EIO"),
          ("fdatasync", "error=ENOSPC"), *((call, "signal=KILL") for call in ("fdatasync", "openat", "unlink", "recvfrom", "close", "fcntl"))]
"""A failing disk shows at writes; a kill may come anywhere."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Running, str]]:
    with site(tmp_path_factory.mktemp("syscalls")) as made:
        relay = made.relay(store="memory:")
        home = made.folder / "home"
        paired = command("local_agent", "pair", relay.url, "-", "--home", str(home), text=made.key(relay, "push", source="laptop"))
        assert paired.returncode == 0, paired.stderr
        yield made, relay, made.key(relay, "read")


def once(place: Site, *strace: str) -> subprocess.CompletedProcess[str]:
    tracker = place.folder / "tracker.db"
    words = [sys.executable, "-m", "local_agent", "once", "--json", "--home", str(place.folder / "home"), "--no-defaults", "--tracker", str(tracker)]
    return subprocess.run([*strace, *words], cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def many(place: tuple[Site, Running, str]) -> Callable[[str], int]:
    """How often a whole cycle makes this system call."""

    @lru_cache
    def counted_once(call: str) -> int:
        counts = place[0].folder / f"counts-{call}"
        counting = once(place[0], "strace", "-f", "-c", "-o", str(counts), "-e", f"trace={call}")
        assert counting.returncode == 0, counting.stderr
        return calls_in(counts, call)

    a_tracker(place[0].folder / "tracker.db", 5)
    return counted_once


@pytest.mark.fault(26, 28, 29)
@pytest.mark.parametrize("turns", shares("syscalls", 8), ids=str)
def test_broken_at_a_system_call_it_ends_equal_to_the_truth(place: tuple[Site, Running, str], many: Callable[[str], int], turns: range) -> None:
    with counted("syscalls", len(turns)):
        for turn in turns:
            broken_once(place, many, turn)


def broken_once(place: tuple[Site, Running, str], many: Callable[[str], int], turn: int) -> None:
    site, relay, key = place
    call, fault = BREAKS[turn % len(BREAKS)]
    moment = random.Random(turn).randrange(1, many(call) + 1)
    id = f"turn_{turn}"
    with sqlite3.connect(site.folder / "tracker.db") as sql:
        sql.execute("INSERT INTO real_sessions(id, session_type, start_time, estimated_tokens) VALUES(?, 'claude_code', '2026-11-20T10:00:00.000Z', 5)", (id,))
    sql.close()
    broken = once(site, "strace", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:{fault}:when={moment}")
    assert "Traceback" not in broken.stderr
    well = once(site)
    assert well.returncode == 0, (call, fault, moment, well.stdout + well.stderr)
    assert total(relay, key) == json.loads(well.stdout)["records"]["session"]
    assert get(f"{relay.url}/sessions/{id}", key=key)["id"] == id, (call, fault, moment)


def calls_in(counts: Path, call: str) -> int:
    """What strace counted: share, seconds, microseconds, calls, perhaps errors, name."""
    [mine] = [words for words in map(str.split, counts.read_text().splitlines()) if words and words[-1] == call] or [["", "", "", "1"]]
    return max(1, int(mine[3]))
