"""Tracker databases for tests: the four dialects in use, and untidy rows to put into them."""
from __future__ import annotations

import random
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

NOW = 1_795_000_000_000
"""A fixed moment (November 2026) that tests call now."""

BASE = "id TEXT PRIMARY KEY, session_type TEXT, start_time TIMESTAMP, end_time TIMESTAMP, conversation_id TEXT, models_used TEXT, " \
    "estimated_tokens INTEGER, is_active BOOLEAN, metadata TEXT"
V1 = BASE + ", process_id INTEGER, project_path TEXT, total_messages INTEGER, five_hour_block_id TEXT, " \
    "created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP"
TOKENS = ", real_input_tokens INTEGER, real_output_tokens INTEGER, real_total_tokens INTEGER, token_extraction_method TEXT"
DIALECTS = {
    "v1": ("real_sessions", V1),
    "v1-tokens": ("real_sessions", V1 + TOKENS + ", last_token_update TIMESTAMP, "
                  "tokens_used INTEGER GENERATED ALWAYS AS (COALESCE(real_total_tokens, estimated_tokens, 0)) VIRTUAL"),
    "billable": ("real_sessions", BASE + TOKENS + ", last_token_update TIMESTAMP, billable_tokens INTEGER, input_output_tokens INTEGER, "
                 "cache_creation_tokens INTEGER, cache_read_tokens INTEGER, cost_estimate REAL"),
    "sessions": ("sessions", V1 + TOKENS + ", last_token_update TIMESTAMP DEFAULT CURRENT_TIMESTAMP, duration_minutes REAL, "
                 "estimated_cost REAL, real_cost REAL, efficiency_score REAL, files_created INTEGER, files_modified INTEGER, "
                 "updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, cache_creation_tokens INTEGER, cache_read_tokens INTEGER, "
                 "total_cache_tokens INTEGER"),
}
BLOCKS = "id TEXT PRIMARY KEY, start_time TIMESTAMP, end_time TIMESTAMP, total_sessions INTEGER, total_tokens INTEGER, " \
    "efficiency_score REAL, is_complete BOOLEAN"


class Tracker:
    """A tracker database and the script that writes to it."""

    def __init__(self, path: Path, dialect: str = "v1-tokens", mode: str = "WAL") -> None:
        self.path, self.dialect = path, dialect
        self.table, columns = DIALECTS[dialect]
        self.database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.database.execute(f"PRAGMA journal_mode={mode}")
        self.database.execute("PRAGMA synchronous=OFF")
        self.database.execute(f"CREATE TABLE {self.table} ({columns})")
        self.database.execute(f"CREATE TABLE five_hour_blocks ({BLOCKS})")

    def write(self, **row: object) -> None:
        self._insert(self.table, {"created_at": None} | row if "created_at" in DIALECTS[self.dialect][1] else row)

    def write_block(self, **row: object) -> None:
        self._insert("five_hour_blocks", row)

    def _insert(self, table: str, row: dict[str, object]) -> None:
        marks = ",".join("?" * len(row))
        self.database.execute(f"INSERT OR REPLACE INTO {table} ({','.join(row)}) VALUES ({marks})", list(row.values()))

    def remove(self, id: str) -> None:
        self.database.execute(f"DELETE FROM {self.table} WHERE id = ?", (id,))

    def close(self) -> None:
        self.database.close()


def a_row(serial: int, **changes: object) -> dict[str, object]:
    """A plain finished session, *serial* hours before NOW."""
    start = datetime.fromtimestamp(NOW / 1000, UTC) - timedelta(hours=serial + 2)
    return {
        "id": f"session_{serial}", "session_type": "claude-code", "start_time": start.isoformat(),
        "end_time": (start + timedelta(minutes=40)).isoformat(), "models_used": '["claude-opus-4-7"]',
        "estimated_tokens": 1000 + serial, "is_active": 0, "metadata": '{"project": "relay"}',
    } | changes


def local_spellings(at: datetime, zone: ZoneInfo) -> list[tuple[str, int]]:
    """The three spellings of an instant, and the milliseconds that each of them means."""
    exact = int(at.timestamp() * 1000)
    local = at.astimezone(zone).replace(tzinfo=None)
    z = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return [(z, exact), (local.replace(microsecond=0).isoformat(), exact - exact % 1000), (local.isoformat(sep=" "), exact)]


def anything(rng: random.Random) -> object:
    """A value as damage leaves it in any column."""
    return rng.choice((
        None, "", 0, -1, 3.5, float("inf"), 1 << 62, "x" * 5000, b"\xff\xfe", "\x00\x1b[31m", "NaN", "{", "[1,[2]]",
        '{"a":"\\ud83d"}', "2026-02-30T10:00:00", "9999-99-99", "0001-01-01 00:00:00", "TRUE", "研究", "[" * 3000,
    ))
