"""What a viewer is sent, the same over every kind of live channel."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

BIGGEST_FEED = 24 * 1024


def encode(message: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(message)


def feed_frame(feed: Mapping[str, Any], since: str | None) -> bytes:
    """The feed that continues *since*; what is too long for the channel becomes a notice, and the page asks for it."""
    frame = encode({"type": "feed", "since": since, **feed})
    return frame if len(frame) <= BIGGEST_FEED else encode({"type": "changed", "head": feed.get("head") or feed.get("cursor")})


def says_nothing(feed: Mapping[str, Any], since: str | None) -> bool:
    """True where the feed tells a viewer at *since* nothing new."""
    return feed.get("cursor") == since and not any(feed.get(part) for part in ("records", "removed", "reset", "summary", "machines", "full"))
