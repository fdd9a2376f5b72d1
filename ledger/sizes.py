"""How large a message of the push protocol may be: agents keep to it, relays refuse what is larger."""
from __future__ import annotations

from ledger.store import AT_ONCE

MAX_CHANGES = AT_ONCE
"""Records to put and to delete in one message, which is one transaction of the store."""
MAX_WIRE = 1 << 20
"""Bytes of the body as it is sent, compressed."""
MAX_INFLATED = 4 << 20
"""Bytes of the body once it is inflated."""
MAX_BODY = 64 << 10
"""Bytes of one record's JSON."""
MAX_ID_BYTES = 512
