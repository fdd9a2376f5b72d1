"""The lines of a batch that may count, and what they say beside their answers.

Nearly all of a transcript is not about usage, so the bytes are searched before anything is parsed. Of the lines
about one answer only the fullest is kept: streaming writes the same answer several times.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from local_agent.fastjson import Decoder, Struct
from local_agent.readers.claude.batch import Batch
from local_agent.readers.claude.batch import Part as Told
from local_agent.readers.claude.forms import MARK, Damage, Line, Message, Refused, lenient, typed
from local_agent.readers.claude.pack import Found, Packer
from local_agent.readers.claude.rank import ECHO, MAIN, SIDE
from local_agent.readers.claude.valid import check, echo_of, instant, message_of, prompt_of, written

SUMMARY = b'{"type":"summary"'
NEWLINE = b"\n"


class Where(Struct, gc=False):
    cwd: str | None = None


class Summary(Struct, gc=False):
    summary: str | None = None


_where, _summary = Decoder(Where).decode, Decoder(Summary).decode


class Bytes(Protocol):
    """A buffer of whoever reads the file, its view, and the fastest search in it."""

    buffer: bytearray
    view: memoryview
    find: Callable[[bytes, int, int], int]


class _Part:
    """What a file says of a session so far: where it worked, and the last lines that name a branch and a prompt."""

    __slots__ = ("cwd", "last", "last_main")

    def __init__(self) -> None:
        self.cwd: str | None = None
        self.last: Line | None = None
        self.last_main: Line | None = None

    def told(self) -> Told:
        branch, at = (self.last.gitBranch, _time(self.last)) if self.last else (None, 0)
        main = self.last_main
        return (self.cwd, branch, at, _time(main), prompt_of(message_of(main))) if main else (self.cwd, branch, at, 0, 0)


class Lines:
    """The lines of one batch, buffer by buffer."""

    def __init__(self, batch: Batch, careful: bool) -> None:
        self.batch, self.careful = batch, careful
        self.best: dict[object, Found] = {}
        self.parts: dict[str, _Part] = {}
        self.session: str | None = None
        self.part: _Part | None = None

    def take(self, source: Bytes, first: int, last: int) -> None:
        """The complete lines in the bytes from *first* to *last*. The hot loop: everything is local."""
        find, view, buffer, best, careful, base = source.find, source.view, source.buffer, self.best, self.careful, self.batch.end - first
        before, after = buffer.rfind, buffer.find
        position, part, session = first, self.part, self.session
        last_line, last_main = (part.last, part.last_main) if part is not None else (None, None)
        while (hit := find(MARK, position, last)) >= 0:
            start = before(NEWLINE, position, hit) + 1 or position
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
                message = echo_of(line)
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
        if find(SUMMARY, first, last) >= 0:
            self._titles(source, first, last)

    def _forgiven(self, raw: bytes) -> Line | None:
        try:
            line = lenient(raw)
            if line is not None:
                check(line, line.message or echo_of(line) or Message())
            return line
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

    def _enter(self, session: str | None) -> _Part:
        """A run of lines of one session begins."""
        self.session = session
        part = self.part = self.parts.setdefault(session or "", _Part())
        return part

    def _titles(self, source: Bytes, first: int, last: int) -> None:
        buffer, position = source.buffer, first
        while (hit := source.find(SUMMARY, position, last)) >= 0:
            position = buffer.find(NEWLINE, hit)
            if hit == first or buffer[hit - 1] == 10:
                try:
                    self.batch.title = _summary(source.view[hit:position]).summary or self.batch.title
                except Refused:
                    continue

    def finished(self, packer: Packer, rest: bytes) -> Batch:
        """The batch, with the answer of a last line that nobody has ended yet, if it is one as it stands."""
        batch = self.batch
        for name, part in self.parts.items():
            for told in (part.last, part.last_main):
                if told is not None:
                    check(told, message_of(told))
            batch.parts[name] = part.told()
        packer.pack(self.best.values())
        if rest:
            loose = _loose(rest, batch.end)
            if loose is not None:
                packer.pack_loose(loose)
        return batch


def _time(line: Line) -> int:
    return instant(line.timestamp or "") or 0


def _cwd_of(raw: memoryview) -> str | None:
    try:
        return _where(raw).cwd
    except Refused:
        return None


def _loose(raw: bytes, offset: int) -> Found | None:
    if MARK not in raw:
        return None
    try:
        line = lenient(raw)
        message = (line.message or echo_of(line)) if line else None
        if line is None or message is None or message.usage is None:
            return None
        kind = ECHO if line.message is None else SIDE if line.isSidechain else MAIN
        usage = message.usage
        tokens = usage.input_tokens + usage.output_tokens + usage.cache_read_input_tokens + written(message)
        check(line, message)
        return tokens, usage.speed is not None, line, message, offset, kind
    except Damage:
        return None
