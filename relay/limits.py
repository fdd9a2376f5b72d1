"""How much one caller may ask: a bucket of tokens per address, per key and per tenant.

A bucket fills at a steady rate up to its size; an empty one is answered 429 with the seconds to wait.
Memory is bounded: when there are too many buckets, those that are full again are forgotten, then the oldest.
"""
from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import lru_cache
from math import ceil
from socket import AF_INET6, inet_pton

from ledger.errors import Problem

_MOST = 20_000


@dataclass(frozen=True, slots=True)
class Rate:
    """*burst* requests at once, *per_second* for ever."""

    burst: float
    per_second: float


class Buckets:
    """One rate for many names."""

    def __init__(self, rate: Rate, *, most: int = _MOST) -> None:
        self.rate, self._most = rate, most
        self._policy = f'"default";q={rate.burst:.0f};w={ceil(rate.burst / rate.per_second)}'
        self._kept: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def take(self, name: str, now_ms: int, cost: float = 1.0) -> dict[str, str]:
        """Take *cost* tokens; the RateLimit headers to answer with. Raises Problem 429 when there are not enough."""
        return {"RateLimit-Policy": self._policy, "RateLimit": f'"default";r={round(self.spend(name, now_ms, cost))}'}

    def spend(self, name: str, now_ms: int, cost: float = 1.0) -> float:
        """Take *cost* tokens; how many are left. Raises Problem 429 when there are not enough."""
        burst, per_second = self.rate.burst, self.rate.per_second
        with self._lock:
            level, at = self._kept.pop(name, (burst, now_ms))
            if now_ms > at:
                level += (now_ms - at) * per_second / 1000
                if level > burst:
                    level = burst
            enough = level >= cost
            if enough:
                level -= cost
            if len(self._kept) >= self._most:
                self._make_room(now_ms)
            self._kept[name] = (level, now_ms)  # the end of the dict is the youngest
        if enough:
            return level
        wait = ceil((cost - level) / per_second)
        raise Problem(
            429, "rate-limited", f"too many requests: try again in {wait} s",
            headers={"Retry-After": str(wait), "RateLimit": f'"default";r=0;t={wait}'},
        )  # fmt: skip

    def is_empty(self, name: str, now_ms: int) -> bool:
        level, at = self._kept.get(name, (self.rate.burst, now_ms))
        return level + max(0.0, now_ms - at) * self.rate.per_second / 1000 < 1

    def _make_room(self, now_ms: int) -> None:
        rate = self.rate
        full = [name for name, (level, at) in self._kept.items() if level + (now_ms - at) * rate.per_second / 1000 >= rate.burst]
        for name in full or list(self._kept)[: self._most // 10]:
            del self._kept[name]

    def __len__(self) -> int:
        return len(self._kept)


@dataclass(frozen=True, slots=True)
class Limits:
    """The buckets of a relay. Wrong keys have one of their own: guessing must not be cheap."""

    address: Buckets
    key: Buckets
    refused: Buckets
    tenant: Buckets = field(default_factory=lambda: Buckets(Rate(1e9, 1e9)))
    """Reads and pushes of one tenant, each for themselves."""

    @classmethod
    def usual(cls, per_second: float = 200) -> Limits:
        """*per_second* requests of one address, or of one tenant, for ever; a key has a fifth of that."""
        key = max(1.0, per_second / 5)
        return cls(Buckets(Rate(per_second * 3, per_second)), Buckets(Rate(key * 6, key)), Buckets(Rate(60, 1)), Buckets(Rate(per_second * 3, per_second)))


def address_of(peer: str | None) -> str:
    """What counts as one caller: an IPv4 address, or the /64 that one IPv6 household holds."""
    return _household(peer) if peer and ":" in peer else peer or "unknown"


@lru_cache(maxsize=4096)
def _household(peer: str) -> str:
    try:
        number = int.from_bytes(inet_pton(AF_INET6, peer.partition("%")[0]), "big")
    except (OSError, ValueError):
        return peer  # a proxy may write what it likes
    if number >> 32 == 0xFFFF:
        return ".".join(str(number >> shift & 0xFF) for shift in (24, 16, 8, 0))
    return ":".join(f"{number >> shift & 0xFFFF:x}" for shift in (112, 96, 80, 64))
