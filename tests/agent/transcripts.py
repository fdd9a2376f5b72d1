"""Transcript homes for tests: lines as Claude Code writes them, and what an archive makes of them."""
from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local_agent.archive import LOCAL, Archive
from local_agent.readers.claude_code import ClaudeReader

NOW = 1_795_000_000_000
"""A fixed moment (November 2026) that tests call now."""
OPUS = "claude-opus-4-7"
Counted = dict[tuple[Any, ...], tuple[int, ...]]


def usage(i: int = 10, o: int = 20, w: int = 30, r: int = 40, **more: object) -> dict[str, object]:
    return {"input_tokens": i, "cache_creation_input_tokens": w, "cache_read_input_tokens": r, "output_tokens": o, **more}


def line(
    name: str | None, o: int = 20, *, request: str | None = "same", session: str = "11111111-1111-4111-8111-111111111111", at: int = NOW - 3_600_000,
    side: bool = False, model: str = OPUS, cwd: str = "/home/alice/code/relay", used: dict[str, object] | None = None, **more: object,
) -> dict[str, Any]:
    """An answer's line; *request* "same" belongs to the answer, None names none."""
    found: dict[str, Any] = {
        "parentUuid": None, "isSidechain": side, "userType": "external", "cwd": cwd, "sessionId": session, "version": "2.1.140", "gitBranch": "main",
        "message": {"model": model, "id": name, "type": "message", "role": "assistant", "content": [{"type": "text", "text": "hello"}],
                    "usage": used or usage(o=o)},
        "requestId": f"req_{name}" if request == "same" else request, "type": "assistant", "uuid": f"u-{name}-{o}", "timestamp": iso(at), **more,
    }  # fmt: skip
    if name is None:
        del found["message"]["id"]
    if request is None:
        del found["requestId"]
    return found


def echo(inner: dict[str, Any]) -> dict[str, Any]:
    """The progress line in which a parent's transcript repeats a sub-agent's answer."""
    told = {"type": "assistant", "timestamp": inner["timestamp"], "message": inner["message"], "requestId": inner.get("requestId")}
    return {"type": "progress", "sessionId": inner["sessionId"], "version": inner["version"], "timestamp": inner["timestamp"],
            "data": {"type": "agent_progress", "message": told}}  # fmt: skip


def iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def raw(*lines: dict[str, Any] | bytes) -> bytes:
    return b"".join((each if isinstance(each, bytes) else json.dumps(each, separators=(",", ":"), ensure_ascii=False).encode()) + b"\n" for each in lines)


class Home:
    """A Claude Code home in a test's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "projects" / "-home-alice-code-relay").mkdir(parents=True, exist_ok=True)

    def path(self, name: str = "11111111-1111-4111-8111-111111111111.jsonl") -> Path:
        return self.folder / "projects" / "-home-alice-code-relay" / name

    def write(self, *lines: dict[str, Any] | bytes, name: str = "11111111-1111-4111-8111-111111111111.jsonl", mode: str = "ab") -> Path:
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open(mode) as file:
            file.write(raw(*lines))
        return path


class Desk:
    """An archive with a reader of some homes; look() is one look, read() what it holds afterwards."""

    def __init__(self, path: Path, *homes: Path, **how: Any) -> None:
        self.path, self.homes, self.how = path, homes, how
        self.archive = Archive(path, source="laptop", clock=lambda: NOW)
        self.reader = ClaudeReader(homes, **how)

    def look(self) -> Any:
        return self.reader.poll(self.archive, NOW)

    def again(self) -> Desk:
        """A new process on the same archive."""
        self.archive.close()
        return Desk(self.path, *self.homes, **self.how)

    def close(self) -> None:
        self.archive.close()

    def bodies(self, kind: str = "session") -> dict[str, dict[str, Any]]:
        return {row.ref.id: json.loads(row.body) for row in self.archive.store.rows(LOCAL, "laptop", kind=kind)}

    def rows(self) -> list[list[Any]]:
        """All usage rows, with the session's key in front."""
        older = [[body["session"], *row] for body in self.bodies("usage").values() for row in body["usage"]]
        return sorted(older + [[key, *row] for key, body in self.bodies().items() for row in body["usage"]], key=str)

    def state(self) -> Any:
        """All that must not depend on how it was read."""
        return self.bodies(), self.bodies("usage"), self.days()

    def days(self) -> Counted:
        """By UTC day and model, from the sums that are kept: answers, input, output, cache writes, cache reads."""
        return counted(self.archive.store.connection())


def counted(sql: sqlite3.Connection) -> Counted:
    found: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * 5)
    query = "SELECT day, model, price_class, requests, input, output, write_5m + write_1h, read FROM claude_days JOIN claude_classes ON id = class"
    for day, model, name, *amounts in sql.execute(query):
        _add(found, (utc_day(day * 86_400_000), named(model, name)), amounts)
    return whole(found)


def from_rows(rows: list[list[Any]]) -> Counted:
    found: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * 5)
    for _, at, _, _, model, name, i, o, w5, w1, r, n, _ in rows:
        _add(found, (utc_day(at), named(model, name)), (n, i, o, w5 + w1, r))
    return whole(found)


def truth_of(home: Path) -> Counted:
    told = json.loads((home / "truth.json").read_text())["randomSessions"]["byUtcDayAndModel"]
    names = ("answers", "inputTokens", "outputTokens", "cacheCreationTokens", "cacheReadTokens")
    return {(row["date"], row["model"]): tuple(row[name] for name in names) for row in told}


def named(model: str, price_class: str) -> str:
    return model + ("-fast" if "fast" in price_class.split("+") else "")


def utc_day(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).date().isoformat()


def _add(found: dict[tuple[Any, ...], list[int]], key: tuple[Any, ...], amounts: Any) -> None:
    for n, amount in enumerate(amounts):
        found[key][n] += amount


def whole(found: dict[tuple[Any, ...], list[int]]) -> Counted:
    return {key: tuple(amounts) for key, amounts in found.items() if any(amounts)}


def read_alone(path: Path, *homes: Path, **how: Any) -> Any:
    """What a reader that never saw these homes before makes of them."""
    with closing(Desk(path, *homes, **how)) as desk:
        desk.look()
        return desk.state()
