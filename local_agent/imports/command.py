"""`python -m local_agent import`: take a file over, list what was taken over, or undo it."""
from __future__ import annotations

import sqlite3
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from ledger.clock import now_ms
from ledger.errors import Full, LedgerError, Misuse
from ledger.stores.sqlite import SqliteStore
from ledger.times import iso
from ledger.words import many
from local_agent.archive import Archive
from local_agent.commands.status import disk_of
from local_agent.identity import Identity, open_identity
from local_agent.imports import ccusage, kept, trackers
from local_agent.imports.items import Item, LeftOut
from local_agent.imports.stream import NotJson
from local_agent.lock import HomeLock, Taken
from local_agent.settings import Settings

MAGIC = b"SQLite format 3\0"
Found = Iterable[Item | LeftOut]


def take(settings: Settings, name: str) -> dict[str, Any]:
    """Import the file *name*, or what comes on stdin for "-". Whole or not at all. Raises Misuse where it is none of ours."""
    if name == "-":
        return _taken(settings, "stdin", "ccusage", lambda sql, source: ccusage.read(sys.stdin.buffer, ZoneInfo(settings.tz)))
    path = Path(name).expanduser().absolute()
    try:
        with path.open("rb") as file:
            if file.read(16) != MAGIC:
                file.seek(0)
                if file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] != b"{":
                    raise Misuse(f"{path.name} is neither ccusage's JSON nor a tracker's database")
                file.seek(0)
                return _taken(settings, path.name, "ccusage", lambda sql, source: ccusage.read(file, ZoneInfo(settings.tz)))
    except OSError as error:
        raise Misuse(f"{path} cannot be read: {error.strerror or error}") from None
    zone = ZoneInfo(settings.tracker_tz) if settings.tracker_tz else None
    return _taken(settings, path.name, "tracker", lambda sql, source: trackers.read(path, zone, _tracker_of(source, path), now_ms()))


def _tracker_of(source: str, path: Path) -> str:
    """The eight digits that a follower of the same path would give it, so that both name a session alike."""
    from local_agent.readers.tracker_known import identity

    return identity(source, str(path))


def _taken(settings: Settings, name: str, origin: str, read: Callable[[sqlite3.Connection, str], Found]) -> dict[str, Any]:
    left_out: Counter[str] = Counter()
    news, count = 0, 0
    file = sha256(f"{origin}\0{name}".encode()).hexdigest()[:8]
    with _opened(settings) as (sql, source):
        try:
            for each in read(sql, source):
                if isinstance(each, Item):
                    count += 1
                    news += kept.keep(sql, file, each)
                else:
                    left_out[each.why] += 1
        except NotJson as error:
            raise Misuse(f"{name} is not ccusage's JSON: {error}; nothing was taken") from None
        if not count:
            raise Misuse(f"there is nothing to take over in {name}" + (f" ({_listed(left_out)})" if left_out else ""))
        kept.keep_file(sql, file, name, origin, now_ms())
        kept.decide(sql, source)
        said = next(each for each in kept.files(sql) if each["id"] == file)
    return {**said, "items": count, "new": news, "unreadable": dict(left_out)}


def listed(settings: Settings) -> list[dict[str, object]]:
    with _opened(settings) as (sql, _):
        return kept.files(sql)


def undo(settings: Settings, name: str) -> int:
    """Forget an import by its name or id, or all of them. Raises Misuse if there is none of that name."""
    with _opened(settings) as (sql, _):
        count = kept.remove(sql, name)
        known = ", ".join(str(each["name"]) for each in kept.files(sql)) or "none"
    if count < 0:
        raise Misuse(f"there is no import called {name!r}; there are: {known}")
    return count


@contextmanager
def _opened(settings: Settings) -> Iterator[tuple[sqlite3.Connection, str]]:
    """The archive in one transaction, and the records made to agree afterwards: by us, or by the agent that runs."""
    identity = open_identity(settings.home)
    try:
        with HomeLock(settings.home):
            archive = Archive(settings.archive, source=identity.source, clock=now_ms)
            try:
                with archive.store.transaction() as sql:
                    kept.prepare(sql)
                    yield sql, archive.source
                kept.reconcile(archive)
                archive.must_be_kept()
            finally:
                archive.close()
    except Taken as taken:
        if disk_of(taken.port) == "full":
            raise Full("the disk is full, and the agent goes on in memory: make room, then the same again") from None
        with _beside(settings, identity) as opened:
            yield opened
        _nudge(taken)


@contextmanager
def _beside(settings: Settings, identity: Identity) -> Iterator[tuple[sqlite3.Connection, str]]:
    if not settings.archive.exists():
        raise LedgerError("the agent has just been started: try again in a moment")
    store = SqliteStore(settings.archive, synchronous="NORMAL")
    try:
        with store.transaction() as sql:
            kept.prepare(sql)
            yield sql, identity.source
            kept.decide(sql, identity.source)
    finally:
        store.close()


def _nudge(taken: Taken) -> None:
    """Ask the agent to look now; it would by itself within half a minute."""
    if taken.port is None:
        return  # it has just been started, and will look by itself
    with suppress(OSError):
        request = urllib.request.Request(f"http://127.0.0.1:{taken.port}/api/netlify-sync", method="POST", data=b"{}")
        urllib.request.urlopen(request, timeout=5).close()


def _listed(counts: Counter[str] | dict[str, int]) -> str:
    return ", ".join(f"{count} × {what}" for what, count in sorted(counts.items()))


def in_words(said: dict[str, Any]) -> str:
    counting = ", ".join(many(count, kind) for kind, count in said["counts"].items()) or "nothing"
    lines = [f"{said['name']}: {counting} count" + (f" ({said['new']} new)" if "new" in said else "") + f"; {said['origin']}, {iso(int(said['at']))}"]
    lines += [f"  left out {many(count, what.partition(': ')[0])}: {what.partition(': ')[2]}" for what, count in said["left_out"].items()]
    lines += [f"  cannot be taken, {count} ×: {what}" for what, count in said.get("unreadable", {}).items()]
    return "\n".join(lines)
