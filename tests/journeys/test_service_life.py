"""The service through its days: told to stop, killed beside a stuck relay, its archive taken away or damaged."""
from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.test_refill import a_tracker, total
from tests.processes import Running, command, get, site, until


class Life:
    """An agent and its relay; rows are added as a test goes on. No test depends on another."""

    def __init__(self, agent: Running, relay: Running, key: str, home: Path, tracker: Path) -> None:
        self.agent, self.relay, self.key, self.home, self.tracker, self.rows = agent, relay, key, home, tracker, 30

    def grow(self) -> int:
        self.rows += 3
        a_tracker(self.tracker, self.rows)
        return self.rows

    def read(self) -> None:
        until(lambda: get(f"{self.agent.url}/api/sessions?limit=1")["total"] == self.rows, "the rows read")

    def whole(self) -> None:
        self.read()
        until(lambda: total(self.relay, self.key) == self.rows, "both homes whole")

    def runs(self) -> bool:
        return self.agent.process is not None and self.agent.process.poll() is None

    def stop(self) -> float:
        """Seconds until it had stopped after being told to."""
        began = time.monotonic()
        self.agent.kill(signal.SIGTERM)
        return time.monotonic() - began


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    folder = tmp_path_factory.mktemp("lives")
    (folder / "trackers").mkdir()
    with site(folder) as place:
        relay = place.relay(RELAY_BEAT="1")
        tracker = a_tracker(folder / "trackers/tracker.db", 30)
        agent = place.agent(relay, place.key(relay, "push", source="laptop"), "home", "--tracker", str(tracker), "--interval", "1")
        yield Life(agent, relay, place.key(relay, "read"), folder / "home", tracker)


@pytest.fixture
def life(lived: Life) -> Life:
    if not lived.runs():
        lived.agent.start()
    lived.whole()
    return lived


@pytest.mark.fault(31)
def test_an_archive_that_is_taken_away_while_it_runs_is_made_anew(life: Life) -> None:
    for file in life.home.glob("archive.db*"):
        file.unlink()
    life.grow()
    life.whole()


@pytest.mark.fault(35)
def test_the_second_agent_leaves_at_once_and_once_asks_the_first(life: Life) -> None:
    second = command("local_agent", "run", "--home", str(life.home))
    assert (second.returncode, second.stderr.count("\n")) == (0, 1)
    rows = life.grow()
    once = command("local_agent", "once", "--home", str(life.home))
    assert once.returncode == 0, once
    assert total(life.relay, life.key) == rows


@pytest.mark.fault(32)
def test_a_damaged_archive_is_set_aside_and_filled_again(life: Life) -> None:
    life.agent.kill()
    archive = life.home / "archive.db"
    for part in life.home.glob("archive.db-*"):
        part.unlink()
    content = bytearray(archive.read_bytes())
    content[2000:] = os.urandom(len(content) - 2000)
    archive.write_bytes(content)
    life.agent.start()
    life.whole()
    assert "Traceback" not in life.agent.log.read_text()


@pytest.mark.fault(36)
def test_told_to_stop_it_pushes_what_is_left_and_goes(life: Life) -> None:
    rows = life.grow()
    life.read()
    assert life.stop() < 5
    assert life.agent.process is not None and life.agent.process.returncode == 0
    assert total(life.relay, life.key) == rows


@pytest.mark.fault(36)
def test_told_to_stop_beside_a_relay_that_hangs_it_goes_all_the_same(life: Life) -> None:
    assert life.relay.process is not None
    os.kill(life.relay.process.pid, signal.SIGSTOP)
    try:
        life.grow()
        life.read()
        assert life.stop() < 7
    finally:
        os.kill(life.relay.process.pid, signal.SIGCONT)
    life.agent.start()
    life.whole()


def test_a_running_agent_takes_over_a_pairing(tmp_path: Path) -> None:
    with site(tmp_path) as place:
        relay, other = place.relay(store="memory:"), place.relay(store="memory:")
        tracker = a_tracker(tmp_path / "tracker.db", 5)
        place.agent(relay, place.key(relay, "push", source="laptop"), "home", "--tracker", str(tracker), "--interval", "1")
        paired = command("local_agent", "pair", other.url, "-", "--home", str(tmp_path / "home"), text=place.key(other, "push", source="laptop"))
        assert "takes it over" in paired.stdout
        key = place.key(other, "read")
        until(lambda: total(other, key) == 5, "the new relay filled")
