"""What the earlier system's clients post, turned into records, however sparse or untidy it is.

Pure. A post declares totals without times, so a session gets one usage row at its start, as a tracker's row does.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Any

import msgspec
from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate, validates

from ledger import untidy
from ledger.declared import ALIVE_MS, UUID, kind_of, tokens_of, usage_of
from ledger.errors import Problem
from ledger.record import Record
from ledger.strict import NotStrict, strict_json

PARTS = ("active_sessions", "recent_sessions", "analytics", "five_hour_blocks")
_LARGEST = 32 * 1024
_TIMES = ("start_time", "end_time", "last_activity", "last_token_update", "updated_at", "created_at")
_OURS = frozenset(
    (
        *("key", "id", "session_type", "start_time", "end_time", "last_activity", "is_active", "stale", "total_messages", "models_used", "estimated_tokens"),
        *("duration_minutes", "conversation_id", "project", "title", "git_branch", "machine", "source", "account", "metadata", "provenance", "origin"),
        *("tokens", "cost", "unpriced", "reported_cost", "models", "context", "activity", "usage", "sources", "columns"),
    )
)
"""Members of a session with a meaning of their own; every other one that was posted is shown as it came."""
_BLOCK = frozenset(("id", "start_time", "end_time", "session_type", "total_sessions", "total_tokens", "efficiency_score", "is_complete", "duration_minutes", "progress_percent", "tracker", "columns"))


class _Parts(Schema):
    class Meta:
        unknown = EXCLUDE

    active_sessions = fields.List(fields.Raw(allow_none=True), allow_none=True)
    recent_sessions = fields.List(fields.Raw(allow_none=True), allow_none=True)
    analytics = fields.Raw(allow_none=True)
    five_hour_blocks = fields.List(fields.Raw(allow_none=True), allow_none=True)


class PostSchema(Schema):
    """The envelope of a post. Members that we do not know are ignored."""

    class Meta:
        unknown = EXCLUDE

    source = fields.String(required=True, validate=validate.Length(1, 200))
    timestamp = fields.String(required=True, validate=validate.Length(1, 64))
    data = fields.Nested(_Parts, required=True)

    @validates("timestamp")
    def _is_a_time(self, value: str, data_key: str) -> None:
        if untidy.moment(value) is None:
            raise ValidationError("not an ISO 8601 time")


_SCHEMA = PostSchema()


@dataclass(frozen=True, slots=True)
class Post:
    """A post that makes sense. A part that was not posted is absent from *parts*."""

    source: str
    timestamp: str
    at: int
    parts: Mapping[str, Any]


@dataclass(slots=True)
class Taken:
    """What came of one part: its records by key, how many items were kept in them, and how many were refused for what."""

    records: dict[str, Record] = field(default_factory=dict)
    kept: int = 0
    refused: dict[str, int] = field(default_factory=dict)

    def keep(self, record: Record) -> None:
        self.records[record.id] = record
        self.kept += 1

    def refuse(self, why: str) -> None:
        self.refused[why] = self.refused.get(why, 0) + 1


def read(body: bytes) -> Post:
    """The post in *body*. Raises Problem 400 with what is wrong."""
    try:
        given = strict_json(body)
    except NotStrict as reason:
        raise Problem(400, "malformed", f"not JSON that we can read: {reason}") from None
    try:
        post = _SCHEMA.load(given)
    except ValidationError as error:
        raise Problem(400, "malformed", _words(error.messages)) from None
    parts = {name: value for name, value in post["data"].items() if value is not None}
    return Post(post["source"], post["timestamp"], untidy.moment(post["timestamp"]) or 0, parts)


def _words(messages: Any, path: str = "") -> str:
    """The first of marshmallow's messages, with where it belongs."""
    if isinstance(messages, Mapping):
        name, inner = next(iter(messages.items()))
        return _words(inner, path if name == "_schema" else f"{path}.{name}".lstrip("."))
    return f"{path}: {messages[0]}" if path else str(messages[0])


