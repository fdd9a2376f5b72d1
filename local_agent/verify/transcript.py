"""Transcripts read plainly and slowly, as a second opinion: every line that may count, with what makes readers differ over it.

This shares nothing with the reader that fills the archive, so that one mistake cannot hide in both.
"""
from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

MARK, TIGHT = b'"usage":', b'"usage":{'
NULL = re.compile(
    rb'"(?:id|cwd|model|speed|costUSD|version|sessionId|requestId|isApiErrorMessage|cache_read_input_tokens|cache_creation_input_tokens)":null'
)
ESCAPES = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?(Z|[+-]\d\d:\d\d)")
VERSION = re.compile(r"\d+\.\d+\.\d+")

NULLS, BYTES, TWICE, SPACED = "null", "text", "twice", "spaced"
"""Reasons for which ccusage drops a line that we count."""

Counts = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Seen:
    """One line about one answer. *place* orders the lines of a home; *path_session* is the one its file's name means."""

    place: int
    path: str
    path_session: str
    session: str
    at: int
    id: str | None
    request: str | None
    side: bool
    echo: bool
    model: str
    fast: bool
    speed: bool
    counts: Counts
    quirks: frozenset[str]

    @property
    def tokens(self) -> int:
        return sum(self.counts)


class Twice(dict):  # type: ignore[type-arg]
    """An object in which a key stood twice."""


def lines(roots: Sequence[Path]) -> Iterator[Seen]:
    """Every line of every transcript below *roots*, files by path."""
    place = 0
    for root in roots:
        projects = projects_of(root)
        for path in sorted(_transcripts(projects)):
            own = path_session(projects, path)
            for raw in _raw(path):
                seen = understand(raw, place, own, os.path.normpath(path))
                place += 1
                if seen:
                    yield seen


def projects_of(root: Path) -> Path:
    return root / "projects" if root.name != "projects" and (root / "projects").is_dir() else root


def _transcripts(projects: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(projects):
        for name in names:
            path = Path(folder, name)
            if name.endswith(".jsonl") and not path.is_symlink():
                yield path


def path_session(projects: Path, path: Path) -> str:
    """The session as ccusage takes it from where a file lies."""
    parts = path.relative_to(projects).parts
    if len(parts) <= 2:
        return path.stem
    return parts[-3] if len(parts) > 3 and parts[-2] == "subagents" else parts[-2]


def _raw(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from (line for line in file if MARK in line)
    except OSError:
        return


def understand(raw: bytes, place: int, own: str, path: str = "") -> Seen | None:
    """The answer in a line, or None if it holds none that anybody could count."""
    try:
        entry = json.loads(raw.decode("utf-8", "replace"), object_pairs_hook=_object)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict):
        return None
    echo = "message" not in entry
    outer = _inner(_inner(entry, "data"), "message") if echo else entry
    message = _inner(outer, "message")
    usage = _inner(message, "usage")
    at = _moment(outer.get("timestamp") or entry.get("timestamp"))
    counts = _counts(usage)
    names: list[Any] = [message.get("id"), outer.get("requestId"), message.get("model"), entry.get("sessionId"), entry.get("version")]
    cost = entry.get("costUSD")
    if at is None or counts is None or any(name is not None and (not isinstance(name, str) or not name) for name in names):
        return None
    if (names[4] and not VERSION.match(names[4])) or usage.get("speed") not in (None, "standard", "fast"):
        return None
    if cost is not None and (isinstance(cost, bool) or not isinstance(cost, (int, float))):
        return None
    return Seen(
        place, path, own, names[3] or own, at, names[0], names[1], outer.get("isSidechain") is True, echo, names[2] or "unknown",
        usage.get("speed") == "fast", usage.get("speed") is not None, counts, _quirks(raw, entry, message, usage),
    )  # fmt: skip


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else Twice(found)


def _inner(entry: object, name: str) -> dict[str, object]:
    found = entry.get(name) if isinstance(entry, dict) else None
    return found if isinstance(found, dict) else {}


def _moment(text: object) -> int | None:
    if not isinstance(text, str) or not TIME.fullmatch(text):
        return None
    try:
        return round(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        return None


def _counts(usage: dict[str, object]) -> Counts | None:
    """(input, output, write for 5 minutes, write for an hour, read); None if one is no count."""
    reading, writing = usage.get("input_tokens"), usage.get("output_tokens")
    nested = usage.get("cache_creation")
    total = usage.get("cache_creation_input_tokens")
    split = [nested.get(f"ephemeral_{life}_input_tokens", 0) for life in ("5m", "1h")] if isinstance(nested, dict) else [0 if total is None else total, 0]
    cached = usage.get("cache_read_input_tokens")
    found = [reading, writing, *split, 0 if cached is None else cached]
    if any(isinstance(each, bool) or not isinstance(each, int) or each < 0 for each in found):
        return None
    return tuple(found)  # type: ignore[return-value]


def _quirks(raw: bytes, entry: object, message: object, usage: dict[str, object]) -> frozenset[str]:
    found = set()
    if NULL.search(raw):
        found.add(NULLS)
    if _is_odd_text(raw):
        found.add(BYTES)
    if any(isinstance(each, Twice) for each in (entry, message, usage, usage.get("cache_creation"))):
        found.add(TWICE)
    if TIGHT not in raw:
        found.add(SPACED)
    return frozenset(found)


def _is_odd_text(raw: bytes) -> bool:
    """Bytes that are not UTF-8, or half of a surrogate pair."""
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return True
    if b"\\ud" not in raw and b"\\uD" not in raw:
        return False
    end = None  # where the second half of a pair must begin
    for found in ESCAPES.finditer(raw):
        unit = int(found.group(1), 16) if found.group(1) else 0
        if (0xDC00 <= unit < 0xE000) != (end == found.start()) or end not in (None, found.start()):
            return True
        end = found.end() if 0xD800 <= unit < 0xDC00 else None
    return end is not None
