"""Five-hour blocks as we show them: each account has its own, and where the tool told when a window is reset, that is the block."""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ledger.account import DEFAULT
from ledger.blocks import derive
from ledger.prices import PICO
from ledger.session import Row
from ledger.times import QUARTER, iso
from local_agent.verify.archived import Windows
from local_agent.verify.ccusage import Total
from local_agent.verify.units import Piece


class Shown:
    """*accounts* are those of the sessions by their names."""

    def __init__(self, accounts: Mapping[str, str], windows: Windows) -> None:
        self._accounts, self._windows = accounts, windows

    def blocks(self, pieces: Iterable[Piece], *, anchored: bool = True) -> dict[str, Total]:
        by_account: dict[str, list[Piece]] = {}
        for piece in pieces:
            by_account.setdefault(self._accounts.get(piece.session, DEFAULT), []).append(piece)
        several = len(set(self._accounts.values())) > 1
        found: dict[str, Total] = {}
        for account, own in sorted(by_account.items()):
            rows = _rows(own)
            for window in derive(rows, self._windows.get(account, ()) if anchored else ())[0]:
                kinds = window.kinds
                if not window.gap:
                    found[iso(window.start) + (f" of {account}" if several else "")] = Total((kinds[0], kinds[1], kinds[2] + kinds[3], kinds[4]), window.cost / PICO)
        return found


def _rows(pieces: Sequence[Piece]) -> list[tuple[int, int, str, Row]]:
    """By session and quarter-hour, as the ledger has them: what stands on its very beginning stands alone."""
    cells: dict[tuple[str, int, bool], list[Piece]] = {}
    for piece in pieces:
        cells.setdefault((piece.session, piece.first // QUARTER, piece.first % QUARTER == 0), []).append(piece)
    return sorted(_entry(session, group) for (session, _, _), group in cells.items())


def _entry(session: str, group: Sequence[Piece]) -> tuple[int, int, str, Row]:
    first, last = min(piece.first for piece in group), max(piece.last for piece in group)
    counts = [sum(piece.counts[kind] for piece in group) for kind in range(5)]
    # The number 1 stands for any model and class: only which tokens and what cost is asked.
    return first, last, session, (first, first, last, 1, 1, *counts, len(group), round(sum(piece.cost for piece in group) * PICO), -1)
