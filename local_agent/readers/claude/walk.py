"""Which transcript files there are, and which of them changed.

A full walk lists every folder. After that a folder is listed again only when its own time changed, recently written
files are looked at each time, and a slow sweep behind that looks at a few of the others, so that nothing is
missed for long where the system cannot tell us of changes.
"""
from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from local_agent.readers import pathtext

if TYPE_CHECKING:
    import sqlite3

SUFFIX = ".jsonl"
HOT = 20
SWEPT = 8
SETTLED_NS = 2_000_000_000
"""A folder that changed so shortly before it was listed may have changed again within the same tick of the clock."""
DESKTOP = "local-agent-mode-sessions"
DEEPEST = 6


class Root(NamedTuple):
    """A folder of projects, and the configuration folder it belongs to."""

    projects: str
    config: str


class Seen:
    """One look: files to read, and files that are surely gone."""

    __slots__ = ("files", "gone")

    def __init__(self) -> None:
        self.files: list[str] = []
        self.gone: list[str] = []


def roots_of(folders: Iterable[str | os.PathLike[str]]) -> list[Root]:
    """The folders of projects behind what a person or the tool's own variable named."""
    found: dict[str, Root] = {}
    for folder in folders:
        for projects in _projects_of(os.path.normpath(folder)):
            above, name = os.path.split(projects)
            found.setdefault(os.path.realpath(projects), Root(projects, above if name == "projects" else projects))
    return list(found.values())


