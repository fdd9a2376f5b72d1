"""One agent to a home: a lock that dies with its holder, unlike a file with a number in it."""
from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from local_agent.identity import make_private

FILE = "lock"
LENGTH = 32
"""Always as long, so that saying it anew needs no new room."""
ATTEMPTS, LOOK_S = 5, 0.04
"""Somebody who only looks holds the lock for a moment, too."""


class Taken(Exception):
    """Another agent runs on this home. *port* is where it answers, if it said so."""

    def __init__(self, port: int | None, pid: int | None) -> None:
        super().__init__(f"an agent is running on this home already (process {pid or 'unknown'})")
        self.port, self.pid = port, pid


class HomeLock:
    """Hold it while the agent runs; raises Taken on entering if somebody else does."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._descriptor = -1

    def __enter__(self) -> HomeLock:
        make_private(self._home)
        self._descriptor = os.open(self._home / FILE, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
        if not self._try():
            taken = Taken(*_who(self._descriptor))
            os.close(self._descriptor)
            raise taken
        self.say(None)
        return self

    def _try(self) -> bool:
        for attempt in range(ATTEMPTS):
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                time.sleep(LOOK_S if attempt < ATTEMPTS - 1 else 0)
        return False

    def say(self, port: int | None) -> None:
        """Write down who we are and where we answer, for the other commands."""
        text = f"{os.getpid()} {port or 0}\n".ljust(LENGTH).encode()
        with suppress(OSError):  # a full disk keeps no agent from starting; the lock itself needs no room
            os.pwrite(self._descriptor, text, 0)
            os.ftruncate(self._descriptor, len(text))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._descriptor)


def who_runs(home: Path) -> Taken | None:
    """The agent that runs on this home, if one does. Looks without disturbing it."""
    try:
        descriptor = os.open(home / FILE, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return Taken(*_who(descriptor))
    finally:
        os.close(descriptor)


def _who(descriptor: int) -> tuple[int | None, int | None]:
    """Port and process, as far as the holder said so."""
    numbers = [int(word) for word in os.pread(descriptor, 64, 0).split() if word.isdigit()]
    pid, port, *_ = [*numbers, 0, 0]
    return port or None, pid or None
