"""A view kept on the shelf, so that a process that starts anew reads a megabyte instead of every session.

It holds the sums, the blocks, the days of the zones that were asked for last, the newest sessions whole, and of the others only that they
exist. A checkpoint is a shortcut, never a truth: one that does not fit (other prices, a part missing, an old form) is
passed over, and whatever touches a session that it left out makes the view read everything.
"""
from __future__ import annotations

import base64
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import fields
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from ledger import bodies
from ledger.blocks import Window
from ledger.errors import LedgerError
from ledger.fold import Day, Days, Tally
from ledger.record import Ref
from ledger.session import Held, hold
from ledger.store import Head, Shelf
from ledger.times import DAY, MINUTE, QUARTER, zone
from ledger.views.gather import Other, Part, Source
from ledger.views.rest import Rest, mark

if TYPE_CHECKING:
    from ledger.views.view import View

DRAWER = "view"
FORM = 2
KEPT_SESSIONS = 500
KEPT_ZONES = 2
WORTH_IT = 1_000
"""Sessions below which reading them all is as quick."""
DUE_AFTER = 300
RESTLESS_MS = 10 * MINUTE
PIECE = 180_000
EXPIRES_MS = 60 * DAY
_pack, _unpack = msgspec.msgpack.encode, msgspec.msgpack.decode
_json = msgspec.json.encode


def is_due(view: View) -> bool:
    """Has enough changed since the last one? The first is due when all sessions have just been read."""
    if view.tally.sessions < WORTH_IT:
        return False
    return view.moved - view.saved >= DUE_AFTER


def is_calm(view: View, now: int) -> bool:
    """Asked now and then: does little change between two looks? While thousands of sessions come in, a checkpoint is old before it is
    written, and those who push would notice. A view that is never calm is taken for calm every ten minutes."""
    moved, view.seen = view.moved - view.seen, view.moved
    if moved >= DUE_AFTER and 0 <= now - view.calm_at < RESTLESS_MS:  # a clock may be set back by years
        return False
    view.calm_at = now
    return True


# -- writing -----------------------------------------------------------------------------------------------------


def save(view: View, shelf: Shelf, now: int) -> int:
    """Write a checkpoint; returns its size. A shelf that cannot take it is no harm: 0."""
    try:
        packed = zlib.compress(_pack(_document(view)), 6)
    except OverflowError:  # a sum that 64 bits do not hold
        return 0
    pieces = [packed[place : place + PIECE] for place in range(0, len(packed), PIECE)]
    name = sha256(packed).hexdigest()[:16]
    try:
        before = shelf.take(DRAWER, view.tenant, now=now)
        for number, piece in enumerate(pieces):
            shelf.put(DRAWER, f"{view.tenant}/{name}/{number}", {"z": base64.b64encode(piece).decode()}, now=now, expires=now + EXPIRES_MS)
        shelf.put(DRAWER, view.tenant, {"name": name, "pieces": len(pieces)}, now=now, expires=now + EXPIRES_MS)
        if before is not None and before.value.get("name") != name:
            for number in range(int(str(before.value.get("pieces", 0)))):
                shelf.drop(DRAWER, f"{view.tenant}/{before.value.get('name')}/{number}")
    except LedgerError:
        return 0
    view.saved = view.moved
    return len(packed)


