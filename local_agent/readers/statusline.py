"""Picks up what the status line left: the official limits of Claude Code's accounts."""
from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from local_agent.archive import Archive, Step
from local_agent.readers import limits
from local_agent.readers.limits import Reading
from local_agent.readers.report import ABSENT, OK, Report
from local_agent.statusline import FOLDER

TOOL = "claude_code"
KEPT_MS = 9 * 24 * 3600 * 1000
"""A note older than the longest window says nothing any more."""
LARGEST = 64 * 1024


class StatuslineReader:
    """Reads the notes in the agent's *home*; *account_of* names the account of a transcript's configuration folder."""

    name = "statusline"

    def __init__(self, home: Path, account_of: Callable[[Path | None], str]) -> None:
        self._folder = home / FOLDER
        self._account_of = account_of
        self._seen: dict[str, tuple[int, int]] = {}

    def watch_paths(self) -> list[Path]:
        """The notes' folder, made where it is not there yet, so that the first note is seen at once."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            return []
        return [self._folder]

    def poll(self, archive: Archive, now_ms: int) -> Report:
        """Keep the newest reading of each account's windows."""
        notes, changed, skipped = self._new_notes(now_ms), 0, 0
        if notes:
            with archive.step() as step:
                for path in notes:
                    kept = self._take(step, path)
                    changed, skipped = changed + (kept or 0), skipped + (kept is None)
        return Report(changed, OK if self._seen or notes else ABSENT, "", {}, {"damaged note": skipped} if skipped else {})

    def _new_notes(self, now: int) -> list[Path]:
        found = []
        try:
            entries = sorted(os.scandir(self._folder), key=lambda entry: entry.name)
        except OSError:
            return []
        for entry in entries:
            if not entry.name.endswith(".json") or not entry.is_file(follow_symlinks=False):
                continue
            state = entry.stat(follow_symlinks=False)
            if now - state.st_mtime_ns // 1_000_000 > KEPT_MS:
                Path(entry.path).unlink(missing_ok=True)
                self._seen.pop(entry.name, None)
            elif self._seen.get(entry.name) != (state.st_mtime_ns, state.st_size) and state.st_size <= LARGEST:
                self._seen[entry.name] = (state.st_mtime_ns, state.st_size)
                found.append(Path(entry.path))
        return found

    def _take(self, step: Step, path: Path) -> int | None:
        """How many windows of a note were news; None if it is damaged."""
        try:
            note = json.loads(path.read_bytes())
            observed = int(note["observed_at"])
            windows = {str(name): Reading(observed, int(resets), float(used)) for name, (used, resets) in note["windows"].items()}
            account = self._account_of(config_of(str(note["transcript"])))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return sum(limits.keep(step, TOOL, account, name, found, "statusline") for name, found in windows.items())


def config_of(transcript: str) -> Path | None:
    """The configuration folder that a transcript lies in: what stands before its last `projects`."""
    parts = Path(transcript).parts
    if "projects" not in parts:
        return None
    return Path(*parts[: len(parts) - 1 - parts[::-1].index("projects")])
