"""The agent's own figures: first push of 50 MB, an idle minute, one change's bytes, an appended line's way to the relay's feed.

    python -m bench.agent [--quick]
"""
from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.process import cpu_s, resident_mib
from bench.table import Figure, percentile
from tests.processes import Running, command, free_port, get, site, until

ROOT = Path(__file__).resolve().parent.parent
GENERATOR = Path(os.environ.get("SESSION_RELAY_DATA", ROOT.parent / "shared" / "data")) / "gen_transcripts.py"


class Talk:
    """A session that grows by one answer at a time, as Claude Code writes it."""

    def __init__(self, home: Path) -> None:
        self.id = str(uuid.uuid4())
        folder = home / "projects" / "-home-alice-bench"
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / f"{self.id}.jsonl"
        self.said = 0

    def answer(self) -> int:
        """Append one answer; the session's output tokens afterwards."""
        self.said += 1
        usage = {"input_tokens": 3, "cache_creation_input_tokens": 120, "cache_read_input_tokens": 20_000, "output_tokens": 100}
        message = {"id": f"msg_{uuid.uuid4().hex}", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5-20250929", "content": [], "usage": usage}
        line = {"type": "assistant", "sessionId": self.id, "cwd": "/home/alice/bench", "gitBranch": "main", "uuid": str(uuid.uuid4()), "requestId": f"req_{uuid.uuid4().hex}",
                "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"), "message": message}  # fmt: skip
        with self.file.open("a") as file:
            file.write(json.dumps(line, separators=(",", ":")) + "\n")
        return self.said * 100


def output_of(url: str, key: str | None, session: str) -> int:
    found = get(f"{url}/sessions/{session}", key=key)
    return int(found["tokens"]["output"])


def way_to_the_feed(relay: Running, key: str, talk: Talk, times: int) -> list[float]:
    """Seconds from an appended line to the relay telling it, for lines at odd moments."""
    waits = []
    for n in range(times):
        time.sleep(2.1 + (n * 0.37) % 1.0)
        expected, began = talk.answer(), time.perf_counter()
        until(lambda expected=expected: shown(relay, key, talk.id) >= expected, "the line at the relay", seconds=20)
        waits.append(time.perf_counter() - began)
    return waits


def shown(relay: Running, key: str, session: str) -> int:
    try:
        return output_of(relay.url, key, session)
    except OSError:
        return 0


def bytes_of_a_change() -> tuple[int, int]:
    """Of a session of an hour with one more answer: the body on the wire, and with the request's line and headers."""
    from ledger import signing
    from ledger.record import Record
    from local_agent.push.batch import Change, Place, compose

    at = 1_795_000_000_000
    usage = [[at + n * 900_000, at + n * 900_000 + 1234, at + n * 900_000 + 871_003, "claude-sonnet-4-5-20250929", "standard", 12, 4321 + n, 45_120, 0, 1_234_567 + n, 31, None]
             for n in range(4)]  # fmt: skip
    body = {"id": str(uuid.uuid4()), "session_type": "claude_code", "start_time": at, "last_activity": at + 3_571_003, "is_active": True, "total_messages": 124,
            "models_used": ["claude-sonnet-4-5-20250929"], "estimated_tokens": 5_123_456, "project": "session-relay", "title": "Mend the push", "git_branch": "main",
            "account": "default", "provenance": "observed", "context": {"used": 81_234, "size": 200_000}, "usage": usage}  # fmt: skip
    record = Record("session", str(body["id"]), json.dumps(body, separators=(",", ":")))
    place = Place(uuid.uuid4().hex, 42, int.from_bytes(os.urandom(32), "big"), True)
    agent = {"version": "1.0.0", "boot": "1a2b3c4d", "uptime_s": 86_400}
    made = compose("push", id="msg_abcdefghijkl1234", aud="https://relay.example.org", source="laptop", place=place, agent=agent,
                   changes=[Change(record.ref, record.hash, record.body)], after=int.from_bytes(os.urandom(32), "big"))  # fmt: skip
    headers = {"content-type": "application/json", "content-encoding": "gzip", "relay-key": "a" * 61, "accept-encoding": "identity", "host": "relay.example.org",
               "content-length": str(len(made.wire)), **signing.headers(made.wire, [b"s" * 32], made.id, 1_795_000_000)}  # fmt: skip
    head = "POST /v1/push HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
    assert gzip.decompress(made.wire)
    return len(made.wire), len(made.wire) + len(head)


