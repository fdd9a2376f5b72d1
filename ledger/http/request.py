"""A request as handlers see it; light enough for a function that must start fast."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl


@dataclass(slots=True)
class Request:
    """*headers* has lower-case names; *note* is filled in for the access log."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    client: str
    note: dict[str, Any] = field(default_factory=dict)

    @property
    def origin(self) -> str | None:
        """The page that asks; None for programs, which send none."""
        return self.headers.get("origin")

    @property
    def arguments(self) -> dict[str, str]:
        return dict(parse_qsl(self.query, keep_blank_values=True, max_num_fields=50)) if self.query.count("&") < 50 else {}
