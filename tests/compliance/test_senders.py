"""The suite for senders: a correct one passes, ours passes as a real process, and each broken one fails for the right reason."""
from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.keytext import SECRET_BYTES, Claims, KeyText, id_of
from local_agent import settings
from local_agent.commands import once
from tests.compliance.__main__ import main
from tests.compliance.process import Theatre, theatre
from tests.compliance.reference_sender import DEFECTS, ReferenceSender, Time
from tests.compliance.sender import SCENES, Agent, verdicts
from tests.compliance.stage import Stage

NOW = 1_790_000_000
KEY = KeyText("push", id_of(Claims("push", "alice", "laptop", NOW, 0)), (b"\7" + b"secret of the compliance suite\7")[:SECRET_BYTES])


def failures(defect: str = "") -> dict[str, str]:
    def cast() -> tuple[Stage, Agent]:
        time = Time()
        return Stage(KEY, "https://relay.example", time), ReferenceSender(KEY, time, defect)

    return {verdict.name: verdict.failure for verdict in verdicts(cast) if verdict.failure}


def test_a_correct_sender_passes_every_scene() -> None:
    assert failures() == {}
    assert len(SCENES) >= 15


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_broken_sender_fails_for_the_right_reason(defect: str) -> None:
    found = failures(defect)
    assert any(DEFECTS[defect] in f"{name}: {failure}" for name, failure in found.items()), found


class Ours:
    """Our agent, as `once` runs it: reading transcripts, over real HTTP, with an archive of its own in every scene."""

    def __init__(self, house: Theatre, home: Path) -> None:
        self.house, self.home = house, home

    def run(self, stage: Stage) -> None:
        self.house.stage = stage
        options = {"home": str(self.home / "agent"), "relay": self.house.url, "key": KEY.text(), "no_defaults": True, "transcripts": [str(transcripts(self.home))]}
        once.run(settings.load(options, environ={}, user=self.home))


def transcripts(home: Path) -> Path:
    folder = home / "claude" / "projects" / "-home-alice-atlas"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(3):
        id = f"{number}1111111-1111-4111-8111-111111111111"
        usage = {"input_tokens": 5, "output_tokens": 7}
        line = {
            "type": "assistant", "sessionId": id, "timestamp": "2026-11-22T10:00:00.000Z", "cwd": "/home/alice/atlas", "uuid": f"u{number}", "requestId": f"r{number}",
            "message": {"id": f"m{number}", "role": "assistant", "model": "claude-opus-4-5", "usage": usage},
        }  # fmt: skip
        (folder / f"{id}.jsonl").write_text(json.dumps(line, separators=(",", ":")) + "\n")
    return home / "claude"


@pytest.fixture
def house() -> Iterator[Theatre]:
    with theatre() as open_house:
        yield open_house


def test_our_own_agent_passes_every_scene(house: Theatre, tmp_path: Path) -> None:
    homes = (tmp_path / str(number) for number in itertools.count())

    def cast() -> tuple[Stage, Agent]:
        return Stage(KEY, house.url, time.time), Ours(house, next(homes))

    assert {verdict.name: verdict.failure for verdict in verdicts(cast) if verdict.failure} == {}


@pytest.mark.slow
def test_our_own_agent_passes_as_a_command_for_anyone_to_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = f"{sys.executable} -m local_agent once --home {{home}} --relay {{url}} --key {{key}} --no-defaults --transcripts {transcripts(tmp_path)}"
    assert main(["--agent", words]) == 0, capfd.readouterr().out


def test_a_command_that_sends_nothing_fails_every_scene(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--agent", "true {url} {key} {home}"]) == 1
    assert f"0 passed, {len(SCENES)} failed" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--agent", ""], ["--agent", "no-such-program-here {url}"], ["--agent", "'"], ["--relay", "http://127.0.0.1:9", "--key", "nonsense"]])
def test_what_cannot_begin_says_why_on_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err.startswith("cannot begin: ")
