"""Bring ledger/price_book.json up to date from a table that was fetched before.

    python -m tools.update_prices model_prices_and_context_window.json [--source TEXT] [--date 2026-11-22] [--dry-run]

The table is LiteLLM's, as a file or inside its wheel (`pip download litellm --no-deps`). A changed price becomes a new dated row; refused rows are
named; a table that lacks too many known models changes nothing. The last line is the hash that tests/ledger/test_prices.py pins.
"""
from __future__ import annotations

import argparse
import hashlib
import json
import sys
import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ledger.errors import LedgerError, Misuse
from ledger.price_update import update_book

BOOK = Path(__file__).resolve().parent.parent / "ledger" / "price_book.json"
INSIDE = "litellm/model_prices_and_context_window_backup.json"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.update_prices", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("table", type=Path, help="the table, or the wheel that holds it")
    parser.add_argument("--source", help="where the table is from (default: the file's name)")
    parser.add_argument("--date", default=datetime.now(UTC).date().isoformat(), help="from when new prices hold (default: today)")
    parser.add_argument("--dry-run", action="store_true", help="only say what would change")
    options = parser.parse_args(argv)
    try:
        report = update(options.table, options.source or options.table.name, options.date, write=not options.dry_run)
    except (LedgerError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        sys.stderr.write(f"update_prices: {error}: the book is as it was\n")
        return 1
    sys.stdout.write("\n".join(report) + "\n")
    return 0


def update(table: Path, source: str, date: str, *, write: bool) -> list[str]:
    """What changed, in lines."""
    book = json.loads(BOOK.read_text(encoding="utf-8"))
    after, report = update_book(book, read_table(table), today=date, source=source)
    if write and (report.added or report.changed):
        BOOK.write_text(written(after), encoding="utf-8")
    return [
        *(f"new      {name}" for name in report.added),
        *(f"changed  {name} from {date} on" for name in report.changed),
        *(f"refused  {name}: {why}" for name, why in report.refused.items()),
        *(f"missing  {name}" for name in report.missing),
        f"{report.same} as they were",
        f"hash {pin(after)}",
    ]


def read_table(path: Path) -> Mapping[str, Any]:
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            text = wheel.read(INSIDE)
    else:
        text = path.read_bytes()
    table = json.loads(text)
    if not isinstance(table, dict):
        raise Misuse("the table is not a JSON object: take model_prices_and_context_window.json")
    return table


def written(book: Mapping[str, Any]) -> str:
    """The book as text, one row a line, so that a difference reads as the rows that changed."""
    head = json.dumps({name: value for name, value in book.items() if name != "rows"}, indent=1, ensure_ascii=False)[:-2]
    rows = ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in book["rows"])
    return f'{head},\n "rows": [\n{rows}\n ]\n}}\n'


def pin(book: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(book["rows"], sort_keys=True).encode()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
