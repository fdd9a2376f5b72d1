"""Real relay and agent processes for the journeys, each on a port of its own, ended with the test."""
from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parent.parent
OURS = ("RELAY_", "AGENT_", "TRACKER_", "CLAUDE_", "CODEX_", "NETLIFY_", "SUPABASE_", "API_SECRET", "SYNC_INTERVAL", "GEMINI_")
Answer = TypeVar("Answer")


def environment(**extra: str) -> dict[str, str]:
    """This process's environment without anything that would configure us."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OURS)} | extra


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(ask: Callable[[], Answer], what: str, *, seconds: float = 30.0) -> Answer:
    """The first true answer; a refused connection counts as not yet."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, urllib.error.URLError):
            if answer := ask():
                return answer
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen within {seconds:.0f} s")


def get(url: str, *, key: str | None = None) -> Any:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"} if key else {})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def command(*words: str, env: dict[str, str] | None = None, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run `python -m words…` to its end, as a person at a prompt would."""
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, env=env or environment(), input=text, capture_output=True, text=True, timeout=120, check=False
    )


@dataclass
class Running:
    """A server process: *words* is its command line after `python -m`."""

    words: list[str]
    port: int
    log: Path
    env: dict[str, str] = field(default_factory=environment)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Running:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-m", *self.words], cwd=ROOT, env=self.env, stderr=log, stdout=log)
        until(self.answers, f"{self.words[0]} at {self.url} (see {self.log})")
        return self

    def answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"{' '.join(self.words)} ended with {self.process.returncode}:\n{self.log.read_text()[-2000:]}")
        prefix = "/api" if self.words[0] == "local_agent" else ""
        return bool(get(f"{self.url}{prefix}/v1/ping"))

    def kill(self, how: int = signal.SIGKILL) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(15)


@dataclass
class Site:
    """A relay and its agents in one folder; ends them all when the test is over."""

    folder: Path
    started: list[Running] = field(default_factory=list)

    def relay(self, *, store: str | None = None, **env: str) -> Running:
        port = free_port()
        store = store or f"sqlite:///{self.folder / 'relay.db'}"
        env = {"RELAY_SECRET": "correct-horse-battery-staple-0123456789abcdef", "RELAY_STORE": store, **env}
        return self._run(["relay", "serve", "--port", str(port)], port, environment(**env))

    def key(self, relay: Running, scope: str, *, tenant: str = "alice", source: str | None = None) -> str:
        words = ["relay", "keys", "create", "--scope", scope, "--tenant", tenant, *(["--source", source] if source else [])]
        done = command(*words, env=relay.env)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def agent(self, relay: Running, key: str, home: str, *reads: str) -> Running:
        folder = self.folder / home
        done = command("local_agent", "pair", relay.url, "-", "--home", str(folder), text=key)
        assert done.returncode == 0, done.stderr
        port = free_port()
        return self._run(["local_agent", "run", "--home", str(folder), "--port", str(port), "--no-defaults", *reads], port, environment())

    def _run(self, words: list[str], port: int, env: dict[str, str]) -> Running:
        made = Running(words, port, self.folder / f"{words[0]}-{port}.log", env)
        self.started.append(made)
        return made.start()


@contextlib.contextmanager
def site(folder: Path) -> Iterator[Site]:
    place = Site(folder)
    try:
        yield place
    finally:
        for running in reversed(place.started):
            running.kill()
