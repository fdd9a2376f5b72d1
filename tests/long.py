"""How often the tests that repeat themselves do so: seldom for each change, often at night.

`make test-long` sets LONG to 1 and runs the nightly numbers; LONG=0.02 runs a fiftieth of them. What was run is written to
build/long/ and printed as tables by `python -m tests.long`: what was run, and how bad input was answered.
"""
from __future__ import annotations

import itertools
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent / "build" / "long"
FACTOR = float(os.environ.get("LONG") or 0)
"""0: the numbers of each change."""


@dataclass(frozen=True, slots=True)
class Figure:
    what: str
    unit: str
    each_change: int
    nightly: int


FIGURES = {
    "walks": Figure("protocol walks of 60 events, memory", "walks", 3_000, 200_000),
    "walks-sqlite": Figure("protocol walks of 60 events, SQLite", "walks", 16, 2_000),
    "walks-dynamodb": Figure("protocol walks of 60 events, DynamoDB", "walks", 1, 50),
    "walks-postgres": Figure("protocol walks of 60 events, PostgreSQL", "walks", 2, 400),
    "model": Figure("every state of the protocol within bounds", "states", 20_000, 1_000_000),
    "stateful": Figure("hypothesis stateful, agent and relay, memory", "lives", 300, 20_000),
    "stateful-sqlite": Figure("hypothesis stateful, agent and relay, SQLite", "lives", 10, 2_000),
    "stateful-postgres": Figure("hypothesis stateful, agent and relay, PostgreSQL", "lives", 2, 200),
    "stateful-dynamodb": Figure("hypothesis stateful, agent and relay, DynamoDB", "lives", 2, 50),
    "syscalls": Figure("one cycle broken at a system call (KILL, EIO, ENOSPC)", "breaks", 60, 1_200),
    "kills": Figure("random kill loop", "turns", 150, 15_000),
    "power": Figure("power losses", "losses", 300, 10_000),
    "catalogue": Figure("network faults on the wire, by seed", "lives", 12, 2_500),
    "api": Figure("requests to every documented endpoint", "requests", 3_000, 200_000),
    "odd": Figure("odd messages, headers and bodies", "messages", 20_000, 2_000_000),
    "answers": Figure("the meaning of an answer: status, content type, signature, problem", "answers", 54_000, 54_000),
    "soak": Figure("cycles, a fault each ten", "cycles", 300, 7_200),
    "tenants": Figure("answers searched for another tenant's words", "answers", 20_000, 1_000_000),
    "resync": Figure("sources that refill a lost relay together", "sources", 200, 1_000),
}


def count(name: str) -> int:
    """How often, in this run."""
    figure = FIGURES[name]
    return max(1, round(figure.nightly * FACTOR)) if FACTOR else figure.each_change


def shares(name: str, ways: int = 4) -> list[range]:
    """The same as seeds, split for several workers."""
    total = count(name)
    cuts = [total * n // ways for n in range(ways + 1)]
    return [range(low, high) for low, high in itertools.pairwise(cuts) if high > low]


@contextmanager
def counted(name: str, done: int) -> Iterator[Counter[str]]:
    """Write down that *done* of it was run, how it went, and what was counted of its answers; only at night."""
    began, went, answers = time.monotonic(), "failed", Counter[str]()
    try:
        yield answers
        went = "passed"
    finally:
        if FACTOR:
            FOLDER.mkdir(parents=True, exist_ok=True)
            with (FOLDER / f"{os.getpid()}.jsonl").open("a") as file:
                file.write(json.dumps({"name": name, "done": done, "went": went, "seconds": time.monotonic() - began, "answers": answers}) + "\n")


def table(lines: list[dict[str, Any]]) -> str:
    rows = ["| what | nightly | run | result | seconds |", "|---|---|---|---|---|"]
    for name, figure in FIGURES.items():
        mine = [line for line in lines if line["name"] == name]
        done = sum(line["done"] for line in mine)
        failed = sum(line["went"] != "passed" for line in mine)
        result = "not run" if not mine else f"{failed} failed" if failed else "passed"
        seconds = sum(line["seconds"] for line in mine)
        rows.append(f"| {figure.what} | {figure.nightly:,} | {done:,} {figure.unit} | {result} | {seconds:,.0f} |")
    return "\n".join(rows)


def answered(lines: list[dict[str, Any]]) -> str:
    """How often each answer was given to what was asked or sent badly."""
    rows = ["| what | answer | how often |", "|---|---|---|"]
    for name, figure in FIGURES.items():
        found = sum((Counter(line.get("answers", {})) for line in lines if line["name"] == name), Counter[str]())
        rows += [f"| {figure.what} | {answer} | {many:,} |" for answer, many in sorted(found.items())]
    return "\n".join(rows)


def main() -> int:
    lines = [json.loads(line) for file in sorted(FOLDER.glob("*.jsonl")) for line in file.read_text().splitlines()]
    text = f"{table(lines)}\n\n{answered(lines)}"
    (FOLDER.parent / "long.md").write_text(text + "\n")
    print(text)  # noqa: T201
    return 0 if lines and all(line["went"] == "passed" for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
