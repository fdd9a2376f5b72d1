"""One row of the figures, and how the rows become the tables that the README and docs/figures.md show."""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
FRONT = (
    "first reading of 500MB of transcripts, with a report: CPU",
    "new process, nothing changed (500MB): CPU",
    "appended line → committed, median",
    "appended line → relay's feed, p50",
    "agent's CPU in an idle minute",
    "agent resident, idle",
    "bytes of a push for one changed session",
    "50 machines pushing 5 records twice a second: p99",
    "refill of 10,000 sessions",
    "live, 500 pages by WebSocket: push → page, p95",
    "cached read 304: relay CPU",
    "search 100,000 sessions",
    "page: the files of a first visit",
    "page: largest paint, slow 4G",
    "page: agent killed, until the relay's numbers",
    "cold start of the HTTP function",
    "AWS, one user",
)
"""How the rows begin that the README shows, in this order; the others stand in docs/figures.md alone."""
HEAD = ["| what | measured | goal | against |", "|---|---|---|---|"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured figure: *value* with its *unit*; *goal* as text, "" where none was set; *peer* what it was compared with."""

    what: str
    value: float
    unit: str
    goal: str = ""
    peer: str = ""

    @property
    def row(self) -> str:
        """As the tables show it."""
        return f"| {self.what} | {number(self.value)} {self.unit} | {self.goal} | {self.peer} |"

    @property
    def line(self) -> str:
        """As it is printed while it is measured."""
        goal, peer = f" (goal {self.goal})" if self.goal else "", f" against {self.peer}" if self.peer else ""
        return f"{self.what}: {number(self.value)} {self.unit}{goal}{peer}"


def percentile(values: Iterable[float], share: float) -> float:
    """The value that *share* (0 to 1) of all *values* lie below."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * share))]


def number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def front(figures: Iterable[Figure]) -> str:
    """The few rows that say the most, in the order of FRONT; of several that begin alike the first."""
    every = list(figures)
    found = (next((figure.row for figure in every if figure.what.startswith(name)), None) for name in FRONT)
    return "\n".join([*HEAD, *(row for row in found if row)])


def missing(figures: Sequence[Figure]) -> list[str]:
    """Rows of the front that nobody measured."""
    return [name for name in FRONT if not any(figure.what.startswith(name) for figure in figures)]


def page(parts: Mapping[str, Sequence[Figure]], about: str) -> str:
    """Everything that was measured, a table for each part; *about* says where and when."""
    lines = ["# Figures", "", f"Measured by `make bench` {about}.", "Ratios come from programs that ran in turn; times are those of that machine.", ""]
    for part, figures in parts.items():
        lines += [f"## {part.capitalize()}", "", *HEAD, *(figure.row for figure in figures), ""]
    return "\n".join(lines)


def replaced(document: str, table: str) -> str:
    """*document* with *table* between its two marks."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table}\n{END}{after}"
