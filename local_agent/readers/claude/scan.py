"""The answers in one transcript file, from a place on, in bounded memory.

Nearly all of a transcript is not about usage, so the bytes are searched before anything is parsed. Of the lines
about one answer only the fullest leaves this module: streaming writes the same answer several times.
"""
from __future__ import annotations

import os
from datetime import datetime

from local_agent.fastjson import Decoder, Struct
from local_agent.readers.claude.forms import (
    EMPTY_ID,
    MARK,
    MOST_BITS,
    NO_COUNT,
    NO_TIME,
    NO_VERSION,
    TOO_LONG,
    Damage,
    Line,
    Message,
    Refused,
    is_version,
    lenient,
    moment,
    typed,
)
from local_agent.readers.claude.rank import ECHO, MAIN, SIDE


def _read_at(file: int, buffers: list[memoryview], place: int) -> int:
    """For systems without preadv."""
    text = os.pread(file, len(buffers[0]), place)
    buffers[0][: len(text)] = text
    return len(text)


read = getattr(os, "preadv", _read_at)

try:
    from stringzilla import Str
except ImportError:  # pragma: no cover - slower, nothing else
    Str = None

BUFFER = 1 << 18
LONGEST = 8 << 20
"""A line longer than this is passed over and counted: no answer is that long, and memory is bounded."""
BATCH = 8 << 20
SUMMARY = b'{"type":"summary"'
NEWLINE = b"\n"
from_text = datetime.fromisoformat


class Where(Struct, gc=False):
    cwd: str | None = None


class Summary(Struct, gc=False):
    summary: str | None = None


_where, _summary = Decoder(Where).decode, Decoder(Summary).decode


Found = tuple[int, bool, Line, Message, int, int]
"""One line that may count: its tokens, whether it names a speed, what it says, and where it stands and what kind it is."""


class Part:
    """What a file says of a session beside its answers: where it worked, and the last lines that name a branch and a prompt."""

    __slots__ = ("cwd", "last", "last_main")

    def __init__(self) -> None:
        self.cwd: str | None = None
        self.last: Line | None = None
        self.last_main: Line | None = None


class Batch:
    """What one reading of a file found. *end* is behind the last complete line; *more* says that there is more to read.

    *times* are those of *found*, in milliseconds. *loose* is an answer in a last line that has no end yet: it counts for now
    and is looked at again.
    """

    __slots__ = ("end", "errors", "found", "head", "loose", "more", "parts", "skipped", "start", "tail", "times", "title")

    def __init__(self, start: int) -> None:
        self.start = self.end = start
        self.more = False
        self.found: list[Found] = []
        self.times: list[int] = []
        self.loose: tuple[Found, int] | None = None
        self.parts: dict[str, Part] = {}
        self.title: str | None = None
        self.errors: list[bytes] = []
        self.skipped: dict[str, int] = {}
        self.head = self.tail = b""

    def skip(self, reason: str) -> None:
        self.skipped[reason] = self.skipped.get(reason, 0) + 1


class Scanner:
    """Owns the buffer; one for each reader, used by one thread."""

    def __init__(self) -> None:
        self._hold(bytearray(BUFFER))

    def _hold(self, buffer: bytearray) -> None:
        self.buffer, self.view = buffer, memoryview(buffer)
        self.find = Str(buffer).find if Str else buffer.find

    def scan(self, file: int, start: int, size: int) -> Batch:
        """Read from *start* to *size*, at most a batch. Raises OSError."""
        try:
            try:
                return self._scan(file, start, size, careful=False)
            except Damage:
                # Some line that would count is not right; which ones, only a closer look at each can tell.
                return self._scan(file, start, size, careful=True)
        finally:
            if len(self.buffer) > BUFFER:
                self._hold(bytearray(BUFFER))

    def _scan(self, file: int, start: int, size: int, *, careful: bool) -> Batch:
        lines = _Lines(self, Batch(start), careful)
        batch = lines.batch
        keep, place = 0, start
        # A file may grow while it is read; what comes after its size now is for the next look.
        while place < size and (got := read(file, [self.view[keep:]], place)):
            place += got
            end = keep + got
            last = self.buffer.rfind(NEWLINE, keep, end)
            if last < 0:
                keep = end
                if end == len(self.buffer):
                    keep, place = self._make_room(file, batch, place)
                    if keep < 0:
                        return lines.finished(b"")
                continue
            if not batch.head and start == 0:
                batch.head = bytes(self.view[: min(512, last + 1)])
            lines.take(last)
            batch.end += last + 1
            batch.tail = bytes(self.view[max(0, last - 511) : last + 1])
            keep = end - last - 1
            self.view[:keep] = self.view[last + 1 : end]
            if batch.end - start >= BATCH:
                batch.more = True
                return lines.finished(b"")
        return lines.finished(self.view[:keep])

    def _make_room(self, file: int, batch: Batch, place: int) -> tuple[int, int]:
        """For a line longer than the buffer: a larger buffer, or the line is passed over. How much is kept (-1 if the line has no
        end yet) and where to read on."""
        full = len(self.buffer)
        if full < LONGEST:
            larger = bytearray(full * 2)
            larger[:full] = self.buffer
            self._hold(larger)
            return full, place
        while got := read(file, [self.view], place):
            newline = self.buffer.find(NEWLINE, 0, got)
            if newline >= 0:
                batch.end = place + newline + 1
                batch.skip(TOO_LONG)
                batch.tail = b""
                return 0, batch.end
            place += got
        return -1, place


