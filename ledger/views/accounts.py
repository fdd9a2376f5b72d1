"""Whose use it is: five-hour blocks and official limits belong to an account of a tool, on however many machines it is used."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ledger import bodies
from ledger.account import DEFAULT
from ledger.blocks import Blocks, Window
from ledger.record import Ref
from ledger.session import Held, Row

Account = tuple[str, str]
Reading = tuple[str, Ref, bodies.Limit]
"""(source, ref, limit)"""


def family(tool: str) -> str:
    """Tools that share an account's limits count together."""
    return "claude" if tool.startswith("claude") else tool


def account_of(held: Held) -> Account:
    return family(held.session_type), held.account or DEFAULT


def account_for(limit: bodies.Limit) -> Account:
    return family(limit.tool), limit.account or DEFAULT


def newest(readings: Iterable[Reading]) -> list[tuple[Ref, bodies.Limit]]:
    """The newest reading of each window, whichever machine made it."""
    found: dict[Ref, tuple[int, str, bodies.Limit]] = {}
    for source, _, limit in readings:
        window = Ref("limit", f"{limit.tool}/{limit.account}/{limit.window}")
        reading = (limit.observed_at, source, limit)
        if window not in found or found[window][:2] < reading[:2]:
            found[window] = reading
    return [(window, found[window][2]) for window in sorted(found)]


class Accounts:
    """The blocks of every account. *rows_of* gives a session's rows by its key."""

    def __init__(self, rows_of: Callable[[str], Sequence[Row]]) -> None:
        self._rows_of = rows_of
        self._blocks: dict[Account, Blocks] = {}
        self._declaring: set[str] = set()
        """Sources whose trackers declare blocks themselves."""

    def of(self, account: Account) -> Blocks:
        found = self._blocks.get(account)
        if found is None:
            found = self._blocks[account] = Blocks(self._rows_of)
        return found

    def all(self) -> list[tuple[Account, Blocks]]:
        return [(account, blocks) for account, blocks in self._blocks.items() if not blocks.empty]

    def settle(self) -> None:
        """Work out what changed; raises TooFarBack if that needs sessions that are not known."""
        for blocks in self._blocks.values():
            blocks.all()

    def change(self, held: Held, rows: Iterable[Row], *, came: bool) -> None:
        if self._derives(held):
            self.of(account_of(held)).change(held.key, rows, came=came)

    def _derives(self, held: Held) -> bool:
        """Does this session's use open blocks? A tracker's totals have no times, and where it declares blocks itself, they count."""
        return not held.declared or held.source not in self._declaring

    def is_news(self, source: str, declaring: bool) -> bool:
        """Did this source begin to declare blocks, or cease to?"""
        return (source in self._declaring) is not declaring

    def declares(self, source: str, declaring: bool, totals: Iterable[Held] = ()) -> None:
        """From now on *source* declares blocks, or no more; *totals* are its trackers' sessions that are counted already."""
        if declaring:
            for held in totals:
                self.change(held, held.rows(), came=False)
            self._declaring.add(source)
        else:
            self._declaring.discard(source)
            for held in totals:
                self.change(held, held.rows(), came=True)

    def anchor(self, readings: Iterable[Reading]) -> None:
        """Tell the blocks of each account which resets its tool reported, on any machine and at any time."""
        resets: dict[Account, set[int]] = {account: set() for account in self._blocks}
        for _, _, limit in readings:
            if limit.window == "five_hour":
                resets.setdefault(account_for(limit), set()).update(limit.earlier, [limit.resets_at] if limit.resets_at is not None else [])
        for account, found in resets.items():
            self.of(account).anchor(found)

    def resume(self, made: Iterable[tuple[Account, list[tuple[int, int]], list[Window]]], helds: Iterable[Held], floor: int | None) -> None:
        """Go on from the blocks of a checkpoint, of whose sessions *helds* are known: all that were used after *floor*."""
        mine: dict[Account, list[tuple[str, Sequence[Row]]]] = {}
        for held in helds:
            if self._derives(held):
                mine.setdefault(account_of(held), []).append((held.key, held.rows()))
        for account, official, windows in made:
            self.of(account).restore(windows, official, floor, mine.get(account, ()))
