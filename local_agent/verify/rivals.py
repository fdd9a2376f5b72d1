"""Two sets of rules for the same lines: ours, and ccusage's with its peculiarities that can be switched off one by one."""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from local_agent.verify.transcript import BYTES, NULLS, SPACED, TWICE, Seen

PROGRESS, REPLAY, REQUEST = "progress", "replay", "request"
DAILY, SESSION = "daily", "session"
SWITCHES = (NULLS, BYTES, TWICE, SPACED, PROGRESS, REQUEST)


def ours(lines: Iterable[Seen]) -> list[Seen]:
    """Each answer once: the conversation's own line before a sub-agent's copy before an echo; then the most tokens, a named speed, the first."""
    nameless: list[Seen] = []
    named: dict[str, list[Seen]] = defaultdict(list)
    for line in lines:
        (nameless if line.id is None else named[line.id]).append(line)
    return nameless + [line for rivals in named.values() for line in _ours(rivals)]


def _ours(rivals: list[Seen]) -> list[Seen]:
    best = min(map(_kind, rivals))
    rivals = [line for line in rivals if _kind(line) == best]
    if best:
        return [min(rivals, key=_worth)]
    answers: dict[str | None, Seen] = {}
    for line in sorted(rivals, key=_worth):
        answers.setdefault(line.request, line)
    nameless = answers.pop(None, None)
    if nameless and answers:
        top = min(answers.values(), key=_worth)
        if _worth(nameless) < _worth(top):
            answers[top.request] = nameless
    elif nameless:
        return [nameless]
    return list(answers.values())


def _kind(line: Seen) -> int:
    return 2 if line.echo else int(line.side)


def _worth(line: Seen) -> tuple[int, bool, int]:
    return -line.tokens, not line.speed, line.place


def theirs(lines: Iterable[Seen], report: str, without: frozenset[str] = frozenset()) -> list[Seen]:
    """What ccusage counts for one of its reports; *without* switches peculiarities off."""
    seen = [line for line in lines if not (line.quirks - without)]
    if PROGRESS in without:
        echoes = [line for line in seen if line.echo]
        seen = [line for line in seen if not line.echo]
        known = {line.id for line in seen}
        seen += [line for line in echoes if line.id is None or line.id not in known]
    elif report == SESSION:
        seen = [line for line in seen if not line.echo]
    kept = Kept(strict=report == DAILY, loose=report == DAILY and REQUEST not in without)
    for line in seen:
        kept.take(line)
    return kept.lines


class Kept:
    """ccusage's list of answers while it grows.

    *strict*: a replay of a parent's answer is dropped wherever it stands. *loose*: a line without a request is no duplicate.
    """

    def __init__(self, *, strict: bool, loose: bool) -> None:
        self.lines: list[Seen] = []
        self._exact: dict[tuple[str, str | None], int] = {}
        self._by_id: dict[str, list[int]] = defaultdict(list)
        self._strict, self._loose = strict, loose

    def take(self, line: Seen) -> None:
        place = self._match(line)
        if place is None:
            self._add(line)
        elif _replaces(line, self.lines[place]):
            old, self.lines[place] = self.lines[place], line
            assert line.id is not None and old.id is not None
            self._exact.pop((old.id, old.request), None)
            self._exact[line.id, line.request] = place

    def _match(self, line: Seen) -> int | None:
        if line.id is None or (self._loose and line.request is None):
            return None
        place = self._exact.get((line.id, line.request))
        if place is not None:
            return place
        for place in self._by_id[line.id]:
            other = self.lines[place]
            if (other.side and not line.side) or (self._strict and (line.side or other.side)):
                return place
        return None

    def _add(self, line: Seen) -> None:
        if line.id is not None:
            self._exact[line.id, line.request] = len(self.lines)
            self._by_id[line.id].append(len(self.lines))
        self.lines.append(line)


def _replaces(new: Seen, old: Seen) -> bool:
    if old.side and not _side(new):
        return True
    if new.tokens != old.tokens:
        return new.tokens > old.tokens and (old.side or not _side(new) or new.request == old.request)
    return new.speed and not old.speed


def _side(line: Seen) -> bool:
    return line.side and not line.echo


def contested(lines: Iterable[Seen]) -> set[str]:
    """Ids of answers that both the conversation and a sub-agent tell of, or under several requests: where the two rules may differ."""
    told: dict[str, set[tuple[bool, str | None]]] = defaultdict(set)
    for line in lines:
        if line.id is not None and not line.echo:
            told[line.id].add((line.side, line.request))
    return {id for id, tellings in told.items() if len(tellings) > 1 and any(side for side, _ in tellings)}
