"""What an earlier version kept otherwise is brought up to date once, though the file that it came from is never read again."""
from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from ledger.record import Record
from ledger.untidy import pathless
from local_agent.archive import RENEWED
from local_agent.fastjson import decode, encode

if TYPE_CHECKING:
    from local_agent.archive import Step

_MODEL_OF_ROW = 3
_SLASHED = "({0} LIKE '%/%' OR {0} LIKE '%\\%')"
_BODIES = {"agent_declared": "body", "agent_observed": "body", "telemetry_sessions": "body", "import_items": "body", "tracker_rows": "facts", "tool_answers": "data", "tool_files": "state"}


def name_models_plainly(step: Step) -> None:
    """A model that is called by the path of its file keeps the last part of it, in records and in what they are made of."""
    there = {name for (name,) in step.sql.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    step.sql.create_function("plainly", 1, _plainly, deterministic=True)
    step.sql.create_function("pathless", 1, pathless, deterministic=True)
    for table, column in _BODIES.items():
        if table in there:
            _update(step.sql, table, column, "plainly")
    if "claude_classes" in there:
        _update(step.sql, "claude_classes", "model", "pathless")
    query = f"SELECT kind, id, body FROM ledger_rows WHERE source = ? AND kind IN ('session', 'usage') AND {_SLASHED.format('body')}"
    for kind, id, body in step.sql.execute(query, (step.source,)).fetchall():
        step.put(Record(kind, id, _plainly(body)))
    step.sql.execute("INSERT OR REPLACE INTO agent_notes VALUES (?, '1')", (RENEWED,))


def _update(sql: sqlite3.Connection, table: str, column: str, how: str) -> None:
    sql.execute(f"UPDATE {table} SET {column} = {how}({column}) WHERE {_SLASHED.format(column)} AND {column} <> {how}({column})")


def _plainly(text: str) -> str:
    """A body as it was where it names no path, to the byte."""
    try:
        body = decode(text)
        return encode(body).decode() if _renamed(body) else text
    except (ValueError, TypeError):
        return text


def _renamed(body: Any) -> bool:
    """Whether a model in it, or in a list of what a session's answers are, had to be renamed."""
    if isinstance(body, list):
        return _set(body, 1)
    if not isinstance(body, dict):
        return False
    models, rows = body.get("models_used"), body.get("usage")
    done = [_set(models, n) for n in range(len(models))] if isinstance(models, list) else []
    done += [_set(row, _MODEL_OF_ROW) for row in rows if isinstance(row, list)] if isinstance(rows, list) else []
    return any([*done, _set(body, "model")])


def _set(where: Any, at: int | str) -> bool:
    try:
        name = where[at]
    except (IndexError, KeyError):
        return False
    plain = pathless(name) if isinstance(name, str) else name
    where[at] = plain
    return bool(plain != name)