def not_there(folders: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Those of *folders* that hold no folder of projects."""
    return [os.fspath(folder) for folder in folders if not any(map(os.path.isdir, _projects_of(os.path.normpath(folder))))]


def _projects_of(folder: str) -> list[str]:
    name = os.path.basename(folder)
    if name == DESKTOP:
        return _below(folder, DEEPEST)
    below = os.path.join(folder, "projects")
    return [below] if os.path.isdir(below) or name != "projects" else [folder]


def _below(folder: str, depth: int) -> list[str]:
    """Claude Desktop keeps a configuration folder for each of its sessions, a few folders down."""
    try:
        inner = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []
    found = [os.path.join(folder, name) for name in inner if name == "projects"]
    if depth:
        for name in inner:
            if name != "projects":
                found += _below(os.path.join(folder, name), depth - 1)
    return found


def _leads_on(link: os.DirEntry[str]) -> bool:
    """Whether a link leads to a folder, or round in circles: the system tells of that as an error, and the folder that holds the link is sound."""
    try:
        return link.is_dir()
    except OSError:
        return True


def own_session(root: str, path: str) -> str:
    """The session that a path names: the file's, or that of the folder it lies in."""
    parts = pathtext.shown(path[len(root) + 1 :]).split(os.sep)
    if len(parts) <= 2:
        return parts[-1].removesuffix(SUFFIX)
    return parts[1] if len(parts) == 3 or parts[2] == "subagents" else parts[-2]


class Walk:
    """Knows the folders of some roots. *known* says whether a file was read as it is now (its size and time)."""

    def __init__(self, roots: list[Root], *, clock_ns: Callable[[], int]) -> None:
        self.roots, self._clock_ns = roots, clock_ns
        self.folders: dict[str, int] = {}
        self.inside: dict[str, set[str]] = {}
        self.unreadable: dict[str, str] = {}
        self.links: set[str] = set()
        self.changed_folders: set[str] = set()
        self._hot: deque[str] = deque(maxlen=HOT)
        self._sweep: list[str] = []
        self._expecting = False

    def meet(self, roots: list[Root]) -> None:
        """These are the roots now; what was read below others stays."""
        known = {root.projects for root in self.roots}
        self.roots += [root for root in roots if root.projects not in known]

    def root_of(self, path: str) -> Root | None:
        return next((root for root in self.roots if path.startswith(root.projects + os.sep)), None)

    def would_have_seen(self, path: str) -> bool:
        """Whether a full walk looked where *path* was: an unreadable folder or an unmounted disk says nothing."""
        folder = os.path.dirname(path)
        while folder not in self.folders:
            if folder in self.unreadable or os.path.isdir(folder):
                return False
            above = os.path.dirname(folder)
            if above == folder:
                return False
            folder = above
        return True

    def absent(self) -> bool:
        return not any(os.path.isdir(root.projects) for root in self.roots)

    def full(self) -> list[str]:
        """Every file below every root, sub-folders first."""
        found: list[str] = []
        for root in self.roots:
            if os.path.isdir(root.projects):
                self._list(root.projects, found)
        return found

    def resume(self, folders: Mapping[str, int]) -> None:
        """Go on where another process left off: these folders were listed at their times."""
        self.folders = dict(folders)
        self.inside = {folder: set() for folder in folders}

    def holds(self, files: Iterable[str]) -> None:
        """What lies in folders that were listed by another process."""
        for path in files:
            folder = os.path.dirname(path)
            if folder in self.inside:
                self.inside[folder].add(path)

    def look_into(self, folders: Iterable[str]) -> list[str]:
        """Every file in these folders, and below those of their folders that are new."""
        found: list[str] = []
        for folder in folders:
            self._list(folder, found, deep=False)
        return found

    def _list(self, folder: str, found: list[str], *, deep: bool = True) -> None:
        now = self._clock_ns()
        try:
            before = os.stat(folder).st_mtime_ns
            with os.scandir(folder) as entries:
                inner: list[str] = []
                files: list[str] = []
                for entry in entries:
                    transcript = entry.name.endswith(SUFFIX)
                    if transcript and entry.is_file(follow_symlinks=False):
                        files.append(entry.path)
                    elif entry.is_dir(follow_symlinks=False):
                        inner.append(entry.path)
                    elif entry.is_symlink() and (transcript or _leads_on(entry)):
                        self.links.add(entry.path)
        except OSError as error:
            self.unreadable[folder] = "no permission" if isinstance(error, PermissionError) else "unreadable"
            return
        self.unreadable.pop(folder, None)
        for path in inner:
            if deep or path not in self.folders:
                self._list(path, found)
        self.folders[folder] = before if before < now - SETTLED_NS else 0
        self.inside[folder] = set(files)
        self.changed_folders.add(folder)
        found += files

    def told(self, paths: Iterable[str]) -> list[str]:
        """The files behind paths that somebody saw change: transcripts below a root, and all of a folder that is new or unclear."""
        found: list[str] = []
        for path in paths:
            if path.endswith(SUFFIX):
                if os.path.dirname(path) in self.folders and not os.path.islink(path):
                    self.inside[os.path.dirname(path)].add(path)
                    found.append(path)
            elif (path in self.folders or os.path.dirname(path) in self.folders) and os.path.isdir(path) and not os.path.islink(path):
                self._list(path, found, deep=path not in self.folders)
        return found

    def changed(self, known: Mapping[str, tuple[int, int]]) -> Seen:
        """What a quick look shows: new files, files that went, and recently written files that grew."""
        seen = Seen()
        seen.files += self._grown(self._opened(), known)
        for folder, time in list(self.folders.items()):
            try:
                if os.stat(folder).st_mtime_ns == time:
                    continue
            except FileNotFoundError:
                self._lost(folder, seen)
                continue
            except OSError:
                continue
            before = self.inside.get(folder, set())
            found: list[str] = []
            self._list(folder, found, deep=False)
            seen.files += [path for path in found if path not in known or path not in before]
            if folder not in self.unreadable:
                seen.gone += sorted(before - self.inside[folder])
        seen.files += self._grown([*self._hot, *self._some_others(known)], known)
        return seen

    def _opened(self) -> list[str]:
        """All files of roots that were not there before, and of folders that could not be read."""
        found: list[str] = []
        for folder in {*self.unreadable, *(root.projects for root in self.roots if root.projects not in self.folders)}:
            if os.path.isdir(folder):
                self._list(folder, found, deep=folder not in self.folders)
            else:
                self.unreadable.pop(folder, None)
        return found

    def _lost(self, folder: str, seen: Seen) -> None:
        """A folder that is gone; its files are gone with it only if the place where it was can still be seen."""
        if os.path.isdir(os.path.dirname(folder)):
            seen.gone += sorted(self.inside.get(folder, ()))
            self.folders.pop(folder)
            self.inside.pop(folder, None)
            self.changed_folders.add(folder)

    def _some_others(self, known: Mapping[str, tuple[int, int]]) -> list[str]:
        if not self._sweep:
            self._sweep = list(known)
        some, self._sweep = self._sweep[-SWEPT:], self._sweep[:-SWEPT]
        return [path for path in some if path not in self._hot]

    def _grown(self, paths: Iterable[str], known: Mapping[str, tuple[int, int]]) -> list[str]:
        found = []
        for path in paths:
            try:
                status = os.lstat(path)
            except OSError:
                continue
            if known.get(path) != (status.st_size, status.st_mtime_ns):
                found.append(path)
        return found

    def keep(self, sql: sqlite3.Connection, *, finished: bool) -> None:
        """Remember the folders as they were listed, once everything in them was read: a later process need only look at their times."""
        if finished and self.changed_folders:
            sql.executemany("DELETE FROM claude_folders WHERE path = ?", [(pathtext.kept(folder),) for folder in self.changed_folders])
            kept = [(pathtext.kept(folder), self.folders[folder]) for folder in self.changed_folders if folder in self.folders]
            sql.executemany("INSERT INTO claude_folders VALUES (?, ?)", kept)
            self.changed_folders = set()

    def expect(self, known: Mapping[str, tuple[int, int]]) -> None:
        """At the start, the files that were written last are those that will grow."""
        self._expecting = True
        self._hot.extend(sorted(known, key=lambda path: known[path][1])[-HOT:])

    def touched(self, path: str) -> None:
        """A file that was just read because it grew will grow again."""
        if self._expecting and path not in list(self._hot)[-1:]:
            if path in self._hot:
                self._hot.remove(path)
            self._hot.append(path)
