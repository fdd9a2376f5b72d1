"""Which dialect a tracker database speaks, found by looking inside, and its rows as they stand.

The name of a file says nothing. A database that has no session table, no block table or no key
columns is half migrated or no tracker at all: it is unreadable as a whole, so that nothing known of
it is taken for deleted.
"""
from __future__ import annotations

import sqlite3
from dataclasses import dataclass

SESSION_TABLES = ("real_sessions", "sessions")
BLOCK_TABLE = "five_hour_blocks"

SESSION_COLUMNS = frozenset(
    (
        "id", "session_type", "start_time", "end_time", "conversation_id", "models_used", "estimated_tokens", "is_active",
        "metadata", "process_id", "project_path", "total_messages", "five_hour_block_id", "created_at", "real_input_tokens",
        "real_output_tokens", "real_total_tokens", "token_extraction_method", "last_token_update", "tokens_used",
        "billable_tokens", "input_output_tokens", "cache_creation_tokens", "cache_read_tokens", "cost_estimate",
        "duration_minutes", "estimated_cost", "real_cost", "efficiency_score", "files_created", "files_modified",
        "updated_at", "total_cache_tokens",
    )
)
BLOCK_COLUMNS = frozenset(
    (
        "id", "start_time", "end_time", "session_type", "total_sessions", "total_tokens", "efficiency_score", "is_complete",
        "created_at", "updated_at", "total_cost", "cost_estimate", "billable_tokens", "input_output_tokens",
        "cache_creation_tokens", "cache_read_tokens",
    )
)


class Unreadable(Exception):
    """Not a tracker database that can be read now; the text says why."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table as this database has it: the columns that we know, and those that SQLite fills in UTC."""

    name: str
    columns: tuple[str, ...]
    utc: frozenset[str]

    @property
    def query(self) -> str:
        chosen = ", ".join(f'"{column}"' for column in self.columns)
        return f'SELECT {chosen} FROM "{self.name}"'


@dataclass(frozen=True, slots=True)
class Dialect:
    """The session tables and the block table of one database."""

    name: str
    sessions: tuple[Table, ...]
    blocks: Table


Values = dict[str, object]


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything that one complete scan saw: rows with the table that they come from."""

    dialect: Dialect
    sessions: list[tuple[Table, Values]]
    blocks: list[tuple[Table, Values]]


def read(database: sqlite3.Connection) -> Contents:
    """All rows, in one read transaction. Raises Unreadable or sqlite3.Error; never answers in part."""
    database.execute("BEGIN")
    try:
        dialect = introspect(database)
        sessions = [(table, row) for table in dialect.sessions for row in _rows(database, table)]
        blocks = [(dialect.blocks, row) for row in _rows(database, dialect.blocks)]
    finally:
        database.rollback()
    return Contents(dialect, sessions, blocks)


def introspect(database: sqlite3.Connection) -> Dialect:
    """What kind of tracker this is. Raises Unreadable where it is none."""
    present = {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")}
    if not present:
        raise Unreadable("the database is empty")
    sessions = tuple(_table(database, name, SESSION_COLUMNS) for name in SESSION_TABLES if name in present)
    if not sessions:
        raise Unreadable("no session table: not a tracker, or half migrated")
    if BLOCK_TABLE not in present:
        raise Unreadable(f"the table {BLOCK_TABLE} is missing: half migrated")
    return Dialect(_name(sessions[-1]), sessions, _table(database, BLOCK_TABLE, BLOCK_COLUMNS))


def _table(database: sqlite3.Connection, name: str, known: frozenset[str]) -> Table:
    # table_xinfo, because table_info hides generated columns.
    found = {row[1].lower(): row[4] for row in database.execute(f'PRAGMA table_xinfo("{name}")')}
    if not {"id", "start_time"} <= found.keys():
        raise Unreadable(f"the table {name} has no id or no start_time: not a tracker, or half migrated")
    filled = {column for column, default in found.items() if "CURRENT_TIMESTAMP" in str(default).upper()}
    return Table(name, tuple(column for column in found if column in known), frozenset(filled))


def _name(table: Table) -> str:
    if table.name == "sessions":
        return "sessions"
    if "process_id" not in table.columns and "billable_tokens" in table.columns:
        return "billable"
    return "v1-tokens" if "real_total_tokens" in table.columns else "v1"


def _rows(database: sqlite3.Connection, table: Table) -> list[Values]:
    return [dict(zip(table.columns, row, strict=True)) for row in database.execute(table.query)]
