"""Tells at once when a file that somebody reads has changed.

On Linux the kernel says so, one watch a folder. Elsewhere, and where the kernel's watches have run out, there is a
second's wait between looks instead; a look that finds nothing new costs next to nothing.
"""
from __future__ import annotations

import ctypes
import ctypes.util
import errno
import os
import select
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

MODIFY, MOVED_FROM, MOVED_TO, CREATE, DELETE, DELETE_SELF, MOVE_SELF = 0x2, 0x40, 0x80, 0x100, 0x200, 0x400, 0x800
OVERFLOW, IGNORED, ONLY_FOLDERS, IS_FOLDER = 0x4000, 0x8000, 0x01000000, 0x40000000
WANTED = MODIFY | MOVED_FROM | MOVED_TO | CREATE | DELETE | DELETE_SELF | MOVE_SELF | ONLY_FOLDERS
NONBLOCK, CLOSE_ON_EXEC = os.O_NONBLOCK, getattr(os, "O_CLOEXEC", 0)
EVENT = struct.Struct("iIII")
BUFFER = 256 << 10

LOOK_EVERY_S = 1.0
AGAIN_S = (0.02, 0.3)
"""A database tells of a commit only after it has written it, so what changed is looked at again when it has been quiet for so long."""
GAP_S, AT_ONCE = 0.002, 20
"""A program that writes without end must not keep us looking without end: after so many looks in a row there are pauses."""
RETRY_S = 60.0


class NoWatch(Exception):
    """The kernel does not tell us of changes (here, or no more)."""


class Inotify:
    """One watch a folder; wait() says which paths changed."""

    def __init__(self) -> None:
        if not sys.platform.startswith("linux"):
            raise NoWatch("not on this system")
        self._c = ctypes.CDLL(ctypes.util.find_library("c") or "libc.so.6", use_errno=True)
        self._handle = self._c.inotify_init1(NONBLOCK | CLOSE_ON_EXEC)
        if self._handle < 0:
            raise NoWatch(os.strerror(ctypes.get_errno()))
        self._poll = select.poll()
        self._poll.register(self._handle, select.POLLIN)
        self._paths: dict[int, str] = {}
        self._ids: dict[str, int] = {}
        self.folders_changed = False

    def watch(self, folders: Iterable[str]) -> set[str]:
        """Watch these folders, and no others; those that were not watched before. Raises NoWatch when the system's watches have run out."""
        wanted = set(folders)
        for folder in self._ids.keys() - wanted:
            self._c.inotify_rm_watch(self._handle, self._ids[folder])
            self._paths.pop(self._ids.pop(folder), None)
        added = wanted - self._ids.keys()
        for folder in added:
            self._add(folder)
        return added & self._ids.keys()

    def _add(self, folder: str) -> None:
        id = self._c.inotify_add_watch(self._handle, os.fsencode(folder), WANTED)
        if id >= 0:
            self._paths[id], self._ids[folder] = folder, id
        elif ctypes.get_errno() in (errno.ENOSPC, errno.ENOMEM):
            raise NoWatch("the system's watches have run out: raise fs.inotify.max_user_watches")

    def wait(self, seconds: float) -> set[str]:
        """The paths that changed; a folder stands for anything within it. Empty when nothing happened in time."""
        if not self._poll.poll(seconds * 1000):
            return set()
        try:
            data = os.read(self._handle, BUFFER)
        except BlockingIOError:
            return set()
        return self._changed(data)

    def _changed(self, data: bytes) -> set[str]:
        changed: set[str] = set()
        self.folders_changed = False
        place = 0
        while place < len(data):
            id, mask, _, length = EVENT.unpack_from(data, place)
            name = os.fsdecode(data[place + EVENT.size : place + EVENT.size + length].rstrip(b"\0"))
            place += EVENT.size + length
            if mask & (IS_FOLDER | OVERFLOW | IGNORED):
                self.folders_changed = True
            if mask & OVERFLOW:
                changed |= set(self._ids)
                continue
            folder = self._paths.get(id)
            if folder is not None:
                changed.add(os.path.join(folder, name) if name else folder)
            if mask & IGNORED:
                self._ids.pop(self._paths.pop(id, ""), None)
        return changed

    def close(self) -> None:
        os.close(self._handle)


def folders_of(readers: Sequence[Any]) -> set[str]:
    return {str(folder) for reader in readers for folder in reader.watch_paths()}


class Follower:
    """Calls *look* whenever a file of the *readers* has changed; *ignore* says which paths are our own writing."""

    def __init__(
        self, readers: Sequence[Any], look: Callable[[], None], *, ignore: Callable[[str], bool] = lambda path: False,
        open_watch: Callable[[], Inotify] = Inotify, monotonic: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._readers, self._look, self._ignore, self._open, self._monotonic = readers, look, ignore, open_watch, monotonic
        self._watch: Inotify | None = None
        self._retry_at, self._stale = 0.0, True
        self._again: list[float] = []
        self._unwatched: set[str] = set()
        self.trouble = ""

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                told = self.once()
            except Exception as error:  # whoever follows must not stop following
                self.trouble, told = f"{type(error).__name__} while following changes", False
                self.close()
            if not told:
                stop.wait(LOOK_EVERY_S)
        self.close()

    def once(self, seconds: float = LOOK_EVERY_S) -> bool:
        """Wait for a change, at most so long, and have it read. False where nobody tells us of changes: the look was made anyway."""
        watch = self._watching()
        if watch is None:
            self._look()
            return False
        unwatched, self._unwatched = self._unwatched, set()
        # What was written between the last look at a folder and its watch is told by nobody: such a folder has changed.
        changed = {path for path in unwatched or watch.wait(min([seconds, *self._again[:1]])) if not self._ignore(path)}
        # New folders want watches of their own; they are looked for when a folder changed, and now and then.
        self._stale = not changed or watch.folders_changed
        if changed:
            self._tell(changed)
            self._look()
            self._again = list(AGAIN_S)
            time.sleep(GAP_S)
        elif self._again:
            self._again.pop(0)
            self._look()
        return True

    def _watching(self) -> Inotify | None:
        """The watch, over all folders that there are now; None while there is none."""
        if self._watch is None and self._monotonic() < self._retry_at:
            return None
        try:
            self._watch = self._watch or self._open()
            if self._stale:
                self._unwatched = self._watch.watch(folders_of(self._readers))
            self.trouble = ""
        except NoWatch as reason:
            self.trouble, self._retry_at = str(reason), self._monotonic() + RETRY_S
            self.close()
        for reader in self._readers:
            if hasattr(reader, "watched"):
                reader.watched = self._watch is not None
        return self._watch

    def _tell(self, changed: set[str]) -> None:
        for reader in self._readers:
            touched = getattr(reader, "touched", None)
            if touched is not None:
                for path in changed:
                    touched(path)

    def close(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch, self._stale = None, True
