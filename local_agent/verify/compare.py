"""Finds every difference between our numbers and ccusage's, and the rule that explains it.

A difference is explained only if both sides can be rebuilt from the transcripts to the token: ours by our rules, theirs
by theirs. Then switching one peculiarity of ccusage off shows which of them made the difference. Anything else is unexplained.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo

from local_agent.verify import rivals, units
from local_agent.verify.ccusage import Prices, Total
from local_agent.verify.transcript import BYTES, NULLS, TWICE, Seen
from local_agent.verify.units import Piece

LONG, NAMES, GONE, UNEXPLAINED = "long context", "session names", "kept though deleted", "unexplained"
RULES = {
    rivals.PROGRESS: "an answer that stands in a progress line: ccusage's daily report prefers that copy, its other reports ignore it; ours is one count for all",
    rivals.REPLAY: "a sub-agent's replay of its parent's answer: ccusage's session report counts one that follows it; ours counts the parent's",
    rivals.REQUEST: "lines of one answer without a request id: ccusage's daily report counts each; ours counts the answer once",
    NULLS: "a line with a null somewhere (even in a tool's arguments) is dropped by ccusage; ours is counted",
    BYTES: "a line with a cut emoji or a byte that is not UTF-8 is dropped by ccusage; ours is counted",
    TWICE: "a line with a key twice in one object is dropped by ccusage; ours takes the last",
    LONG: "above 200,000 tokens ccusage prices only the excess of each kind; vendors, and ours, price the whole request up",
    NAMES: "ccusage names a session after its file; ours after the session that the line names",
    GONE: "the transcript was deleted by its tool; ours was read before that and is kept",
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
    """What both sides are rebuilt from. *archived* is what the archive holds, *gone* the part of it whose transcripts were deleted.

    *is_long* says of a model, a time and a prompt whether our book prices the whole request up.
    """

    lines: Sequence[Seen]
    archived: Sequence[Piece]
    gone: Sequence[Piece]
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

    def differences(self, theirs: Mapping[str, Total]) -> list[Difference]:
        evidence = self._evidence
        ours = self._group([*evidence.archived, *evidence.gone])
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
        kept = self._group(evidence.archived)
        everything = self._group([*evidence.archived, *evidence.gone])
        counted = rivals.ours(evidence.lines)
        again = self._group(self._priced(counted, whole=True))
        excess = self._group(self._priced(counted, whole=False))
        by_path = self._group(self._priced(counted, whole=False, by_path=True))
        rebuilt = self._variants(frozenset())
        without = {rule: self._variants(frozenset((rule,))) for rule in rivals.SWITCHES}
        plainest = self._variants(frozenset(rivals.SWITCHES))
        near = self._near_contested(counted)

        def rules(name: str) -> tuple[str, ...]:
            if not units.same(kept.get(name), again.get(name)) or not units.same(theirs.get(name), rebuilt.get(name)):
                return (UNEXPLAINED,)
            found = [rule for rule, variant in without.items() if not units.same(variant.get(name), rebuilt.get(name))]
            if not units.same(plainest.get(name), by_path.get(name)) and near(name):
                found.append(rivals.REPLAY)
            if not units.same(again.get(name), excess.get(name)):
                found.append(LONG)
            if self._report == "session" and not units.same(excess.get(name), by_path.get(name)):
                found.append(NAMES)
            if not units.same(kept.get(name), everything.get(name)):
                found.append(GONE)
            return tuple(found) or (UNEXPLAINED,)

        return rules

    def _near_contested(self, counted: Sequence[Seen]) -> Callable[[str], bool]:
        """Whether a unit holds, or a block lies beside, an answer that parent and sub-agent both tell of."""
        evidence = self._evidence
        contested = rivals.contested(evidence.lines)
        held = [line for line in (*counted, *rivals.theirs(evidence.lines, self._variant)) if line.id in contested]
        if self._report == "block":
            return lambda name: any(abs(line.at - units.start_of(name)) <= 2 * units.LENGTH for line in held)
        names = {name for by_path in (False, True) for name in self._group(self._priced(held, whole=True, by_path=by_path))}
        return names.__contains__

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

