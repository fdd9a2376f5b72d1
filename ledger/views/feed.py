"""What changed after a cursor: the one question that pages, live channels and scripts ask.

A cursor holds, for each source, how far it was read, and a short mark of each part of the summary, so that an answer needs no memory
of who asked: any process that knows the tenant's records can continue any cursor. Where it cannot (a source's lease changed,
its deletions are no longer kept) everything comes anew and `full` says so.
"""
from __future__ import annotations

import base64
from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from zlib import crc32

import msgspec
from msgspec import Struct

from ledger.fold import Days
from ledger.times import HOUR, iso, shift, zone
from ledger.views import public
from ledger.views.gather import session_of
from ledger.views.summary import is_sample, machines, summary

if TYPE_CHECKING:
    from ledger.views.view import View

MOST_CHANGED = 1_000
"""Beyond this many changed sessions, everything anew is less than the difference."""
RECENT_DAYS = 2
MOST_ACTIVE = 64
_encode = msgspec.json.Encoder(order="deterministic").encode


class Place(Struct, array_like=True, frozen=True):
    """How far one source was read."""

    lease: str
    committed: bool
    seq: int


class Cursor(Struct, array_like=True, frozen=True):
    """What a viewer has: *marks* of the summary's parts, and of the sessions that were active."""

    tz: str
    places: dict[str, Place]
    marks: dict[str, int]
    active: list[int]

    def text(self) -> str:
        return base64.urlsafe_b64encode(msgspec.msgpack.encode(self)).decode().rstrip("=")

    @classmethod
    def read(cls, text: str | None) -> Cursor | None:
        """None for no cursor, and for one that is not ours: then the answer is full."""
        if not text or len(text) > 16_384:
            return None
        try:
            return msgspec.msgpack.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=cls)
        except (ValueError, msgspec.DecodeError):
            return None


def feed(view: View, cursor: str | None, tz: str | None, sessions: int) -> dict[str, Any]:
    """The feed after *cursor*, with at most *sessions* sessions if it is full."""
    now, name = view.clock(), view.zone_name(tz)
    before = Cursor.read(cursor)
    reset = _reset(view, before) if before else []
    _have_enough(view, before, reset, sessions)
    # A full answer to a cursor that was given names what to forget; without one there is nothing to forget.
    keys = None if before is None or reset or before.tz != name else _changed(view, before)
    whole = summary(view, name)
    shown = machines(view, name)
    today = zone(name).day(now)
    marks = {**_kept_marks(view, whole, name, today), "machines": crc32(_encode(shown))}
    active = sorted(_mark(held.key) for held in view.active(now)[:MOST_ACTIVE])
    full = keys is None or len(keys) > max(MOST_CHANGED, sessions)
    if full:
        held = [held for held, _ in zip(view.newest(), range(sessions), strict=False)]
        records, removed, parts = [_record(view, one, now) for one in held], [], whole
    else:
        assert before is not None and keys is not None
        keys |= _turned(view, before.active, active)
        records = [_record(view, view.winners[key], now) for key in sorted(keys) if key in view.winners]
        removed = [{"kind": "session", "source": None, "key": key} for key in sorted(keys) if key not in view.winners]
        parts = _parts(whole, before.marks, marks)
    after = Cursor(name, {name: _place(source.head) for name, source in sorted(view.sources.items())}, marks, active).text()
    answer: dict[str, Any] = {
        "cursor": after, "head": after, "since": cursor if not full else None, "reset": reset, "full": full,
        "records": records, "removed": removed, "summary": parts,
    }  # fmt: skip
    if full or before is None or before.marks.get("machines") != marks["machines"]:
        answer["machines"] = shown
    return {**answer, "server_time": iso(now), "sample": is_sample(view)}


def _have_enough(view: View, before: Cursor | None, reset: list[str], sessions: int) -> None:
    """Read all sessions if a checkpoint's are too few for this answer."""
    if view.rest is None:
        return
    if before is None or reset or any(name not in before.places for name in view.sources):
        if sessions > len(view.order):
            view.whole()
    elif view.rest.holds_any(_changed(view, before)):
        view.whole()


