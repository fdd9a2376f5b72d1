"""The schemas of the read API's parameters and answers: they check what is asked and describe what is answered.

Query parameters are loaded by them. Answers are not dumped by them (that would cost more than working them out), but
tests hold the answers against them, and the OpenAPI document is made from them.
"""
from __future__ import annotations

from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate, validates_schema

from ledger.errors import Problem
from ledger.times import is_zone, iso, parse
from ledger.views.search import SORTS


class When(fields.Field):  # type: ignore[type-arg]
    """A time: ISO 8601 or milliseconds; inside, milliseconds."""

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> Any:
        return value if value is None or isinstance(value, str) else iso(value)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        try:
            return parse(str(value))
        except (ValueError, OverflowError):
            raise ValidationError("is not a time: write 2026-11-22T10:00:00Z") from None


def a_zone(name: str) -> None:
    if not is_zone(name):
        raise ValidationError("is not a time zone: write Europe/Berlin")


class Asked(Schema):
    class Meta:
        unknown = EXCLUDE  # old clients add what keeps caches away

    tz = fields.String(validate=[validate.Length(max=64), a_zone], metadata={"description": "The viewer's time zone, as in Europe/Berlin."})


class AskedRange(Asked):
    """A span of time, which cannot end before it begins."""

    since = When(metadata={"description": "Active at or after this time."})
    until = When(metadata={"description": "Begun before this time."})

    @validates_schema
    def in_order(self, data: dict[str, Any], **kwargs: Any) -> None:
        if "since" in data and "until" in data and data["since"] > data["until"]:
            raise ValidationError("is later than until: nothing lies between", "since")


