"""Finds every difference between our numbers and ccusage's, and the rule that explains it.

A difference is explained only if both sides can be rebuilt from the transcripts to the token: ours by our rules, theirs
by theirs. Then switching one peculiarity of ccusage off shows which of them made the difference. Anything else is unexplained.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo

from local_agent.readers.claude.pack import key_of
from local_agent.verify import rivals, units
from local_agent.verify.ccusage import Prices, Total
from local_agent.verify.shown import Shown
from local_agent.verify.transcript import BYTES, NULLS, SPACED, TWICE, Seen
from local_agent.verify.units import Piece
from local_agent.verify.unseen import Unseen

LONG, NAMES, GONE, UNEXPLAINED = "long context", "session names", "kept though deleted", "unexplained"
OUTSIDE, ANCHOR, ACCOUNTS = "elsewhere", "official window", "accounts"
RULES = {
    rivals.PROGRESS: "an answer that stands in a progress line: ccusage's daily report prefers that copy, its other reports ignore it; ours is one count for all",
    rivals.REPLAY: "a sub-agent's replay of its parent's answer: ccusage's session report counts one that follows it; ours counts the parent's",
    rivals.REQUEST: "lines of one answer without a request id: ccusage's daily report counts each; ours counts the answer once",
    NULLS: "a line with a null somewhere (even in a tool's arguments) is dropped by ccusage; ours is counted",
    BYTES: "a line with a cut emoji or a byte that is not UTF-8 is dropped by ccusage; ours is counted",
    TWICE: "a line with a key twice in one object is dropped by ccusage; ours takes the last",
    SPACED: "a line with a space before its usage is not seen by ccusage; ours is counted",
    LONG: "above 200,000 tokens ccusage prices only the excess of each kind; vendors, and ours, price the whole request up",
    NAMES: "ccusage names a session after its file; ours after the session that the line names",
    GONE: "the transcript was deleted by its tool, or written anew without it; ours was read before that and is kept",
    OUTSIDE: "the transcript lies in a folder that ccusage was not asked to read",
    ANCHOR: "the tool said when this window is reset: ours is that window, ccusage's begins at the full hour of a first use",
    ACCOUNTS: "ccusage puts the use of all accounts into one block; ours has blocks of each account",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One unit on which we differ, and the rules that explain it (or UNEXPLAINED)."""

    report: str
    unit: str
    ours: Total
    theirs: Total
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What both sides are rebuilt from. *archived* is what the archive holds, *anew* what one holds that reads the transcripts
    that are there now, *unseen* the lines that make the difference.

    *is_long* says of a model, a time and a prompt whether our book prices the whole request up.
    """

    lines: Sequence[Seen]
    archived: Sequence[Piece]
    anew: Sequence[Piece]
    unseen: Sequence[Unseen]
    shown: Shown
    prices: Prices
    zone: tzinfo
    is_long: Callable[[str, int, int], bool]


def differences(evidence: Evidence, theirs: Mapping[str, Mapping[str, Total]]) -> list[Difference]:
    """Every unit of every report on which ccusage and the archive differ."""
    return [
        each
        for report, group, variant in (
            ("day", lambda pieces: units.days(pieces, evidence.zone), rivals.DAILY),
            ("session", units.sessions, rivals.SESSION),
            ("block", units.blocks, rivals.SESSION),
        )
        for each in Comparison(evidence, report, group, variant).differences(theirs[report])
    ]


class Comparison:
    """One report of ccusage against the archive."""

    def __init__(self, evidence: Evidence, report: str, group: Callable[[Iterable[Piece]], dict[str, Total]], variant: str) -> None:
        self._evidence, self._report, self._group, self._variant = evidence, report, group, variant
        self._ours = evidence.shown.blocks if report == "block" else group

    def differences(self, theirs: Mapping[str, Total]) -> list[Difference]:
        evidence = self._evidence
        ours = self._ours(evidence.archived)
        differing = [name for name in sorted(ours.keys() | theirs.keys()) if not units.same(ours.get(name), theirs.get(name))]
        if not differing:
            return []
        rules = self._rules(theirs)
        return [
            Difference(self._report, name, ours.get(name, units.NOTHING), theirs.get(name, units.NOTHING), rules(name)) for name in differing
        ]

    def _rules(self, theirs: Mapping[str, Total]) -> Callable[[str], tuple[str, ...]]:
        """What explains a unit, once both sides are rebuilt."""
        evidence = self._evidence
        everything, anew = self._ours(evidence.archived), self._ours(evidence.anew)
        counted = rivals.ours(evidence.lines)
        whole = self._priced(counted, whole=True)
        again, alike = self._ours(whole), self._group(whole)
        apart = evidence.shown.blocks(whole, anchored=False) if self._report == "block" else alike
        excess = self._group(self._priced(counted, whole=False))
        by_path = self._group(self._priced(counted, whole=False, by_path=True))
        rebuilt = self._variants(frozenset())
        without = {rule: self._variants(frozenset((rule,))) for rule in rivals.SWITCHES}
        plainest = self._variants(frozenset(rivals.SWITCHES))
        near = self._near_contested(counted)
        unseen = {rule: self._near_unseen([line for line in evidence.unseen if line.outside == outside]) for rule, outside in ((GONE, False), (OUTSIDE, True))}

        def rules(name: str) -> tuple[str, ...]:
            if not units.same(anew.get(name), again.get(name)) or not units.same(theirs.get(name), rebuilt.get(name)):
                return (UNEXPLAINED,)
            found = [rule for rule, variant in without.items() if not units.same(variant.get(name), rebuilt.get(name))]
            if not units.same(plainest.get(name), by_path.get(name)) and near(name):
                found.append(rivals.REPLAY)
            if not units.same(alike.get(name), excess.get(name)):
                found.append(LONG)
            if not units.same(alike.get(name), apart.get(name)):
                found.append(ACCOUNTS)
            if not units.same(apart.get(name), again.get(name)):
                found.append(ANCHOR)
            if self._report == "session" and not units.same(excess.get(name), by_path.get(name)):
                found.append(NAMES)
            if not units.same(anew.get(name), everything.get(name)):
                found += [rule for rule, holds in unseen.items() if holds(name)] or [UNEXPLAINED]
            return tuple(found) or (UNEXPLAINED,)

        return rules

    def _near_contested(self, counted: Sequence[Seen]) -> Callable[[str], bool]:
        """Whether a unit holds, or a block lies beside, an answer that parent and sub-agent both tell of."""
        evidence = self._evidence
        contested = rivals.contested(evidence.lines)
        held = [line for line in (*counted, *rivals.theirs(evidence.lines, self._variant)) if line.id in contested]
        return self._near([piece for by_path in (False, True) for piece in self._priced(held, whole=True, by_path=by_path)])

    def _near_unseen(self, lines: Sequence[Unseen]) -> Callable[[str], bool]:
        """Whether a unit holds, or a block lies beside, a line of *lines* or another line about the same answer."""
        if not lines:
            return lambda name: False
        keys = {line.key for line in lines}
        others = [line for line in self._evidence.lines if line.id is not None and key_of(line.id) in keys]
        return self._near([*(line.piece for line in lines), *self._priced(others, whole=True)])

    def _near(self, pieces: Sequence[Piece]) -> Callable[[str], bool]:
        if self._report == "block":
            return lambda name: any(abs(piece.first - units.start_of(name)) <= 2 * units.LENGTH for piece in pieces)
        return self._group(pieces).__contains__

    def _variants(self, without: frozenset[str]) -> dict[str, Total]:
        return self._group(self._priced(rivals.theirs(self._evidence.lines, self._variant, without), whole=False, by_path=True))

    def _priced(self, lines: Iterable[Seen], *, whole: bool, by_path: bool = False) -> list[Piece]:
        """Answers with their cost at ccusage's prices, by our rule for long requests (*whole*) or by its own."""
        prices, is_long = self._evidence.prices, self._evidence.is_long
        found = []
        for line in lines:
            if whole:
                prompt = line.tokens - line.counts[1]
                cost = prices.plain(line.model, line.fast, line.counts, long=is_long(line.model, line.at, prompt))
            else:
                cost = prices.theirs(line.model, line.fast, line.counts)
            found.append(Piece(line.at, line.at, line.path_session if by_path else line.session, line.counts, cost))
        return found

