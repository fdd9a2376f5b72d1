"""What record bodies hold, and reading them with suspicion: they come from other machines.

Each kind has a struct; members that are absent take the default, members that are unknown are dropped,
and a body that does not fit is Unreadable with the reason, never an exception somewhere later.
"""
from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

Count = Annotated[int, Meta(ge=0, le=10**13)]
Instant = Annotated[int, Meta(ge=0, le=253_402_300_799_000)]
Share = Annotated[float, Meta(ge=0, le=1000)]
Money = Annotated[float, Meta(ge=0, le=9e6)]
"""USD in one row: what is more does not fit the whole pico-dollars of 64 bits, and is damage."""
Name = Annotated[str, Meta(max_length=512)]

UsageRow = tuple[Instant, Instant, Instant, Name, Name, Count, Count, Count, Count, Count, Count, Money | None]
"""(at, first, last, model, price class, input, output, write 5m, write 1h, read, requests, reported cost)"""
DayRow = tuple[Name, Name, Name, Name | None, Count, Count, Count, Count, Count, Count, Money | None]
"""(session type, model, price class, project, input, output, write 5m, write 1h, read, requests, reported cost)"""


class Unreadable(Exception):
    """A body that does not fit its kind; the text says why."""


class Context(Struct, omit_defaults=True):
    """Tokens of the model's context window: how many the last answer filled, and how many there are."""

    used: Count = 0
    size: Count = 0


class Session(Struct, omit_defaults=True, kw_only=True):
    """One session of a tool, from one machine. Instants are milliseconds since 1970 UTC."""

    id: str = ""
    session_type: Name = "unknown"
    start_time: Instant | None = None
    end_time: Instant | None = None
    last_activity: Instant | None = None
    is_active: bool = False
    stale: bool = False
    """A tracker calls it active, but wrote nothing of it for so long that this is not believed."""
    total_messages: Count | None = None
    models_used: list[Name] = []
    estimated_tokens: Count = 0
    """The tool's own total; it counts where there are no usage rows."""
    conversation_id: str | None = None
    project: str | None = None
    title: str | None = None
    git_branch: str | None = None
    machine: str | None = None
    account: str | None = None
    metadata: Any = None
    provenance: Name = "observed"
    """observed: from the tool's own files; telemetry: from its telemetry; declared: a tracker, an old client or an import said so."""
    context: Context | None = None
    columns: dict[str, Any] = {}
    """Further columns of a tracker's row, as they are."""
    origin: Name | None = None
    """What it was imported from; None: it was not."""
    usage: list[UsageRow] = []
    """The newest usage rows; older ones are in *more* `usage` records, so that a change of a long session stays small."""
    more: Count = 0


class Usage(Struct, omit_defaults=True):
    """Older usage rows of a session."""

    session: str = ""
    usage: list[UsageRow] = []


class Block(Struct, omit_defaults=True, kw_only=True):
    """A five-hour block as a tracker declared it."""

    id: str = ""
    start_time: Instant | None = None
    end_time: Instant | None = None
    session_type: Name | None = None
    total_sessions: Count | None = None
    total_tokens: Count | None = None
    efficiency_score: float | None = None
    is_complete: bool | None = None
    tracker: str | None = None
    columns: dict[str, Any] = {}


class Limit(Struct, omit_defaults=True, kw_only=True):
    """How much of an official limit's window an account has used, as the tool itself said at *observed_at*."""

    tool: Name = "claude_code"
    account: str = ""
    window: Name
    used_percent: Share
    resets_at: Instant | None = None
    observed_at: Instant
    source: Name = ""
    earlier: list[Instant] = []
    """Resets of the same window that were reported before, where the reader keeps them."""
    earlier_used: list[tuple[Instant, Share]] = []
    """How much was used of those windows when they were last read: reset and percent."""


class Machine(Struct, omit_defaults=True, kw_only=True):
    """What an agent says of itself: *readers* by name with their state, *note* what troubles it, *disk* "full" where nothing can be written."""

    name: str | None = None
    os: str | None = None
    version: str | None = None
    tz: str | None = None
    readers: dict[str, Any] = {}
    note: str | None = None
    disk: str | None = None
    sample: bool = False


class Day(Struct, omit_defaults=True, kw_only=True):
    """Totals of one date in the zone *tz*: what is left of sessions that are no longer kept, or was imported."""

    date: Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\d$")]
    tz: str | None = None
    rows: list[DayRow] = []
    origin: Name | None = None


KINDS: dict[str, type[Struct]] = {"session": Session, "usage": Usage, "block": Block, "limit": Limit, "machine": Machine, "day": Day}
_decoders = {kind: msgspec.json.Decoder(shape) for kind, shape in KINDS.items()}


def read(kind: str, body: str) -> Any:
    """The body of a known kind as its struct; raises Unreadable. An unknown kind is None."""
    decoder = _decoders.get(kind)
    if decoder is None:
        return None
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Unreadable(str(error)) from None
