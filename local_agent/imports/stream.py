"""The items of a large JSON document, one at a time: an export of years is never held whole.

Known are objects whose members are arrays of objects (`{"daily": [...], "totals": {...}}`), also one level down
(`{"projects": {"name": [...]}}`). Each array's items come with the names that lead to them.
"""
from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

CHUNK = 1 << 16
LARGEST = 4 << 20
"""The longest single item in characters."""
_SPACE = " \t\r\n"


class NotJson(Exception):
    """The text says what is wrong, and near which character."""


def items(file: BinaryIO) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(names, item) of every array; a member that is no array comes as one item itself. Raises NotJson."""
    text = _Text(file)
    yield from _members(text, (), 2)
    if text.peek():
        raise text.trouble("something follows the end")


class _Text:
    """The characters that were read and not used yet."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._decode = file, codecs.getincrementaldecoder("utf-8-sig")("strict").decode
        self._text, self._at, self._before, self._ended = "", 0, 0, False
        self._scan = json.JSONDecoder(parse_constant=_no_constant).raw_decode

    def trouble(self, what: str) -> NotJson:
        return NotJson(f"{what} (near character {self._before + self._at})")

    def _more(self) -> bool:
        if self._ended:
            return False
        chunk = self._file.read(CHUNK)
        self._ended = not chunk
        try:
            new = self._decode(chunk, final=self._ended)
        except UnicodeDecodeError:
            raise self.trouble("not UTF-8") from None
        self._before += self._at
        self._text, self._at = self._text[self._at :] + new, 0
        return not self._ended

    def peek(self) -> str:
        """The next character that is no space; "" at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _SPACE:
                    return self._text[self._at]
                self._at += 1
            if not self._more():
                return ""

    def take(self, wanted: str) -> str:
        found = self.peek()
        if not found or found not in wanted:
            raise self.trouble(f"expected {' or '.join(wanted)}" if found else "it ends in the middle")
        self._at += 1
        return found

    def value(self) -> Any:
        """One whole value."""
        self.peek()
        while True:
            try:
                found, end = self._scan(self._text, self._at)
                if end < len(self._text) or not self._more():
                    self._at += end - self._at
                    return found
            except json.JSONDecodeError as error:
                if not self._more():
                    raise self.trouble("it ends in the middle" if error.pos >= len(self._text) else error.msg.lower()) from None
            except (ValueError, RecursionError):
                raise self.trouble("no number or nesting that we can read") from None
            if len(self._text) - self._at > LARGEST:
                raise self.trouble("one item is too large")


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _members(text: _Text, names: tuple[str, ...], deep: int) -> Iterator[tuple[tuple[str, ...], Any]]:
    text.take("{")
    if text.peek() == "}":
        text.take("}")
        return
    while True:
        if text.peek() != '"':
            raise text.trouble("expected a name")
        name = (*names, str(text.value()))
        text.take(":")
        first = text.peek()
        if first == "[":
            yield from _array(text, name)
        elif first == "{" and deep > 1 and name[-1] == "projects":
            yield from _members(text, name, deep - 1)
        else:
            yield name, text.value()
        if text.take(",}") == "}":
            return


def _array(text: _Text, name: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    text.take("[")
    if text.peek() == "]":
        text.take("]")
        yield (*name, "[]"), None
        return
    while True:
        yield (*name, "[]"), text.value()
        if text.take(",]") == "]":
            return