def measure(folder: Path, *, size: str, appends: int, idle_s: float) -> dict[str, Any]:
    found: dict[str, Any] = {"size": size}
    claude = folder / "claude"
    subprocess.run([sys.executable, str(GENERATOR), "7", size, str(claude), "--no-edge"], check=True, capture_output=True)
    with site(folder) as place:
        relay = place.relay()
        key = place.key(relay, "read")
        expected = sessions_in(claude, folder / "counting")
        home = folder / "agent"
        command("local_agent", "pair", relay.url, "-", "--home", str(home), text=place.key(relay, "push", source="laptop"))
        port = free_port()
        agent = Running(["local_agent", "run", "--home", str(home), "--port", str(port), "--no-defaults", "--transcripts", str(claude)], port, folder / "agent.log")
        place.started.append(agent)
        began = time.perf_counter()
        agent.start()
        until(lambda: get(f"{relay.url}/sessions?limit=1", key=key)["total"] >= expected and in_sync(agent), "the first complete push", seconds=120)
        found["first_push_s"] = time.perf_counter() - began
        assert agent.process is not None
        pid = agent.process.pid
        found["first_push_cpu_s"] = cpu_s(pid)
        found["sessions"] = expected
        time.sleep(3)
        before = cpu_s(pid)
        time.sleep(idle_s)
        found["idle_cpu_percent"] = (cpu_s(pid) - before) / idle_s * 100
        found["resident_mib"] = resident_mib(pid)
        found["waits"] = way_to_the_feed(relay, key, Talk(claude), appends)
        found["resident_after_mib"] = resident_mib(pid)
    return found


def sessions_in(claude: Path, home: Path) -> int:
    """As many as an agent of its own finds."""
    words = [sys.executable, "-m", "local_agent", "once", "--json", "--home", str(home), "--no-defaults", "--transcripts", str(claude)]
    return int(json.loads(subprocess.run(words, cwd=ROOT, capture_output=True, check=False).stdout)["records"]["session"])


def in_sync(agent: Running) -> bool:
    return bool((get(f"{agent.url}/api/status").get("relay") or {}).get("state") == "synced")


def figures(*, quick: bool = False) -> list[Figure]:
    """The table's rows. Raises RuntimeError where the generator of transcripts is missing."""
    if not GENERATOR.exists():
        raise RuntimeError(f"no transcript generator at {GENERATOR}: name its folder in SESSION_RELAY_DATA")
    with tempfile.TemporaryDirectory(prefix="bench-agent-") as place:
        found = measure(Path(place), size="6MB" if quick else "50MB", appends=8 if quick else 40, idle_s=10.0 if quick else 60.0)
    wire, whole = bytes_of_a_change()
    waits = found["waits"]
    return [
        Figure(f"agent start to first complete push, {found['size']} of transcripts, {found['sessions']} sessions", found["first_push_s"], "s"),
        Figure("the same, CPU of the agent", found["first_push_cpu_s"], "s"),
        Figure("agent's CPU in an idle minute, of one core", found["idle_cpu_percent"], "%", "< 1"),
        Figure("agent resident, idle", found["resident_mib"], "MiB", "< 60"),
        Figure("agent resident after live work", found["resident_after_mib"], "MiB", "< 60"),
        Figure("push of one changed session, body on the wire", wire, "bytes", "< 1024"),
        Figure("push of one changed session, with its headers", whole, "bytes", "< 1024"),
        Figure("appended line → relay's feed, p50", statistics.median(waits), "s", "< 1"),
        Figure("appended line → relay's feed, p99", percentile(waits, 0.99), "s", "never > 3"),
        Figure("appended line → relay's feed, longest", max(waits), "s", "never > 3"),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    for figure in figures(quick=parser.parse_args().quick):
        print(figure.line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
