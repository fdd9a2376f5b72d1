"""The agent's whole cycle, broken at single system calls: killed, out of room, or with a disk that fails."""
from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.test_refill import a_tracker, total
from tests.processes import ROOT, Running, Site, command, environment, get, site

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")]
CALLS = ("pwrite64", "fdatasync", "openat", "unlink", "sendto", "recvfrom", "close", "fcntl")


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


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", ["signal=KILL", "error=EIO", "error=ENOSPC"])
def test_broken_at_a_system_call_it_ends_equal_to_the_truth(place: tuple[Site, Running, str], call: str, fault: str) -> None:
    site, relay, key = place
    if fault.startswith("error") and call not in ("pwrite64", "fdatasync"):
        pytest.skip("a failing disk shows at writes")
    rng = random.Random(f"{call}{fault}")
    counting = once(site, "strace", "-f", "-c", "-o", str(site.folder / "counts"), "-e", f"trace={call}")
    assert counting.returncode == 0, counting.stderr
    many = calls_in(site.folder / "counts")
    for turn in range(6):
        rows = 10 + turn * 7 + rng.randrange(5)
        a_tracker(site.folder / "tracker.db", rows)
        broken = once(site, "strace", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:{fault}:when={rng.randrange(1, many + 1)}")
        assert "Traceback" not in broken.stderr
        well = once(site)
        assert well.returncode == 0, well.stdout + well.stderr
        report = json.loads(well.stdout)
        assert total(relay, key) == report["records"]["session"]
        shown = {session["id"] for session in get(f"{relay.url}/sessions?limit=500", key=key)["sessions"]}
        assert {f"session_{n}" for n in range(rows)} <= shown


def calls_in(counts: Path) -> int:
    lines = [line.split() for line in counts.read_text().splitlines() if line.strip().endswith("total")]
    return int(lines[-1][2]) if lines and lines[-1][2].isdigit() else 1