def _place(head: Any) -> Place:
    return Place(sha256((head.lease or "").encode()).hexdigest()[:12], head.committed, head.seq)


def _record(view: View, held: Any, now: int) -> dict[str, Any]:
    return {"kind": "session", "source": held.source, "key": held.key, "value": public.session(view, held, now)}


def _reset(view: View, before: Cursor) -> list[str]:
    """The sources that the cursor cannot be continued for."""
    gone = [name for name in before.places if name not in view.sources]
    for name, source in view.sources.items():
        place, head = before.places.get(name), source.head
        if place is None:
            continue
        same = (place.lease, place.committed) == (_place(head).lease, head.committed)
        # What changed before the log began is named by the store, which knows not what was shown of it.
        untold = view.hides and place.seq < head.seq and source.keys_since(place.seq) is None
        if untold or not same or not head.purged_seq <= place.seq <= head.seq:
            gone.append(name)
    return sorted(gone)


def _changed(view: View, before: Cursor) -> set[str]:
    """Keys of sessions that changed after the cursor, over all sources."""
    keys: set[str] = set()
    for name, source in view.sources.items():
        place = before.places.get(name)
        if place is None:
            keys.update(source.sessions)
            continue
        if place.seq == source.head.seq:
            continue
        logged = source.keys_since(place.seq)
        if logged is None:
            rows, stones = view.store.changes(view.tenant, name, str(source.head.lease), place.seq)
            refs = [*(row.ref for row in rows), *(stone.ref for stone in stones)]
            logged = {key for ref in refs if (key := session_of(ref)) is not None}
        keys |= logged
    return keys


def _turned(view: View, before: list[int], after: list[int]) -> set[str]:
    """Sessions that became active or idle by time alone."""
    turned, found = set(before) ^ set(after), set[str]()
    if not turned:
        return found
    # Most turned just now; only a viewer who was away for long, or had one that is gone, makes all be looked at.
    now = view.clock()
    for held in (*view.active(now), *view.since(now - HOUR), *(view.winners.values())):
        if (mark := _mark(held.key)) in turned:
            found.add(held.key)
            turned.discard(mark)
            if not turned:
                break
    return found


def _mark(text: str) -> int:
    return crc32(text.encode())


def _kept_marks(view: View, whole: Mapping[str, Any], tz: str, today: str) -> dict[str, int]:
    """The marks of a summary, worked out once for all who ask for it."""
    kept = view.kept.get(("marks", tz))
    if kept is None or kept[0] is not whole:
        kept = view.kept[("marks", tz)] = (whole, _marks(whole, view.days(tz), today))
    marks: dict[str, int] = kept[1]
    return marks


def _marks(whole: Mapping[str, Any], days: Days, today: str) -> dict[str, int]:
    """A mark of each part. The days are marked apart: all but the newest, and each of the newest."""
    marks = {name: crc32(_encode(part)) for name, part in whole.items() if name != "days"}
    since = shift(today, 1 - RECENT_DAYS)
    older = [(day["date"], days.mark(day["date"])) for day in whole["days"] if day["date"] < since]
    newest = {day["date"]: days.mark(day["date"]) for day in whole["days"][-RECENT_DAYS:] if day["date"] >= since}
    return {**marks, "days": crc32(_encode(older)), **newest}


def _parts(whole: Mapping[str, Any], before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, Any]:
    """The parts that changed. Of the days only the newest, as `days_changed`, unless an older one changed or went."""
    parts = {name: part for name, part in whole.items() if name != "days" and before.get(name) != after[name]}
    dates = {name for name in after if name[0] in "12"}
    if before.get("days") != after["days"] or any(name[0] in "12" and name not in after for name in before):
        parts["days"] = whole["days"]
    elif changed := [day for day in whole["days"][-RECENT_DAYS:] if day["date"] in dates and before.get(day["date"]) != after[day["date"]]]:
        parts["days_changed"] = changed
    return parts
