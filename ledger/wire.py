"""The messages of the push protocol: what they must look like, and how large they may be.

marshmallow is the one definition. msgspec is its compiled form, derived from it below, because the definition
itself is thirty times too slow to run on every push. What the fast way does not accept is judged by the slow way, which also
finds the words. Members that are not named here are ignored, so that newer agents may say more.
"""
from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Annotated, Any, cast

import msgspec
from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from ledger.errors import Problem
from ledger.record import ID
from ledger.store import AT_ONCE
from ledger.strict import NotStrict, strict_json

VERSION = 1
SPOKEN = (VERSION - 1, VERSION)
MAX_CHANGES = AT_ONCE
MAX_WIRE = 1 << 20
MAX_INFLATED = 4 << 20
MAX_BODY = 64 << 10
MAX_ID_BYTES = 512
MOST_INT = (1 << 53) - 1

MALFORMED_ID, MALFORMED_BODY, TOO_LARGE = "malformed-id", "malformed-body", "too-large"
"""Why a record is kept as a stub."""


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


class Ref(msgspec.Struct, frozen=True):
    k: str
    id: str


class Put(Ref, frozen=True):
    b: str


class Push(msgspec.Struct, frozen=True):
    """A message that fits PushSchema. *gone* is called "del" on the wire."""

    v: int
    type: str
    aud: str
    source: str
    lease: str | None
    seq: int
    prev: str
    after: str
    commit: bool
    put: list[Put]
    gone: list[Ref]
    agent: dict[str, Any]

    @property
    def changes(self) -> int:
        return len(self.put) + len(self.gone)


def read_push(data: bytes) -> Push:
    """The message in *data*. Raises Problem 400 (malformed), 413 (too-large) or 426 (upgrade-required)."""
    try:
        found = strict_json(data)
    except NotStrict as reason:
        raise Problem(400, "malformed", f"the body is not JSON as this relay wants it: {reason}") from None
    if not isinstance(found, dict):
        raise Problem(400, "malformed", "the body is not a JSON object")
    _speakable(found)
    _countable(found)
    message = judged(found)
    _consistent(message)
    return message


def judged(found: dict[str, Any]) -> Push:
    """*found* as a message, by the compiled definition; by the definition itself where that one refuses."""
    try:
        return cast(Push, msgspec.convert(found, _compiled(PushSchema, Push)))
    except msgspec.ValidationError:
        return judged_slowly(found)


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


def unfit(put: Put) -> str | None:
    """Why this record can only be kept as a stub, or None."""
    if not _is_id(put.id):
        return MALFORMED_ID
    body = put.b.encode()
    if len(body) > MAX_BODY:
        return TOO_LARGE
    try:
        return None if isinstance(strict_json(body), dict) else MALFORMED_BODY
    except NotStrict:
        return MALFORMED_BODY


def _is_id(text: str) -> bool:
    # The pattern's answer, sooner for the usual id.
    if text.isascii() and text.isprintable():
        return 1 <= len(text) <= 128
    return ID.fullmatch(text) is not None


def inflate(data: bytes) -> bytes:
    """The one gzip member that *data* is, whole. Raises Problem 400 or 413, having inflated no more than MAX_INFLATED."""
    machine = zlib.decompressobj(31)
    try:
        text = machine.decompress(data, MAX_INFLATED + 1)
    except zlib.error:
        raise Problem(400, "malformed", "the body is not gzip as its header says") from None
    if len(text) > MAX_INFLATED:
        raise Problem(413, "too-large", f"the body inflates to more than {MAX_INFLATED} bytes: send fewer records at once")
    if not machine.eof or machine.unused_data:
        raise Problem(400, "malformed", "the gzip body is cut off, or something follows it")
    return text


def _speakable(found: dict[str, Any]) -> None:
    version = found.get("v")
    if type(version) is int and version not in SPOKEN:
        which = "upgrade the relay" if version > VERSION else "upgrade the agent"
        raise Problem(426, "upgrade-required", f"this relay speaks versions {SPOKEN[0]} and {SPOKEN[1]}: {which}", spoken=list(SPOKEN))


def _countable(found: dict[str, Any]) -> None:
    """Far too many changes are refused unread: to find words for each would take the slow way minutes."""
    if any(isinstance(found.get(name), list) and len(found[name]) > MAX_CHANGES for name in ("put", "del")):
        raise _too_many()


def _too_many() -> Problem:
    return Problem(413, "too-large", f"at most {MAX_CHANGES} changes at once: send fewer", max_changes=MAX_CHANGES)


def _consistent(message: Push) -> None:
    """What no single member can say."""
    if message.changes > MAX_CHANGES:
        raise _too_many()
    if message.type != "push" and (message.changes or message.commit):
        raise Problem(400, "malformed", f"a {message.type} carries no changes")
    keys = {(ref.k, ref.id) for ref in (*message.put, *message.gone)}
    if len(keys) != message.changes:
        raise Problem(400, "malformed", "the same record twice in one message")
    if any(len(id.encode()) > MAX_ID_BYTES for _, id in keys):
        raise Problem(400, "malformed", f"an id is at most {MAX_ID_BYTES} bytes")


# -- the compiled form

_COMPILED: dict[type[Schema], Any] = {}


def _compiled(schema: type[Schema], base: type[msgspec.Struct]) -> Any:
    """*base* again, with the checks of *schema* in its types."""
    if schema not in _COMPILED:
        found = list(schema().fields.values())
        members = [_member(field) for field in found]
        _COMPILED[schema] = msgspec.defstruct(
            base.__name__, members, bases=(base,), frozen=True, rename={str(field.name): field.data_key for field in found if field.data_key}
        )
    return _COMPILED[schema]


def _member(field: fields.Field[Any]) -> Any:
    kind = _type_of(field)
    if field.required:
        return (field.name, kind)
    default = field.load_default
    return (field.name, kind, msgspec.field(default_factory=default) if callable(default) else default)


def _type_of(field: fields.Field[Any]) -> Any:
    if isinstance(field, fields.List):
        return list[_type_of(field.inner)]  # type: ignore[misc]
    if isinstance(field, fields.Nested):
        schema = type(field.schema)
        return _compiled(schema, Put if schema is PutSchema else Ref)
    plain = _PLAIN[type(field)]
    limits = _limits(field)
    kind = Annotated[plain, msgspec.Meta(**limits)] if limits else plain
    return kind | None if field.allow_none else kind


_PLAIN: dict[type[fields.Field[Any]], Any] = {fields.Integer: int, fields.String: str, _Flag: bool, fields.Dict: dict[str, Any]}


def _limits(field: fields.Field[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for check in field.validators:
        if isinstance(check, validate.Range):
            found |= {"ge": check.min, "le": check.max}
        elif isinstance(check, validate.Length):
            found |= {"min_length": check.min, "max_length": check.max}
        elif isinstance(check, validate.Regexp):
            found["pattern"] = check.regex.pattern
        elif isinstance(check, validate.OneOf):
            found["pattern"] = "^(" + "|".join(check.choices) + r")\Z"
        else:
            raise TypeError(f"{field.name} has a check that is not compiled")
    return {name: value for name, value in found.items() if value is not None}
