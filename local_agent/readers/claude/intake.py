"""From paths to what was found in them: opens files, reads on where it left off, and says what cannot be read."""
from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING

from local_agent.readers.claude import helper
from local_agent.readers.claude.batch import Batch
from local_agent.readers.claude.files import File, Files, place_of
from local_agent.readers.claude.scan import FLAGS, Scanner, scanned
from local_agent.readers.claude.walk import Walk, own_session

if TYPE_CHECKING:
    from pathlib import Path

    from local_agent.readers.claude.book import Book


class Intake:
    """*broken* are the paths that could not be read, each with the reason."""

    def __init__(self, files: Files, walk: Walk, book: Book, scanner: Scanner, account_of: Callable[[Path], str] | None) -> None:
        self._files, self._walk, self._book, self._account_of = files, walk, book, account_of
        self.scanner = scanner
        self.broken: dict[str, str] = {}
        self._accounts: dict[str, str] = {}

    def look(self) -> None:
        """A look begins: who is logged in is asked once for each."""
        self._accounts.clear()

    def readings(self, paths: list[str], assistant: helper.Helper | None = None) -> Generator[tuple[File, Batch]]:
        """Everything new in these files, with their files' places moved on. Where there is much, a second process helps."""
        self._follow(paths)
        assistant = assistant or self._assistant(paths)
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
        if any(path in self._files.by_path for path in paths):
            return None
        return helper.for_files(paths, self.scanner)

    # -- files that were given another name

    def _follow(self, paths: Iterable[str]) -> None:
        """A file that was moved is the same file: what was read of it must not count a second time."""
        known = self._files.by_path
        new = [path for path in paths if path not in known] if known else []
        if not new:
            return
        places = {(file.device, file.inode): file for file in known.values() if file.place}
        for path in new:
            file = places.get(_number_of(path) or (0, 0))
            if file is not None and _number_of(file.path) != (file.device, file.inode):
                self._move(file, path)

    def _move(self, file: File, path: str) -> None:
        found = self._named(path)
        if found is None or not self._still_says_what_it_said(file, path):
            return
        if file.loose >= 0:
            self._files.loosened.append(file.id)
        self._book.move(file, path)
        self._files.moved(file, path, *found)
        # The marks of lines without an id are made of the file's name: they are read once more, under the new one.
        self._book.drop_nameless(file)
        self._files.forget_place(file)

    def _still_says_what_it_said(self, file: File, path: str) -> bool:
        try:
            handle = os.open(path, FLAGS)
        except OSError:
            return False
        try:
            return self._files.same(handle, file, os.fstat(handle))
        finally:
            os.close(handle)

    # -- here

    def _read(self, path: str) -> Iterator[tuple[File, Batch]]:
        file = self._files.by_path.get(path) or self._new_file(path)
        if file is None:
            return
        try:
            handle = os.open(path, FLAGS)
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
            for batch in scanned(self.scanner, handle, file.place, status.st_size, path):
                self._advance(file, helper.told(status), batch)
                yield file, batch
            self._was_read(path)
        except OSError as error:
            self._cannot(path, error)
        finally:
            os.close(handle)

    def _advance(self, file: File, status: helper.Status, batch: Batch) -> None:
        """The file is read up to the end of the batch; it counts as read when there is no more."""
        file.device, file.inode = status.device, status.inode
        place_of(file, batch)
        file.size, file.changed = (-1, 0) if batch.more else (status.size, status.changed)

    def _was_read(self, path: str) -> None:
        self.broken.pop(path, None)
        self._walk.touched(path)

    def _new_file(self, path: str) -> File | None:
        found = self._named(path)
        return self._files.new(path, *found) if found else None

    def _named(self, path: str) -> tuple[str, str] | None:
        """The session that a path names, and whose it is."""
        root = self._walk.root_of(path)
        if root is None:
            return None
        if self._account_of is None:
            return own_session(root.projects, path), "default"
        if root.projects not in self._accounts:
            from pathlib import Path

            self._accounts[root.projects] = self._account_of(Path(root.config))
        return own_session(root.projects, path), self._accounts[root.projects]

    def _cannot(self, path: str, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            self.broken[path] = "no permission" if isinstance(error, PermissionError) else "unreadable file"

    # -- with help

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


def _number_of(path: str) -> tuple[int, int] | None:
    """The system's own number of the file that lies at a path."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
