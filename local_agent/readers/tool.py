"""What the readers of all tools with session files share: find the files, read on in each, hand over the sessions that changed.

A tool is a module that says where its files are, what a file adds and what a session's answers are; here it
is decided when to look, what is kept, and that a damaged file stops nothing but itself.
"""
from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ledger.account import DEFAULT
from ledger.declared import UUID
from local_agent.archive import Archive, Step
from local_agent.readers import answers, limits, pathtext, sessions
from local_agent.readers.answers import Answers, File, Found
from local_agent.readers.lines import Place
from local_agent.readers.report import ABSENT, OK, UNREADABLE, Report
from local_agent.readers.usage import Answer, rows

if TYPE_CHECKING:
    from ledger.prices import Thresholds

Facts = dict[str, object]
MOST_AT_ONCE = 200
"""Files whose findings are committed together: sessions of many small files are added up once for all of them."""
LISTED_EVERY_MS = 25_000
"""A watched folder is listed this often all the same: a watch may miss what a folder that is just being made holds."""


class Later(Exception):
    """A file that cannot be read now, though nothing is wrong with it."""


@dataclass(frozen=True, slots=True)
class Looked:
    """A file that was read and what it adds, on the way into the archive."""

    path: Path
    rank: int
    before: File | None
    found: Found


@dataclass(slots=True)
class Walked:
    """The folders that a listing went through, and those that it could not look into."""

    folders: set[Path] = field(default_factory=set)
    closed: set[str] = field(default_factory=set)


class Tool(Protocol):
    """One tool's files. *name* is its session type; *walked* tells what the last listing went through."""

    name: str
    walked: Walked

    def folders(self) -> list[Path]:
        """Where its files are; the first decides whether the tool is there at all."""
        ...

    def files(self) -> Iterator[tuple[Path, int]]:
        """Every file with its rank: where two tell of one answer, the lower rank is right."""
        ...

    def unchanged(self, path: Path, place: Place) -> bool:
        """Whether there can be nothing new in a file. Raises OSError."""
        ...

    def read(self, path: Path, before: File | None) -> Found:
        """What the file adds to what was read before. Raises OSError or ValueError if it cannot be read, Later if only not now."""
        ...

    def answers(self, known: Answers, session: str, facts: Facts) -> list[Answer]:
        """The answers of a session, each counted once."""
        ...


