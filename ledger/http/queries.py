"""What is asked of a path, checked.

The marshmallow schemas in schemas.py are the definition. For the paths that a page asks the same rules stand here a second time as msgspec types, which load
in no time and check a hundred times as fast; tests compare the two. What a type refuses is checked again by the schema, which makes the error message.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType, ValidationError, convert, structs

from ledger.times import is_zone

Text64 = Annotated[str, Meta(max_length=64)]
Limit = Annotated[int, Meta(ge=1, le=500)]


class Asked(Struct):
    tz: Text64 | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.tz is not UNSET and not is_zone(self.tz):
            raise ValueError("not a zone")


class AskedRecent(Asked):
    limit: Limit = 20


class AskedBlocks(Asked):
    limit: Limit = 10
    gaps: bool = False


class AskedFeed(Struct):
    tz: Text64 | UnsetType = UNSET
    cursor: Annotated[str, Meta(max_length=16384)] | UnsetType = UNSET
    sessions: Annotated[int, Meta(ge=0, le=1000)] = 200


BY_THE_DEFINITION = ("/sessions", "/export")
"""Paths with so many parameters that types for them would not pay: always checked by the schema."""
_SHAPES: Mapping[str, type[Struct]] = {"/sessions/recent": AskedRecent, "/five-hour-blocks": AskedBlocks, "/v1/feed": AskedFeed}


def checked(path: str, query: Mapping[str, str]) -> dict[str, Any]:
    """The parameters of *path*; raises Problem naming the first that is wrong. An empty one counts as not given."""
    if path not in BY_THE_DEFINITION:
        given = {name: value for name, value in query.items() if value != ""}
        try:
            return compiled(path, given)
        except ValidationError:
            pass
    from ledger.http import described, schemas

    return schemas.load(described.asked_of(path), query)


def compiled(path: str, given: Mapping[str, str]) -> dict[str, Any]:
    """The same by the types alone. Raises ValidationError, without good words."""
    typed = {name: _TYPED[name](text) if name in _TYPED else text for name, text in given.items()}
    found = structs.asdict(convert(typed, _SHAPES.get(path, Asked)))
    return {name: value for name, value in found.items() if value is not UNSET}


def _whole(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 9 else text


def _flag(text: str) -> bool | str:
    return text == "true" if text in ("true", "false") else text


_TYPED: Mapping[str, Callable[[str], int | bool | str]] = {"limit": _whole, "sessions": _whole, "gaps": _flag}
"""Text that can only mean one thing; any other spelling is for the definition to judge."""
