"""The shelf in a SQLite file: small documents, one row each."""
from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from ledger.errors import Conflict
from ledger.store import Document, document_text

_UNEXPIRED = "(expires IS NULL OR expires > ?)"


def take(sql: sqlite3.Connection, drawer: str, name: str, now: int) -> Document | None:
    query = f"SELECT value, version, expires FROM ledger_shelf WHERE drawer = ? AND name = ? AND {_UNEXPIRED}"
    row = sql.execute(query, (drawer, name, now)).fetchone()
    return Document(_loaded(row[0]), row[1], row[2]) if row else None


def put(sql: sqlite3.Connection, drawer: str, name: str, value: Mapping[str, object], now: int, expect: int | None, expires: int | None) -> int:
    text = document_text(drawer, value)
    kept = take(sql, drawer, name, now)
    version = kept.version if kept else 0
    if expect not in (None, version):
        raise Conflict(f"the document {drawer}/{name} moved on since it was read: read it again")
    sql.execute("INSERT OR REPLACE INTO ledger_shelf(drawer, name, value, version, expires) VALUES(?, ?, ?, ?, ?)", (drawer, name, text, version + 1, expires))
    return version + 1


def drop(sql: sqlite3.Connection, drawer: str, name: str, expect: int | None) -> bool:
    query = "DELETE FROM ledger_shelf WHERE drawer = ? AND name = ? AND (? IS NULL OR version = ?)"
    return sql.execute(query, (drawer, name, expect, expect)).rowcount > 0


def find(sql: sqlite3.Connection, drawer: str, prefix: str, now: int) -> list[tuple[str, Document]]:
    query = (
        "SELECT name, value, version, expires FROM ledger_shelf"
        f" WHERE drawer = ? AND name >= ? AND substr(name, 1, ?) = ? AND {_UNEXPIRED} ORDER BY name"
    )
    rows = sql.execute(query, (drawer, prefix, len(prefix), prefix, now))
    return [(name, Document(_loaded(value), version, expires)) for name, value, version, expires in rows]


def _loaded(text: str) -> dict[str, object]:
    """An agent's archive has a shelf and nothing on it: whoever reads it need not load what reads JSON."""
    import json

    found: dict[str, object] = json.loads(text)
    return found
