"""Nothing is said to the relay that a power loss could take back: what a message carries is on the disk before the message leaves."""
from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.journeys.test_refill import a_tracker
from tests.processes import ROOT, command, environment, site

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="needs strace: apt-get install strace")
CALL = re.compile(r"\d+ +(\w+)\(\d+<([^>]*)>(.*)")
"""A line of strace -f -y: process, call, file, and the rest."""


def at_each(said: str, lines: Iterable[str], file: str) -> list[bool]:
    """Whether *file* was synced since its last write, at every moment when *said* was sent."""
    synced, found = True, []
    for line in lines:
        made = CALL.match(line)
        if made is None:
            continue
        call, path, rest = made.groups()
        if call == "sendto" and said in rest:
            found.append(synced)
        elif Path(path).name == file:
            synced = call in ("fdatasync", "fsync")
    return found


@pytest.mark.fault(27)
def test_what_a_push_carries_is_on_the_disk_before_it_leaves(tmp_path: Path) -> None:
    with site(tmp_path) as place:
        relay = place.relay(store="memory:")
        home, tracker, calls = tmp_path / "home", tmp_path / "tracker.db", tmp_path / "calls"
        a_tracker(tracker, 250)
        assert command("local_agent", "pair", relay.url, "-", "--home", str(home), text=place.key(relay, "push", source="laptop")).returncode == 0
        strace = ["strace", "-f", "-y", "-s", "64", "-o", str(calls), "-e", "trace=pwrite64,fdatasync,fsync,sendto"]
        done = subprocess.run([*strace, sys.executable, "-m", "local_agent", "once", "--home", str(home), "--no-defaults", "--tracker", str(tracker)],
                              cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    asked, *pushes = at_each("POST /v1/push", calls.read_text(errors="replace").splitlines(), "archive.db-wal")
    # The first message asks for a lease, and after the last push a beat may ask whether all is well: neither carries anything.
    assert len(pushes) >= 3 and all(pushes[:3]), [asked, *pushes]
