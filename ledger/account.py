"""The name of an account of a tool: a short hash of the id that the tool gave it, never the id itself."""
from __future__ import annotations

from hashlib import sha256

DEFAULT = "default"
"""The account of a tool that names none."""


def name_of(id: str) -> str:
    """Twelve hexadecimal digits, the same wherever the account is met: in a tool's own files and in its telemetry."""
    return sha256(f"account {id}".encode("utf-8", "replace")).hexdigest()[:12]
