"""A tenant's alert settings: what to be told, when not to be disturbed, through which channels. Checked when they are set."""
from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, field

from ledger.errors import Problem
from ledger.times import is_zone

LEVELS = ("info", "warn", "bad")
MOST_CHANNELS = 10
WEBHOOK, APPRISE, WEB_PUSH = "webhook", "apprise", "webpush"
Percent = Annotated[int, Meta(ge=1, le=100)]
Steps = Annotated[tuple[Percent, ...], Meta(max_length=5)]
Level = Annotated[str, Meta(pattern="^(info|warn|bad)$")]
ChannelName = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9-]{0,31}$")]
ChannelKind = Annotated[str, Meta(pattern="^(webhook|apprise)$")]
CLOCK = "^([01][0-9]|2[0-3]):[0-5][0-9]$"
TimeOfDay = Annotated[str, Meta(pattern=CLOCK)]


class Shape(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Rule(Shape, frozen=True):
    """Something to be told of, unless it is switched off."""

    on: bool = True


class Share(Rule, frozen=True):
    """A share of an official window is used: told at each step."""

    steps: Steps = (75, 90, 100)


class Ahead(Rule, frozen=True):
    """It will run out at least *minutes* before its reset."""

    minutes: Annotated[int, Meta(ge=0, le=10_080)] = 10


class Reset(Rule, frozen=True):
    """A window of which at least *percent* was used begins anew."""

    percent: Annotated[int, Meta(ge=0, le=100)] = 75


class Day(Shape, frozen=True):
    """Today cost more than *usd*; None: there is no budget."""

    usd: Annotated[float, Meta(gt=0, le=1_000_000)] | None = None


class Runaway(Rule, frozen=True):
    """A session uses *factor* times what is usual here in an hour, and at least these amounts."""

    factor: Annotated[float, Meta(ge=1.5, le=1000)] = 5.0
    usd_per_hour: Annotated[float, Meta(gt=0, le=100_000)] = 10.0
    tokens_per_hour: Annotated[int, Meta(ge=1000, le=10**12)] = 20_000_000


class Silent(Rule, frozen=True):
    """A machine fell silent in the middle of work, *minutes* ago."""

    minutes: Annotated[int, Meta(ge=5, le=1440)] = 30


class Unreadable(Rule, frozen=True):
    """An agent has reported for *minutes* that it cannot read its data."""

    minutes: Annotated[int, Meta(ge=0, le=1440)] = 10


class Key(Rule, frozen=True):
    """A push key expires within *days*, and no other of its machine is good for longer."""

    days: Annotated[int, Meta(ge=1, le=90)] = 7


class Rules(Shape, frozen=True):
    block: Share = Share()
    week: Share = Share()
    ahead: Ahead = Ahead()
    reset: Reset = Reset()
    day: Day = Day()
    runaway: Runaway = Runaway()
    silent: Silent = Silent()
    unreadable: Unreadable = Unreadable()
    key: Key = Key()


class Quiet(Shape, frozen=True):
    """Hours without alerts, in the tenant's zone; *urgent*: what is bad is told all the same."""

    start: TimeOfDay = field(name="from")
    end: TimeOfDay = field(name="to")
    urgent: bool = True


class Channel(Shape, frozen=True):
    """A way to a person. *locked* is its address and secret, opened only to send; *shown* is what may be shown of it."""

    name: ChannelName
    kind: ChannelKind
    least: Level = "info"
    on: bool = True
    shown: str = ""
    locked: str = ""

    def public(self) -> dict[str, Any]:
        return {"name": self.name, "kind": self.kind, "least": self.least, "on": self.on, "url": self.shown}


class Asked(Shape, frozen=True):
    """A channel as a person writes it; without a *url* the one of that name keeps what it has."""

    name: ChannelName
    kind: ChannelKind | None = None
    url: Annotated[str, Meta(min_length=1, max_length=2000)] | None = None
    secret: Annotated[str, Meta(max_length=200)] | None = None
    least: Level = "info"
    on: bool = True


class Wishes(Shape, frozen=True):
    rules: Rules = Rules()
    quiet: Quiet | None = None
    tz: str | None = None
    channels: tuple[Channel, ...] = ()

    def public(self) -> dict[str, Any]:
        """Everything but what opens the channels."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain | {"channels": [channel.public() for channel in self.channels]}


def kept(value: Any) -> Wishes:
    """The wishes as the shelf keeps them; what a later version wrote and we do not understand counts as not said."""
    try:
        return msgspec.convert(value, Wishes)
    except msgspec.ValidationError:
        return Wishes(channels=_channels(value))


def _channels(value: Any) -> tuple[Channel, ...]:
    try:
        return msgspec.convert(value.get("channels", ()), tuple[Channel, ...])
    except (msgspec.ValidationError, AttributeError):
        return ()


def changed(before: Wishes, asked: Any) -> tuple[Wishes, tuple[Asked, ...] | None]:
    """*before* with what *asked* says: rules member by member, the rest whole; what is not named stays. The channels
    (None: not named) are for the caller to keep. Raises Problem 400, which names the member."""
    if not isinstance(asked, dict) or set(asked) - {"rules", "quiet", "tz", "channels"}:
        raise Problem(400, "malformed", "settings are an object with the members rules, quiet, tz and channels")
    plain: dict[str, Any] = msgspec.to_builtins(before)
    for name, rule in _object(asked.get("rules", {}), "rules").items():
        if name not in plain["rules"]:
            raise Problem(400, "malformed", f"there is no rule {name}: they are {', '.join(plain['rules'])}")
        plain["rules"][name] |= _object(rule, f"rules.{name}")
    plain |= {name: asked[name] for name in ("quiet", "tz") if name in asked}
    try:
        wishes = msgspec.convert(plain, Wishes)
        channels = msgspec.convert(asked["channels"], tuple[Asked, ...]) if "channels" in asked else None
    except msgspec.ValidationError as error:
        raise Problem(400, "malformed", _plainly(str(error))) from None
    if wishes.tz is not None and not is_zone(wishes.tz):
        raise Problem(400, "malformed", "tz is the name of a time zone, such as Europe/Berlin")
    _must_be_few(channels or ())
    return wishes, channels


def _plainly(complaint: str) -> str:
    """What msgspec complains of, without its own words for places."""
    for theirs, ours in (
        ("`$[", "`channels["), ("`$.", "`"), ("Object contains unknown field", "there is no member"), (f"Expected `str` matching regex {CLOCK!r}", "expected a time such as 22:00"),
        ("Expected `str` matching regex", "expected text like"), ("Expected `int`", "expected a whole number"), ("Expected `float`", "expected a number"),
        ("Expected `bool`", "expected yes or no"), (" - at ", " at "),
    ):  # fmt: skip
        complaint = complaint.replace(theirs, ours)
    return complaint


def _must_be_few(channels: tuple[Asked, ...]) -> None:
    names = [channel.name for channel in channels]
    if len(names) > MOST_CHANNELS:
        raise Problem(409, "quota", f"there may be {MOST_CHANNELS} channels: remove one first")
    if len(set(names)) < len(names) or WEB_PUSH in names:
        raise Problem(400, "malformed", f"each channel has a name of its own, other than {WEB_PUSH}")


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Problem(400, "malformed", f"{what} is an object")
    return value
