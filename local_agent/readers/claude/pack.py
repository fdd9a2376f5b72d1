"""Lines that may count, as the numbers that are kept of them."""
from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from datetime import datetime

from local_agent.readers.claude import tally
from local_agent.readers.claude.batch import Batch, Kind
from local_agent.readers.claude.forms import MOST_BITS, NO_TIME, Damage, Line, Message
from local_agent.readers.claude.tables import DAY_MS, LOOSE, NAMELESS, PICO, REQUEST_SHIFT, SPEED, SYNTHETIC, UNKNOWN
from local_agent.readers.claude.valid import check, versions

PRIME = (1 << 61) - 1
REQUEST_TAIL = 7
"""So many bytes at its end tell one request of an answer from another."""
LONG_FROM = 32_000
"""No model costs more below so long a prompt."""
MOST_DAYS = 10_000

Threshold = Callable[[str, int], int | None]
Found = tuple[int, bool, Line, Message, int, int]
"""One line that may count: its tokens, whether it names a speed, what it says, where it stands and what kind it is."""
from_text, from_bytes = datetime.fromisoformat, int.from_bytes


def key_of(name: str) -> int:
    """A message's id as a number. Ids are long and random, so two that fall together are not to be feared."""
    return from_bytes(name.encode("utf-8", "surrogatepass"), "big") % PRIME


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
        batch = self._batch
        batch.words = self._words(found, 0)
        synthetic = {n for n, kind in enumerate(batch.kinds) if kind[0] == SYNTHETIC}
        batch.runs = tally.runs(batch.words, synthetic)

    def pack_loose(self, found: Found) -> None:
        self._batch.loose = self._words([found], LOOSE)

    def _words(self, found: Iterable[Found], extra: int) -> array[int]:
        """Raises Damage if one of the lines may not count. The hot loop of packing: everything is local."""
        kinds, long_above = self._kinds, self._long.above
        words: list[int] = []
        before: str | None = ""
        session = -1
        for _, speedy, line, message, offset, kind in found:
            usage = message.usage
            name, request, model, time = message.id, line.requestId, message.model, line.timestamp
            fresh, output, read = usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens  # type: ignore[union-attr]
            five, nested = usage.cache_creation_input_tokens, usage.cache_creation  # type: ignore[union-attr]
            bits, hour = five, 0
            if nested is not None:
                five, hour = nested.ephemeral_5m_input_tokens, nested.ephemeral_1h_input_tokens
            if (
                time is None or len(time) != 24 or time[10] != "T" or time[19] != "." or time[23] != "Z" or line.version not in versions
                or name == "" or request == "" or model == "" or line.sessionId == "" or (bits | five | hour | fresh | output | read) >> MOST_BITS
            ):  # fmt: skip
                at = check(line, message)
            else:
                try:
                    at = int(from_text(time).timestamp() * 1000 + 0.5)
                except ValueError:
                    raise Damage(NO_TIME) from None
            marks = extra | kind
            if speedy:
                marks |= SPEED
            if name is None:
                key, marks = key_of(f"{self._path}\n{offset}"), marks | NAMELESS
            else:
                key = from_bytes(name.encode(), "big") % PRIME
            if request is not None:
                marks |= from_bytes(request[-REQUEST_TAIL:].encode()[-REQUEST_TAIL:], "big") << REQUEST_SHIFT
            cost = -1 if line.costUSD is None else _picos(line.costUSD)
            if session < 0 or line.sessionId != before:
                before = line.sessionId
                session = self._session(before or "")
            prompt = fresh + five + hour + read
            long = 0
            if prompt > LONG_FROM:
                long = long_above(model or UNKNOWN, at)
                if prompt <= long:
                    long = 0
            what = (model, usage.speed, usage.service_tier, usage.inference_geo, long, cost < 0)  # type: ignore[union-attr]
            class_ = kinds.get(what)
            if class_ is None:
                class_ = kinds[what] = len(kinds)
                self._batch.kinds.append(what)
            words += (key, marks, offset, at, session, class_, fresh, output, five, hour, read, cost)
        return array("q", words)

    def _session(self, name: str) -> int:
        known = self._sessions.get(name)
        if known is None:
            known = self._sessions[name] = len(self._sessions)
            self._batch.sessions.append(name)
        return known


def _picos(cost: float) -> int:
    """What a line says it cost; a cost that cannot be is none."""
    return round(cost * PICO) if 0 <= cost < 1_000_000 else -1
