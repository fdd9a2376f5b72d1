"""Words on a terminal of any width: pieces with a style, folded so that nothing is cut, and bars."""
from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable

COLOURS = {"bold": "1", "dim": "2", "good": "32", "warn": "33", "bad": "31", "name": "36"}
NARROWEST = 24

Ink = Callable[[str, str], str]
Piece = tuple[str, str]
"""Text, and its style or ""."""


def plain(text: str, _style: str) -> str:
    return text


def coloured(text: str, style: str) -> str:
    return f"\x1b[{COLOURS[style]}m{text}\x1b[0m" if style else text


def breadth(text: str) -> int:
    """How many columns a text takes: wide letters take two, marks on letters none."""
    return sum(0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)


def folded(pieces: Iterable[Piece], width: int, indent: int, ink: Ink) -> list[str]:
    """The pieces as lines of at most *width* columns; lines after the first are indented. A word longer than a line is broken."""
    width = max(width, NARROWEST)
    lines, used = [""], 0
    for text, style in pieces:
        for n, word in enumerate(text.split(" ")):
            space = 1 if n else 0
            if used + space + breadth(word) > width and used > indent:
                lines.append(" " * indent)
                used, space = indent, 0
            while breadth(word) > width - used - space:
                head = _fitting(word, width - used - space)
                lines[-1] += " " * space + _painted(head, style, ink)
                lines.append(" " * indent)
                word, used, space = word[len(head) :], indent, 0
            lines[-1] += " " * space + _painted(word, style, ink)
            used += space + breadth(word)
    return [line.rstrip() if style_free(line) else line for line in lines]


def style_free(line: str) -> bool:
    return "\x1b" not in line


def _painted(word: str, style: str, ink: Ink) -> str:
    return ink(word, style) if word and style else word


def _fitting(word: str, room: int) -> str:
    """As much of a word's beginning as fits, at least one letter."""
    found = ""
    for each in word:
        if found and breadth(found + each) > room:
            break
        found += each
    return found


def bar(percent: float, ink: Ink, length: int = 24) -> str:
    """A bar with its figure; red where the limit is near."""
    filled = round(min(max(percent, 0), 100) / 100 * length)
    return f"{ink('█' * filled, style_of(percent))}{ink('░' * (length - filled), 'dim')} {percent:5.1f} %"


def style_of(percent: float) -> str:
    return "bad" if percent >= 90 else "warn" if percent >= 75 else "good"


def writable(text: str, encoding: str | None) -> str:
    """The text with signs that the terminal knows, for one that knows no others."""
    try:
        text.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        text = text.translate(str.maketrans("█░●○…×", "#-*o.x")).encode("ascii", "replace").decode()
    return text
