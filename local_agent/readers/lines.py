"""Complete lines of a growing file, from where the last reading ended, in bounded memory.

A file is read on only if it is the same file and what was read of it still stands there: its first
4 KiB and the bytes before the place are compared. Anything else is read anew from its start.
"""
from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

CHUNK = 1 << 20
LONGEST = 16 << 20
"""Longer lines are no answers: they are passed over, and counted."""
HEAD, TAIL = 4096, 512


@dataclass(frozen=True, slots=True)
class Place:
    """How far a file was read: which file, up to where, and a hash of what stood there."""

    device: int = 0
    inode: int = 0
    size: int = 0
    changed: int = 0
    offset: int = 0
    check: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """*anew*: what was derived from the file before no longer counts. *long*: lines passed over for their length."""

    place: Place
    anew: bool
    long: int


def unchanged(path: Path, place: Place) -> bool:
    """Whether a look at the folder entry alone says that there is nothing new."""
    found = os.stat(path)
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns) == (place.device, place.inode, place.size, place.changed)


def read_on(path: Path, place: Place, take: Callable[[bytes], object], begin: Callable[[bool], object]) -> Reading:
    """Hand every complete line after *place* to *take*; *begin* is told first whether the file is read anew. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        found = os.fstat(descriptor)
        same = (found.st_dev, found.st_ino) == (place.device, place.inode) and found.st_size >= place.offset
        anew = not (same and place.offset and _check(file, place.offset) == place.check)
        begin(anew)
        start = 0 if anew else place.offset
        end, long = _lines(file, start, take)
        return Reading(Place(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, end, _check(file, end)), anew, long)


def _lines(file: BinaryIO, start: int, take: Callable[[bytes], object]) -> tuple[int, int]:
    """The end of the last complete line, and how many lines were too long to look at."""
    file.seek(start)
    end, long, rest, dropped = start, 0, b"", 0
    while chunk := file.read(CHUNK):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            end += dropped + len(line) + 1
            if dropped:
                long, dropped = long + 1, 0
            elif line:
                take(line)
        if dropped or len(rest) > LONGEST:
            dropped, rest = dropped + len(rest), b""
    return end, long


def _check(file: BinaryIO, end: int) -> str:
    digest = blake2b(digest_size=8)
    file.seek(0)
    digest.update(file.read(min(HEAD, end)))
    file.seek(max(0, end - TAIL))
    digest.update(file.read(min(TAIL, end)))
    return digest.hexdigest()
