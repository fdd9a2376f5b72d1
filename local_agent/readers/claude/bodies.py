"""The body of a session's record, from its usage and from what its files say of it."""
from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from local_agent.readers.claude.book import Book
from local_agent.readers.claude.tables import PICO, SYNTHETIC, UNKNOWN, plain
from local_agent.readers.claude.tally import class_of, quarter_of

if TYPE_CHECKING:
    import sqlite3

WINDOW, LARGE_WINDOW = 200_000, 1_000_000
"""A prompt beyond the usual window tells that the session has the large one."""

MANY = 20
_PARTS = (
    "SELECT p.session, f.own, f.path, f.account, f.gone, f.title, p.cwd, p.branch, p.last, p.context_at, p.context"
    " FROM claude_parts p JOIN claude_files f ON f.id = p.file"
)
Part = tuple[Any, ...]


def key_of(name: str) -> str:
    """The record's id of a session: its own, as far as ids may look like that."""
    return plain(name)[:128] or UNKNOWN


def parts_of(sql: sqlite3.Connection, sessions: list[int]) -> dict[int, list[Part]]:
    """What files say of these sessions; asked for many at once, because asking costs more than the answer."""
    found: dict[int, list[Part]] = {session: [] for session in sessions}
    if len(sessions) > MANY:
        rows = sql.execute(f"{_PARTS} WHERE p.session BETWEEN ? AND ?", (min(sessions), max(sessions))).fetchall()
    else:
        rows = [row for session in sessions for row in sql.execute(f"{_PARTS} WHERE p.session = ?", (session,))]
    for row in rows:
        if row[0] in found:
            found[row[0]].append(row[1:])
    return found


def body_of(book: Book, name: str, parts: list[Part]) -> dict[str, object] | None:
    """The body; None if no answer is counted for this session."""
    session = book.sessions[name]
    rows = _rows(book, session)
    if not rows:
        return None
    models = list(dict.fromkeys(row[3] for row in rows))
    body: dict[str, object] = {
        "id": key_of(name), "session_type": "claude_code", "start_time": rows[0][1], "last_activity": max(row[2] for row in rows),
        "total_messages": sum(row[10] for row in rows),
        "models_used": [model for model in models if model not in (SYNTHETIC, UNKNOWN)],
        "estimated_tokens": sum(sum(row[5:10]) for row in rows), "provenance": "observed",
    }  # fmt: skip
    return body | _told(parts, name) | {"usage": rows}


def _rows(book: Book, session: int) -> list[list[Any]]:
    found: list[list[Any]] = []
    for slot, row in book.tally_of(session).items():
        model, name, reported = book.class_list[class_of(slot)]
        if any(row[2:8]) or model == SYNTHETIC:
            found.append([quarter_of(slot), row[0], row[1], model, name, *row[2:8], row[8] / PICO if reported else None])
    found.sort(key=lambda row: (row[1], row[3], row[4], row[11] is None))
    return found


def _told(parts: list[Part], name: str) -> dict[str, object]:
    """Project, branch, title, account and context; the session's own file is asked first, then the others by path."""
    if len(parts) > 1:
        parts = sorted(parts, key=lambda part: (part[0] != name, part[1]))
    if not parts:
        return {}
    newest = max(parts, key=lambda part: (part[6] is not None, part[7], part[1]))
    latest = max(parts, key=lambda part: (part[9] > 0, part[8], part[1]))
    told: dict[str, object] = {
        "project": last_part(next((part[5] for part in parts if part[5]), "")),
        "title": next((part[4] for part in parts if part[0] == name and part[4]), None),
        "git_branch": newest[6],
        "account": parts[0][2],
    }
    if latest[9]:
        told["context"] = {"used": latest[9], "size": WINDOW if latest[9] <= WINDOW else LARGE_WINDOW}
    if all(part[3] for part in parts):
        told["origin"] = "gone"
    return {key: value for key, value in told.items() if value}


def last_part(path: str) -> str:
    """The name of a working directory, on whichever system it was."""
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]
