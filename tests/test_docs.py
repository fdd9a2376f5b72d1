"""The pages in docs are true: what they tell people to type is typed here, in order, by a shell with real programs."""
from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ledger.stores.memory import MemoryStore
from relay.app import Relay, create_app
from relay.settings import read
from tests.agent.trackers import Tracker
from tests.agent.transcripts import NOW, Home, line
from tests.processes import ROOT, Running, environment, site, until

DOCS = ROOT / "docs"
NEEDS = {"curl": shutil.which("curl"), "bash": shutil.which("bash")}
pytestmark = pytest.mark.skipif(not all(NEEDS.values()), reason="needs bash and curl")
ID = "11111111-1111-4111-8111-111111111111"


def shown(page: str) -> list[str]:
    """Every command of the page's console blocks, continued lines joined."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return [line for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL) for line in block.replace("\\\n", " ").splitlines() if line.strip()]


@dataclass
class Place:
    """A person's machine: a home with transcripts, a relay, a paired agent, and keys in the environment."""

    folder: Path
    relay: Running
    agent: Running
    keys: dict[str, str]

    def type(self, command: str, *, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Type a command as it stands on the page, but for the ports and the program that python is."""
        words = re.sub(r"\bpython -m\b", f"{sys.executable} -m", command.replace("127.0.0.1:8787", f"127.0.0.1:{self.relay.port}").replace("localhost:3001", f"localhost:{self.agent.port}"))
        env = environment(HOME=str(self.folder / "user"), AGENT_PORT=str(self.agent.port), PYTHONPATH=str(ROOT), RELAY_STORE=self.relay.env["RELAY_STORE"], RELAY_SECRET=self.relay.env["RELAY_SECRET"], **self.keys)
        env.pop("XDG_STATE_HOME", None)
        return subprocess.run(["bash", "-o", "pipefail", "-c", words], cwd=self.folder / "user", env=env, input=stdin, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("docs")
    user = folder / "user"
    home = Home(user / ".claude")
    home.write(*(line(f"msg_{n}", at=NOW - n * 3_600_000) for n in range(1, 5)))
    Home(user / "second/.claude").write(line("msg_w", session="22222222-2222-4222-8222-222222222222"), name="22222222-2222-4222-8222-222222222222.jsonl")
    tracker = Tracker(user / "tracker.db", "v1")
    tracker.write(id="session_1", session_type="claude_code", start_time="2026-01-20T10:00:00.000Z", estimated_tokens=1234, is_active=0)
    tracker.close()
    with site(folder) as made:
        relay = made.relay(API_SECRET="your-key")
        keys = {name: made.key(relay, scope, tenant="main") for name, scope in (("READ", "read"), ("ADMIN", "admin"))} | {"PUSH": made.key(relay, "push", tenant="main", source="box")}
        agent = made.agent(relay, made.key(relay, "push", tenant="main", source="laptop"), "agent", "--transcripts", str(home.folder))
        found = Place(folder, relay, agent, keys)
        until(lambda: ID in found.type('curl -s http://127.0.0.1:8787/sessions -H "Authorization: Bearer $READ"').stdout, "the session reaching the relay", seconds=120)
        yield found


API = shown("api.md")
WATCHES = ("-N", "--no-buffer")


@pytest.mark.parametrize("command", API, ids=[command[:80] for command in API])
def test_every_request_of_the_api_page_is_answered_as_it_says(place: Place, command: str) -> None:
    words, _, told = command.partition("  # ")
    expected = int(told.split()[0]) if told[:1].isdigit() else 200
    asked = re.sub(r"^curl ", "curl -w '\\n%{http_code}' --max-time 20 ", words.strip())
    if any(option in words.split() for option in WATCHES):  # a channel stays open: look for a moment, and longer only where that is too short
        done = place.type(asked.replace("--max-time 20", "--max-time 2"))
        asked = asked if done.stdout.endswith("000") else "true"
    if asked != "true":
        done = place.type(asked)
    body, _, status = done.stdout.rpartition("\n")
    assert int(status) == expected, (command, body[:500], done.stderr)
    assert body.strip() or expected in (204, 304) or "-I" in words or "-o " in words


def test_every_path_of_the_relay_stands_on_a_page() -> None:
    app = create_app(Relay(read({"RELAY_SECRET": "a secret of the tests alone"}, store="memory:"), MemoryStore()))
    pages = "".join(page.read_text(encoding="utf-8") for page in DOCS.glob("*.md"))
    rules = {rule.rule for rule in app.url_map.iter_rules() if not rule.rule.startswith(("/api", "/.net", "/<path"))}
    assert sorted(rule for rule in rules if re.sub(r"<[^>]*>.*", "", rule).rstrip("/") not in pages) == []


WATCH = [command for command in shown("watch.md") if command.startswith("curl")]


@pytest.mark.parametrize("command", WATCH)
def test_what_watches_is_answered(place: Place, command: str) -> None:
    assert place.type(command.replace("curl -s", "curl -sf")).returncode == 0


INSTALL = [command.split("  #")[0].strip() for command in shown("install.md")]
NEEDS_A_MANAGER = "local_agent service "
NEEDS_CCUSAGE = "ccusage "


def test_the_page_on_installing_works_from_the_first_line_to_the_last(place: Place) -> None:
    trouble = []
    for command in INSTALL:
        if command.startswith(NEEDS_CCUSAGE) and not shutil.which("ccusage"):
            command = """echo '{"daily": [{"date": "2026-01-05", "modelBreakdowns": [{"modelName": "claude-opus-4-7", "inputTokens": 5}]}]}' | python -m local_agent import -"""
        if NEEDS_A_MANAGER in command:
            continue  # what is asked of systemd and launchd has tests of its own
        done = place.type(command, stdin=place.keys["PUSH"])
        fine = (0, 1) if " once" in command or command.endswith("doctor") else (0,)
        if done.returncode not in fine or "our fault" in done.stderr:
            trouble.append((command, done.returncode, done.stdout[-300:], done.stderr[-300:]))
    assert trouble == []
    assert {"sessions.jsonl", "sessions.jsonl.sha256", "usage.csv"} <= set(os.listdir(place.folder / "user"))