class _Lines:
    """The lines of one batch, buffer by buffer."""

    def __init__(self, scanner: Scanner, batch: Batch, careful: bool) -> None:
        self.scanner, self.batch, self.careful = scanner, batch, careful
        self.best: dict[object, Found] = {}
        self.session: str | None = None
        self.part: Part | None = None

    def take(self, last: int) -> None:
        """The complete lines in the first *last* bytes of the buffer. The hot loop: everything is local."""
        find, view, buffer, best, careful, base = self.scanner.find, self.scanner.view, self.scanner.buffer, self.best, self.careful, self.batch.end
        before, after = buffer.rfind, buffer.find
        position, part, session = 0, self.part, self.session
        last_line, last_main = (part.last, part.last_main) if part is not None else (None, None)
        while (hit := find(MARK, position, last)) >= 0:
            start = before(NEWLINE, 0, hit) + 1
            position = after(NEWLINE, hit)
            try:
                line = typed(view[start:position])
            except Refused:
                lenient_line = self._forgiven(bytes(view[start:position]))
                if lenient_line is None:
                    continue
                line = lenient_line
            message = line.message
            if message is None:
                message = _echo(line)
                if message is None:
                    continue
                kind = ECHO
            elif line.isSidechain:
                kind = SIDE
            else:
                kind = MAIN
            usage = message.usage
            if usage is None:
                continue
            if careful and not self._counts(line, message):
                continue
            if line.sessionId != session or part is None:
                if part is not None:
                    part.last, part.last_main = last_line, last_main
                session = line.sessionId
                part = self._enter(session)
                last_line, last_main = part.last, part.last_main
            if part.cwd is None:
                check(line, message)
                part.cwd = _cwd_of(view[start:position])
            if line.gitBranch is not None:
                last_line = line
            if kind == MAIN:
                last_main = line
                if line.isApiErrorMessage:
                    self.batch.errors.append(bytes(view[start:position]))
            nested = usage.cache_creation
            tokens = usage.input_tokens + usage.output_tokens + usage.cache_read_input_tokens + (
                usage.cache_creation_input_tokens if nested is None
                else nested.ephemeral_5m_input_tokens + nested.ephemeral_1h_input_tokens
            )  # fmt: skip
            name = message.id
            old = best.get(name)
            if old is None and name is not None:
                best[name] = tokens, usage.speed is not None, line, message, base + start, kind
            elif old is None or old[5] != kind or old[2].requestId != line.requestId:
                self._rival((tokens, usage.speed is not None, line, message, base + start, kind))
            elif tokens > old[0] or (tokens == old[0] and usage.speed is not None and not old[1]):
                best[name] = tokens, usage.speed is not None, line, message, base + start, kind
        if part is not None:
            part.last, part.last_main = last_line, last_main
        if find(SUMMARY, 0, last) >= 0:
            self._titles(last)

    def _forgiven(self, raw: bytes) -> Line | None:
        try:
            return lenient(raw)
        except Damage as damage:
            self.batch.skip(str(damage))
            return None

    def _counts(self, line: Line, message: Message) -> bool:
        try:
            check(line, message)
        except Damage as damage:
            self.batch.skip(str(damage))
            return False
        return True

    def _rival(self, found: Found) -> None:
        """A line that names no answer, or another request than the line before it did."""
        tokens, speedy, line, message, offset, kind = found
        if message.id is None:
            self.best[offset] = found
            return
        key = (message.id, line.requestId, kind)
        old = self.best.get(key)
        if old is None or tokens > old[0] or (tokens == old[0] and speedy and not old[1]):
            self.best[key] = found

    def _enter(self, session: str | None) -> Part:
        """A run of lines of one session begins."""
        self.session = session
        part = self.part = self.batch.parts.setdefault(session or "", Part())
        return part

    def _titles(self, last: int) -> None:
        buffer, position = self.scanner.buffer, 0
        while (hit := buffer.find(SUMMARY, position, last)) >= 0:
            position = buffer.find(NEWLINE, hit)
            if hit == 0 or buffer[hit - 1] == 10:
                try:
                    self.batch.title = _summary(self.scanner.view[hit:position]).summary or self.batch.title
                except Refused:
                    continue

    def finished(self, rest: memoryview | bytes) -> Batch:
        """The batch, with the answer of a last line that nobody has ended yet, if it is one as it stands."""
        batch = self.batch
        batch.found = list(self.best.values())
        for part in batch.parts.values():
            for told in (part.last, part.last_main):
                if told is not None:
                    check(told, message_of(told))
        times, versions = batch.times, _versions
        for _, _, line, message, _, _ in batch.found:
            time = line.timestamp
            if (
                time is None or len(time) != 24 or time[10] != "T" or time[19] != "." or time[23] != "Z" or line.version not in versions
                or message.id == "" or line.requestId == "" or message.model == "" or line.sessionId == ""
            ):  # fmt: skip
                times.append(check(line, message))
                continue
            usage = message.usage
            nested = usage.cache_creation  # type: ignore[union-attr]
            bits = usage.input_tokens | usage.output_tokens | usage.cache_read_input_tokens | usage.cache_creation_input_tokens  # type: ignore[union-attr]
            if nested is not None:
                bits |= nested.ephemeral_5m_input_tokens | nested.ephemeral_1h_input_tokens
            if bits >> MOST_BITS:
                raise Damage(NO_COUNT)
            try:
                times.append(int(from_text(time).timestamp() * 1000 + 0.5))
            except ValueError:
                raise Damage(NO_TIME) from None
        if len(rest):
            batch.loose = _loose(bytes(rest), batch.end)
        return batch


