"""A second process that reads transcripts while the first one reads, too, and alone writes.

Both take the next few files from one pipe until it is empty, so neither waits for the other; what the helper found comes back
as plain values. Which of them read a file changes nothing. A helper that dies has only done less: whatever it did not
hand over is read by the first process. It shares the first one's memory, so it is only made where that is safe:
on Linux, while no other thread runs.
"""
from __future__ import annotations

import marshal
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, NoReturn

from local_agent.readers.claude.batch import Batch
from local_agent.readers.claude.scan import FLAGS, Scanner, scanned

WORTH_BYTES = 16 << 20
"""Below this much to read a helper is not worth making."""
LEAST, MOST = 1 << 19, 4 << 20
MANY_PORTIONS = 60
"""So many portions of these sizes, or more: the last ones must be short, but each costs a message."""
MOST_PORTIONS = 8_000
"""More would not fit into a pipe."""
OPENING = 1 << 14
"""Opening a file takes as long as reading so much."""
TICKET = 4
PIPE_BYTES = 1 << 18
LENGTH = 4
MOST_PIECES = 100


class Status(NamedTuple):
    device: int
    inode: int
    size: int
    changed: int


class Piece(NamedTuple):
    """What the helper read of a file; the last piece has a batch without *more*. *error* instead of a batch: it cannot be read."""

    path: str
    status: Status | None
    batch: Batch | None
    error: int


def told(status: os.stat_result) -> Status:
    return Status(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def for_files(paths: list[str], scanner: Scanner) -> Helper | None:
    """A helper for files that were never read, if that is worth its making."""
    if not may_help():
        return None
    sized = [(path, _size(path)) for path in paths]
    if sum(size for _, size in sized) < WORTH_BYTES:
        return None
    return Helper(portions(sized), scanner)


def may_help() -> bool:
    """Whether a process may be made from this one, and a processor has nothing else to do."""
    if sys.platform != "linux" or threading.active_count() > 1:
        return False
    return _running() < len(os.sched_getaffinity(0))


def _running() -> int:
    """How many processes and threads of this computer want a processor now, we among them."""
    try:
        with open("/proc/stat", "rb") as told:
            return next((int(line.split()[1]) for line in told if line.startswith(b"procs_running")), 1)
    except (OSError, ValueError):
        return 1


def portions(files: Sequence[tuple[str, int]]) -> list[list[str]]:
    """Files with their sizes in portions that are read in a few milliseconds. Their order stays: files of one session lie side by
    side, and what is read together is added up together."""
    whole = sum(size + OPENING for _, size in files)
    most = max(LEAST, min(MOST, whole // MANY_PORTIONS), whole // MOST_PORTIONS * 2)
    found: list[list[str]] = [[]]
    held = 0
    for path, size in files:
        if held and held + size > most:
            found.append([])
            held = 0
        found[-1].append(path)
        held += size + OPENING
    return found


class Helper:
    """Starts to read at once. *portions* are files to read from their start."""

    def __init__(self, portions: list[list[str]], scanner: Scanner) -> None:
        self._portions = portions
        self._tickets, tickets = os.pipe()
        self._results, results = os.pipe()
        _widen(results)
        os.write(tickets, b"".join(n.to_bytes(TICKET, "big") for n in range(len(portions))))
        os.close(tickets)
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._results)
            _work(self._tickets, results, portions, scanner)
        os.close(results)
        os.set_blocking(self._results, False)
        self._received = bytearray()
        self._ended = False

    def pieces(self) -> Iterator[Piece | str]:
        """Everything that the helper hands over, and between that the paths that are to be read here."""
        left = {path for portion in self._portions for path in portion}
        while ticket := os.read(self._tickets, TICKET):
            for path in self._portions[int.from_bytes(ticket, "big")]:
                left.discard(path)
                yield path
            yield from self._handed_over(left)
        os.set_blocking(self._results, True)
        while not self._ended:
            yield from self._handed_over(left)
        yield from sorted(left)

    def _handed_over(self, left: set[str]) -> Iterator[Piece]:
        try:
            found = os.read(self._results, PIPE_BYTES)
        except BlockingIOError:
            return
        self._ended = not found
        received, place = self._received, 0
        received += found
        while len(received) >= place + LENGTH:
            end = place + LENGTH + int.from_bytes(received[place : place + LENGTH], "big")
            if len(received) < end:
                break
            pieces = marshal.loads(received[place + LENGTH : end])
            place = end
            for piece in map(_piece, pieces):
                if piece.batch is None or not piece.batch.more:
                    left.discard(piece.path)
                yield piece
        del received[:place]

    def dismiss(self) -> None:
        """End it, whatever it does, and leave nothing of it behind."""
        if self._pid:
            os.close(self._tickets)
            os.close(self._results)
            from signal import SIGKILL

            os.kill(self._pid, SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0


def _work(tickets: int, results: int, portions: list[list[str]], scanner: Scanner) -> NoReturn:
    """The helper's life. It never returns into the code that it was copied from."""
    status = 1
    try:
        while ticket := os.read(tickets, TICKET):
            found: list[tuple[Any, ...]] = []
            for path in portions[int.from_bytes(ticket, "big")]:
                for piece in _read(path, scanner):
                    found.append(piece)
                    if len(found) == MOST_PIECES:
                        _write(results, marshal.dumps(found))
                        found = []
            _write(results, marshal.dumps(found))
        status = 0
    except BaseException:  # noqa: S110 - the first process reads what is missing, and says what is wrong with it
        pass
    finally:
        os._exit(status)


def _read(path: str, scanner: Scanner) -> Iterator[tuple[Any, ...]]:
    try:
        handle = os.open(path, FLAGS)
        try:
            status = os.fstat(handle)
            for batch in scanned(scanner, handle, 0, status.st_size, path):
                yield path, tuple(told(status)), batch.plain(), 0
        finally:
            os.close(handle)
    except OSError as error:
        yield path, None, None, error.errno or 0


def _piece(told: tuple[Any, ...]) -> Piece:
    path, status, plain, error = told
    return Piece(path, status and Status(*status), plain and Batch.of(plain), error)


def _write(file: int, raw: bytes) -> None:
    rest = memoryview(len(raw).to_bytes(LENGTH, "big") + raw)
    while rest:
        rest = rest[os.write(file, rest) :]


def _widen(pipe: int) -> None:
    """Room for what is found while the first process is busy writing."""
    import fcntl

    try:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    except OSError:
        pass  # the usual room does, too


def _size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0
