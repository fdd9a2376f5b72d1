"""Connections to PostgreSQL, kept and lent one by one, and its errors in plain words.

Nothing is prepared on the server and nothing is set for longer than a transaction, so that a pooler which hands
every transaction to another connection (Supabase's port 6543, pgbouncer) may stand in between.
"""
from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import errors

from ledger.errors import Busy, Full, LedgerError, Unusable

Connection = psycopg.Connection[tuple[Any, ...]]

_MAYBE_LATER = (
    errors.SerializationFailure, errors.DeadlockDetected, errors.LockNotAvailable, errors.QueryCanceled, errors.TooManyConnections,
    errors.AdminShutdown, errors.CrashShutdown, errors.CannotConnectNow, errors.IdleInTransactionSessionTimeout,
)  # fmt: skip
_NO_ROOM = (errors.DiskFull, errors.OutOfMemory, errors.ProgramLimitExceeded, errors.ReadOnlySqlTransaction)
_HOPELESS = ("password", "no pg_hba", "does not exist", "authentication", "not permitted", "Tenant or user not found", "SSL is not", "invalid ", "Servname not supported")


_ALIVE: dict[str, Any] = {"keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
"""A server that the network swallowed is given up after half a minute, not after the two hours of the system."""
logging.getLogger("psycopg").setLevel(logging.ERROR)  # of a lost connection we tell ourselves

STALE_S = 5.0
"""A connection that nobody used for so long is asked whether it still lives; servers and poolers close idle ones."""


class Pool:
    """At most *size* connections to *url*; whoever finds all of them lent waits *patience* seconds."""

    def __init__(self, url: str, size: int, patience: float = 10.0, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._url, self._patience, self._monotonic = url, patience, monotonic
        self._idle: list[tuple[Connection, float]] = []
        self._free = threading.Semaphore(size)
        self._lock = threading.Lock()
        self._closed = False
        self.place = place_of(url)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection outside of any transaction; what is open when it comes back is rolled back."""
        if not self._free.acquire(timeout=self._patience):
            raise Busy(f"all connections to {self.place} are in use: the same again in a moment")
        try:
            lent = self._take()
            try:
                yield lent
            finally:
                self._give_back(lent)
        finally:
            self._free.release()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection, _ in idle:
            connection.close()

    def _take(self) -> Connection:
        if self._closed:
            raise Unusable("the store is closed")
        while kept := self._youngest():
            if self._lives(*kept):
                return kept[0]
            kept[0].close()
        return psycopg.connect(self._url, **_ALIVE, connect_timeout=5, prepare_threshold=None, application_name="session-relay", client_encoding="utf8")

    def _youngest(self) -> tuple[Connection, float] | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _lives(self, kept: Connection, since: float) -> bool:
        if kept.closed or kept.broken or self._monotonic() - since < STALE_S:
            return not (kept.closed or kept.broken)
        try:
            kept.execute("SELECT 1")
            kept.rollback()
        except psycopg.Error:
            return False
        return True

    def _give_back(self, lent: Connection) -> None:
        try:
            if not lent.closed:
                lent.rollback()
        except psycopg.Error:
            pass
        with self._lock:
            keep = not (lent.closed or lent.broken or self._closed)
            if keep:
                self._idle.append((lent, self._monotonic()))
        if not keep:
            lent.close()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction that is committed at the end, its errors ours."""
        with plain_errors(self.place), self.connection() as lent:
            yield lent
            lent.commit()


def place_of(url: str) -> str:
    """Host and database, without the password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "of this connection string"
    port = parts.netloc.rpartition("@")[2].rpartition("]")[2].partition(":")[2]
    return f"{parts.hostname or 'this machine'}{f':{port}' if port else ''}{parts.path or ''}"


@contextmanager
def plain_errors(place: str) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise meaning_of(error, place) from error


def meaning_of(error: psycopg.Error, place: str) -> LedgerError:
    """What a caller can do about it; never the statement or its values."""
    if isinstance(error, _MAYBE_LATER):
        return Busy(f"the database {place} is busy: the same again in a moment")
    if isinstance(error, _NO_ROOM):
        return Full(f"the database {place} takes no more: free space, or end its read-only mode")
    if isinstance(error, errors.InsufficientPrivilege):
        return Unusable(f"the database {place} does not let us ({_said(error)}): grant this user CREATE on it, or let the relay connect once as the owner of its tables, then GRANT session_relay TO this user")
    if isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)) and not any(sign in str(error) for sign in _HOPELESS):
        return Busy(f"the database {place} does not answer: see that it runs, and that its address and port are right", retry_after=5)
    if isinstance(error, (psycopg.OperationalError, psycopg.ProgrammingError)):
        return Unusable(f"the database {place} cannot be used: {_said(error)}")
    return Unusable(f"the database {place}: {type(error).__name__}")


def _said(error: psycopg.Error) -> str:
    """The server's own words. The client's may repeat the connection string, password and all."""
    found = re.search(r"FATAL:\s+(.*)", str(error))
    if error.sqlstate:
        return str(error).strip().splitlines()[0]
    return found[1] if found else "look at the connection string"
