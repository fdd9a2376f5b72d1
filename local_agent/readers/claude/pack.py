"""Lines that may count, as the numbers that are kept of them."""
from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterable
from struct import Struct

from local_agent.readers.claude.batch import Batch, Kind
from local_agent.readers.claude.forms import Line, Message
from local_agent.readers.claude.tables import (
    DAY_MS,
    LOOSE,
    NAMELESS,
    PICO,
    QUARTER_MS,
    REQUEST_SHIFT,
    SPEED,
    SYNTHETIC,
    UNKNOWN,
)
from local_agent.readers.claude.tally import CLASS_BITS, Run
from local_agent.readers.claude.valid import check, instant, versions

PRIME = (1 << 61) - 1
REQUEST_TAIL = 7
"""So many bytes at its end tell one request of an answer from another."""
LONG_FROM = 32_000
"""No model costs more below so long a prompt."""
MOST_DAYS = 10_000
MOST_HOURS = 1_000

Threshold = Callable[[str, int], int | None]
Found = tuple[int, bool, Line, Message, int, int]
"""One line that may count: its tokens, whether it names a speed, what it says, where it stands and what kind it is."""
from_bytes = int.from_bytes
# Python's own hash of a number is its rest by this prime, found without a division; only on a small computer it is another's.
_rest: Callable[[int], int] = hash if sys.hash_info.modulus == PRIME else lambda number: number % PRIME


def key_of(name: str) -> int:
    """A message's id as a number. Ids are long and random, so two that fall together are not to be feared."""
    return _rest(from_bytes(name.encode("utf-8", "surrogatepass"), "big"))


class LongPrompts:
    """Above how many tokens of a prompt a model costs more that day."""

    def __init__(self, threshold: Threshold) -> None:
        self._threshold = threshold
        self._known: dict[tuple[str, int], int] = {}

    def above(self, model: str, at: int) -> int:
        """Beyond any prompt if it never does."""
        key = (model, at // DAY_MS)
        found = self._known.get(key)
        if found is None:
            if len(self._known) > MOST_DAYS:
                self._known.clear()
            found = self._known[key] = self._threshold(model, at) or 1 << 60
        return found


class Packer:
    """Packs the lines of one batch of the file *path*."""

    def __init__(self, batch: Batch, path: str, long: LongPrompts) -> None:
        self._batch, self._path, self._long = batch, path, long
        self._sessions: dict[str, int] = {}
        self._kinds: dict[Kind, int] = {}

    def pack(self, found: Iterable[Found]) -> None:
        self._batch.words, self._batch.runs = self._packed(found, 0)

    def pack_loose(self, found: Found) -> None:
        self._batch.loose, _ = self._packed([found], LOOSE)

    def _packed(self, found: Iterable[Found], extra: int) -> tuple[array[int], list[Run]]:
        """Raises Damage if one of the lines may not count. The hot loop of packing: everything is local."""
        kinds, long_above, hours, minutes, seconds, parts, rest = self._kinds, self._long.above, _hours, _MINUTES, _SECONDS, _PARTS, _rest
        words: list[int] = []
        runs: list[Run] = []
        row: list[int] = []
        session = slot_before = day = above = -1
        session_before: str | None = None
        model_before: str | None = ""
        for _, speedy, line, message, offset, kind in found:
            usage = message.usage
            name, request, model, time = message.id, line.requestId, message.model, line.timestamp
            fresh, output, read = usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens  # type: ignore[union-attr]
            five, nested = usage.cache_creation_input_tokens, usage.cache_creation  # type: ignore[union-attr]
            hour = 0
            if nested is not None:
                five, hour = nested.ephemeral_5m_input_tokens, nested.ephemeral_1h_input_tokens
            prompt = fresh + five + hour + read
            if line.version not in versions:
                check(line, message)
            try:
                at = hours[time[:14]] + minutes[time[14:17]] + seconds[time[17:19]] + parts[time[19:]]  # type: ignore[index]
            except (KeyError, TypeError):
                at = check(line, message)
                _learn(time or "")
            marks = extra | kind
            if speedy:
                marks |= SPEED
            if name is None:
                key, marks = key_of(f"{self._path}\n{offset}"), marks | NAMELESS
            else:
                key = rest(from_bytes(name.encode(), "big"))
            if request is not None:
                marks |= from_bytes(request[-REQUEST_TAIL:].encode()[-REQUEST_TAIL:], "big") << REQUEST_SHIFT
            cost = -1 if line.costUSD is None else _picos(line.costUSD)
            if session < 0 or line.sessionId != session_before:
                session_before, slot_before = line.sessionId, -1
                session = self._session(session_before or "")
            long = 0
            if prompt > LONG_FROM:
                if model != model_before or at // DAY_MS != day:
                    model_before, day = model, at // DAY_MS
                    above = long_above(model or UNKNOWN, at)
                if prompt > above:
                    long = above
            what = (model, usage.speed, usage.service_tier, usage.inference_geo, long, cost < 0)  # type: ignore[union-attr]
            class_ = kinds.get(what)
            if class_ is None:
                class_ = kinds[what] = len(kinds)
                self._batch.kinds.append(what)
            words += (key, marks, offset, at, session, class_, fresh, output, five, hour, read, cost)
            slot = (at // QUARTER_MS * 2 + (at % QUARTER_MS > 0)) << CLASS_BITS | class_
            if slot == slot_before:
                if at < row[0]:
                    row[0] = at
                elif at > row[1]:
                    row[1] = at
                row[2] += fresh
                row[3] += output
                row[4] += five
                row[5] += hour
                row[6] += read
                row[7] += 1
                if cost > 0:
                    row[8] += cost
            else:
                slot_before, row = slot, [at, at, fresh, output, five, hour, read, 1, cost if cost > 0 else 0]
                runs.append((session, slot, row))
            if model == SYNTHETIC:
                row[7] -= 1
        return array("q", Struct(f"{len(words)}q").pack(*words)), runs

    def _session(self, name: str) -> int:
        known = self._sessions.get(name)
        if known is None:
            known = self._sessions[name] = len(self._sessions)
            self._batch.sessions.append(name)
        return known


_hours: dict[str, int] = {}
"""When hours that were met before began: "2026-11-20T18:" and so on. Reading a time letter by letter is slow."""
_MINUTES = {f"{n:02}:": n * 60_000 for n in range(60)}
_SECONDS = {f"{n:02}": n * 1000 for n in range(60)}
_PARTS = {f".{n:03}Z": n for n in range(1000)}


def _learn(time: str) -> None:
    """Remember when the hour of a time began."""
    began = instant(f"{time[:14]}00:00.000Z")
    if began is not None:
        if len(_hours) > MOST_HOURS:
            _hours.clear()
        _hours[time[:14]] = began


def _picos(cost: float) -> int:
    """What a line says it cost; a cost that cannot be is none."""
    return round(cost * PICO) if 0 <= cost < 1_000_000 else -1