def _cwd_of(raw: memoryview) -> str | None:
    try:
        return _where(raw).cwd
    except Refused:
        return None


def _loose(raw: bytes, offset: int) -> tuple[Found, int] | None:
    if MARK not in raw:
        return None
    try:
        line = lenient(raw)
        message = (line.message or _echo(line)) if line else None
        if line is None or message is None or message.usage is None:
            return None
        kind = ECHO if line.message is None else SIDE if line.isSidechain else MAIN
        usage = message.usage
        tokens = usage.input_tokens + usage.output_tokens + usage.cache_read_input_tokens + written(message)
        return (tokens, usage.speed is not None, line, message, offset, kind), check(line, message)
    except Damage:
        return None


def _echo(line: Line) -> Message | None:
    """The answer that a progress line repeats; its time and request become the line's own."""
    outer = line.data.message if line.data else None
    if outer is None or outer.message is None:
        return None
    line.timestamp, line.requestId = outer.timestamp, outer.requestId
    return outer.message


def message_of(line: Line) -> Message:
    """The answer of a line that was found to have one."""
    if line.message is not None:
        return line.message
    assert line.data is not None and line.data.message is not None and line.data.message.message is not None
    return line.data.message.message


def written(message: Message) -> int:
    """Tokens written to the cache: by lifetime where that is told, else the sum."""
    usage = message.usage
    assert usage is not None
    nested = usage.cache_creation
    if nested is None:
        return usage.cache_creation_input_tokens
    return nested.ephemeral_5m_input_tokens + nested.ephemeral_1h_input_tokens


_versions: set[str | None] = {None}


def check(line: Line, message: Message) -> int:
    """The line's time in milliseconds. Raises Damage for a line that must not count, with the reason."""
    at = instant(line.timestamp or "")
    if at is None:
        raise Damage(NO_TIME)
    if _bits(message) >> MOST_BITS:
        raise Damage(NO_COUNT)
    if message.id == "" or line.requestId == "" or message.model == "" or line.sessionId == "":
        raise Damage(EMPTY_ID)
    if line.version not in _versions:
        if not is_version(line.version or ""):
            raise Damage(NO_VERSION)
        if len(_versions) > 10_000:
            _versions.clear()
        _versions.add(line.version)
    return at


def _bits(message: Message) -> int:
    """All counts at once: below zero if one of them is, and as long as the longest."""
    usage = message.usage
    if usage is None:
        return 0
    nested = usage.cache_creation
    bits = usage.input_tokens | usage.output_tokens | usage.cache_read_input_tokens | usage.cache_creation_input_tokens
    return bits if nested is None else bits | nested.ephemeral_5m_input_tokens | nested.ephemeral_1h_input_tokens


def instant(text: str) -> int | None:
    """Milliseconds of a timestamp; None for one that does not count."""
    if len(text) == 24 and text[10] == "T" and text[19] == "." and text[23] == "Z":
        try:
            return int(datetime.fromisoformat(text).timestamp() * 1000 + 0.5)
        except ValueError:
            return None
    return moment(text)
