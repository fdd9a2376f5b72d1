"""What of a message is not kept, because a person had its project forgotten.

A record that is not kept stands here as a stub, which counts in the digest as if it had been kept: so the copy agrees with the agent,
which need not know and does not send it again. A day's record is kept without that project's rows.
"""
from __future__ import annotations

import msgspec

from ledger import bodies
from ledger.record import Ref
from ledger.store import Store
from ledger.views.gather import FORGOTTEN, part_of
from ledger.wire import Push
from relay.people.tenants import Tenant
from relay.protocol import Instead

TRIMMED = "trimmed"
"""The code of a day that is kept without some of its rows."""


class _Of(msgspec.Struct):
    project: str | None = None


_project = msgspec.json.Decoder(_Of).decode
_encode = msgspec.json.Encoder().encode


def instead(tenant: Tenant, store: Store, source: str, message: Push) -> Instead:
    """Of the records in *message*, what is kept instead of them; nothing for nearly everybody."""
    found: dict[Ref, tuple[str, str]] = {}
    for put in message.put:
        if put.k == "session" and of_forgotten(tenant, put.b):
            found[Ref(put.k, put.id)] = ("", FORGOTTEN)
        elif put.k == "day" and (left := without(tenant, put.b)) is not None:
            found[Ref(put.k, put.id)] = (left, TRIMMED)
    here = {Ref(put.k, put.id) for put in message.put}
    for put in message.put:
        if put.k == "usage":
            session = Ref("session", part_of(Ref(put.k, put.id))[0])
            if session in found or (session not in here and _is_stub(store, tenant.name, source, session)):
                found[Ref(put.k, put.id)] = ("", FORGOTTEN)
    return found


def of_forgotten(tenant: Tenant, body: str) -> bool:
    """Whether a session is of a project that was forgotten. What cannot be read is not: it is shown as unreadable."""
    try:
        project = _project(body).project
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return bool(project) and tenant.forgets(str(project))


def without(tenant: Tenant, body: str) -> str | None:
    """A day without the rows of forgotten projects; None where it has none."""
    try:
        day = bodies.read("day", body)
    except bodies.Unreadable:
        return None
    kept = [row for row in day.rows if not (row[3] and tenant.forgets(row[3]))]
    if len(kept) == len(day.rows):
        return None
    day.rows = kept
    return _encode(day).decode()


def _is_stub(store: Store, tenant: str, source: str, session: Ref) -> bool:
    row = store.get(tenant, source, session)
    return row is not None and row.code == FORGOTTEN
