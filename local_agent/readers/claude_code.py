"""Claude Code's transcripts: every answer of the API counted once, whatever wrote it down how often.

Each look commits in steps; a step is one transaction that holds the lines, the places up to which files were read, and
the sessions that they change. A kill between two steps costs nothing, one within a step a second reading.
"""
from __future__ import annotations

import gc
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from typing import TYPE_CHECKING

from ledger.errors import Full
from local_agent.archive import Archive, Step
from local_agent.readers import pathtext, sessions
from local_agent.readers.claude import tables
from local_agent.readers.claude.ahead import Ahead, Since
from local_agent.readers.claude.batch import Batch
from local_agent.readers.claude.bodies import body_of, key_of, parts_of
from local_agent.readers.claude.book import Book
from local_agent.readers.claude.files import File, Files
from local_agent.readers.claude.intake import Intake
from local_agent.readers.claude.pack import Threshold
from local_agent.readers.claude.scan import Scanner
from local_agent.readers.claude.walk import Seen, Walk, not_there, roots_of
from local_agent.readers.report import ABSENT, OK, UNREADABLE, Report

if TYPE_CHECKING:
    from pathlib import Path

    from ledger.prices import Thresholds

NAME = "claude_code"
STEP_LINES = 2_500
STEP_BYTES = 256 << 20
STEP_FILES = 1_000
"""Files that hold next to nothing are many sessions, all of which a step holds until its end."""
LOOK_EVERY_MS = 10_000
"""How often to look for ourselves while somebody tells us what changes."""
PRIVACY, PLAIN = "privacy of claude_code", "names"
"""Archives hold plain names; one of an earlier version may say here that it held them by another rule."""
NAMED = 3
MANY = 100
"""So many unreadable places are named; the others are counted."""


