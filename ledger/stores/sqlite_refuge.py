"""Where a ledger goes on while its disk takes nothing more: a copy in memory, and the way back.

The copy has a name, so that every thread of the process opens the same one. It lives as long as the
connection that made it; a crash forgets it, and then the file is what counts, as old as it is.
"""
from __future__ import annotations

import itertools
import os
import sqlite3
from contextlib import closing

LARGEST = 128 << 20
"""A file larger than this stays where it is: memory is not free either."""
_names = itertools.count(1)


class Refuge:
    """A copy in memory of the file at *path*, empty if there is none. Raises sqlite3.Error if it cannot be read."""

    def __init__(self, path: str) -> None:
        self.uri = f"file:/session-relay-{os.getpid()}-{next(_names)}?vfs=memdb"
        self._keeper = sqlite3.connect(self.uri, uri=True, isolation_level=None, check_same_thread=False)
        if os.path.exists(path) and os.path.getsize(path):
            try:
                self._copy(path)
            except BaseException:
                self._keeper.close()
                raise

    def _copy(self, path: str) -> None:
        try:
            self._copy_with(path, "NORMAL")
        except sqlite3.OperationalError:
            # The index that several processes share has no room either: one that is ours alone needs no file.
            self._copy_with(path, "EXCLUSIVE")

    def _copy_with(self, path: str, locking: str) -> None:
        with closing(sqlite3.connect(path, timeout=5, isolation_level=None)) as file:
            file.execute(f"PRAGMA locking_mode = {locking}")
            file.execute("VACUUM INTO ?", (self.uri,))

    def copy_back(self, path: str) -> None:
        """Everything into the file at *path*, in one transaction and through to the disk; a failure leaves it as it was."""
        with closing(sqlite3.connect(path, timeout=5, isolation_level=None)) as file:
            file.execute("PRAGMA synchronous = FULL")
            self._keeper.backup(file)

    def close(self) -> None:
        self._keeper.close()


def fits(path: str) -> bool:
    return sum(os.path.getsize(part) for part in (path, f"{path}-wal") if os.path.exists(part)) <= LARGEST
