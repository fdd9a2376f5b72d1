"""What a person has forgotten, under every name that it goes by, and what is kept of it beside its record."""
from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

BESIDE = ("agent_declared", "agent_observed", "telemetry_sessions")


def names_of(sql: sqlite3.Connection, key: str) -> list[str]:
    """A session, the trackers' rows that describe it, and the conversation that it is a row of: told again by any of them, it is the same."""
    query = """
SELECT key FROM agent_declared WHERE conversation = ? AND conversation <> '' UNION SELECT conversation FROM agent_declared WHERE key = ? AND conversation <> ''"""
    return [key, *sorted({name for (name,) in sql.execute(query, (key.lower(), key))} - {key})]


def is_forgotten(sql: sqlite3.Connection, *keys: str) -> bool:
    """Whether a session is forgotten that goes by one of these names."""
    marks = ", ".join("?" * len(keys))
    return sql.execute(f"SELECT 1 FROM agent_forgotten WHERE kind = 'session' AND id IN ({marks})", keys).fetchone() is not None


def drop(sql: sqlite3.Connection, key: str) -> None:
    """What was told of a session, beside its record. The readers' notes of its files stay: other sessions are counted by them."""
    for table in BESIDE:
        sql.execute(f"DELETE FROM {table} WHERE key = ?", (key,))
