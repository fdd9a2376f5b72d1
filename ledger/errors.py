"""Every error that callers decide on, one class per decision.

    LedgerError
    ├── Conflict        the state moved on since it was read: read again, decide again
    ├── Busy            cannot answer now: wait retry_after seconds, then the same again
    ├── Full            no room: nothing was written, nothing will be until somebody makes room
    ├── Unusable        this store can never be used as it is (damaged, not a store, newer version)
    ├── Problem         what an HTTP caller is told (RFC 9457), with a stable type
    ├── Misuse          a command was called wrongly (exit 2)
    └── Misconfigured   a configuration that must not start (exit 78)

The text of each says what to do next, in one line.
"""
from __future__ import annotations


class LedgerError(Exception):
    """The root: whoever catches this has caught everything we raise on purpose."""


class Conflict(LedgerError):
    pass


class Busy(LedgerError):
    def __init__(self, message: str = "the store is busy: the same again in a moment", *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Full(LedgerError):
    pass


class Unusable(LedgerError):
    pass


class Misuse(LedgerError):
    pass


class Misconfigured(LedgerError):
    pass


class Problem(LedgerError):
    """An answer of status *status* with a problem document; never holds a body or a secret."""

    def __init__(
        self, status: int, type: str, detail: str = "", *, headers: dict[str, str] | None = None, **extra: object
    ) -> None:
        super().__init__(detail or type)
        self.status, self.type, self.detail = status, type, detail
        self.headers, self.extra = headers or {}, extra

    def document(self) -> bytes:
        import json  # most programs that know these errors never write one down

        return json.dumps(
            {"type": self.type, "title": self.type.replace("-", " "), "status": self.status, "detail": self.detail, **self.extra},
            separators=(",", ":"),
        ).encode()
