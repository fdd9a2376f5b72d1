"""`make bench`: measure everything, print as it comes, write the tables of README.md and docs/figures.md.

    python -m bench [PART …] [--no-write]

Parts that cannot run here (no browser, no node) say so and are left out of the table.
"""
from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.apart import figures_of
from bench.table import Figure, front, missing, page, replaced

PARTS = ("serving", "load", "agent", "reading", "folding", "page", "cloud")
ROOT = Path(__file__).resolve().parent.parent
README, PAGE = ROOT / "README.md", ROOT / "docs" / "figures.md"


def measured(part: str) -> list[Figure]:
    """The figures of one part; [] with a line on stderr where it cannot be measured here."""
    began = time.monotonic()
    print(f"· {part} …", file=sys.stderr, flush=True)
    try:
        figures = figures_of(part)
    except RuntimeError as reason:
        print(f"  left out: {reason}", file=sys.stderr)
        return []
    except Exception as error:  # an hour of other figures is not lost with this part
        print(f"  left out, since it failed: {type(error).__name__}: {error}", file=sys.stderr)
        return []
    for figure in figures:
        print(f"  {figure.line}", flush=True)
    print(f"  {time.monotonic() - began:.0f} s", file=sys.stderr)
    return figures


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--no-write", action="store_true", help="leave README.md as it is")
    options = parser.parse_args(argv)
    found = {part: figures for part in (options.parts or PARTS) if (figures := measured(part))}
    if not options.parts and not options.no_write:
        every = [figure for figures in found.values() for figure in figures]
        README.write_text(replaced(README.read_text(encoding="utf-8"), front(every)), encoding="utf-8")
        for name in missing(every):
            print(f"not measured: {name}", file=sys.stderr)
        PAGE.write_text(page(found, about()), encoding="utf-8")
    return 0


def about() -> str:
    """Where and when."""
    return f"on {datetime.now(UTC):%Y-%m-%d} with Python {platform.python_version()} on {os.cpu_count()} shared cores ({platform.system()}, {platform.machine()})"


if __name__ == "__main__":
    sys.exit(main())
