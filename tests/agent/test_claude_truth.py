"""Every answer once: generated homes with a known truth, read at once, read on, and read in pieces."""
from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.agent.transcripts import Desk, from_rows, read_alone, truth_of
from tests.conftest import GENERATORS

SEEDS = (1, 23, 456)
Generate = Callable[..., None]


@pytest.fixture(scope="module", params=SEEDS)
def home(request: pytest.FixtureRequest, generate: Generate, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("home") / "claude"
    generate("gen_transcripts.py", request.param, "3MB", folder, "--no-edge")
    return folder


@pytest.fixture(scope="module")
def edges(generate: Generate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder: Path = tmp_path_factory.mktemp("edges")
    generate("gen_transcripts.py", 8, "300K", folder / "claude")
    with closing(Desk(folder / "archive.db", folder / "claude")) as desk:
        desk.look()
        yield desk


def append(home: Path, seed: int, count: int) -> None:
    words = [sys.executable, str(GENERATORS / "gen_transcripts.py"), str(seed), "--append", str(count), str(home), "--at", f"2026-11-{20 + seed % 9:02}T20:00:00Z"]
    subprocess.run(words, check=True, capture_output=True)


def test_every_token_kind_by_day_and_model_equals_the_truth(home: Path, tmp_path: Path) -> None:
    with closing(Desk(tmp_path / "archive.db", home)) as desk:
        desk.look()
        assert from_rows(desk.rows()) == truth_of(home)
        assert desk.days() == truth_of(home)


def test_what_a_process_leaves_the_next_one_need_not_read_again(home: Path, tmp_path: Path) -> None:
    desk = Desk(tmp_path / "archive.db", home)
    desk.look()
    before, seq = desk.state(), desk.archive.head().seq
    desk = desk.again()
    with closing(desk):
        assert desk.look().changed == 0
        assert (desk.state(), desk.archive.head().seq) == (before, seq)


def test_reading_on_equals_reading_anew(generate: Generate, tmp_path: Path) -> None:
    generate("gen_transcripts.py", 77, "1MB", tmp_path / "claude")
    desk = Desk(tmp_path / "archive.db", tmp_path / "claude")
    desk.look()
    for seed in range(4):
        append(tmp_path / "claude", seed, 40)
        if seed == 2:
            desk = desk.again()
        assert desk.look().changed
    with closing(desk):
        assert desk.state() == read_alone(tmp_path / "anew.db", tmp_path / "claude")


# What each hand-made case is worth: input, output, cache writes, cache reads, over all of its files.
ONE = (10, 20, 30, 40)
EXPECTED = {
    "block_exact_end": 5, "block_exact_gap": 4, "block_floor_hour": 3, "block_out_of_order": 5, "day_dst_autumn": 33, "day_dst_spring": 25, "day_midnight": 7,
    "dup_across_files": 2, "dup_cost": 1, "dup_speed": 1, "dup_two_requests": 2, "dup_no_ids": 5,
    "dup_stream": (30, 177, 90, 120), "dup_stream_midnight": (10, 50, 30, 40),
    "field_null": 8, "field_empty": 1, "field_missing": (25, 46, 60, 80), "field_types": (30, 60, 90, 2**33 + 1 + 80), "field_time": 3, "field_order": 4,
    "limit_reset": 1, "price_above_200k": (1_550_003, 1_400_005, 1_400_000, 1_549_999), "price_cache_hour": (70, 140, 250_330, 280),
    "price_models": (13_000, 26_000, 39_000, 52_000), "price_stored": 2,
    "side_agent_progress": 2, "side_nested_dirs": 4, "side_replay": (40, 560, 120, 160), "side_replay_three": 2,
    "text_bytes": 5, "text_escaped_ids": 2, "text_twice": (20, 41, 60, 80),
}  # fmt: skip


@pytest.mark.parametrize("case", EXPECTED)
def test_a_hand_made_case_counts_as_it_should(edges: Desk, case: str) -> None:
    expected = EXPECTED[case]
    wanted = tuple(n * expected for n in ONE) if isinstance(expected, int) else expected
    # The progress lines of their case name a session of their own.
    sessions = {f"edge-{case}"} | ({"edge"} if case == "side_agent_progress" else set())
    found = [row for row in edges.rows() if row[0] in sessions]
    if case == "dup_across_files":
        assert not [row for row in edges.rows() if row[0] == "other"]
    assert tuple(sum(column) for column in zip(*((i, o, w5 + w1, r) for *_, i, o, w5, w1, r, _, _ in found), strict=True)) == wanted


def test_no_case_of_the_generator_is_left_without_an_expectation(edges: Desk) -> None:
    told = json.loads((edges.homes[0] / "truth.json").read_text())["edgeCases"]
    assert told.keys() == EXPECTED.keys() | {"zz_symlink"}


def test_a_link_to_a_transcript_is_counted_not_followed(edges: Desk) -> None:
    assert edges.look().skipped["link not followed"] == 1


def test_lines_that_do_not_count_are_named(edges: Desk) -> None:
    skipped = edges.look().skipped
    assert {"damaged line", "no time", "no count", "empty id", "unknown version"} <= skipped.keys()


def test_the_case_of_a_used_up_limit_becomes_a_limit(edges: Desk) -> None:
    body = edges.bodies("limit")["claude_code/default/five_hour"]
    assert (body["used_percent"], body["source"]) == (100.0, "message")


def rows_of(desk: Desk, session: str) -> list[list[Any]]:
    return [row[1:] for row in desk.rows() if row[0] == session]


def test_a_request_on_the_very_end_of_a_quarter_hour_stands_alone(edges: Desk) -> None:
    exact = [row for row in rows_of(edges, "edge-block_exact_end") if row[0] == row[1]]
    assert [row[1] == row[2] == row[0] for row in exact] == [True] * len(exact)
    assert len(exact) == 3


def test_cache_writes_are_told_apart_by_their_lifetime(edges: Desk) -> None:
    assert [sum(row[n] for row in rows_of(edges, "edge-price_cache_hour")) for n in (7, 8)] == [170, 250_160]


def test_a_cost_that_the_tool_wrote_is_kept_and_zero_is_not_none(edges: Desk) -> None:
    assert [row[11] for row in rows_of(edges, "edge-price_stored")] == [0.5123]
    assert [row[11] for row in rows_of(edges, "edge-dup_cost")] == [0.5]
    assert {row[11] for row in rows_of(edges, "edge-price_models")} == {None}
