"""Read-only links that show only what was chosen, and end.

A share is a read key whose id says that it is one; what it shows is kept on the shelf. Where that is gone the key opens
nothing: a share can lose what it shows, and never gain.
"""
from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from ledger.errors import Misuse
from ledger.keytext import KeyText, claims_of
from ledger.store import Shelf
from ledger.views.share import BETWEEN, VIEWER, Shown, terms_of
from relay.keys import KeyRing

DRAWER = "shares"
HOLDER = "~share"
VIEWERS = "~viewer"
LONGEST_LABEL = 80
ShownOf = Callable[[str], tuple[Shown, bytes] | None]


@dataclass(frozen=True, slots=True)
class Share:
    """One link. Times are milliseconds; *expires* 0 never."""

    id: str
    label: str
    shows: tuple[str, ...]
    project: str | None
    machine: str | None
    created: int
    expires: int
    state: str
    key_id: str

    def public(self) -> dict[str, object]:
        return {"id": self.id, "label": self.label, "shows": list(self.shows), "project": self.project, "machine": self.machine,
                "created": self.created, "expires": self.expires or None, "state": self.state}  # fmt: skip


class Shares:
    def __init__(self, shelf: Shelf, ring: KeyRing, clock: Callable[[], int]) -> None:
        self._shelf, self._ring, self._clock = shelf, ring, clock

    def create(self, tenant: str, shown: Shown, *, expires_s: int, label: str = "") -> str:
        """A new link's key, good for *expires_s* seconds (0: until it is revoked). Raises Misuse."""
        if len(label) > LONGEST_LABEL or not label.isprintable():
            raise Misuse(f"a label is at most {LONGEST_LABEL} printable characters")
        now = self._clock()
        key = self._ring.issue("read", tenant, HOLDER, now // 1000 + expires_s if expires_s else 0, name=f"share: {label}" if label else "share")
        id = KeyText.parse(key).id
        value = {**shown.document(), "salt": secrets.token_hex(16), "label": label, "key": id, "created": now}
        self._shelf.put(DRAWER, f"{tenant}{BETWEEN}{_short(id)}", value, now=now, expect=0)
        return key

    def all(self, tenant: str) -> list[Share]:
        """The links of *tenant*, oldest first."""
        states = {one.id: one for one in self._ring.list() if one.tenant == tenant}
        found = []
        for name, document in self._shelf.list(DRAWER, f"{tenant}{BETWEEN}", now=self._clock()):
            value, id = document.value, str(document.value.get("key", ""))
            terms = terms_of(value)
            if terms is None or not id:
                continue  # what viewers see is no link
            about = states.get(id)
            expires, created = claims_of(id).expires * 1000, value.get("created")
            found.append(Share(
                name.partition(BETWEEN)[2], str(value.get("label", "")), tuple(terms[0].listed()), terms[0].project, terms[0].source,
                created if isinstance(created, int) else 0, expires, about.state if about else "in force", id,
            ))  # fmt: skip
        return sorted(found, key=lambda share: (share.created, share.id))

    def revoke(self, tenant: str, id: str) -> bool:
        """End a link, by its short id, the id of its key or the key itself; whoever watches is cut off. False: there is none."""
        name = _short(KeyText.parse(id).id) if id.startswith("sr_") else _short(id) if len(id) > 24 else id
        document = self._shelf.take(DRAWER, f"{tenant}{BETWEEN}{name}", now=self._clock())
        if document is None or not document.value.get("key"):
            return False
        self._ring.revoke(str(document.value["key"]))
        self._shelf.drop(DRAWER, f"{tenant}{BETWEEN}{name}")
        return True

    def allow_viewers(self, tenant: str) -> None:
        """Have what viewers of *tenant* see, once."""
        name = f"{tenant}{BETWEEN}{VIEWERS}"
        if self._shelf.take(DRAWER, name, now=self._clock()) is None:
            self._shelf.put(DRAWER, name, {**VIEWER.document(), "salt": secrets.token_hex(16)}, now=self._clock())


def name_of(tenant: str, key_id: str) -> str:
    """What the key of that id reads: the tenant itself, or "tenant|share"."""
    role = claims_of(key_id).role
    if role == "viewer":
        return f"{tenant}{BETWEEN}{VIEWERS}"
    return f"{tenant}{BETWEEN}{_short(key_id)}" if role == "share" else tenant


def shown_of(shelf: Shelf, clock: Callable[[], int]) -> ShownOf:
    """What the share of that name shows."""

    def found(name: str) -> tuple[Shown, bytes] | None:
        document = shelf.take(DRAWER, name, now=clock())
        return terms_of(document.value) if document else None

    return found


def _short(key_id: str) -> str:
    return sha256(key_id.encode()).hexdigest()[:20]
