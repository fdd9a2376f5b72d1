"""A disk that loses its power: what was written and not synced is gone, or there in part, sector by sector.

A VFS under SQLite keeps two pictures of every file: what programs see, and what would survive. A sync makes them equal; a power
loss keeps the second, and a random choice of the sectors that were written since.
"""
from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import apsw

SECTOR = 512
NAME = "losing"


class Disk:
    """All files of the simulated computer, by path."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.seen: dict[str, bytearray] = {}
        self.safe: dict[str, bytearray] = {}
        self.pending: dict[str, list[tuple[int, bytes]]] = {}
        self.acknowledged = self.then = 0
        self._writes, self._frozen = 0, ({}, {})  # type: ignore[var-annotated]

    def _perhaps_now(self) -> None:
        """Any write may be the last: each with the same chance, which is known only at the end."""
        self._writes += 1
        if self.chance.random() < 1 / self._writes:
            self.then = self.acknowledged
            self._frozen = ({path: bytes(self.safe.get(path, b"")) for path in self.seen}, {path: list(found) for path, found in self.pending.items()})

    def write(self, path: str, data: bytes, at: int) -> None:
        file = self.seen.setdefault(path, bytearray())
        if len(file) < at + len(data):
            file.extend(bytes(at + len(data) - len(file)))
        file[at : at + len(data)] = data
        self.pending.setdefault(path, []).append((at, data))
        self._perhaps_now()

    def truncate(self, path: str, size: int) -> None:
        del self.seen[path][size:]
        self.pending.setdefault(path, []).append((size, b""))

    def sync(self, path: str) -> None:
        self.safe[path] = bytearray(self.seen.get(path, b""))
        self.pending[path] = []

    def lose_power(self, into: Path) -> None:
        """Write what survived into real files; *then* says what was acknowledged at that moment."""
        safe, pending = self._frozen
        for path in safe:
            survived = bytearray(safe[path])
            for at, data in pending.get(path, ()):
                self._perhaps(survived, at, data)
            (into / Path(path).name).write_bytes(survived)

    def _perhaps(self, file: bytearray, at: int, data: bytes) -> None:
        if not data:  # a truncation: metadata, which may have reached the disk or not
            if self.chance.random() < 0.5:
                del file[at:]
            return
        for start in range(0, len(data), SECTOR):
            if self.chance.random() < 0.5:
                piece = data[start : start + SECTOR]
                if len(file) < at + start + len(piece):
                    file.extend(bytes(at + start + len(piece) - len(file)))
                file[at + start : at + start + len(piece)] = piece


class LosingVFS(apsw.VFS):
    """Files of a Disk; locks and shared memory are those of the real system, which a power loss empties anyway."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        super().__init__(NAME, "", maxpathname=0)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return LosingFile(self.disk, name, flags)

    def xDelete(self, name: str, sync_folder: bool) -> None:
        super().xDelete(name, sync_folder)
        for files in (self.disk.seen, self.disk.safe, self.disk.pending):
            files.pop(name, None)  # type: ignore[attr-defined]


class LosingFile(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self.disk = disk
        self.name = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        disk.seen.setdefault(self.name, bytearray())

    def xWrite(self, data: bytes, at: int) -> None:
        super().xWrite(data, at)
        self.disk.write(self.name, bytes(data), at)

    def xTruncate(self, size: int) -> None:
        super().xTruncate(size)
        self.disk.truncate(self.name, size)

    def xSync(self, flags: int) -> None:
        self.disk.sync(self.name)
