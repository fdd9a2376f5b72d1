"""`make bench`: measure everything, print as it comes, and write the table into README.md.

    python -m bench [PART …] [--no-write]

Parts that cannot run here (no browser, no node) say so and are left out of the table.
"""
from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.table import Figure, markdown, number, replaced

PARTS = ("serving", "load", "agent", "reading", "folding", "page", "cloud")
README = Path(__file__).resolve().parent.parent / "README.md"


def measured(part: str) -> list[Figure]:
    """The figures of one part; [] with a line on stderr where it cannot be measured here."""
    began = time.monotonic()
    print(f"· {part} …", file=sys.stderr, flush=True)
    try:
        figures: list[Figure] = importlib.import_module(f"bench.{part}").figures()
    except RuntimeError as missing:
        print(f"  left out: {missing}", file=sys.stderr)
        return []
    for figure in figures:
        print(f"  {figure.what}: {number(figure.value)} {figure.unit}" + (f" (goal {figure.goal})" if figure.goal else ""), flush=True)
    print(f"  {time.monotonic() - began:.0f} s", file=sys.stderr)
    return figures


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--no-write", action="store_true", help="leave README.md as it is")
    options = parser.parse_args(argv)
    figures = [figure for part in (options.parts or PARTS) for figure in measured(part)]
    if not options.parts and not options.no_write:
        README.write_text(replaced(README.read_text(encoding="utf-8"), markdown(figures)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
