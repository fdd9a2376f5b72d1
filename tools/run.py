"""Relay and agent on this machine, paired with each other: what `make run` and `make demo` start.

Everything that is kept lies in var/ beside this checkout; removing that folder starts anew.
"""
from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tools import sample

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S, LOOKED_S = 30.0, 3.0
CURL = """
  Page     {agent}/            (this machine)
           {relay}/#key={read}   (the relay)

  Try      curl -s '{agent}/api/sessions/active'
           curl -s -H 'Authorization: Bearer {read}' '{relay}/sessions/recent?limit=3'
           curl -s -H 'Authorization: Bearer {read}' '{relay}/analytics/current'
           .venv/bin/python -m local_agent status --home '{home}'

  Stop with Ctrl-C. What was kept, and the logs, lie in {var}.
"""


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def module(*words: str) -> list[str]:
    return [sys.executable, "-m", *words]


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when *url* answers; leave with the reason when the process dies or takes too long."""
    what = f"the {log.stem}"
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if process.poll() is not None:
            raise SystemExit(f"{what} did not start:\n" + "\n".join(log.read_text(encoding="utf-8").splitlines()[-5:]))
        with contextlib.suppress(OSError, urllib.error.URLError), urllib.request.urlopen(url, timeout=2):
            return
        time.sleep(0.1)
    raise SystemExit(f"{what} did not answer at {url} within {PATIENCE_S:.0f} s")


def must_be_free(port: int, option: str) -> None:
    """Somebody else's server would answer for ours, so look before starting."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise SystemExit(f"port {port} is in use, perhaps by an earlier run: stop that, or try .venv/bin/python -m tools.run {option} {port + 1}") from None


def output_of(command: Sequence[str]) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr.strip() or f"{' '.join(command)} failed")
    return done.stdout.strip()


def relay_arguments(var: Path, port: int) -> list[str]:
    return ["--port", str(port), "--store", f"sqlite:///{var / 'relay' / 'relay.db'}", "--dev"]


def keys(var: Path, relay: list[str], source: str) -> tuple[str, str]:
    """The push and read keys of this pairing, made once and kept in var/keys.json."""
    kept = var / "keys.json"
    if kept.exists():
        pair = json.loads(kept.read_text(encoding="utf-8"))
        return pair["push"], pair["read"]
    store = relay[relay.index("--store") : relay.index("--store") + 2]
    made = {
        "push": output_of(module("relay", "keys", "create", "--scope", "push", "--source", source, *store, "--dev")),
        "read": output_of(module("relay", "keys", "create", "--scope", "read", *store, "--dev")),
    }
    kept.touch(mode=0o600)
    kept.write_text(json.dumps(made), encoding="utf-8")
    return made["push"], made["read"]


def demo_sources(var: Path) -> tuple[list[str], list[sample.Talk]]:
    """Agent arguments that read nothing but freshly made sample data."""
    folder = var / "sample"
    shutil.rmtree(folder, ignore_errors=True)
    open_talks = sample.build(folder, now=datetime.now(UTC))
    reads = ["--no-defaults", "--transcripts", str(folder / "claude"), "--codex", str(folder / "codex"), "--tracker", str(folder / "tracker.db"), "--sample"]
    return reads, open_talks


def keep_talking(talks: list[sample.Talk], stop: threading.Event) -> None:
    """Let the open sample sessions go on, so that the page is seen to be live."""
    rng = random.Random()
    while not stop.wait(rng.uniform(2, 6)):
        one = rng.choice(talks)
        one.answer(datetime.now(UTC))
        one.flush()


@contextlib.contextmanager
def running(command: list[str], log: Path, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, env={**env, **os.environ})
    try:
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(8)
        process.kill()


def nothing_to_read(agent: str) -> bool:
    """Was every tool looked for, and none found? A first reading may take long: what is still being read was found."""
    until = time.monotonic() + LOOKED_S
    while time.monotonic() < until:
        with urllib.request.urlopen(f"{agent}/api/status", timeout=10) as answer:
            states = {name: report["state"] for name, report in json.load(answer)["readers"].items()}
        last = states.pop("imports", None)
        if last or set(states.values()) - {"absent"}:
            return set(states.values()) <= {"absent"}
        time.sleep(0.1)
    return False


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make run", description=__doc__.splitlines()[0])
    parser.add_argument("--demo", action="store_true", help="generated sample data instead of this machine's own")
    parser.add_argument("--port", type=int, default=3001, help="the agent's port")
    parser.add_argument("--relay-port", type=int, default=8787)
    parser.add_argument("--var", type=Path, default=ROOT / "var", metavar="DIR", help="where everything is kept")
    options = parser.parse_args(argv)
    must_be_free(options.port, "--port")
    must_be_free(options.relay_port, "--relay-port")
    var = options.var.resolve() / ("demo" if options.demo else "run")
    var.mkdir(parents=True, exist_ok=True, mode=0o700)
    agent_url, relay_url = f"http://localhost:{options.port}", f"http://127.0.0.1:{options.relay_port}"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    reads, talks = demo_sources(var) if options.demo else ([], [])
    agent = ["--home", str(var / "agent"), "--port", str(options.port), *reads]
    relay = relay_arguments(var, options.relay_port)
    stop = threading.Event()
    logs = {name: var / f"{name}.log" for name in ("relay", "agent")}
    say("Starting relay and agent ...")
    # The agent's page asks the relay when the agent is gone, so the relay must know where that page is.
    pages = f"{agent_url},http://127.0.0.1:{options.port}"
    with running(module("relay", "serve", *relay), logs["relay"], RELAY_ORIGINS=pages) as serving, contextlib.suppress(KeyboardInterrupt):
        wait_for(f"{relay_url}/v1/ping", serving, logs["relay"])
        push, read = keys(var, relay, "demo" if options.demo else "this-machine")
        pair(agent, relay_url, push, var)
        if talks:
            give_limits(agent, talks[0])
        with running(module("local_agent", "run", *agent), logs["agent"]) as reading:
            wait_for(f"{agent_url}/api/v1/ping", reading, logs["agent"])
            if not talks and nothing_to_read(agent_url):
                say("No transcripts or trackers were found on this machine yet: start a session, or look at sample data with `make demo`.")
            say(CURL.format(agent=agent_url, relay=relay_url, read=read, var=var, home=var / "agent"))
            threading.Thread(target=keep_talking, args=(talks, stop), daemon=True).start() if talks else None
            reading.wait()
    stop.set()
    return 0


def pair(agent: list[str], relay_url: str, push: str, var: Path) -> None:
    """Hand the key over in a file, so that it never stands in a process list."""
    home = agent[agent.index("--home") + 1]
    done = subprocess.run(module("local_agent", "pair", relay_url, "-", "--home", home), cwd=ROOT, input=push, text=True, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr.strip())


def give_limits(agent: list[str], talk: sample.Talk) -> None:
    home = agent[agent.index("--home") + 1]
    subprocess.run(
        module("local_agent", "statusline", "--home", home), cwd=ROOT, text=True, check=False, capture_output=True, input=sample.statusline(datetime.now(UTC), talk.id)
    )


if __name__ == "__main__":
    sys.exit(main())