def source_id(name: str) -> str:
    """What the source of that name is called here. No key can name it: it begins with a tilde."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-")[:40]
    return f"~{plain}" if plain == name else f"~{plain}-{sha256(name.encode()).hexdigest()[:8]}"


def key_of(source: str, id: str) -> str:
    """A UUID names the same session everywhere; any other id only within its source."""
    if UUID.fullmatch(id):
        return id.lower()
    return f"{source}:{id}" if len(id) <= 64 else f"{source}:{sha256(id.encode()).hexdigest()}"


def sessions(items: Sequence[Any], source: str, *, active: bool, now: int, began: Callable[[str], int | None]) -> Taken:
    """Records of the posted sessions. *began* says since when a session without times is known. What has no id is no session."""
    taken = Taken()
    for item in items:
        id = _id(item, 256, taken)
        if id:
            key = key_of(source, id)
            taken.keep(_record("session", key, _session(item, id, active, now, partial(began, key))))
    return taken


def blocks(items: Sequence[Any], source: str) -> Taken:
    """Records of the posted blocks. A block is nothing without its start."""
    taken = Taken()
    for item in items:
        id = _id(item, 128, taken)
        start = untidy.moment(item.get("start_time")) if id else None
        if id and start is None:
            taken.refuse("no readable start")
        elif id and start is not None:
            taken.keep(_record("block", key_of(source, id), _block(item, id, start)))
    return taken


def _id(item: Any, longest: int, taken: Taken) -> str:
    """The item's id; empty where it has none, and *taken* knows why."""
    id = untidy.text(item.get("id"), longest) if isinstance(item, dict) else ""
    if not id:
        taken.refuse("no id" if isinstance(item, dict) else "not an object")
    return id


def _session(item: Mapping[str, Any], id: str, active: bool, now: int, began: Callable[[], int | None]) -> dict[str, Any]:
    times = {name: at for name in _TIMES if (at := untidy.moment(item.get(name))) is not None}
    start = next((times[name] for name in ("start_time", "created_at", "last_token_update", "updated_at", "last_activity") if name in times), None)
    if start is None:
        start = began() or now
    sign = max((*times.values(), start))
    claims = active or untidy.truth(item.get("is_active"))
    alive = active or (claims and now - sign < ALIVE_MS)
    models = untidy.names(item.get("models_used"))
    metadata = untidy.small_object(item.get("metadata"))
    end = times.get("end_time")
    return {
        "id": id[:128],
        "session_type": kind_of(item.get("session_type")),
        "start_time": start,
        "end_time": max(end, start) if end is not None else None,
        "last_activity": sign,
        "is_active": alive,
        "stale": True if claims and not alive else None,
        "total_messages": untidy.count(item.get("total_messages")) or None,
        "models_used": models,
        "estimated_tokens": tokens_of(item),
        "conversation_id": untidy.text(item.get("conversation_id"), 128),
        "project": untidy.last_part(item.get("project")) or untidy.last_part(item.get("project_path")) or untidy.last_part(metadata.get("project")),
        "title": untidy.text(item.get("title")),
        "metadata": metadata,
        "provenance": "declared",
        "columns": _columns(item, _OURS),
        "usage": usage_of(item, start, models),
    }


def _block(item: Mapping[str, Any], id: str, start: int) -> dict[str, Any]:
    return {
        "id": id,
        "start_time": start,
        "end_time": untidy.moment(item.get("end_time")),
        "session_type": kind_of(item.get("session_type"), absent=""),
        "total_sessions": untidy.count(item.get("total_sessions")),
        "total_tokens": int(untidy.first_positive(item.get("total_tokens"), item.get("billable_tokens"))),
        "efficiency_score": untidy.amount(item.get("efficiency_score")),
        "is_complete": untidy.truth(item.get("is_complete")),
        "columns": _columns(item, _BLOCK),
    }


def _columns(item: Mapping[str, Any], named: frozenset[str]) -> dict[str, Any]:
    """Members without a meaning of their own, as they came, within reason."""
    kept: dict[str, Any] = {}
    room = 4096
    for name, value in item.items():
        if name in named or value is None or len(name) > 64:
            continue
        room -= len(name) + len(msgspec.json.encode(value))
        if room < 0:
            break
        kept[name] = value
    return kept


def analytics(value: Any) -> Record | None:
    """Whatever was posted as analytics, kept as it is; what is unreasonably large is not."""
    body = msgspec.json.encode(value).decode()
    return Record("analytics", "current", body) if len(body) <= _LARGEST else None


def _record(kind: str, key: str, facts: Mapping[str, Any]) -> Record:
    kept = {name: value for name, value in facts.items() if value not in (None, "", {}, [])}
    return Record(kind, key, msgspec.json.encode(kept).decode())
