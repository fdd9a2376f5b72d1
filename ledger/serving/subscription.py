"""What a viewer asks for when it subscribes, the same over every kind of live channel."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

_LONGEST_CURSOR, _LONGEST_ZONE, _MOST_SESSIONS = 16_384, 64, 1000


class Subscription(NamedTuple):
    """*cursor* is where the page stands (None: it has nothing yet), *tz* the zone of its days ("": the server's), *sessions* how many
    of the newest it wants where everything comes."""

    cursor: str | None = None
    tz: str = ""
    sessions: int = 200


EVERYTHING = Subscription()


def subscription_of(message: Mapping[str, Any]) -> Subscription:
    """Values of another type or beyond their limits count as not given: nothing that a page says closes its channel."""
    cursor, tz, sessions = message.get("cursor"), message.get("tz"), message.get("sessions")
    return Subscription(
        cursor if isinstance(cursor, str) and len(cursor) <= _LONGEST_CURSOR else EVERYTHING.cursor,
        tz if isinstance(tz, str) and len(tz) <= _LONGEST_ZONE else EVERYTHING.tz,
        sessions if isinstance(sessions, int) and not isinstance(sessions, bool) and 0 <= sessions <= _MOST_SESSIONS else EVERYTHING.sessions,
    )