def _document(view: View) -> dict[str, Any]:
    keys = _newest_keys(view)
    left = [held for _, key, held in view.order if key not in keys]
    rest = view.rest
    marks = sorted({mark(held.key) for held in left} | (rest.marks if rest else frozenset()))
    quarters = sorted([held.last // QUARTER for held in left] + list(rest.quarters if rest else ()))
    last = max([held.last for held in left] + ([rest.last] if rest else []), default=0)
    return {
        "form": FORM,
        "prices": view.book.mark,
        "names": view.names.list,
        "sources": [_source(source, keys) for source in view.sources.values()],
        "tally": [getattr(view.tally, field.name) for field in fields(Tally)],
        "zones": {tz: _days(days) for tz, days in list(view.zones.items())[-KEPT_ZONES:]},
        "accounts": [[*account, blocks.official, [_window(window) for window in blocks.all()]] for account, blocks in view.accounts()],
        "rest": [b"".join(marks), _deltas(quarters), last] if marks else None,
    }


def _newest_keys(view: View) -> set[str]:
    """The sessions that are kept whole: the newest, and those that say they are active."""
    newest = {key for _, key, _ in view.order[-KEPT_SESSIONS:]}
    return newest | {key for _, key, held in view.order if held.open}


def _source(source: Source, keys: set[str]) -> list[Any]:
    head = source.head
    held = [source.sessions[key] for key in source.sessions if key in keys]
    # Also those that came before their session: it will count them.
    parts = [
        (key, number, part.usage, part.seq, part.lease)
        for key, numbered in source.parts.items() if key in keys or key not in source.sessions for number, part in numbered.items()
    ]  # fmt: skip
    return [
        head.source, head.lease, head.committed, head.seq,
        [(one.key, one.seq, one.lease, one.hash, one.head, one.usage) for one in held], parts,
        [(ref.kind, ref.id, _json(other.value), other.lease, other.hash) for ref, other in source.others.items()],
        [(ref.kind, ref.id, *stub) for ref, stub in source.stubs.items()],
        len(source.sessions) - len(held) + source.beyond,
    ]  # fmt: skip


def _days(days: Days) -> list[Any]:
    return [
        (date, day.tokens, day.cost, day.sessions, day.rows, day.models, day.projects, day.machines, day.tools, day.hours)
        for date, day in days.days.items()
    ]  # fmt: skip


def _window(window: Window) -> list[Any]:
    return [
        window.start, window.end, window.basis, window.gap, window.first, window.last, window.kinds, window.cost, window.requests,
        window.models, window.tokens, window.session_count,
    ]  # fmt: skip


def _deltas(ordered: Iterable[int]) -> list[int]:
    """Differences of neighbours: small numbers, which pack and compress well."""
    before, found = 0, []
    for value in ordered:
        found.append(value - before)
        before = value
    return found


# -- reading -----------------------------------------------------------------------------------------------------


def load(view: View, shelf: Shelf, now: int) -> bool:
    """Begin *view*, which knows nothing yet, from its checkpoint. False if there is none that fits."""
    try:
        packed = _read(view.tenant, shelf, now)
        document = _unpack(zlib.decompress(packed), strict=False) if packed else None
        if not document or document["form"] != FORM or document["prices"] != view.book.mark:
            return False
        _restore(view, document)
    except (LedgerError, zlib.error, msgspec.MsgspecError, bodies.Unreadable, KeyError, ValueError, TypeError):
        view.begin()
        return False
    return True


def _read(tenant: str, shelf: Shelf, now: int) -> bytes | None:
    head = shelf.take(DRAWER, tenant, now=now)
    if head is None:
        return None
    name, pieces = head.value["name"], []
    for number in range(int(str(head.value["pieces"]))):
        piece = shelf.take(DRAWER, f"{tenant}/{name}/{number}", now=now)
        if piece is None:
            return None
        pieces.append(base64.b64decode(str(piece.value["z"])))
    packed = b"".join(pieces)
    return packed if sha256(packed).hexdigest()[:16] == name else None


def _restore(view: View, document: dict[str, Any]) -> None:
    for name in document["names"]:
        view.names.number(name)
    for entry in document["sources"]:
        source = _restored(view, *entry)
        view.sources[source.name] = source
    if document["rest"]:
        marks, deltas, last = document["rest"]
        view.rest = Rest(marks, _sums(deltas), last)
    tally = Tally(*document["tally"])
    for name in ("unpriced", "projects", "named", "machines", "types"):
        setattr(tally, name, Counter(getattr(tally, name)))
    zones = {tz: _restored_days(tz, days) for tz, days in document["zones"].items()}
    accounts = [
        ((family, name), [tuple(window) for window in official], [_restored_window(*window) for window in windows])
        for family, name, official, windows in document["accounts"]
    ]  # fmt: skip
    view.resume(tally, zones, accounts)


def _restored(
    view: View, name: str, lease: str | None, committed: bool, seq: int, held: list[Any], parts: list[Any], others: list[Any], stubs: list[Any], beyond: int
) -> Source:
    source = Source(name, view.names, view.book)
    for key, number, usage, part_seq, part_lease in parts:
        source.parts.setdefault(key, {})[number] = Part(usage, part_seq, part_lease)
    source.restore(Head(name, lease=lease, committed=committed, seq=seq), [_held(source, view, *one) for one in held], beyond)
    source.others = {Ref(kind, id): Other(bodies.read(kind, body.decode()), other_lease, hash) for kind, id, body, other_lease, hash in others}
    source.stubs = {Ref(kind, id): (code, stub_lease) for kind, id, code, stub_lease in stubs}
    return source


def _held(source: Source, view: View, key: str, seq: int, lease: str, hash: int, head: bytes, usage: bytes) -> Held:
    body = bodies.read("session", head.decode())
    return hold(key, source.name, seq, lease, hash, body, usage, source.parts_of(key, body.more), view.names)


def _restored_days(tz: str, days: list[Any]) -> Days:
    found = Days(zone(tz))
    found.days = {date: Day(*rest) for date, *rest in days}
    return found


def _restored_window(
    start: int, end: int, basis: str, gap: bool, first: int, last: int, kinds: list[int], cost: int, requests: int, models: dict[int, list[int]],
    tokens: int, counted: int,
) -> Window:  # fmt: skip
    return Window(start, end, basis, gap, first, last, kinds, cost, requests, set(), models, tokens, counted)


def _sums(deltas: Iterable[int]) -> Iterable[int]:
    value = 0
    for delta in deltas:
        value += delta
        yield value
