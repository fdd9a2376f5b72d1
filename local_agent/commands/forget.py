"""`forget`: one session, here and on the relay."""
from __future__ import annotations

from ledger.clock import now_ms
from ledger.errors import LedgerError, Misuse
from ledger.record import Ref
from local_agent.archive import Archive
from local_agent.identity import open_identity
from local_agent.lock import HomeLock, Taken
from local_agent.settings import Settings


def forget(settings: Settings, id: str) -> str:
    """Forget a session for good: no later reading revives it, and the relay deletes it at the next push."""
    identity = open_identity(settings.home)
    try:
        with HomeLock(settings.home):
            archive = Archive(settings.archive, source=identity.source, clock=now_ms)
            try:
                if archive.get(Ref("session", id)) is None:
                    raise LedgerError(f"there is no session {id!r} (`python -m local_agent export --format jsonl` shows the key of each)")
                archive.forget(Ref("session", id))
                archive.must_be_kept()
            finally:
                archive.close()
    except Taken as taken:
        raise Misuse(f"{taken}: stop it first, then forget, then start it again") from None
    return f"forgot {id}; the relay forgets it with the next push"
