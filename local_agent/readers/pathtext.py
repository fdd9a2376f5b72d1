"""Paths as text: a name whose bytes are no UTF-8 still names a file, but neither SQLite nor JSON takes it as Python spells it.

Such bytes are kept as characters of a private plane, which no name uses, and so lead back to the same path.
"""
from __future__ import annotations

ESCAPED, KEPT = 0xDC80, 0x10DC80
"""Where the 128 bytes stand that are no ASCII: as Python spells them (PEP 383), and as they are kept."""
_KEPT = {ESCAPED + n: KEPT + n for n in range(128)}
_BACK = {kept: escaped for escaped, kept in _KEPT.items()}


def kept(path: str) -> str:
    """The path as it can be stored."""
    return path if path.isascii() else path.translate(_KEPT)


def path_of(text: str) -> str:
    """The path that was stored."""
    return text if text.isascii() else text.translate(_BACK)


def shown(name: str) -> str:
    """The name for people: a byte that says nothing is a question mark."""
    return name if name.isascii() else name.encode("utf-8", "replace").decode()
