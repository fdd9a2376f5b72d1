"""One session as a view keeps it: small, packed, with the few facts that lists and sums ask for.

The body stays as JSON bytes without its usage; the usage as one packed string of rows with their cost.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeGuard

import msgspec

from ledger import bodies, prices
from ledger.prices import PICO, PriceBook
from ledger.times import HOUR, parse

UNPRICED = -1
SYNTHETIC = "<synthetic>"
"""What the tool writes where no model answered: a sign of use, but no model."""
_encode, _decode = msgspec.json.Encoder().encode, msgspec.json.Decoder(bodies.Session).decode
_pack = msgspec.msgpack.Encoder().encode


class Use(NamedTuple):
    """What a session used of one model and price class in one quarter-hour; money in pico-dollars.

    *cost* is UNPRICED for a model without a price, *reported* is -1 where the tool wrote no cost.
    """

    at: int
    first: int
    last: int
    model: int
    price_class: int
    input: int
    output: int
    write_5m: int
    write_1h: int
    read: int
    requests: int
    cost: int
    reported: int


_unpack = msgspec.msgpack.Decoder(list[tuple[int, ...]]).decode
# Plain tuples in the order of Use: the hot loops read them by position, which is half the time of names.
AT, FIRST, LAST, MODEL, CLASS, INPUT, OUTPUT, WRITE_5M, WRITE_1H, READ, REQUESTS, COST, REPORTED = range(13)
Row = tuple[int, ...]
UNDIVIDED = 0
"""The number of the class of rows whose first count is a total; its kinds are not known."""


class Names:
    """Gives each model and class name a small number, so that a packed row need not repeat it."""

    def __init__(self) -> None:
        self.list: list[str] = [prices.UNDIVIDED]
        self._numbers: dict[str, int] = {prices.UNDIVIDED: UNDIVIDED}

    def number(self, name: str) -> int:
        found = self._numbers.get(name)
        if found is None:
            found = self._numbers[name] = len(self.list)
            self.list.append(name)
        return found


def pack(rows: Iterable[bodies.UsageRow], names: Names, book: PriceBook) -> bytes:
    """Usage rows as they travelled, priced and packed; raises Unreadable for amounts beyond all sense."""
    number, price = names.number, book.pico
    packed = []
    for at, first, last, model, price_class, *counts, requests, reported in rows:
        cost = price(model, price_class, at, tuple(counts))  # type: ignore[arg-type]
        packed.append(
            (
                at, first, last, number(model), number(price_class), *counts, requests,
                UNPRICED if cost is None else cost,
                UNPRICED if reported is None else round(reported * PICO),
            )
        )  # fmt: skip
    try:
        return _pack(packed) if packed else b""
    except OverflowError:
        raise bodies.Unreadable("its amounts are out of bounds") from None


def pack_day(day: bodies.Day, names: Names, book: PriceBook) -> bytes:
    """The rows of a day record, at the noon of its date."""
    try:
        at = parse(day.date) + 12 * HOUR
    except ValueError:
        raise bodies.Unreadable("its date is none") from None
    rows: list[Any] = [(at, at, at, model, price_class, *rest) for _, model, price_class, _, *rest in day.rows]
    return pack(rows, names, book)


def unpack(packed: bytes) -> Sequence[Row]:
    return _unpack(packed) if packed else ()


def tokens_of(row: Row) -> int:
    return row[5] + row[6] + row[7] + row[8] + row[9]


@dataclass(slots=True, eq=False)
class Held:
    """A session of one source. Instants are milliseconds; *cost* is pico-dollars, None where no row has a price.

    *hash* is the lower 64 bits of the record's hash, *head* the body as JSON without its usage, *usage* and *parts* the packed rows
    (see pack) of the newest and the older ones. *text* is what a search looks through. *open*: the tool calls it active and is
    believed. *declared*: a tracker told of it, nobody observed it.
    """

    key: str
    source: str
    seq: int
    lease: str
    hash: int
    head: bytes
    usage: bytes
    parts: tuple[bytes, ...]
    text: str
    start: int
    last: int
    tokens: int
    cost: int | None
    session_type: str
    project: str | None
    machine: str
    account: str
    models: tuple[str, ...]
    open: bool
    declared: bool

    def rows(self) -> list[Row]:
        """All usage, older parts included."""
        found = list(unpack(self.usage))
        for part in self.parts:
            found += unpack(part)
        return found

    def body(self) -> bodies.Session:
        return _decode(self.head)


def hold(
    key: str, source: str, seq: int, lease: str, hash: int, body: bodies.Session, usage: bytes, parts: tuple[bytes, ...], names: Names
) -> Held:
    """Keep a session: *usage* and *parts* are packed already."""
    rows = list(unpack(usage))
    for part in parts:
        rows += unpack(part)
    priced = [row[COST] for row in rows if row[COST] >= 0]
    counted = sum(map(tokens_of, rows))
    start = body.start_time if body.start_time is not None else min((row[FIRST] for row in rows), default=0)
    used = max((row[LAST] for row in rows), default=0)
    last = max(body.last_activity or 0, body.end_time or 0 if not body.last_activity else 0, used, start)
    declared = body.provenance == "declared"
    body.usage = []
    named = dict.fromkeys([*(names.list[row[MODEL]] for row in rows), *body.models_used])
    models = tuple(model for model in named if model and model != SYNTHETIC)
    return Held(
        key=key, source=source, seq=seq, lease=lease, hash=hash & 0xFFFF_FFFF_FFFF_FFFF, head=_encode(body), usage=usage, parts=parts,
        text="\n".join(filter(_tells, (body.title, body.project, body.git_branch))).casefold().replace("\0", " "),
        start=start, last=last, tokens=body.estimated_tokens if declared else (counted or body.estimated_tokens),
        cost=sum(priced) if priced else None, session_type=body.session_type, project=body.project or None,
        machine=body.machine or source, account=body.account or "", models=tuple(_shared(models)),
        open=body.is_active and not body.stale, declared=declared,
    )  # fmt: skip


def _tells(name: str | None) -> TypeGuard[str]:
    """A name that can be searched. In what the laptop sealed, words would be found that nobody wrote."""
    return bool(name) and not name.startswith("sealed1.")  # type: ignore[union-attr]


_known: dict[str, str] = {}


def _shared(texts: Iterable[str]) -> Iterable[str]:
    """The same objects for the same few names, however many sessions name them."""
    if len(_known) > 5_000:
        _known.clear()
    return (_known.setdefault(text, text) for text in texts)


def with_parts(held: Held, parts: tuple[bytes, ...], seq: int, names: Names) -> Held:
    """The same session after its older usage changed."""
    return hold(held.key, held.source, max(held.seq, seq), held.lease, held.hash, held.body(), held.usage, parts, names)
