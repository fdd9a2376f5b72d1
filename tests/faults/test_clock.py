"""A whole agent under a wrong clock: its own process, lied to about the time by libfaketime."""
from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.journeys.test_refill import a_tracker, total
from tests.processes import ROOT, command, environment, site


@pytest.mark.fault(38)
@pytest.mark.skipif(not shutil.which("faketime"), reason="needs faketime: apt-get install faketime")
def test_an_agent_whose_clock_is_wrong_agrees_with_the_relay_all_the_same(tmp_path: Path) -> None:
    with site(tmp_path) as place:
        relay, home = place.relay(store="memory:"), tmp_path / "home"
        key = place.key(relay, "read")
        assert command("local_agent", "pair", relay.url, "-", "--home", str(home), text=place.key(relay, "push", source="laptop")).returncode == 0
        for rows, off in enumerate(("+1h", "-1h", "+10y", "-5y"), 10):
            tracker = a_tracker(tmp_path / "tracker.db", rows)
            words = ["faketime", "-f", off, sys.executable, "-m", "local_agent", "once", "--json", "--home", str(home), "--no-defaults", "--tracker", str(tracker)]
            done = subprocess.run(words, cwd=ROOT, env=environment(FAKETIME_FORCE_MONOTONIC_FIX="1"), capture_output=True, text=True, timeout=120, check=False)
            assert done.returncode == 0 and json.loads(done.stdout)["in_sync"], (off, done.stdout[-500:], done.stderr)
            assert total(relay, key) == rows
