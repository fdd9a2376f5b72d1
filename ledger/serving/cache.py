"""Answers that are asked for again and again, kept as bytes until the ledger changes.

An answer is kept under who asked and what, with the version it was computed for; the writer makes that version old.
It also ages, because some answers depend on the time of day. It is compressed once, not per request.
"""
from __future__ import annotations

import gzip
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, replace
from http import HTTPStatus

Headers = list[tuple[bytes, bytes]]
_WORTH_COMPRESSING = 800
_LARGEST = 2 << 20
_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}
_BARE = (204, 304)
"""Answers of these kinds have no body, and no length of one."""
_PER_REQUEST = {b"date", b"content-length", b"set-cookie", b"ratelimit", b"ratelimit-policy", b"connection", b"server"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to a caller, on every road."""

    status: int
    headers: Headers
    body: bytes = b""
    head: bytes = b""
    """Status line and headers as they are on the wire, if they were put together; whoever sends adds his own, and the empty line."""


@dataclass(frozen=True, slots=True)
class _Entry:
    version: int
    until: int
    etag: bytes
    plain: Answer
    packed: Answer
    same: Answer

    @property
    def size(self) -> int:
        return len(self.plain.body) + len(self.packed.body) + 1000


class AnswerCache:
    """At most *room* bytes of answers, the least used forgotten first. For one thread: the loop's."""

    def __init__(self, *, age_ms: int = 1000, room: int = 48 << 20) -> None:
        self._age, self._room, self._used = age_ms, room, 0
        self._answers: OrderedDict[Hashable, _Entry] = OrderedDict()

    def look(self, key: Hashable, version: int, now: int, *, if_none_match: bytes, gzip_ok: bool) -> Answer | None:
        """The cached answer to this very question, if it is still true."""
        found = self._answers.get(key)
        if found is None or found.version != version or now >= found.until:
            return None
        self._answers.move_to_end(key)
        if if_none_match and matches(if_none_match, found.etag):
            return found.same
        return found.packed if gzip_ok else found.plain

    def keep(self, key: Hashable, version: int, now: int, answer: tuple[Answer, Answer], always: Headers) -> None:
        """Keep an answer that prepared() made; *always* are headers that every answer carries."""
        plain, packed = (with_head(one, always) for one in answer)
        etag = header(plain.headers, b"etag")
        same = Answer(304, [(name, value) for name, value in plain.headers if name in (b"etag", b"cache-control", b"vary") or name.startswith(b"access-control")])
        made = _Entry(version, now + self._age, etag, plain, packed, with_head(same, always))
        self._drop(key)
        self._answers[key] = made
        self._used += made.size
        while self._used > self._room:
            self._drop(next(iter(self._answers)))

    def _drop(self, key: Hashable) -> None:
        gone = self._answers.pop(key, None)
        if gone is not None:
            self._used -= gone.size


def prepared(answer: Answer) -> tuple[Answer, Answer] | None:
    """The plain and the compressed form, or None for what must not be kept: only whole answers with an ETag are."""
    if answer.status != 200 or not header(answer.headers, b"etag") or len(answer.body) > _LARGEST:
        return None
    if b"no-store" in header(answer.headers, b"cache-control") or header(answer.headers, b"content-encoding"):
        return None
    headers = [(name, value) for name, value in answer.headers if name not in _PER_REQUEST]
    plain = Answer(200, with_vary(headers, b"Accept-Encoding"), answer.body)
    if len(answer.body) < _WORTH_COMPRESSING:
        return plain, plain
    weak = [(name, weakened(value) if name == b"etag" else value) for name, value in plain.headers]
    return plain, Answer(200, [*weak, (b"content-encoding", b"gzip")], gzip.compress(answer.body, 5, mtime=0))


def compressed(answer: Answer) -> Answer:
    """What is not kept goes out compressed all the same: a key's first answer, which is a page's largest."""
    if answer.status != 200 or len(answer.body) < _WORTH_COMPRESSING or header(answer.headers, b"content-encoding") or b"json" not in header(answer.headers, b"content-type"):
        return answer
    headers = [(name, weakened(value) if name == b"etag" else value) for name, value in with_vary(answer.headers, b"Accept-Encoding") if name != b"content-length"]
    return Answer(200, [*headers, (b"content-encoding", b"gzip")], gzip.compress(answer.body, 5, mtime=0))


def complete(answer: Answer, always: Headers) -> Headers:
    """The headers of *answer* with those that every answer carries, and its length."""
    names = {name for name, _ in answer.headers}
    headers = answer.headers + [pair for pair in always if pair[0] not in names]
    if b"content-length" not in names and answer.status not in _BARE:
        headers.append((b"content-length", b"%d" % len(answer.body)))
    return headers


def with_head(answer: Answer, always: Headers) -> Answer:
    """*answer* with its head put together once, for all who will be sent it."""
    return replace(answer, head=head_of(answer.status, complete(answer, always)))


def head_of(status: int, headers: Headers) -> bytes:
    """Status line and headers as they are on the wire, without the empty line."""
    lines = [b"HTTP/1.1 %d %s" % (status, _PHRASES[status]), *[b"%s: %s" % pair for pair in headers]]
    head = b"\n".join(lines)
    if b"\r" in head or head.count(b"\n") != len(lines) - 1:
        raise ValueError("a header has more than one line")
    return head.replace(b"\n", b"\r\n") + b"\r\n"


def header(headers: Headers, name: bytes) -> bytes:
    return next((value for given, value in headers if given == name), b"")


def with_vary(headers: Headers, more: bytes) -> Headers:
    vary = header(headers, b"vary")
    both = vary if more.lower() in vary.lower() else vary + b", " + more if vary else more
    return [pair for pair in headers if pair[0] != b"vary"] + [(b"vary", both)]


def weakened(etag: bytes) -> bytes:
    return etag if etag.startswith(b"W/") else b"W/" + etag


def matches(if_none_match: bytes, etag: bytes) -> bool:
    """RFC 9110: the weak comparison, over a list or an asterisk."""
    wanted = etag.removeprefix(b"W/")
    return any(one.strip().removeprefix(b"W/") in (wanted, b"*") for one in if_none_match.split(b","))
