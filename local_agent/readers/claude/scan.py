"""A transcript file from a place on, buffer by buffer, in bounded memory."""
from __future__ import annotations

import os
from collections.abc import Iterator

from local_agent.readers.claude.batch import Batch
from local_agent.readers.claude.forms import TOO_LONG, Damage
from local_agent.readers.claude.lines import NEWLINE, Lines
from local_agent.readers.claude.pack import LongPrompts, Packer, Threshold


def _read_at(file: int, buffers: list[memoryview], place: int) -> int:
    """For systems without preadv."""
    text = os.pread(file, len(buffers[0]), place)
    buffers[0][: len(text)] = text
    return len(text)


read = getattr(os, "preadv", _read_at)

try:
    from stringzilla import Str
except ImportError:  # pragma: no cover - slower, nothing else
    Str = None

BUFFER = 1 << 18
LONGEST = 8 << 20
"""A line longer than this is passed over and counted: no answer is that long, and memory is bounded."""
BATCH = 8 << 20
MARKED = 512
"""So many bytes at most tell whether a file still is what it was."""


FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""How a transcript is opened: what a link or a pipe has put in its place is not read."""


class Scanner:
    """Owns the buffer; one for each reader, used by one thread."""

    def __init__(self, threshold: Threshold) -> None:
        self._long = LongPrompts(threshold)
        self._hold(bytearray(BUFFER))

    def _hold(self, buffer: bytearray) -> None:
        self.buffer, self.view = buffer, memoryview(buffer)
        self.find = Str(buffer).find if Str else buffer.find

    def scan(self, file: int, start: int, size: int, path: str) -> Batch:
        """Read from *start* to *size*, at most a batch. Raises OSError."""
        try:
            try:
                return self._scan(file, start, size, path, careful=False)
            except Damage:
                # Some line that would count is not right; which ones, only a closer look at each can tell.
                return self._scan(file, start, size, path, careful=True)
        finally:
            if len(self.buffer) > BUFFER:
                self._hold(bytearray(BUFFER))

    def _scan(self, file: int, start: int, size: int, path: str, *, careful: bool) -> Batch:
        batch = Batch(start)
        lines, packer = Lines(batch, careful), Packer(batch, path, self._long)
        keep, place = 0, start
        # A file may grow while it is read; what comes after its size now is for the next look.
        while place < size and (got := read(file, [self.view[keep:]], place)):
            place += got
            end = keep + got
            last = self.buffer.rfind(NEWLINE, keep, end)
            if last < 0:
                keep = end
                if end == len(self.buffer):
                    keep, place = self._make_room(file, batch, place)
                    if keep < 0:
                        return lines.finished(packer, b"")
                continue
            if not batch.head and start == 0:
                batch.head = bytes(self.view[: min(MARKED, last + 1)])
            lines.take(self, 0, last)
            batch.end += last + 1
            batch.tail = bytes(self.view[max(0, last + 1 - MARKED) : last + 1])
            keep = end - last - 1
            self.view[:keep] = self.view[last + 1 : end]
            if batch.end - start >= BATCH:
                batch.more = True
                return lines.finished(packer, b"")
        return lines.finished(packer, bytes(self.view[:keep]))

    def _make_room(self, file: int, batch: Batch, place: int) -> tuple[int, int]:
        """For a line longer than the buffer: a larger buffer, or the line is passed over. How much is kept (-1 if the line has no
        end yet) and where to read on."""
        full = len(self.buffer)
        if full < LONGEST:
            self.view.release()
            self.find = self.buffer.find  # nothing else may hold the buffer while it grows
            self.buffer *= 2  # where it stands: beside a copy it would need half as much again
            self._hold(self.buffer)
            return full, place
        while got := read(file, [self.view], place):
            newline = self.buffer.find(NEWLINE, 0, got)
            if newline >= 0:
                batch.end = place + newline + 1
                batch.skip(TOO_LONG)
                batch.tail = b""
                return 0, batch.end
            place += got
        return -1, place


def scanned(scanner: Scanner, file: int, place: int, size: int, path: str) -> Iterator[Batch]:
    """All batches of an open file from *place* on."""
    more = True
    while more:
        batch = scanner.scan(file, place, size, path)
        more, place = batch.more, batch.end
        yield batch
