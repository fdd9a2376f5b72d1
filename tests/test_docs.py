"""The README and the pages in docs are true: what they tell people to type is typed here, in order, by a shell with real programs."""
from __future__ import annotations

import json
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

from ledger.stores.memory import MemoryStore
from relay.app import Relay, create_app
from relay.settings import read
from tests.agent.trackers import Tracker
from tests.agent.transcripts import NOW, Home, line
from tests.processes import ROOT, Running, environment, free_port, site, until

DOCS = ROOT / "docs"
NEEDS = {"curl": shutil.which("curl"), "bash": shutil.which("bash")}
pytestmark = pytest.mark.skipif(not all(NEEDS.values()), reason="needs bash and curl")
ID = "11111111-1111-4111-8111-111111111111"


def text_of(page: str) -> str:
    return (ROOT if page == "README.md" else DOCS).joinpath(page).read_text(encoding="utf-8")


def shown(page: str) -> list[str]:
    """Every command of the page's console blocks, continued lines joined."""
    return [line for block in re.findall(r"```console\n(.*?)```", text_of(page), re.DOTALL) for line in block.replace("\\\n", " ").splitlines() if line.strip()]


@dataclass
class Place:
    """A person's machine: a home with transcripts, a relay, a paired agent, and keys in the environment."""

    folder: Path
    relay: Running
    agent: Running
    keys: dict[str, str]

    def type(self, command: str, *, stdin: str = "", given: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Type a command as it stands on the page, but for the ports and the program that python is."""
        return subprocess.run(self._words(command), cwd=self.folder / "user", env=self._env() | (given or {}), input=stdin, capture_output=True, text=True, timeout=120, check=False)

    def start(self, command: str, log: Path, *, given: dict[str, str] | None = None) -> Running:
        """Type a command that goes on until it is stopped, on a port of its own; returns when it answers."""
        what, port = ("relay", free_port()) if "-m relay" in command else ("local_agent", free_port())
        env = self._env() | (given or {}) | {"AGENT_PORT": str(port)}
        with log.open("ab") as out:
            process = subprocess.Popen(self._words(f"exec {command}" + (f" --port {port}" if what == "relay" else "")), cwd=self.folder / "user", env=env, stdout=out, stderr=out)
        running = Running([what], port, log, env, process)
        until(running.answers, f"{command} (see {log})", seconds=60)
        return running

    def _words(self, command: str) -> list[str]:
        words = re.sub(r"\bpython -m\b", f"{sys.executable} -m", command.replace("127.0.0.1:8787", f"127.0.0.1:{self.relay.port}").replace("localhost:3001", f"localhost:{self.agent.port}"))
        return ["bash", "-o", "pipefail", "-c", words]

    def _env(self) -> dict[str, str]:
        env = environment(HOME=str(self.folder / "user"), AGENT_PORT=str(self.agent.port), PYTHONPATH=str(ROOT), RELAY_STORE=self.relay.env["RELAY_STORE"], RELAY_SECRET=self.relay.env["RELAY_SECRET"], **self.keys)
        env.pop("XDG_STATE_HOME", None)
        return env


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


# -- the other pages: what they show is typed as a person would, from the first line to the last

ELSEWHERE = {
    "git clone": "this very project", "python3 -m venv": "what these tests run in", ".venv/bin/python -m pip": "what these tests run in", "make ": "tests/test_run.py and CI",
    "python -m local_agent service": "tests/agent/test_service.py and tests/journeys/test_service_life.py ask the managers",
}
TYPED_ELSEWHERE = {"api.md", "install.md", "alerts.md", "team.md", "aws.md"}
"""Pages with a test of their own: above, tests/relay/test_alerts_docs.py, tests/relay/test_team_page.py; what aws.md says is done by tools/deploy_local.py and tests/journeys/test_cloud.py."""
OTHERS = [page for page in ("README.md", *sorted(path.name for path in DOCS.glob("*.md"))) if page not in TYPED_ELSEWHERE and shown(page)]
GOES_ON = re.compile(r"python -m (relay serve|local_agent run)\b")
MAY_FIND_SOMETHING = ("local_agent once", "local_agent doctor", "local_agent verify")
"""These end with 1 where they find something, which is no fault of the page."""


def without_comment(line: str) -> str:
    return re.split(r"\s+#\s", line)[0].strip()


def given_by(place: Place, export: str) -> dict[str, str]:
    """What a line of exports sets, evaluated once as a shell does."""
    names = re.findall(r"\b([A-Z_]+)=", export)
    printed = " ".join(f'"${name}"' for name in names)
    said = place.type(f"{export}; printf '%s\\n' {printed}").stdout.splitlines()
    return dict(zip(names, said, strict=True))


def filled(place: Place, command: str, given: dict[str, str]) -> str:
    """The command with what stands for something of the reader's own."""
    if command.endswith(" ID"):
        listed = place.type(f"{command.rsplit(' ', 2)[0]} list --json", given=given)
        command = f"{command.removesuffix(' ID')} {json.loads(listed.stdout)[0]['id']}"
    return command.replace(" FILE", " ~/tracker.db").replace(" SESSION", f" {ID}")


def typed(place: Place, command: str, given: dict[str, str]) -> tuple[int, str]:
    """Type it with what it reads; its exit code and what it said."""
    stdin = place.type("python -m local_agent seal").stdout if "seal --use -" in command else place.keys["PUSH"] if command.endswith(" -") else "{}"
    done = place.type(filled(place, command, given), stdin=stdin, given=given)
    return done.returncode, done.stdout[-300:] + done.stderr[-300:]


@pytest.mark.parametrize("page", OTHERS)
def test_every_command_of_the_other_pages_works_as_it_stands(place: Place, page: str, tmp_path: Path) -> None:
    given: dict[str, str] = {}
    trouble = []
    for command in map(without_comment, shown(page)):
        if any(command.startswith(other) for other in ELSEWHERE):
            continue
        if command.startswith("export "):
            given |= given_by(place, command.replace("/var/lib/session-relay", str(tmp_path)))
        elif GOES_ON.search(command):
            place.start(command, tmp_path / "goes-on.log", given=given).kill(signal.SIGTERM)
        else:
            code, said = typed(place, command, given)
            if code not in ((0, 1) if any(words in command for words in MAY_FIND_SOMETHING) else (0,)) or "our fault" in said or "please report" in said:
                trouble.append((command, code, said))
    assert trouble == []


OTHER_BLOCKS = {
    ("alerts.md", "json"): "tests/relay/test_alerts_docs.py", ("alerts.md", "python"): "tests/relay/test_alerts_docs.py", ("api.md", "sh"): "the keys of `place`",
    ("install.md", "sh"): "what `make` does for these tests", ("self-host.md", "sh"): "tests/test_self_host.py", ("self-host.md", "ini"): "tests/test_self_host.py",
    ("protocol.md", "json"): "tests/test_protocol_page.py", ("protocol.md", "python"): "tests/test_protocol_page.py", ("protocol.md", "sh"): "tests/test_protocol_page.py",
    ("self-host.md", ""): "tests/test_proxy.py", ("self-host.md", "nginx"): "tests/test_proxy.py", ("watch.md", "yaml"): "below", ("watch.md", "sh"): "below",
}  # fmt: skip
"""Examples that are no console, and where each is tried."""


def test_no_example_stands_on_a_page_that_nobody_tries() -> None:
    pages = ["README.md", *sorted(path.name for path in DOCS.glob("*.md"))]
    found = {(page, language) for page in pages for language in re.findall(r"^```(\S*)\n.*?^```$", text_of(page), re.DOTALL | re.MULTILINE)}
    assert found - {(page, "console") for page in (*OTHERS, *TYPED_ELSEWHERE)} == set(OTHER_BLOCKS)


def test_what_claude_code_is_told_to_send_arrives(place: Place) -> None:
    """The exports of the page, given to a program that speaks OTLP as they say."""
    [block] = re.findall(r"```sh\n(.*?)```", text_of("watch.md"), re.DOTALL)
    given = given_by(place, block.replace("\n", "; ").strip("; ").replace("https://relay.example.org", place.relay.url).replace("sr_push_…", place.keys["PUSH"]))
    assert given["CLAUDE_CODE_ENABLE_TELEMETRY"] == "1" and given["OTEL_EXPORTER_OTLP_PROTOCOL"] == "http/protobuf"
    header, _, value = given["OTEL_EXPORTER_OTLP_HEADERS"].partition("=")
    for exporter, path in (("OTEL_LOGS_EXPORTER", "/v1/logs"), ("OTEL_METRICS_EXPORTER", "/v1/metrics")):
        assert given[exporter] == "otlp"
        done = place.type(f"curl -sf -X POST {given['OTEL_EXPORTER_OTLP_ENDPOINT']}{path} -H '{header}: {value}' -H 'Content-Type: application/x-protobuf' --data-binary ''")
        assert done.returncode == 0, done.stderr


def test_prometheus_is_told_of_paths_that_answer() -> None:
    yaml = pytest.importorskip("yaml")
    [block] = re.findall(r"```yaml\n(.*?)```", text_of("watch.md"), re.DOTALL)
    jobs = {job["job_name"]: job for job in yaml.safe_load(block)["scrape_configs"]}
    assert {name: (job.get("scheme", "http"), job["static_configs"][0]["targets"]) for name, job in jobs.items()} == {
        "session-relay": ("https", ["relay.example.org"]), "session-agent": ("http", ["localhost:3001"]),
    }  # fmt: skip
    assert jobs["session-relay"]["authorization"].keys() == {"credentials_file"}
