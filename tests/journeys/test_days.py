"""From transcript lines to days and blocks: what is shown is what a plain reading of the lines adds up to, in every zone."""
from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from ledger.blocks import Blocks
from ledger.prices import PriceBook
from ledger.views.tenants import Views
from ledger.views.view import View
from local_agent.archive import LOCAL, Archive
from local_agent.readers.claude_code import ClaudeReader
from tests.ledger.test_blocks import the_rule

ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "America/Los_Angeles", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Chatham",
    "Pacific/Apia", "America/St_Johns", "Pacific/Kiritimati", "Africa/Casablanca",
]  # fmt: skip
Answers = list[tuple[int, str, int]]


def read_plainly(home: Path) -> Answers:
    """(time, model, tokens) of each answer: the fullest line of a message and request, at the time of its first."""
    best: dict[tuple[str, str], tuple[int, str, int]] = {}
    for path in sorted(home.rglob("*.jsonl")):
        for text in path.read_bytes().split(b"\n"):
            if b'"usage":{' not in text:
                continue
            line = json.loads(text)
            if line["type"] != "assistant":  # a tool's output that quotes a transcript, or the echo of a sub-agent's answer
                continue
            message, used = line["message"], line["message"]["usage"]
            tokens = sum(used.get(f"{kind}_tokens") or 0 for kind in ("input", "output", "cache_creation_input", "cache_read_input"))
            at = int(datetime.fromisoformat(line["timestamp"].replace("Z", "+00:00")).timestamp() * 1000)
            key = (message["id"], line.get("requestId") or "")
            if key not in best or tokens > best[key][2]:
                best[key] = (at, message["model"], tokens)
    return list(best.values())


@pytest.fixture(scope="module")
def home(generate: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    generate("gen_transcripts.py", 11, "4MB", folder, "--no-edge")
    return folder


@pytest.fixture(scope="module")
def view(home: Path, tmp_path_factory: pytest.TempPathFactory) -> View:
    now = int(datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp() * 1000)
    archive = Archive(tmp_path_factory.mktemp("archive") / "archive.db", source="mbp", clock=lambda: now)
    ClaudeReader([home], book=PriceBook.load()).poll(archive, now)
    return Views(archive.store, PriceBook.load(), lambda: now).view(LOCAL)


@pytest.mark.parametrize("tz", ZONES)
def test_days_are_those_of_the_lines_in_every_zone(home: Path, view: View, tz: str) -> None:
    expected: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for at, model, tokens in read_plainly(home):
        expected[datetime.fromtimestamp(at / 1000, UTC).astimezone(ZoneInfo(tz)).date().isoformat()][model] += tokens
    found = {date: {model: cell[0] for model, cell in day.models.items()} for date, day in view.days(tz).days.items()}
    assert found == expected


def test_blocks_are_those_of_the_single_answers_where_no_reset_was_reported(home: Path, view: View) -> None:
    blocks = Blocks(lambda key: view.winners[key].rows())
    for held in view.winners.values():
        blocks.change(held.key, held.rows(), came=True)
    found = [("gap", block.start, block.end) if block.gap else (block.start, block.first, block.last) for block in blocks.all()]
    assert found == [made[:3] for made in the_rule([at for at, _, _ in read_plainly(home)])]
