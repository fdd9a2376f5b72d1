"""The messages of the push protocol as they are defined, for people, for tests, and for whatever wire.py does not read by itself.

It is loaded when a message is refused, not before: it makes the error message, and a start must not wait for that.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from ledger.errors import Problem
from ledger.sizes import MAX_ID_BYTES
from ledger.wire import MOST_INT, Push, Put, Ref


class _Flag(fields.Field[bool]):
    """true or false; not 1, not "yes"."""

    default_error_messages = {"invalid": "Not true or false."}  # noqa: RUF012 - the library's own form

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **more: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid")
        return value


def _number(**more: Any) -> fields.Integer:
    return fields.Integer(strict=True, validate=validate.Range(0, MOST_INT), **more)


def _text(pattern: str | None = None, least: int = 0, most: int | None = None, **more: Any) -> fields.String:
    checks = [validate.Regexp(pattern)] if pattern else []
    return fields.String(validate=[*checks, validate.Length(least, most)], **more)


def _digest(**more: Any) -> fields.String:
    return _text(r"^[0-9a-f]{64}\Z", 64, 64, **more)


class _Message(Schema):
    class Meta:
        unknown = EXCLUDE


class RefSchema(_Message):
    """Names a record of the source."""

    k = _text(r"^[a-z]{1,32}\Z", 1, 32, required=True, metadata={"description": "kind"})
    id = _text(None, 1, MAX_ID_BYTES, required=True)


class PutSchema(RefSchema):
    """The latest state of a record; *b* is JSON that was serialised once."""

    b = _text(required=True, metadata={"description": "body, serialised JSON"})


class PushSchema(_Message):
    """One message of an agent. A beat asks whether both sides agree, a bye says that the agent stops on purpose."""

    v = _number(required=True)
    type = fields.String(required=True, validate=validate.OneOf(["push", "beat", "bye"]))
    aud = _text(None, 1, 500, required=True)
    source = _text(None, 1, 128, required=True)
    lease = _text(r"^[0-9a-f]{32}\Z", 32, 32, required=True, allow_none=True)
    seq = _number(required=True)
    prev = _digest(required=True)
    after = _digest(load_default="0" * 64)
    commit = _Flag(load_default=False)
    put = fields.List(fields.Nested(PutSchema), load_default=list)
    # "del" is a word of the language.
    gone = fields.List(fields.Nested(RefSchema), load_default=list, data_key="del")
    agent = fields.Dict(keys=fields.String(), load_default=dict)


class StubSchema(RefSchema):
    """A record that is counted but not kept, and why."""

    code = _text(required=True)


class TakenSchema(_Message):
    """The answer to a message that was taken: a relay must say this, and may say more."""

    v = _number(required=True)
    re = _text(required=True, metadata={"description": "the webhook-id that is answered"})
    lease = _text(required=True)
    seq = _number(required=True)
    digest = _digest(required=True)
    committed = _Flag(required=True)
    durable = _Flag(required=True, metadata={"description": "false: a restart of the relay forgets everything"})
    keep_days = _number(required=True, allow_none=True)
    keep_totals_days = _number(load_default=None, allow_none=True, metadata={"description": "how long what is left of older sessions is kept; absent: for ever"})
    stubs = fields.List(fields.Nested(StubSchema), required=True)
    server_time = _number(required=True, metadata={"description": "milliseconds since 1970 UTC"})
    beat_s = _number(required=True)
    max_changes = _number(required=True)
    apart_s = _number(metadata={"description": "seconds to leave between two pushes; absent: as the agent likes"})
    notices = fields.List(fields.String(), load_default=list)


def judged_slowly(found: dict[str, Any]) -> Push:
    try:
        loaded = PushSchema().load(found)
    except ValidationError as error:
        raise Problem(400, "malformed", f"the message does not fit: {in_words(cast(Any, error).normalized_messages())}") from None
    parts = {**loaded, "put": [Put(**put) for put in loaded["put"]], "gone": [Ref(**ref) for ref in loaded["gone"]]}
    return Push(**parts)


def in_words(messages: Mapping[Any, Any], path: str = "") -> str:
    """The first of marshmallow's complaints, with the place; never the value."""
    name, what = next(iter(messages.items()))
    place = f"{path}.{name}" if path else str(name)[:64]
    if isinstance(what, Mapping):
        return in_words(what, place)
    return f"{place}: {what[0] if isinstance(what, list) else what}"
