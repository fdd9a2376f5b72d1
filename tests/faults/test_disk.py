"""A disk that is full, cannot be written or fails: real processes on a small disk of their own."""
from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import inside

pytestmark = pytest.mark.skipif(bool(inside.why_not()), reason=inside.why_not() or "-")


@pytest.mark.fault(28)
def test_on_a_full_disk_pushes_and_beats_go_on_from_memory_and_room_ends_it(tmp_path: Path) -> None:
    found = inside.run("full_disk", tmp_path)
    assert found["alive"] and found["tracebacks"] == 0
    assert found["status"] == "full" and "its disk is full" in found["note"] and "goes on in memory" in found["doctor"][0]
    assert found["new home"] == "local_agent: the disk is full: make room, then the same again\n"
    assert "the agent goes on in memory" in found["import"]
    assert "this was not kept" in found["forget"], "a person's word is not taken lightly"
    assert (found["after a crash"], found["written down"]) == (150, 150)


@pytest.mark.fault(30)
def test_in_a_home_that_cannot_be_written_nothing_is_lost_and_one_line_says_so(tmp_path: Path) -> None:
    found = inside.run("read_only", tmp_path)
    assert found["kept"] == 40 and found["after"] == 60
    code, lines, traceback = found["once"]
    assert code in (1, 78) and lines == 1 and not traceback, found["said"]
