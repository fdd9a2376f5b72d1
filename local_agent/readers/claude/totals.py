"""What the lines that count add up to: by session for the records, by day for reports."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from local_agent.readers.claude import tally
from local_agent.readers.claude.tables import AT, CLASS, COST, DAY_MS, INPUT, SESSION, Words

if TYPE_CHECKING:
    import sqlite3

CACHED = 256
"""Sessions whose sums stay in memory: those that are being worked in."""


class Totals:
    """*touched* are the sessions that a step changed, *fresh* those of them that no step knew before."""

    def __init__(self) -> None:
        self.synthetic: set[int] = set()
        self._tallies: dict[int, tally.Tally] = {}
        self.begin()

    def begin(self) -> None:
        self.touched: set[int] = set()
        self.fresh: set[int] = set()
        self._anew: set[int] = set()
        self._days: dict[tuple[int, int], list[int]] = {}

    def forget(self) -> None:
        self._tallies.clear()
        self.begin()

    def add_run(self, session: int, slot: int, run: list[int]) -> None:
        """Several lines of one session, quarter-hour and class count from now on."""
        self.touched.add(session)
        self._add_day(run[0] // DAY_MS, tally.class_of(slot), run[2:], 1)
        if session not in self._anew:
            known = self._known(session)
            if known is None:
                self._anew.add(session)
            else:
                tally.merge(known, slot, run)

    def account(self, words: Words, sign: int) -> None:
        """A line counts from now on, or no more."""
        session, requests = words[SESSION], int(words[CLASS] not in self.synthetic)
        self.touched.add(session)
        if session not in self._anew:
            known = self._known(session)
            if sign > 0 and known is not None:
                tally.add(known, words, requests)
            elif known is None or not tally.remove(known, words, requests):
                self._tallies.pop(session, None)
                self._anew.add(session)
        self._add_day(words[AT] // DAY_MS, words[CLASS], (*words[INPUT:COST], requests, max(words[COST], 0)), sign)

    def _known(self, session: int) -> tally.Tally | None:
        known = self._tallies.get(session)
        if known is None and session in self.fresh:
            known = self._tallies[session] = {}
        return known

    def _add_day(self, day: int, class_: int, amounts: Sequence[int], sign: int) -> None:
        known = self._days.get((day, class_))
        if known is None:
            known = self._days[day, class_] = [0] * 7
        for n, amount in enumerate(amounts):
            known[n] += sign * amount

    def of(self, session: int, lines: Callable[[int], Iterable[Words]]) -> tally.Tally:
        """A session's usage; *lines* are those that count, asked only where its sums are not known."""
        known = self._tallies.get(session)
        if known is None:
            known = self._tallies[session] = {}
            for words in lines(session):
                tally.add(known, words, int(words[CLASS] not in self.synthetic))
        return known

    def flush(self, sql: sqlite3.Connection) -> None:
        sql.executemany(
            "INSERT INTO claude_days VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(day, class) DO UPDATE SET input = input + excluded.input,"
            " output = output + excluded.output, write_5m = write_5m + excluded.write_5m, write_1h = write_1h + excluded.write_1h,"
            " read = read + excluded.read, requests = requests + excluded.requests, cost = cost + excluded.cost",
            [(*key, *day) for key, day in sorted(self._days.items()) if any(day)],
        )  # fmt: skip

    def end(self) -> None:
        """The step was committed. Only the sums of sessions that are being worked in stay in memory."""
        while len(self._tallies) > CACHED:
            del self._tallies[next(iter(self._tallies))]
        for session in self.touched & self._tallies.keys():
            self._tallies[session] = self._tallies.pop(session)
        self.begin()
