"""Which findings are news. An episode is told once, however often it is found, and re-armed when it is over.

A finding is *firm* where it is beyond its threshold, and not where it is only near it: that keeps an open episode open
and begins none. So a value that wavers at its threshold is one episode.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ledger.times import MINUTE
from ledger.views.notices import RANK

REARM_MS = 10 * MINUTE
"""How long something without a measure of its own must be over before it can be told again."""
MOST_OPEN, MOST_PAST = 100, 50
LONGEST_TEXT = 300
Episode = dict[str, Any]
"""rule, level, text; since, told (ms, 0 not yet), gone (ms since when it is not found, 0 while it is), rearm (ms), part (told as part of a higher step)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is true now. *wait* is for how long it must have been, *rearm* for how long it must not be to be over;
    *covered*: a higher step of the same matter speaks for it."""

    id: str
    rule: str
    level: str
    text: str
    firm: bool = True
    wait: int = 0
    rearm: int = REARM_MS
    covered: bool = False


def follow(episodes: Mapping[str, Episode], findings: Iterable[Finding], now: int) -> tuple[dict[str, Episode], list[str], list[Episode]]:
    """The episodes after *findings*; the ids that must be told now (worst first); and those that are over."""
    found = {finding.id: finding for finding in findings}
    after, over = _gone_on(episodes, found, now)
    for id, finding in found.items():
        if finding.firm and id not in after and len(after) < MOST_OPEN:
            after[id] = {"rule": finding.rule, "level": finding.level, "text": finding.text[:LONGEST_TEXT], "since": now, "told": 0, "gone": 0, "rearm": finding.rearm}
    due = [id for id, finding in found.items() if finding.firm and id in after and not after[id]["told"] and now - after[id]["since"] >= finding.wait]
    for id in due:
        after[id] = {**after[id], "told": now, "part": True} if found[id].covered else {**after[id], "told": now}
    return after, sorted((id for id in due if not found[id].covered), key=lambda id: (RANK[after[id]["level"]], id)), over


def _gone_on(episodes: Mapping[str, Episode], found: Mapping[str, Finding], now: int) -> tuple[dict[str, Episode], list[Episode]]:
    """The episodes that were open already and go on, and those that are over."""
    after: dict[str, Episode] = {}
    over: list[Episode] = []
    for id, episode in episodes.items():
        gone = episode["gone"] or now
        if id in found:
            after[id] = {**episode, "gone": 0} | ({"text": found[id].text[:LONGEST_TEXT]} if not episode["told"] else {})
        elif not episode["told"]:
            continue  # it passed before its time came
        elif now - gone >= episode["rearm"]:
            over.append({**episode, "id": id, "gone": gone})
        else:
            after[id] = {**episode, "gone": gone}
    return after, over