class ClaudeReader:
    """Reads the transcripts below *folders* (configuration folders or their `projects`). *account_of* says whose one is.

    Of *folders*, those that a person *named* are missed where they are not there.
    """

    name = NAME

    def __init__(
        self, folders: Iterable[str | Path], *, named: Iterable[Path] = (), book: Thresholds | None = None, account_of: Callable[[Path], str] | None = None,
        clock_ns: Callable[[], int] = time.time_ns, ahead: Ahead | Since | None = None,
    ) -> None:  # fmt: skip
        """*ahead* is a look at the same folders that began already: an Ahead counts where nothing was read before, a Since where everything was."""
        self._ahead = ahead
        self._folders, self._named, self._account_of, self._clock_ns = tuple(folders), tuple(named), account_of, clock_ns
        self._threshold: Threshold = book.long_threshold if book else lambda model, at: None
        self._walk: Walk | None = None
        self._book: Book | None = None
        self._files = Files()
        self._intake: Intake | None = None
        self._hints: deque[str] = deque()
        self.watched = False
        self._looked_at = self._met_at = 0
        self._said: tuple[object, Report] | None = None

    # -- what others ask

    def watch_paths(self) -> list[Path]:
        """Every folder in which a transcript may appear or grow."""
        from pathlib import Path

        if self._walk is None:
            return [Path(root.projects) for root in roots_of(self._folders) if os.path.isdir(root.projects)]
        return [Path(folder) for folder in list(self._walk.folders)]  # the reading thread may add to them

    def touched(self, path: str) -> None:
        """Something happened to *path*; the next look reads it at once. Safe to call from another thread.

        Whoever calls this for every change may set *watched*: then looks go by what they are told.
        """
        self._hints.append(path)

    def poll(self, archive: Archive, now_ms: int) -> Report:
        """Take over what changed. Never raises for anything that a file may hold or be."""
        try:
            changed = self._poll(archive, now_ms)
        except Full as error:
            self._book = None
            return Report(0, OK, str(error), *self._counts())
        except BaseException:
            self._book = None  # what is in memory may be ahead of what was committed
            raise
        return self._report(changed)

    def _poll(self, archive: Archive, now: int) -> int:
        first = self._book is None
        if first:
            self._open(archive)
        assert self._walk is not None and self._intake is not None
        self._intake.look()
        known = self._files.known
        hints = {self._hints.popleft() for _ in range(len(self._hints))}
        paths: list[str]
        if first:
            self._looked_at = self._met_at = now
            paths = sorted(self._ahead.paths if self._ahead else self._walk.full(), key=_inner_first)
            gone = self._files.missing(paths, self._walk) if not self._ahead or self._ahead.whole else []
            paths = [path for path in paths if path not in known or self._looks_changed(path)]
        else:
            # What we are told of is read at once; a look of our own stands behind that.
            told = [path for path in self._walk.told(hints) if path in hints or self._looks_changed(path)]
            seen = Seen()
            if not self.watched or abs(now - self._looked_at) >= LOOK_EVERY_MS:
                if abs(now - self._met_at) >= LOOK_EVERY_MS:
                    self._met_at = now
                    self._walk.meet(roots_of(self._folders))
                self._looked_at = now
                seen = self._walk.changed(known)
            paths, gone = list(dict.fromkeys([*told, *seen.files])), seen.gone
        changed = self._read(archive, paths) + self._tell_gone(archive, gone) + (self._tell_names(archive) if first else 0)
        if first:
            self._walk.expect(known)
        return changed

    def _open(self, archive: Archive) -> None:
        with archive.step() as step:
            if tables.prepare(step.sql):
                step.sql.execute("INSERT OR REPLACE INTO agent_notes VALUES (?, ?)", (PRIVACY, PLAIN))
            self._files.load(step.sql)
            book = Book()
            book.load(step.sql, self._files.by_path.values())
        ahead = self._ahead = self._usable_ahead()
        self._walk = ahead.walk if ahead else Walk(roots_of(self._folders), clock_ns=self._clock_ns)
        if ahead and not ahead.whole:
            ahead.walk.holds(self._files.known)
        self._book = book
        self._intake = Intake(self._files, self._walk, book, ahead.scanner if ahead else Scanner(self._threshold), self._account_of)

    def _usable_ahead(self) -> Ahead | Since | None:
        ahead = self._ahead
        if ahead is not None and (ahead.whole == bool(self._files.by_path) or self._walk is not None):
            ahead.dismiss()
            return None
        return ahead

    def _looks_changed(self, path: str) -> bool:
        try:
            status = os.lstat(path)
        except OSError:
            return True
        return self._files.known.get(path) != (status.st_size, status.st_mtime_ns)

    # -- reading

    def _read(self, archive: Archive, paths: list[str]) -> int:
        if not paths:
            return 0
        assert self._intake is not None
        collecting = gc.isenabled() and len(paths) > MANY
        try:
            if collecting:
                gc.disable()  # a first reading makes a million objects, none of them in circles
            ahead, self._ahead = self._ahead, None
            with closing(self._intake.readings(paths, ahead.helper if ahead else None)) as found:
                return self._read_all(archive, found)
        finally:
            if collecting:
                gc.enable()

    def _read_all(self, archive: Archive, found: Generator[tuple[File, Batch]]) -> int:
        changed = 0
        more = True
        while more:
            with archive.step() as step:
                more = self._step(step, found)
                changed += len(step.puts) + len(step.gone)
            self._book.end()  # type: ignore[union-attr]
        return changed

    def _step(self, step: Step, found: Generator[tuple[File, Batch]]) -> bool:
        """Take over what was found until there is enough for one transaction; False when nothing is left."""
        book, files = self._book, self._files
        assert book is not None and self._walk is not None
        book.begin(step.sql)
        files.begin()
        lines = read = files_read = 0
        more = False
        for file, batch in found:
            book.take(file, batch)
            files.keep(step.sql, book, file, batch)
            self._limits(step, file, batch)
            lines += batch.lines
            read += batch.end - batch.start
            files_read += not batch.more
            if lines >= STEP_LINES or read >= STEP_BYTES or files_read >= STEP_FILES:
                more = True
                break
        book.flush()
        files.flush(step.sql)
        self._walk.keep(step.sql, finished=not more)
        self._hand_over(step, sorted(book.totals.touched | files.touched))
        return more

    def _hand_over(self, step: Step, touched: list[int]) -> None:
        book = self._book
        assert book is not None
        for session, parts in parts_of(step.sql, touched).items():
            name = self._files.session_name(book, session)
            key, body = key_of(name), body_of(book, name, parts)
            if body is None:
                sessions.unobserve(step, key)
                continue
            if session in book.totals.fresh:
                step.fresh.add(key)
            sessions.observe(step, key, body)

    # -- what else changes

    def _limits(self, step: Step, file: File, batch: Batch) -> None:
        if not batch.errors:
            return
        from local_agent.readers import limits
        from local_agent.readers.claude.resets import reset_in

        for raw in batch.errors:
            found = reset_in(raw)
            if found is not None:
                limits.keep(step, self.name, file.account, "five_hour", found, "message")

    def _tell_gone(self, archive: Archive, gone: list[str]) -> int:
        """Files that their tool has cleaned up: what was derived from them stays, and says so."""
        lost = [path for path in gone if path in self._files.by_path and not self._files.by_path[path].gone]
        if not lost:
            return 0
        assert self._book is not None
        with archive.step() as step:
            self._book.begin(step.sql)
            self._hand_over(step, sorted(self._files.lose(step.sql, lost)))
            changed = len(step.puts)
        self._book.end()
        return changed

    def _tell_names(self, archive: Archive) -> int:
        """Told by another rule than plainly, by an earlier version? Then every session is told anew."""
        if archive.note(PRIVACY) == PLAIN:
            return 0
        assert self._book is not None
        with archive.step() as step:
            self._book.begin(step.sql)
            self._hand_over(step, sorted(self._book.sessions.values()))
            step.sql.execute("INSERT OR REPLACE INTO agent_notes VALUES (?, ?)", (PRIVACY, PLAIN))
            changed = len(step.puts)
        self._book.end()
        return changed

    # -- what to report

    @property
    def _broken(self) -> dict[str, str]:
        return self._intake.broken if self._intake else {}

    def _counts(self) -> tuple[dict[str, int], dict[str, int]]:
        skipped = Counter(self._files.skipped)
        skipped.update(self._broken.values())
        if self._walk is not None:
            skipped.update(f"{why} folder" if why == "unreadable" else why for why in self._walk.unreadable.values())
            skipped["link not followed"] += len(self._walk.links)
            skipped["named folder not there"] += len(not_there(self._named))
        counted = {"files": len(self._files.by_path), "sessions": len(self._book.sessions) if self._book else 0}
        return counted, {why: n for why, n in skipped.items() if n}

    def _report(self, changed: int) -> Report:
        """Nearly every look can say what the last one said."""
        assert self._walk is not None and self._book is not None
        walk = self._walk
        state = (
            walk.absent(), *not_there(self._named), len(walk.links), tuple(walk.unreadable.items()), tuple(self._broken.items()), len(self._files.by_path), len(self._book.sessions),
            tuple(self._files.skipped.items()),
        )  # fmt: skip
        if self._said is None or self._said[0] != state:
            self._said = state, self._told(0)
        report = self._said[1]
        return Report(changed, report.state, report.detail, report.counted, report.skipped) if changed else report

    def _told(self, changed: int) -> Report:
        assert self._walk is not None
        counted, skipped = self._counts()
        missed = not_there(self._named)
        if self._walk.absent():
            if self._files.by_path:
                return Report(changed, UNREADABLE, "the transcripts' folder is not there; what was known of it stays", counted, skipped)
            return Report(changed, UNREADABLE, _missed(missed), counted, skipped) if missed else Report(changed, ABSENT)
        closed = sorted([*self._walk.unreadable, *self._broken])
        said = [_missed(missed)] if missed else []
        if closed:
            said.append(f"cannot read {_names_of(closed)}: check their permissions; everything else was read")
        state = UNREADABLE if closed and all(root.projects in self._walk.unreadable for root in self._walk.roots) else OK
        return Report(changed, state, "; ".join(said), counted, skipped)


def _missed(folders: list[str]) -> str:
    return f"no projects folder in {_names_of(folders)}, which was named: correct CLAUDE_CONFIG_DIR or --transcripts"


def _names_of(paths: list[str]) -> str:
    """The first of them by their names; where they lie is nobody's business."""
    more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
    return pathtext.shown(", ".join(os.path.basename(path) for path in paths[:NAMED])) + more


def _inner_first(path: str) -> str:
    """By path, but what lies in a session's folder before the session's own file: read so, nearly every line meets only lines that
    count more than it does, and nothing that was counted must be taken back."""
    return path.replace(os.sep, "\0")
