"""One record a session, whoever tells of it: a transcript, a tracker's row, or both.

A session that both describe (the same id, or the row's conversation) is one: what was observed decides the tokens,
the tracker adds what only it knows. Which of them came first must not matter.
"""
from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping

from ledger.record import Record, Ref
from local_agent.archive import Step
from local_agent.fastjson import decode, encode
from local_agent.forgotten import is_forgotten
from local_agent.tidy import tidy

SESSION, USAGE = "session", "usage"
ROWS_KEPT = 150
"""Rows in the session's own record; older ones stand in records of that many rows each, which hardly ever change."""

Body = Mapping[str, object]


def observe(step: Step, key: str, body: Body) -> None:
    """A session as its tool's own files tell it."""
    declared = _declared_as(step.sql, key)
    if declared and not is_forgotten(step.sql, key):
        step.sql.execute("INSERT OR REPLACE INTO agent_observed VALUES (?, ?)", (key, _text(body)))
        for other, _ in declared:
            if other != key:
                _remove(step, other)
    _put(step, key, _merged(body, [_loaded(text) for _, text in declared]))


def unobserve(step: Step, key: str) -> None:
    """Nothing is left that was observed of a session (its answers turned out to be another's)."""
    step.sql.execute("DELETE FROM agent_observed WHERE key = ?", (key,))
    _remove(step, key)
    for other, text in _declared_as(step.sql, key):
        _put(step, other, _loaded(text))


def declare(step: Step, tracker: str, key: str, body: Body) -> None:
    """A session as a tracker's row tells it."""
    before = step.sql.execute("SELECT conversation FROM agent_declared WHERE tracker = ? AND key = ?", (tracker, key)).fetchone()
    conversation = str(body.get("conversation_id") or "").lower()
    if is_forgotten(step.sql, key, conversation):
        return
    if before and before[0] != conversation:
        withdraw(step, tracker, key)
    step.sql.execute("INSERT OR REPLACE INTO agent_declared VALUES (?, ?, ?, ?)", (tracker, key, conversation, _text(body)))
    for name in (key, conversation):
        observed = _observed(step, name)
        if observed is not None:
            observe(step, name, observed)
            return
    _put(step, key, body)


def withdraw(step: Step, tracker: str, key: str) -> None:
    """The tracker has deleted its row. What was observed of the session stays."""
    row = step.sql.execute("SELECT conversation FROM agent_declared WHERE tracker = ? AND key = ?", (tracker, key)).fetchone()
    conversation = row[0] if row else ""
    names = [name for name in (key, conversation) if _observed(step, name) is not None]
    bodies = {name: _observed(step, name) for name in names}
    step.sql.execute("DELETE FROM agent_declared WHERE tracker = ? AND key = ?", (tracker, key))
    for name, body in bodies.items():
        assert body is not None
        observe(step, name, body)
        if not _declared_as(step.sql, name):
            step.sql.execute("DELETE FROM agent_observed WHERE key = ?", (name,))
    if key in bodies:
        return
    others = step.sql.execute("SELECT body FROM agent_declared WHERE key = ?", (key,)).fetchall()
    if others and not bodies:
        _put(step, key, _loaded(others[0][0]))
    else:
        _remove(step, key)


def _declared_as(sql: sqlite3.Connection, key: str) -> list[tuple[str, str]]:
    """(key, body) of every tracker row that describes the session *key*."""
    if not sql.execute("SELECT 1 FROM agent_declared LIMIT 1").fetchone():
        return []  # without a tracker this is asked for every session
    query = "SELECT key, body FROM agent_declared WHERE key = ? UNION SELECT key, body FROM agent_declared WHERE conversation = ? AND conversation <> '' ORDER BY 1, 2"
    return sql.execute(query, (key, key.lower())).fetchall()


def _observed(step: Step, key: str) -> dict[str, object] | None:
    """What was observed of a session, before any tracker added to it."""
    if not key:
        return None
    row = step.sql.execute("SELECT body FROM agent_observed WHERE key = ?", (key,)).fetchone()
    if row:
        return _loaded(row[0])
    text = step.get(Ref(SESSION, key))
    if text is None:
        return None
    body = _loaded(text)
    if body.get("provenance") != "observed":
        return None
    return _with_older_rows(step, key, body)


def _with_older_rows(step: Step, key: str, body: dict[str, object]) -> dict[str, object]:
    more = int(str(body.pop("more", 0)))
    older = [_loaded(step.get(Ref(USAGE, f"{key}/{n}")) or "{}").get("usage", []) for n in range(1, more + 1)]
    newest = body.get("usage", [])
    return {**body, "usage": [row for rows in (*older, newest) for row in rows]} if more else body  # type: ignore[attr-defined]


def _merged(observed: Body, declared: Iterable[Body]) -> dict[str, object]:
    """What was observed, with what only trackers know."""
    body = dict(observed)
    for row in declared:
        for name, value in row.items():
            if name in ("columns", "metadata") and isinstance(value, dict):
                known = body.get(name)
                body[name] = {**value, **known} if isinstance(known, dict) else value
            elif name in ("is_active", "stale"):
                body[name] = bool(body.get(name)) or bool(value)
            elif name not in ("usage", "provenance") and body.get(name) in (None, "", [], {}, 0):
                body[name] = value
    return body


def _put(step: Step, key: str, body: Body) -> None:
    """The record, and records of its own for rows beyond what one should hold."""
    before = None if key in step.fresh else step.get(Ref(SESSION, key))
    shown = tidy(body)
    usage = shown.get("usage")
    rows: list[object] = usage if isinstance(usage, list) else []
    more = max(0, len(rows) - 1) // ROWS_KEPT
    for n in range(more):
        older = {"session": key, "usage": rows[n * ROWS_KEPT : (n + 1) * ROWS_KEPT]}
        step.put(Record(USAGE, f"{key}/{n + 1}", _text(older)))
    if more:
        shown |= {"usage": rows[more * ROWS_KEPT :], "more": more}
    step.put(Record(SESSION, key, _text(shown)))
    if before and '"more":' in before:
        for n in range(more, int(str(_loaded(before).get("more", 0)))):
            step.delete(Ref(USAGE, f"{key}/{n + 1}"))


def _remove(step: Step, key: str) -> None:
    before = step.get(Ref(SESSION, key))
    if before is None:
        return
    step.delete(Ref(SESSION, key))
    for n in range(int(str(_loaded(before).get("more", 0)))):
        step.delete(Ref(USAGE, f"{key}/{n + 1}"))


def _text(body: Body) -> str:
    return encode(body).decode()


def _loaded(text: str) -> dict[str, object]:
    found: dict[str, object] = decode(text)
    return found
