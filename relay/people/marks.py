"""Keys that end because of whom they belong to: a machine or a tenant that was forgotten.

A key is known from itself alone, so dropping what is kept of it ends nothing. What is forgotten leaves a mark: a hash of
its name and the time. Keys of that name made before are refused; the name may be used again.
"""
from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping
from hashlib import sha256

from ledger.errors import Busy, Conflict
from ledger.keytext import Claims
from ledger.store import Shelf

DRAWER, NAME = "forgotten", "keys"
BELIEVED_MS = 45_000
_TRIES = 5


class Marks:
    """All marks are one small document, looked at every 45 s at most. Safe to share between threads."""

    def __init__(self, shelf: Shelf, clock: Callable[[], int]) -> None:
        self._shelf, self._clock = shelf, clock
        self._at: int | None = None
        self._salt, self._marks = "", dict[str, int]()
        self._lock = threading.Lock()

    def note(self, tenant: str, source: str = "") -> None:
        """Keys of *tenant* (of its machine *source* alone) that were made until now open nothing any more."""
        for _ in range(_TRIES):
            now = self._clock()
            document = self._shelf.take(DRAWER, NAME, now=now)
            kept: Mapping[str, object] = document.value if document else {"salt": secrets.token_hex(16)}
            marks = {name: at for name, at in kept.items() if name != "salt"}
            marks[_mark(str(kept["salt"]), tenant, source)] = now // 1000
            try:
                self._shelf.put(DRAWER, NAME, {"salt": kept["salt"], **marks}, now=now, expect=document.version if document else 0)
            except Conflict:
                continue
            with self._lock:
                self._at = None
            return
        raise Busy("others are forgetting at this moment: try again")

    def doubt(self, now: int) -> None:
        """Look again, unless what is known was looked up *now*, for the same request."""
        with self._lock:
            if self._at != now:
                self._at = None

    def ended(self, claims: Claims, now: int) -> bool:
        """Whether a key that says this was ended so."""
        return claims.issued <= self.until(claims.tenant, claims.source, now)

    def until(self, tenant: str, source: str, now: int) -> int:
        """Keys made until this second are ended; -1 for none."""
        self._look(now)
        if not self._marks:
            return -1
        names = {_mark(self._salt, tenant, one) for one in ("", source)}
        return max(self._marks.get(name, -1) for name in names)

    def _look(self, now: int) -> None:
        if self._at is not None and 0 <= now - self._at < BELIEVED_MS:
            return
        document = self._shelf.take(DRAWER, NAME, now=now)
        kept = document.value if document else {}
        with self._lock:
            self._salt = str(kept.get("salt", ""))
            self._marks = {name: at for name, at in kept.items() if isinstance(at, int)}
            self._at = now


def _mark(salt: str, tenant: str, source: str) -> str:
    return sha256(f"{salt}\0{tenant}\0{source}".encode()).hexdigest()[:24]
