"""What was read from each file of a tool, answer by answer, kept in the archive so that a session can be added up again.

Sessions are never counted on from their last total: they are added up from the answers that are known, so the
order in which files and lines were read cannot matter.
"""
from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

from local_agent.readers import pathtext
from local_agent.readers.lines import Place

SCHEMA = """
CREATE TABLE IF NOT EXISTS tool_files(id INTEGER PRIMARY KEY, tool TEXT NOT NULL, path TEXT NOT NULL, rank INTEGER NOT NULL,
  place TEXT NOT NULL, state TEXT NOT NULL, skipped TEXT NOT NULL, UNIQUE(tool, path));
CREATE TABLE IF NOT EXISTS tool_facts(file INTEGER NOT NULL, session TEXT NOT NULL, parent TEXT, facts TEXT NOT NULL, PRIMARY KEY(file, session)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tool_parents ON tool_facts(parent) WHERE parent IS NOT NULL;
CREATE INDEX IF NOT EXISTS tool_sessions ON tool_facts(session);
CREATE TABLE IF NOT EXISTS tool_answers(file INTEGER NOT NULL, session TEXT NOT NULL, id TEXT NOT NULL, data TEXT NOT NULL,
  PRIMARY KEY(file, session, id)) WITHOUT ROWID
"""

Data = list[object]


@dataclass(frozen=True, slots=True)
class File:
    """A file as far as it was read. *state* is the reader's own; of two files that tell of one answer the lower *rank* is right."""

    id: int = 0
    rank: int = 0
    place: Place = field(default_factory=Place)
    state: Mapping[str, object] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Found:
    """What one reading of a file adds: the facts and the answers of its sessions, by their ids.

    *anew*: what the file said before no longer counts. *skipped* are the totals for the whole file.
    """

    place: Place
    anew: bool = False
    state: Mapping[str, object] = field(default_factory=dict)
    facts: dict[str, dict[str, object]] = field(default_factory=dict)
    answers: dict[str, dict[str, Data]] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)


class Answers:
    """The tables of one *tool*, within the step under way."""

    def __init__(self, database: sqlite3.Connection, tool: str) -> None:
        self._database, self._tool = database, tool

    def files(self) -> dict[str, File]:
        """Every file that was ever read, by path."""
        rows = self._database.execute("SELECT path, id, rank, place, state, skipped FROM tool_files WHERE tool = ?", (self._tool,))
        return {pathtext.path_of(path): _file(row) for path, *row in rows}

    def file(self, path: Path) -> File:
        """One file that was read."""
        return _file(self._database.execute(
            "SELECT id, rank, place, state, skipped FROM tool_files WHERE tool = ? AND path = ?", (self._tool, pathtext.kept(str(path)))
        ).fetchone())

    def keep(self, path: Path, rank: int, before: File | None, found: Found) -> set[str]:
        """Take over what was found in a file; the sessions that it touched."""
        file = before.id if before else self._new(path, rank)
        touched = self._forget(file) if found.anew else set()
        for session, answers in found.answers.items():
            self._database.executemany(
                "INSERT OR REPLACE INTO tool_answers VALUES (?, ?, ?, ?)",
                ((file, session, id, json.dumps(data, separators=(",", ":"))) for id, data in answers.items()),
            )
        self._database.executemany(
            "INSERT INTO tool_facts VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET parent = excluded.parent, facts = json_patch(facts, excluded.facts)",
            ((file, session, facts.get("parent"), _facts(facts)) for session, facts in found.facts.items()),
        )
        self._database.execute(
            "UPDATE tool_files SET rank = ?, place = ?, state = ?, skipped = ? WHERE id = ?",
            (rank, json.dumps(astuple(found.place)), json.dumps(found.state), json.dumps(found.skipped), file),
        )
        return touched | found.facts.keys() | found.answers.keys()

    def _new(self, path: Path, rank: int) -> int:
        made = self._database.execute(
            "INSERT INTO tool_files(tool, path, rank, place, state, skipped) VALUES (?, ?, ?, '[]', '{}', '{}')", (self._tool, pathtext.kept(str(path)), rank)
        )
        return int(made.lastrowid or 0)

    def _forget(self, file: int) -> set[str]:
        sessions = {row[0] for row in self._database.execute("SELECT session FROM tool_facts WHERE file = ?", (file,))}
        for table in ("tool_facts", "tool_answers"):
            self._database.execute(f"DELETE FROM {table} WHERE file = ?", (file,))
        return sessions

    def facts(self, session: str) -> list[dict[str, object]]:
        """What each file says of a session, the right one first."""
        rows = self._database.execute(
            "SELECT facts FROM tool_facts JOIN tool_files ON id = file WHERE session = ? AND tool = ? ORDER BY rank, path", (session, self._tool)
        )
        return [json.loads(row[0]) for row in rows]

    def of(self, session: str) -> list[Data]:
        """The answers of a session, each once, ordered by their ids."""
        rows = self._database.execute(
            "SELECT a.id, a.data FROM tool_facts t JOIN tool_files f ON f.id = t.file JOIN tool_answers a USING (file, session)"
            " WHERE t.session = ? AND f.tool = ? ORDER BY f.rank DESC, f.path DESC",
            (session, self._tool),
        )
        return [json.loads(data) for _, data in sorted(dict(rows).items())]

    def children(self, sessions: Iterable[str]) -> set[str]:
        """The sessions that began as a copy of one of these: what they add depends on it."""
        query = "SELECT session FROM tool_facts JOIN tool_files ON id = file WHERE parent = ? AND tool = ?"
        return {row[0] for session in sessions for row in self._database.execute(query, (session, self._tool))}

    def count(self) -> int:
        return int(self._database.execute(
            "SELECT count(DISTINCT session) FROM tool_facts JOIN tool_files ON id = file WHERE tool = ?", (self._tool,)
        ).fetchone()[0])


def _file(row: Sequence[Any]) -> File:
    return File(row[0], row[1], Place(*json.loads(row[2])), json.loads(row[3]), json.loads(row[4]))


def _facts(facts: Mapping[str, object]) -> str:
    """What is not known now does not replace what was known before."""
    return json.dumps({name: value for name, value in facts.items() if value not in (None, "")}, separators=(",", ":"))
