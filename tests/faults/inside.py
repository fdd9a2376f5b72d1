"""Run a scenario where mounts of its own may be made: `unshare -rm python -m tests.faults.inside NAME FOLDER`.

A mount made here is seen by this process and its children alone, and goes with them; no root is needed where the system
allows user namespaces.
"""
from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from tests.journeys.test_refill import a_tracker, total
from tests.processes import ROOT, Running, Site, command, get, site
from tests.processes import until as shortly

ROOM = "4m"


@lru_cache(maxsize=1)
def why_not() -> str:
    """Why no mounts can be made here; "" where they can."""
    if not shutil.which("unshare") or not shutil.which("mount"):
        return "needs unshare and mount"
    tried = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, text=True, check=False)
    return "" if tried.returncode == 0 else f"this system allows no mounts in a user namespace: {tried.stderr.strip()[:100]}"


def run(name: str, folder: Path) -> dict[str, Any]:
    """What the scenario *name* found, run in a namespace of its own."""
    done = subprocess.run(["unshare", "-rm", sys.executable, "-m", "tests.faults.inside", name, str(folder)], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def until(ask: Callable[[], Any], what: str) -> None:
    """Patiently: a busy machine starts, looks and pushes slowly."""
    shortly(ask, what, seconds=120)


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def fill(folder: Path) -> Path:
    """Take all the room there is, to the last byte."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (1 << 16, 1 << 12, 1 << 8, 1):
            with contextlib.suppress(OSError):
                while file.write(b"x" * size):
                    pass
    return filler


def told(*words: str) -> Any:
    done = command(*words)
    assert "Traceback" not in done.stderr, done.stderr
    return json.loads(done.stdout)


def begun(place: Site) -> tuple[Running, Running, str, Path, Path]:
    """An agent whose home is a small disk, with 40 sessions at the relay."""
    home = place.folder / "home"
    home.mkdir(mode=0o700)
    mount("-t", "tmpfs", "-o", f"size={ROOM},mode=0700", "none", str(home))
    tracker = a_tracker(place.folder / "tracker.db", 40)
    relay = place.relay(store="memory:")
    key = place.key(relay, "read")
    agent = place.agent(relay, place.key(relay, "push", source="laptop"), "home", "--tracker", str(tracker), "--interval", "1")
    until(lambda: total(relay, key) == 40, "the first copy")
    return relay, agent, key, home, tracker


def full_disk(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with site(folder) as place:
        relay, agent, key, home, tracker = begun(place)
        filler = fill(home)
        a_tracker(tracker, 120)
        until(lambda: total(relay, key) == 120, "pushing beside a full disk")
        until(lambda: "disk" in str(machine(relay, key)["note"]), "the machine that says so")
        found["note"], found["alive"] = machine(relay, key)["note"], agent.process is not None and agent.process.poll() is None
        found["status"] = told("local_agent", "status", "--json", "--home", str(home))["disk"]
        found["doctor"] = [each["what"] for each in told("local_agent", "doctor", "--json", "--home", str(home)) if "disk" in each["what"]]
        usage = place.folder / "usage.json"
        usage.write_text('{"daily": [{"date": "2026-11-01", "inputTokens": 5, "outputTokens": 5, "totalTokens": 10, "totalCost": 0.1, "modelsUsed": [], "modelBreakdowns": []}]}')
        found["import"] = command("local_agent", "import", str(usage), "--home", str(home)).stderr
        agent.kill()
        exported = command("local_agent", "export", "--home", str(home), "--format", "jsonl").stdout.splitlines()
        found["forget"] = command("local_agent", "forget", json.loads(exported[0])["key"], "--home", str(home)).stderr
        found["new home"] = command("local_agent", "once", "--home", str(home / "new"), "--no-defaults", "--tracker", str(tracker)).stderr
        agent.start()
        a_tracker(tracker, 150)
        until(lambda: total(relay, key) == 150, "starting beside a full disk")
        found["after a crash"] = total(relay, key)
        filler.unlink()
        agent.kill(signal.SIGTERM)
        with contextlib.closing(sqlite3.connect(home / "archive.db")) as sql:
            found["written down"] = sql.execute("SELECT count(*) FROM ledger_rows WHERE kind = 'session'").fetchone()[0]
        agent.start()
        a_tracker(tracker, 160)
        until(lambda: total(relay, key) == 160, "going on with room")
        until(lambda: "disk" not in str(machine(relay, key)["note"]), "the machine that is well again")
        found["tracebacks"] = agent.log.read_text().count("Traceback")
        found["digest"] = machine(relay, key)["state"]
    return found


def machine(relay: Running, key: str) -> dict[str, Any]:
    [only] = get(f"{relay.url}/v1/feed?sessions=1", key=key)["machines"]
    return dict(only)


def read_only(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with site(folder) as place:
        relay, agent, key, home, tracker = begun(place)
        agent.kill()
        mount("-o", "remount,ro", str(home))
        a_tracker(tracker, 60)
        once = command("local_agent", "once", "--home", str(home), "--no-defaults", "--tracker", str(tracker))
        found["once"] = [once.returncode, once.stderr.count("\n"), "Traceback" in once.stderr]
        found["said"], found["kept"] = once.stderr, total(relay, key)
        mount("-o", "remount,rw", str(home))
        agent.start()
        until(lambda: total(relay, key) == 60, "going on when it can be written again")
        found["after"] = total(relay, key)
    return found


SCENARIOS: dict[str, Callable[[Path], dict[str, Any]]] = {"full_disk": full_disk, "read_only": read_only}

if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    sys.stdout.write(json.dumps(SCENARIOS[sys.argv[1]](Path(sys.argv[2]))))
