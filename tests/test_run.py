"""`make run`: everything that it prints can be pasted, and what it starts ends with it."""
from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.agent.transcripts import NOW, Home, line
from tests.processes import ROOT, environment, free_port, until

pytestmark = pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")


@dataclass
class Run:
    said: Path
    process: subprocess.Popen[bytes]
    env: dict[str, str]

    @property
    def text(self) -> str:
        return self.said.read_text(encoding="utf-8")

    def type(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command.replace(".venv/bin/python", sys.executable), shell=True, cwd=ROOT, env=self.env, capture_output=True, text=True, timeout=60, check=False)

    def printed(self) -> list[str]:
        """The lines under Try."""
        return [line.strip() for line in self.text.split("Try", 1)[1].split("Stop with")[0].splitlines() if line.strip()]


@pytest.fixture(params=["sessions", "nothing"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Run]:
    user = tmp_path / "user"
    user.mkdir()
    if request.param == "sessions":
        Home(user / ".claude").write(*(line(f"msg_{n}", at=NOW - n * 3_600_000) for n in range(1, 5)))
    env, said = environment(HOME=str(user)), tmp_path / "said"
    env = {name: value for name, value in env.items() if not name.startswith("XDG_")}
    words = [sys.executable, "-m", "tools.run", "--port", str(free_port()), "--relay-port", str(free_port()), "--var", str(tmp_path / "var")]
    with said.open("wb") as out:
        process = subprocess.Popen(words, cwd=ROOT, env=env, stdout=out, stderr=out)
    try:
        until(lambda: "Stop with" in said.read_text(encoding="utf-8") or process.poll() is not None, "the first page's address", seconds=90)
        yield Run(said, process, env)
    finally:
        process.terminate()
        process.wait(30)


def test_every_printed_line_works_as_it_stands(run: Run) -> None:
    found = "No transcripts or trackers were found" not in run.text
    assert found == (Path(run.env["HOME"]) / ".claude").exists()
    lines = run.printed()
    assert len(lines) == 4
    for command in lines:
        done = run.type(command.replace("curl -s", "curl -sf"))
        assert done.returncode == 0 and done.stdout, (command, done.stderr)
    page = run.type(f"curl -sf {re.findall(r'http://localhost:[0-9]+/', run.text)[0]}")
    assert "<html" in page.stdout
    status = run.type(lines[-1])
    assert "agent   running at" in status.stdout and "relay   http://127.0.0.1" in status.stdout
    if found:
        until(lambda: "1 session" in run.type(lines[-1]).stdout, "the session in the status")


def test_whoever_forgets_the_home_is_told_that_another_agent_answers(run: Run) -> None:
    port = re.findall(r"http://localhost:([0-9]+)/", run.text)[0]
    done = run.type(f".venv/bin/python -m local_agent status --port {port}")
    assert "has another: name it with --home" in " ".join(done.stdout.split())


def test_what_was_started_ends_with_it(run: Run) -> None:
    port = re.findall(r"http://localhost:([0-9]+)/", run.text)[0]
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(30) == 0 and "Traceback" not in run.text
    assert run.type(f"curl -s localhost:{port}/api/v1/ping").returncode == 7
    assert os.listdir(Path(run.env["HOME"])) in ([".claude"], [])
