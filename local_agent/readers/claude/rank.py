"""Which of several lines about one answer counts.

The rule asks only what the lines say and where they stand, never which was read first, so any order of files and any
split of a file into increments gives the same result: an answer of the conversation itself beats a sub-agent's copy,
a sub-agent's line beats its echo in a progress line; then the most tokens win, then a line that names a speed, then the
first by path and place.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

MAIN, SIDE, ECHO = 0, 1, 2


class Rival(NamedTuple):
    """One line about an answer. *request* is 0 where it names none; *place* identifies the line to its keeper."""

    kind: int
    request: int
    tokens: int
    speed: int
    path: str
    offset: int
    place: int


def settle(rivals: Sequence[Rival]) -> list[Rival]:
    """The lines that count, of all that share a message id.

    One id under two requests of the conversation itself is two answers; sub-agents' lines never add one. A line without a
    request belongs to whichever answer is worth most.
    """
    kind = min(rival.kind for rival in rivals)
    rivals = [rival for rival in rivals if rival.kind == kind]
    if kind != MAIN:
        return [_best(rivals)]
    answers = {request: _best([rival for rival in rivals if rival.request == request]) for request in {rival.request for rival in rivals}}
    nameless = answers.pop(0, None)
    if nameless is None or not answers:
        return list(answers.values()) or [nameless]  # type: ignore[list-item]
    top = _best(list(answers.values()))
    if _order(nameless) < _order(top):
        answers[top.request] = nameless
    return list(answers.values())


def _best(rivals: list[Rival]) -> Rival:
    return min(rivals, key=_order)


def _order(rival: Rival) -> tuple[int, int, str, int]:
    return -rival.tokens, -rival.speed, rival.path, rival.offset
