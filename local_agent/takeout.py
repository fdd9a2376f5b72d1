"""Taking out what the archive holds, and forgetting a part of it for good."""
from __future__ import annotations

from typing import BinaryIO

from ledger.errors import LedgerError, Misuse
from ledger.export import COLUMNS, export
from ledger.prices import PriceBook
from ledger.record import Ref
from ledger.stores.sqlite import SqliteStore
from ledger.view import Views
from local_agent.archive import LOCAL, Archive
from local_agent.identity import open_identity
from local_agent.lock import HomeLock, Taken
from local_agent.parts import now_ms
from local_agent.settings import Settings


def write(settings: Settings, format: str, kind: str, out: BinaryIO) -> None:
    """Write everything of one kind, piece by piece. Works whether the agent runs or not."""
    if kind not in COLUMNS:
        raise Misuse(f"--kind is one of {', '.join(COLUMNS)}, not {kind!r}")
    if not settings.archive.exists():
        raise LedgerError(f"nothing was read into {settings.home} yet: python -m local_agent once")
    store = SqliteStore(settings.archive, synchronous="NORMAL")
    try:
        for chunk in export(Views(store, PriceBook.load(), now_ms).view(LOCAL), kind, format).chunks:
            out.write(chunk)
    finally:
        store.close()


def forget(settings: Settings, id: str) -> str:
    """Forget a session for good: no later reading revives it, and the relay deletes it at the next push."""
    identity = open_identity(settings.home)
    try:
        with HomeLock(settings.home):
            archive = Archive(settings.archive, source=identity.source, clock=now_ms)
            try:
                if archive.get(Ref("session", id)) is None:
                    raise LedgerError(f"there is no session {id!r} (its key is shown by  local_agent export --format jsonl)")
                archive.forget(Ref("session", id))
            finally:
                archive.close()
    except Taken as taken:
        raise Misuse(f"{taken}: stop it first, then forget, then start it again") from None
    return f"forgot {id}; the relay forgets it with the next push"
