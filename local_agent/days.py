"""What was used day by day, from the archive; transcripts are read only if one of them changed.

    python -m local_agent.days ARCHIVE FOLDER...

Prints one line for each UTC day and model: requests, input, output, cache writes, cache reads. Nearly always nothing
changed since the last look, and then this is done before a larger program would have started; so nothing is imported
here that is not needed for that.
"""
from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from types import ModuleType
    from typing import NoReturn

    from local_agent.readers.claude.ahead import Ahead, Since

QUERY = (
    "WITH names AS MATERIALIZED (SELECT id, model || CASE WHEN '+' || price_class || '+' LIKE '%+fast+%' THEN '-fast' ELSE '' END AS name FROM claude_classes),"
    " sums AS (SELECT day, name, sum(requests) AS n, sum(input) AS i, sum(output) AS o, sum(write_5m + write_1h) AS w, sum(read) AS r"
    " FROM claude_days JOIN names ON id = class GROUP BY day, name)"
    " SELECT date(day * 86400, 'unixepoch') || char(9) || name || char(9) || n || char(9) || i || char(9) || o || char(9) || w || char(9) || r || char(10)"
    " FROM sums WHERE n + i + o + w + r ORDER BY day, name"
)
"""Whole lines: spelling them out is most of what a report costs."""


class Look:
    """What a look at all known names shows: the *folders*, with their times, that an earlier process read, and which folders and files changed."""

    def __init__(self, folders: dict[str, int], changed_folders: list[str], changed_files: list[str]) -> None:
        self.folders, self.changed_folders, self.changed_files = folders, changed_folders, changed_files

    def shows_nothing(self) -> bool:
        return not self.changed_folders and not self.changed_files


def look(sql: sqlite3.Connection, folders: list[str]) -> Look | None:
    """Look at every transcript and every folder that was read; None if something is missing, so that only a walk can tell what there is."""
    stat, lstat = os.stat, os.lstat
    try:
        kept = dict(sql.execute("SELECT path, changed FROM claude_folders"))
        if not kept or not all(folder in kept or os.path.join(folder, "projects") in kept for folder in folders):
            return None
        changed_folders = [path for path, changed in kept.items() if stat(path).st_mtime_ns != changed]
        changed_files = []
        for path, size, changed in sql.execute("SELECT path, size, changed FROM claude_files WHERE NOT gone"):
            status = lstat(path)
            if status.st_mtime_ns != changed or status.st_size != size:
                changed_files.append(path)
    except OSError:
        return None
    return Look(kept, changed_folders, changed_files)


def read(archive: str, folders: list[str], seen: Look | None) -> object:
    """Bring the archive up to date. What comes back is what was remembered for that, for whoever has no time to forget it."""
    _load_when_used("inspect")  # what defines our values names it, and asks it for nothing
    ahead: Ahead | Since | None = None
    if seen is not None:
        from local_agent.readers.claude.ahead import Since

        ahead = Since(folders, seen)
    elif not os.path.exists(archive):
        from local_agent.readers.claude.ahead import Ahead

        ahead = Ahead(folders)  # a helper reads while we load the rest of the program

    from ledger.clock import now_ms
    from local_agent.archive import Archive
    from local_agent.readers.claude_code import ClaudeReader

    try:
        opened = Archive(archive, source="report", clock=now_ms)
    except BaseException:
        if ahead:
            ahead.dismiss()
        raise
    reader = ClaudeReader(folders, ahead=ahead)
    try:
        reader.poll(opened, now_ms())
    finally:
        opened.close()
    return reader


def _load_when_used(name: str) -> None:
    """For a module that takes longer to load than all of ours, while nothing in it is asked for."""
    from importlib import util

    spec = None if name in sys.modules else util.find_spec(name)
    if spec is None or spec.loader is None:
        return
    spec.loader = util.LazyLoader(spec.loader)
    sys.modules[name] = module = util.module_from_spec(spec)
    spec.loader.exec_module(module)


def main(words: list[str]) -> int:
    if len(words) < 2:
        sys.stderr.write("usage: python -m local_agent.days ARCHIVE FOLDER...\n")
        return 2
    archive, folders = words[0], [os.path.abspath(folder) for folder in words[1:]]
    kept = None
    seen = _look(archive, folders) if os.path.exists(archive) else None
    if seen is None or not seen.shows_nothing():
        kept = read(archive, folders, seen)
    with _opened(archive) as sql:
        sys.stdout.write("".join([line for (line,) in sql.execute(QUERY)]))
    del kept
    return 0


def run(words: list[str]) -> NoReturn:
    """The command. Everything is written and closed when main() returns; to tidy up a hundred thousand objects after that is no use to anybody."""
    import gc

    gc.disable()  # it is over before there is garbage worth looking for
    code = main(words)
    sys.stdout.flush()
    os._exit(code)


def _driver() -> ModuleType:
    """SQLite without what Python wraps around it: loading that takes longer than looking at a thousand files."""
    try:
        import _sqlite3 as driver
    except ImportError:
        import sqlite3 as driver  # type: ignore[no-redef]
    return driver


def _opened(archive: str) -> sqlite3.Connection:
    return _driver().connect(archive, isolation_level=None)  # type: ignore[no-any-return]


def _look(archive: str, folders: list[str]) -> Look | None:
    try:
        return look(_opened(archive), folders)
    except _driver().Error:
        return None


if __name__ == "__main__":
    run(sys.argv[1:])
