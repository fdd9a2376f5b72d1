"""The archive's store, which goes on in memory when the disk is full and comes back when there is room.

What was lost with the refused write is read again; a crash in between costs a second reading and one new copy at the relay.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from sqlite3 import Connection
from typing import TYPE_CHECKING

from ledger.errors import Full
from ledger.store import Head, Row, Tombstone
from ledger.stores.sqlite import SqliteStore

if TYPE_CHECKING:
    from logging import Logger
    from pathlib import Path


def _log() -> Logger:
    """Hardly any archive ever says something, and loading this takes longer than opening one."""
    import logging

    return logging.getLogger("agent.archive")


class EnduringStore(SqliteStore):
    """A write that found no room raises Full, once; the next one is taken by memory."""

    def __init__(self, path: str | Path) -> None:
        try:
            super().__init__(path, synchronous="NORMAL")
        except Full:
            self._endure()

    def _endure(self) -> None:
        if self.take_refuge():
            _log().warning("the disk of %s is full: going on in memory; make room, it is tried again each minute", self.path)

    @contextmanager
    def transaction(self, *, synchronous: str | None = None) -> Iterator[Connection]:
        outermost = not self._file.in_transaction()
        try:
            with super().transaction(synchronous=synchronous) as sql:
                yield sql
        except Full:
            if outermost:
                self._endure()
            raise

    def apply(self, tenant: str, before: Head | None, after: Head, puts: Sequence[Row] = (), gone: Sequence[Tombstone] = ()) -> None:
        outermost = not self._file.in_transaction()
        try:
            super().apply(tenant, before, after, puts, gone)
        except Full:
            if outermost:
                self._endure()
            raise

    def come_home(self) -> None:
        if not self.in_memory:
            return
        super().come_home()
        _log().info("there is room on the disk again: everything was written down")