class Kind(fields.String):
    """A session type as the readers spell it, however the caller does."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        return str(super()._deserialize(value, attr, data, **kwargs)).strip().lower().replace("-", "_")


LIMIT = {"description": "How many at most."}


class AskedRecent(Asked):
    limit = fields.Integer(load_default=20, validate=validate.Range(1, 500), metadata=LIMIT)


class AskedBlocks(Asked):
    limit = fields.Integer(load_default=10, validate=validate.Range(1, 500), metadata=LIMIT)
    gaps = fields.Boolean(load_default=False, metadata={"description": "Show the gaps between blocks too."})


class AskedFiltered(AskedRange):
    """Sessions of a span of time, and of one project, model, machine or tool only."""

    project = fields.String(validate=validate.Length(max=512))
    model = fields.String(validate=validate.Length(max=512))
    machine = fields.String(validate=validate.Length(max=512))
    session_type = Kind(validate=validate.Length(max=512))


class AskedSessions(AskedFiltered):
    q = fields.String(load_default="", validate=validate.Length(max=200), metadata={"description": "Words in title, project and branch; all must be there."})
    active = fields.Boolean()
    sort = fields.String(
        load_default="-last_activity",
        validate=validate.OneOf([sign + name for name in SORTS for sign in ("-", "")]),
        metadata={"description": "What to sort by; with - the greatest first."},
    )
    limit = fields.Integer(load_default=50, validate=validate.Range(1, 500), metadata=LIMIT)
    cursor = fields.String(validate=validate.Length(max=2048), metadata={"description": "`next` of the page before."})


class AskedFeed(Asked):
    # A browser that does not know its zone says something all the same; its page is worth more than a refusal.
    tz = fields.String(validate=validate.Length(max=64), metadata={"description": "The viewer's time zone; one that is unknown counts as not given."})
    cursor = fields.String(validate=validate.Length(max=16384), metadata={"description": "`cursor` of the feed before; none for everything."})
    sessions = fields.Integer(load_default=200, validate=validate.Range(0, 1000), metadata={"description": "How many of the newest sessions, if everything comes."})


class AskedExport(AskedFiltered):
    format = fields.String(load_default="csv", validate=validate.OneOf(["csv", "jsonl", "json"]))
    kind = fields.String(load_default="session", validate=validate.OneOf(["session", "usage", "block", "day"]))
    project = fields.String(validate=validate.Length(max=512), metadata={"description": "This filter and those by model, machine and session_type are for sessions and usage only."})
    checksum = fields.Boolean(load_default=False, metadata={"description": "Answer the export's SHA-256 instead, as sha256sum writes it."})


def load(schema: Schema, query: Any) -> dict[str, Any]:
    """The parameters, checked; raises Problem naming the first that is wrong. An empty one counts as not given."""
    try:
        found: dict[str, Any] = schema.load({name: value for name, value in query.items() if value != ""})
    except ValidationError as error:
        messages = error.messages_dict
        name = next(iter(messages))
        first = messages[name]
        text = first[0] if isinstance(first, list) else str(first)
        raise Problem(400, "malformed", f"{name}: {text}", parameter=name) from None
    return found


# -- answers -----------------------------------------------------------------------------------------------------


class Answered(Schema):
    class Meta:
        unknown = EXCLUDE


def text(**more: Any) -> fields.String:
    return fields.String(allow_none=True, **more)


def number() -> fields.Float:
    return fields.Float(allow_none=True)


def whole() -> fields.Integer:
    return fields.Integer(allow_none=True, strict=True)


def a_time() -> When:
    return When(allow_none=True)


class Tokens(Answered):
    input = fields.Integer(required=True)
    output = fields.Integer(required=True)
    cache_write_5m = fields.Integer(required=True)
    cache_write_1h = fields.Integer(required=True)
    cache_read = fields.Integer(required=True)


class ModelShare(Answered):
    model = fields.String(required=True)
    tokens = fields.Integer(required=True)
    cost = number()


class Context(Answered):
    used = fields.Integer(required=True)
    size = whole()
    percent = number()


class SessionAnswer(Answered):
    key = fields.String(required=True)
    id = fields.String(required=True)
    session_type = fields.String(required=True)
    start_time = a_time()
    end_time = a_time()
    last_activity = a_time()
    is_active = fields.Boolean(required=True)
    stale = fields.Boolean(required=True)
    total_messages = whole()
    models_used = fields.List(fields.String(), required=True)
    estimated_tokens = fields.Integer(required=True)
    duration_minutes = fields.Integer(required=True)
    conversation_id = text()
    project = text()
    title = text()
    git_branch = text()
    machine = fields.String(required=True)
    source = fields.String(required=True)
    account = text()
    metadata = fields.Dict(keys=fields.String(), allow_none=True)
    provenance = fields.String(required=True)
    origin = text()
    tokens = fields.Nested(Tokens, required=True)
    cost = number()
    unpriced = fields.List(fields.String(), required=True)
    reported_cost = number()
    models = fields.List(fields.Nested(ModelShare), required=True)
    context = fields.Nested(Context, allow_none=True)
    activity = fields.List(fields.Integer())


class Priced(Answered):
    """What decides the price of tokens: when they were used, by which model, in which class."""

    at = When(required=True)
    model = fields.String(required=True)
    price_class = fields.String(required=True)


class UsageAnswer(Tokens, Priced):
    first = When(required=True)
    last = When(required=True)
    undivided = fields.Integer(metadata={"description": "tokens of which nobody said which kind they are; only where there are any"})
    requests = fields.Integer(required=True)
    cost = number()
    reported_cost = number()


class SessionDetail(SessionAnswer):
    usage = fields.List(fields.Nested(UsageAnswer), required=True)
    sources = fields.List(fields.String(), required=True)


class SessionPage(Answered):
    sessions = fields.List(fields.Nested(SessionAnswer), required=True)
    next = text(required=True)
    total = fields.Integer(required=True)


class CostLine(Priced):
    kind = fields.String(required=True)
    tokens = fields.Integer(required=True)
    usd_per_million = number()
    amount = number()
    source = text()
    source_date = text()
    since = text()


class CostAnswer(Answered):
    id = fields.String(required=True)
    key = fields.String(required=True)
    currency = fields.String(required=True)
    cost = number()
    reported_cost = number()
    unpriced = fields.List(fields.String(), required=True)
    lines = fields.List(fields.Nested(CostLine), required=True)
    price_book = fields.Dict(required=True)


class BlockAnswer(Answered):
    id = fields.String(required=True)
    session_type = text(required=True)
    start_time = a_time()
    end_time = a_time()
    basis = fields.String(required=True, validate=validate.OneOf(["official", "derived", "declared"]))
    gap = fields.Boolean(required=True)
    is_active = fields.Boolean(required=True)
    is_complete = fields.Boolean(required=True, allow_none=True)
    total_sessions = whole()
    total_tokens = whole()
    efficiency_score = number()
    duration_minutes = fields.Integer(required=True)
    progress_percent = fields.Float(required=True)
    tokens = fields.Nested(Tokens)
    cost = number()
    requests = whole()
    models = fields.List(fields.Nested(ModelShare))
    burn = fields.Dict(allow_none=True)
    tracker = text()


class LimitAnswer(Answered):
    key = fields.String(required=True)
    label = fields.String(required=True)
    tool = fields.String(required=True)
    account = text()
    window = fields.String(required=True)
    percent = fields.Float(required=True)
    pace_percent = number()
    resets_at = a_time()
    observed_at = When(required=True)
    source = fields.String(required=True)
    runs_out_at = a_time()


class MachineAnswer(Answered):
    source = fields.String(required=True)
    name = fields.String(required=True)
    os = text()
    version = text()
    tz = text()
    online = fields.Boolean(required=True)
    last_seen = a_time()
    beat_s = fields.Integer(required=True)
    active = fields.Integer(required=True)
    today_cost = fields.Float(required=True)
    readers = fields.Dict(required=True)
    state = fields.String(required=True, validate=validate.OneOf(["ok", "silent", "attention"]))
    note = text()
    sample = fields.Boolean(required=True)
    sessions = fields.Integer(required=True)


class AnalyticsAnswer(Answered):
    today = fields.Dict(required=True)
    weekly = fields.Dict(required=True)
    current_block = fields.Dict(required=True, allow_none=True)
    total_active_sessions = fields.Integer(required=True)
    last_updated = When(required=True)
    totals = fields.Dict()


class StatusAnswer(Answered):
    status = fields.String(required=True)
    version = fields.String(required=True)
    timestamp = When(required=True)
    connected_clients = fields.Integer(required=True)
    features = fields.Dict(required=True)
    statistics = fields.Dict(required=True)
    last_sync = a_time()
    has_localhost_connection = fields.Boolean(required=True)
    cache_size = fields.Dict(required=True)


class ConfigAnswer(Answered):
    real_time_enabled = fields.Boolean(required=True)
    session_tracking = fields.Boolean(required=True)
    five_hour_blocks = fields.Boolean(required=True)
    auto_refresh = fields.Integer(required=True)
    websocket_config = fields.Dict(required=True)
    dashboard_url = text(required=True)
    localhost_port = whole()


class FeedAnswer(Answered):
    cursor = fields.String(required=True)
    head = fields.String(required=True)
    since = text()
    reset = fields.List(fields.String(), required=True)
    full = fields.Boolean(required=True)
    records = fields.List(fields.Dict(), required=True)
    removed = fields.List(fields.Dict(), required=True)
    summary = fields.Dict(required=True)
    machines = fields.List(fields.Nested(MachineAnswer))
    server_time = When(required=True)
    sample = fields.Boolean(required=True)
    home = fields.String(required=True)


class UsedAnswer(Answered):
    tokens = fields.Integer(required=True)
    cost = fields.Float(required=True, allow_none=True)


class TeamMemberAnswer(Answered):
    name = fields.String(required=True)
    active = fields.Integer(required=True, metadata={"description": "Sessions that are active now."})
    sessions = fields.Integer(required=True, metadata={"description": "Of the last 7 local days, as everything here but `today`."})
    blocks = fields.Integer(required=True, metadata={"description": "Five-hour blocks in which anything was used."})
    last_seen = When(allow_none=True)
    today = fields.Nested(UsedAnswer, required=True)
    week = fields.Nested(UsedAnswer, required=True)
    machines = fields.List(fields.String())
    source = fields.String()
    member = text()
    online = fields.Boolean()


class TeamAnswer(Answered):
    tz = fields.String(required=True)
    since = fields.String(required=True)
    until = fields.String(required=True)
    members = fields.List(fields.Nested(TeamMemberAnswer), required=True)
    machines = fields.List(fields.Nested(TeamMemberAnswer), required=True)
    total = fields.Nested(TeamMemberAnswer, required=True)


class PingAnswer(Answered):
    home = fields.String(required=True)
    version = fields.String(required=True)
    server_time = When(required=True)
    url = text()
    sample = fields.Boolean(required=True)
    tenant = text()
    scope = text(metadata={"description": "Of the key that was sent: read, admin or push."})
    role = text(metadata={"description": "admin, member, viewer, or share for a link that was given away."})
    shows = fields.List(fields.String(), allow_none=True, metadata={"description": "The only parts that this key shows; null for all."})
    expires = When(allow_none=True)


class ProblemAnswer(Answered):
    type = fields.String(required=True)
    title = fields.String(required=True)
    status = fields.Integer(required=True)
    detail = fields.String(required=True)
    parameter = text()
