"""What was imported, kept in the archive beside the records, and which of it counts now.

Imported items are rows of a table of their own; records are made of those that count (the package says which). A command may write the rows while
the agent runs: the records are then made by the agent, at its next look.
"""
from __future__ import annotations

import sqlite3
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ledger.views.accounts import family
from local_agent.archive import LOCAL, Archive, Step
from local_agent.fastjson import decode, encode
from local_agent.imports.items import DAY, SESSION, Item
from local_agent.readers import handover, sessions

SCHEMA = """
CREATE TABLE IF NOT EXISTS import_files(id TEXT PRIMARY KEY, name TEXT NOT NULL, origin TEXT NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS import_items(kind TEXT NOT NULL, key TEXT NOT NULL, file TEXT NOT NULL, tool TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
  row TEXT NOT NULL, body TEXT NOT NULL, left_out TEXT NOT NULL DEFAULT '', told INTEGER NOT NULL DEFAULT 0, gone INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY(kind, key)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS import_rows ON import_items(row)
"""
"""*left_out*: why an item does not count, '' while it does. *told*: there is a record of it. *gone*: its import was removed."""
DECLARER = "import"
OBSERVED, USED, FOLLOWED = "something was observed at that time", "sessions of that day are known", "its tracker is followed"
SEEN = "import seen"


@dataclass(frozen=True, slots=True)
class Use:
    """When sessions of a family of tools were used; *certain* where it was observed and not declared."""

    tool: str
    first: int
    last: int
    certain: bool


def prepare(sql: sqlite3.Connection) -> None:
    for statement in SCHEMA.split(";"):
        sql.execute(statement)


def has_any(sql: sqlite3.Connection) -> bool:
    found = sql.execute("SELECT 1 FROM sqlite_master WHERE name = 'import_items'").fetchone()
    return bool(found and sql.execute("SELECT 1 FROM import_items LIMIT 1").fetchone())


def keep(sql: sqlite3.Connection, file: str, item: Item) -> bool:
    """Keep an item; whether that is news. The newest import of a thing is the one that counts."""
    body = encode(item.body).decode()
    # The same row of another copy of a database, whose ids are unique only within it.
    same = "SELECT key FROM import_items WHERE row = ? AND kind = ? AND first = ? AND kind <> 'day' AND NOT gone ORDER BY key = ? DESC LIMIT 1"
    known = sql.execute(same, (item.row, item.kind, item.first, item.key)).fetchone()
    key = known[0] if known else item.key
    before = sql.execute("SELECT body, gone FROM import_items WHERE kind = ? AND key = ?", (item.kind, key)).fetchone()
    if before == (body, 0):
        sql.execute("UPDATE import_items SET file = ? WHERE kind = ? AND key = ?", (file, item.kind, key))
        return False
    sql.execute(
        "INSERT INTO import_items(kind, key, file, tool, first, last, row, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " file = excluded.file, tool = excluded.tool, first = excluded.first, last = excluded.last, row = excluded.row, body = excluded.body, left_out = '', told = 0, gone = 0",
        (item.kind, key, file, item.tool, item.first, item.last, item.row, body),
    )
    return True


def keep_file(sql: sqlite3.Connection, id: str, name: str, origin: str, at: int) -> None:
    sql.execute("INSERT OR REPLACE INTO import_files VALUES (?, ?, ?, ?)", (id, name, origin, at))
    sql.execute("INSERT OR REPLACE INTO agent_notes VALUES (?, '')", (SEEN,))


def remove(sql: sqlite3.Connection, name: str) -> int:
    """Everything that came with an import of that name or id goes; how many items that is. Their records go with the next reconciling."""
    files = [id for id, called in sql.execute("SELECT id, name FROM import_files").fetchall() if name in ("all", id, called)]
    count = 0
    for id in files:
        count += sql.execute("UPDATE import_items SET gone = 1 WHERE file = ? AND NOT gone", (id,)).rowcount
        sql.execute("DELETE FROM import_files WHERE id = ?", (id,))
    if files:  # what only they kept from counting may count now
        sql.execute("UPDATE import_items SET left_out = '' WHERE NOT gone")
        sql.execute("INSERT OR REPLACE INTO agent_notes VALUES (?, '')", (SEEN,))
    return count if files else -1


def files(sql: sqlite3.Connection) -> list[dict[str, object]]:
    """Every import, with what of it counts and what does not."""
    found = []
    for id, name, origin, at in sql.execute("SELECT id, name, origin, at FROM import_files ORDER BY at, name").fetchall():
        counts = sql.execute("SELECT kind, left_out, count(*) FROM import_items WHERE file = ? AND NOT gone GROUP BY 1, 2 ORDER BY 1, 2", (id,)).fetchall()
        counting = {kind: count for kind, why, count in counts if not why}
        found.append({"id": id, "name": name, "origin": origin, "at": at, "counts": counting, "left_out": _by_reason(counts)})
    return found


def _by_reason(counts: Iterable[tuple[str, str, int]]) -> dict[str, int]:
    return {f"{kind}: {why}": count for kind, why, count in counts if why}


# -- what counts


def decide(sql: sqlite3.Connection, source: str) -> None:
    """Mark what does not count any more, or not yet known, by everything that was read since the last time."""
    row = sql.execute("SELECT value FROM agent_notes WHERE name = ?", (SEEN,)).fetchone()
    head = sql.execute("SELECT seq, lease FROM ledger_heads WHERE tenant = ? AND source = ?", (LOCAL, source)).fetchone()
    place = f"{head[0]} {head[1]}" if head else ""
    if row and row[0] == place and row[0]:
        return
    since = int(row[0].split()[0]) if row and row[0] and head and row[0].endswith(f" {head[1]}") else 0
    _leave_out_followed(sql)
    _leave_out_used(sql, _uses(sql, source, since))
    sql.execute("INSERT OR REPLACE INTO agent_notes VALUES (?, ?)", (SEEN, place))