class ToolReader:
    """Reads one tool into the archive. *account* says whose limits its files tell of.

    While somebody watches the folders (*watched*) and nothing happened in them, they are listed only now and then.
    """

    def __init__(self, tool: Tool, *, book: Thresholds | None = None, account: str = DEFAULT) -> None:
        self.name = tool.name
        self._tool, self._book, self._account = tool, book, account
        self._files: dict[str, File] | None = None
        self._broken: dict[str, tuple[str, object]] = {}
        self._sessions = 0
        self.watched = False
        self._hints: set[str] = set()
        self._listed_at = 0
        self._said = Report()

    def watch_paths(self) -> list[Path]:
        """Every folder in which a file may appear or grow, as of the last listing."""
        return sorted({folder for folder in self._tool.folders() if folder.is_dir()} | self._tool.walked.folders)

    def touched(self, path: str) -> None:
        """Something happened to *path*. Safe to call from another thread."""
        if any(path.startswith(str(folder)) for folder in self._tool.folders()):
            self._hints.add(path)

    def poll(self, archive: Archive, now_ms: int) -> Report:
        """Take over what changed. Never raises for anything that a file may hold or be."""
        if self._files is None:
            self._files = self._known(archive)
        if not any(os.path.lexists(folder) for folder in self._tool.folders()):
            return self._report(0, ABSENT if not self._files else UNREADABLE)
        if self.watched and not self._hints and 0 <= now_ms - self._listed_at < LISTED_EVERY_MS:
            return self._said
        self._hints, self._listed_at = set(), now_ms
        changed, looked = 0, []
        for path, rank in self._tool.files():
            looked += self._look(path, rank)
            if len(looked) >= MOST_AT_ONCE:
                changed += self._take(archive, looked)
                looked = []
        changed += self._take(archive, looked)
        if changed:
            self._sessions = Answers(archive.store.connection(), self.name).count()
        self._said = self._report(0)
        return replace(self._said, changed=changed)

    def _known(self, archive: Archive) -> dict[str, File]:
        with archive.step() as step:
            for statement in answers.SCHEMA.split(";"):
                step.sql.execute(statement)
            known = Answers(step.sql, self.name)
            self._sessions = known.count()
            return known.files()

    def _look(self, path: Path, rank: int) -> list[Looked]:
        assert self._files is not None
        before, broken = self._files.get(str(path)), self._broken.get(str(path))
        try:
            if before and before.rank == rank and self._tool.unchanged(path, before.place):
                return []
            if broken and broken[1] == _signature(path):
                return []
            found = self._tool.read(path, before)
        except (OSError, ValueError, Later) as error:
            self._broken[str(path)] = (_reason(error), None if isinstance(error, Later) else _signature(path))
            return []
        self._broken.pop(str(path), None)
        return [Looked(path, rank, before, found)]

    def _take(self, archive: Archive, looked: list[Looked]) -> int:
        """Commit what was read; the sessions it touched are added up anew."""
        if not looked:
            return 0
        assert self._files is not None
        with archive.step() as step:
            known, touched = Answers(step.sql, self.name), set()
            for each in looked:
                touched |= known.keep(each.path, each.rank, each.before, each.found)
                self._keep_limits(step, each.found)
            for session in sorted(touched | known.children(touched)):
                self._hand_over(step, known, session)
            read = {str(each.path): known.file(each.path) for each in looked}
        self._files |= read
        return len(step.puts)

    def _hand_over(self, step: Step, known: Answers, session: str) -> None:
        told = known.facts(session)
        if not told:
            return
        facts: Facts = {name: value for each in reversed(told) for name, value in each.items() if value not in (None, "")}
        counted = self._tool.answers(known, session, facts)
        body = body_of(self.name, session, facts, counted, self._book, self._account)
        if body:
            sessions.observe(step, session if UUID.fullmatch(session) else f"{self.name}:{session}", body)

    def _keep_limits(self, step: Step, found: Found) -> None:
        for facts in found.facts.values():
            for window, reading in limits.readings(facts.get("limits")).items():
                limits.keep(step, self.name, self._account, window, reading, "rollout")

    def _report(self, changed: int, state: str = OK) -> Report:
        files = self._files or {}
        skipped = Counter(why for why, _ in self._broken.values())
        for file in files.values():
            skipped.update(file.skipped)
        if self._tool.walked.closed:
            skipped["folder without permission"] = len(self._tool.walked.closed)
        if state == UNREADABLE:
            return Report(changed, state, f"{self._tool.folders()[0].name} is gone; what was known of it stays", self._counted(files), skipped)
        closed = sorted(pathtext.shown(os.path.basename(folder)) for folder in self._tool.walked.closed)
        detail = f"cannot look into {', '.join(closed[:3])}: check the permissions; everything else was read" if closed else ""
        return Report(changed, state, detail, self._counted(files) if files else {}, dict(skipped))

    def _counted(self, files: Mapping[str, File]) -> dict[str, int]:
        return {"files": len(files), "sessions": self._sessions}


def _signature(path: Path) -> object:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _reason(error: Exception) -> str:
    if isinstance(error, Later):
        return "not readable now"
    return "no permission" if isinstance(error, PermissionError) else "unreadable file"


def body_of(tool: str, session: str, facts: Facts, counted: list[Answer], book: Thresholds | None, account: str) -> Facts | None:
    """The session as a record's body; None if nothing is known of when it was."""
    times = [at for at in (facts.get("start"), facts.get("last"), *(answer.at for answer in counted)) if isinstance(at, int)]
    if not times:
        return None
    body: Facts = {
        "id": session, "session_type": tool, "start_time": min(times), "last_activity": max(times), "is_active": False,
        "total_messages": facts.get("messages"), "models_used": list(dict.fromkeys(answer.model for answer in counted)),
        "estimated_tokens": sum(answer.tokens for answer in counted), "project": facts.get("project"), "title": facts.get("title"),
        "git_branch": facts.get("branch"), "account": account, "metadata": facts.get("metadata"), "provenance": "observed",
        "context": facts.get("context"), "usage": rows(counted, book),
    }
    return {name: value for name, value in body.items() if value not in (None, "", 0, [], {}) or name in ("is_active", "usage")}


def tree(root: Path, suffixes: tuple[str, ...], walked: Walked) -> Iterator[Path]:
    """Files below *root* by name, in order; never through a link, so never out of the root or round in circles."""

    def closed(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            walked.closed.add(str(error.filename))

    for folder, folders, names in os.walk(root, onerror=closed):
        walked.folders.add(Path(folder))
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if name.endswith(suffixes) and not path.is_symlink():
                yield path
