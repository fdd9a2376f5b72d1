"""From paths to what was found in them: opens files, reads on where it left off, and says what cannot be read."""
from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from local_agent.readers.claude import helper
from local_agent.readers.claude.batch import Batch
from local_agent.readers.claude.files import File, Files, place_of
from local_agent.readers.claude.walk import Walk, own_session

if TYPE_CHECKING:
    from local_agent.readers.claude.book import Book
    from local_agent.readers.claude.scan import Scanner

_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class Intake:
    """*broken* are the paths that could not be read, each with the reason."""

    def __init__(self, files: Files, walk: Walk, book: Book, scanner: Scanner, account_of: Callable[[Path], str]) -> None:
        self._files, self._walk, self._book, self._account_of = files, walk, book, account_of
        self.scanner = scanner
        self.broken: dict[str, str] = {}
        self._accounts: dict[str, str] = {}

    def look(self) -> None:
        """A look begins: who is logged in is asked once for each."""
        self._accounts.clear()

    def readings(self, paths: list[str]) -> Generator[tuple[File, Batch]]:
        """Everything new in these files, with their files' places moved on. Where there is much, a second process helps."""
        assistant = self._assistant(paths)
        if assistant is None:
            for path in paths:
                yield from self._read(path)
            return
        try:
            for piece in assistant.pieces():
                if isinstance(piece, str):
                    yield from self._read(piece)
                else:
                    yield from self._accept(piece)
        finally:
            assistant.dismiss()

    def _assistant(self, paths: list[str]) -> helper.Helper | None:
        """Helps with files that are wholly new; places in others are known here alone."""
        if len(paths) < 2 or not helper.may_help() or any(path in self._files.by_path for path in paths):
            return None
        sized = [(path, _size(path)) for path in paths]
        if sum(size for _, size in sized) < helper.WORTH_BYTES:
            return None
        return helper.Helper(helper.portions(sized), self._read_anew)

    # -- here

    def _read(self, path: str) -> Iterator[tuple[File, Batch]]:
        file = self._files.by_path.get(path) or self._new_file(path)
        if file is None:
            return
        try:
            handle = os.open(path, _FLAGS)
        except OSError as error:
            self._cannot(path, error)
            return
        try:
            if file.loose >= 0:
                self._files.loosened.append(file.id)
            status = os.fstat(handle)
            if not self._files.same(handle, file, status):
                self._book.drop_nameless(file)
                self._files.forget_place(file)
            for batch in self._scanned(handle, file.place, status.st_size, path):
                self._advance(file, helper.Status(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns), batch)
                yield file, batch
            self._was_read(path)
        except OSError as error:
            self._cannot(path, error)
        finally:
            os.close(handle)

    def _scanned(self, handle: int, place: int, size: int, path: str) -> Iterator[Batch]:
        more = True
        while more:
            batch = self.scanner.scan(handle, place, size, path)
            more, place = batch.more, batch.end
            yield batch

    def _advance(self, file: File, status: helper.Status, batch: Batch) -> None:
        """The file is read up to the end of the batch; it counts as read when there is no more."""
        file.device, file.inode = status.device, status.inode
        place_of(file, batch)
        file.size, file.changed = (-1, 0) if batch.more else (status.size, status.changed)

    def _was_read(self, path: str) -> None:
        self.broken.pop(path, None)
        self._walk.touched(path)

    def _new_file(self, path: str) -> File | None:
        root = self._walk.root_of(path)
        if root is None:
            return None
        if root.projects not in self._accounts:
            self._accounts[root.projects] = self._account_of(root.config)
        return self._files.new(path, own_session(root.projects, path), self._accounts[root.projects])

    def _cannot(self, path: str, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            self.broken[path] = "no permission" if isinstance(error, PermissionError) else "unreadable file"

    # -- with help

    def _read_anew(self, path: str) -> Iterator[tuple[helper.Status, Batch]]:
        """In the helper: nothing of what is known here is asked or changed."""
        handle = os.open(path, _FLAGS)
        try:
            status = os.fstat(handle)
            told = helper.Status(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            for batch in self._scanned(handle, 0, status.st_size, path):
                yield told, batch
        finally:
            os.close(handle)

    def _accept(self, piece: helper.Piece) -> Iterable[tuple[File, Batch]]:
        file = self._files.by_path.get(piece.path) or self._new_file(piece.path)
        if file is None:
            return
        if piece.batch is None or piece.status is None:
            self._cannot(piece.path, OSError(piece.error, os.strerror(piece.error)))
            return
        self._advance(file, piece.status, piece.batch)
        yield file, piece.batch
        if not piece.batch.more:
            self._was_read(piece.path)


def _size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0