def _leave_out_followed(sql: sqlite3.Connection) -> None:
    """Rows of a tracker that is followed, too, under other keys."""
    if not sql.execute("SELECT 1 FROM sqlite_master WHERE name = 'tracker_rows'").fetchone():
        return
    sql.execute(
        "UPDATE import_items SET left_out = ? WHERE kind <> 'day' AND left_out = '' AND body LIKE '%imported from a tracker%' AND EXISTS (SELECT 1 FROM tracker_rows t"
        " WHERE t.kind = import_items.kind AND t.id = import_items.row AND t.start = import_items.first AND t.tracker || ':' || t.id <> import_items.key"
        " AND lower(t.id) <> import_items.key)",
        (FOLLOWED,),
    )


def _uses(sql: sqlite3.Connection, source: str, since: int) -> Iterator[tuple[str, Use]]:
    """(session, use) of every session that changed since; imported ones declare, like any tracker's."""
    query = (
        "SELECT t.kind, t.id, t.body, s.body FROM ledger_rows t LEFT JOIN ledger_rows s ON t.kind = 'usage' AND s.tenant = t.tenant AND s.source = t.source"
        " AND s.kind = 'session' AND s.id = json_extract(t.body, '$.session') WHERE t.tenant = ? AND t.source = ? AND t.seq > ? AND t.kind IN ('session', 'usage')"
    )
    going = {key for (key,) in sql.execute("SELECT key FROM import_items WHERE kind = 'session' AND gone")}
    for kind, id, text, about in sql.execute(query, (LOCAL, source, since)):
        body = decode(text)
        told = decode(about) if about else body
        key, tool = str(body.get("session") or id) if kind == "usage" else id, family(str(told.get("session_type") or "unknown"))
        if told.get("provenance") == "declared":
            if id in going:
                continue
            first = int(told.get("start_time") or 0)
            yield key, Use(tool, first, max(first, int(told.get("last_activity") or 0)), certain=False)
            continue
        for use in body.get("usage", ()):
            yield key, Use(tool, use[1], use[2], certain=True)
    for key, tool, first, last in sql.execute("SELECT key, tool, first, last FROM import_items WHERE kind = 'session' AND left_out = '' AND NOT gone"):
        yield key, Use(tool, first, last, certain=False)


def _leave_out_used(sql: sqlite3.Connection, uses: Iterable[tuple[str, Use]]) -> None:
    counting = sql.execute("SELECT kind, key, tool, first, last FROM import_items WHERE left_out = '' AND NOT gone ORDER BY first").fetchall()
    days, others = _Spans([row for row in counting if row[0] == DAY]), _Spans([row for row in counting if row[0] != DAY])
    out: dict[tuple[str, str], str] = {}
    own: set[str] = set()
    for key, use in uses:
        if use.certain:
            own.add(key)
            out |= dict.fromkeys(others.touched(use), OBSERVED)
        out |= dict.fromkeys(days.touched(use), USED)
    for (kind, key), why in out.items():
        if kind != SESSION or key not in own:  # a session that is observed itself takes over what only the import knows
            sql.execute("UPDATE import_items SET left_out = ? WHERE kind = ? AND key = ?", (why, kind, key))


class _Spans:
    """Items by time. The longest one tells how far back one has to look."""

    def __init__(self, rows: list[tuple[str, str, str, int, int]]) -> None:
        self._rows, self._firsts = rows, [row[3] for row in rows]
        self._longest = max((row[4] - row[3] for row in rows), default=0)

    def touched(self, use: Use) -> Iterator[tuple[str, str]]:
        place = bisect_left(self._firsts, use.first - self._longest)
        while place < len(self._rows) and self._firsts[place] <= use.last:
            kind, key, tool, _, last = self._rows[place]
            if last >= use.first and (tool == use.tool or "unknown" in (tool, use.tool)):
                yield kind, key
            place += 1


# -- records


def reconcile(archive: Archive, *, whole: bool = False) -> int:
    """Make the records what the imports say now; *whole*: also those that seem to be told already. How many were touched."""
    with archive.step() as step:
        prepare(step.sql)
        decide(step.sql, archive.source)
        wanted = "NOT gone AND left_out = ''"
        due = step.sql.execute(f"SELECT kind, key, body FROM import_items WHERE {wanted} AND (NOT told OR ?)", (whole,)).fetchall()
        over = step.sql.execute(f"SELECT kind, key FROM import_items WHERE told AND NOT ({wanted})").fetchall()
        for kind, key in over:
            _withdraw(step, kind, key)
        for kind, key, text in due:
            _tell(step, kind, key, decode(text))
        step.sql.execute(f"UPDATE import_items SET told = ({wanted})")
        step.sql.execute("DELETE FROM import_items WHERE gone")
    if due or over:
        with archive.step() as step:  # what was told just now is no news to decide on
            head = archive.head()
            step.sql.execute("INSERT OR REPLACE INTO agent_notes VALUES (?, ?)", (SEEN, f"{head.seq} {head.lease}"))
    return len(due) + len(over)


def _tell(step: Step, kind: str, key: str, body: dict[str, object]) -> None:
    if kind == SESSION:
        sessions.declare(step, DECLARER, key, body)
        return
    handover.put(step, kind, key, body)


def _withdraw(step: Step, kind: str, key: str) -> None:
    if kind == SESSION:
        sessions.withdraw(step, DECLARER, key)
    else:
        handover.delete(step, kind, key)
