"""msgspec, without what it would load and we do not use.

It looks for typing_extensions only to support its types; loading that takes longer than reading some megabytes.
"""
from __future__ import annotations

import sys

_ABSENT = "typing_extensions" not in sys.modules
if _ABSENT:
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]
try:
    from msgspec import Meta, MsgspecError, Struct
    from msgspec.json import Decoder, decode, encode
finally:
    if _ABSENT:
        del sys.modules["typing_extensions"]

__all__ = ["Decoder", "Meta", "MsgspecError", "Struct", "decode", "encode"]
