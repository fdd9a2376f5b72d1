"""One row of the figures, and how the rows become the table that the README shows."""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured figure: *value* with its *unit*; *goal* as text, "" where none was set; *peer* what it was compared with."""

    what: str
    value: float
    unit: str
    goal: str = ""
    peer: str = ""


def number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def markdown(figures: Iterable[Figure]) -> str:
    lines = ["| what | measured | goal | against |", "|---|---|---|---|"]
    lines += [f"| {f.what} | {number(f.value)} {f.unit} | {f.goal} | {f.peer} |" for f in figures]
    return "\n".join(lines)


def replaced(document: str, table: str) -> str:
    """*document* with *table* between its two marks."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table}\n{END}{after}"
