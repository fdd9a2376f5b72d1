"""A real relay and a real agent on generated transcripts: what the page's figures and journeys are taken on."""
from __future__ import annotations

import os
import random
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.processes import free_port
from tools import sample

ROOT = Path(__file__).resolve().parent.parent


def answers(url: str, timeout_s: float = 30) -> None:
    """Return when *url* answers; RuntimeError when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with suppress(OSError):
            urllib.request.urlopen(url, timeout=2).close()
            return
        time.sleep(0.05)
    raise RuntimeError(f"{url} does not answer")


def many(folder: Path, count: int) -> sample.Talk:
    """*count* short sessions over the last year, and one that is open now."""
    rng, now = random.Random(3), datetime.now(UTC)
    for number in range(count - 1):
        talk = sample.talk(rng, folder, number)
        at = now - timedelta(minutes=10 + number * 525_600 / count)
        talk.answer(at)
        talk.answer(at + timedelta(minutes=4))
        talk.flush()
    return sample.opened(rng, folder, now, 0)


class Homes:
    """Both processes; *talk* is the session that goes on."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.transcripts = folder, folder / "claude"
        self.talk = many(self.transcripts, count)
        self.agent_port, self.relay_port = free_port(), free_port()
        self.agent_url, self.relay_url = f"http://localhost:{self.agent_port}/", f"http://127.0.0.1:{self.relay_port}/"
        self.store = ["--store", f"sqlite:///{folder / 'relay.db'}", "--dev"]
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def _run(self, name: str, *words: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen([sys.executable, "-m", *words], cwd=ROOT, stdout=log, stderr=log, env={**os.environ, "RELAY_ORIGINS": self.agent_url.rstrip("/")})

    def start_relay(self) -> None:
        self._run("relay", "relay", "serve", "--port", str(self.relay_port), *self.store)
        answers(self.relay_url + "v1/ping")

    def key(self, scope: str) -> str:
        source = ["--source", "desk"] if scope == "push" else []
        return subprocess.run([sys.executable, "-m", "relay", "keys", "create", "--scope", scope, *source, *self.store], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    def pair(self, push_key: str) -> None:
        subprocess.run([sys.executable, "-m", "local_agent", "pair", self.relay_url.rstrip("/"), "-", "--home", str(self.folder / "agent")], cwd=ROOT, input=push_key, text=True, capture_output=True, check=True)

    def start_agent(self) -> None:
        self._run("agent", "local_agent", "run", "--home", str(self.folder / "agent"), "--transcripts", str(self.transcripts), "--no-defaults", "--name", "desk", "--port", str(self.agent_port))
        answers(self.agent_url + "api/v1/ping")

    def say(self) -> None:
        """The open session gets one more answer."""
        self.talk.answer(datetime.now(UTC))
        self.talk.flush()

    def kill(self, name: str) -> None:
        process = self.processes.pop(name, None)
        if process:
            process.kill()
            process.wait()

    def close(self) -> None:
        for name in list(self.processes):
            self.kill(name)
