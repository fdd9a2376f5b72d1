"""What is left, for a relay that keeps only so many days, of sessions older than that: one record a day.

The relay never drops rows by itself, or it would disagree with us for ever. It says how many days it keeps, and
what is older is no longer part of the truth it is sent: sessions go by ordinary deletions, and their tokens live on in day
records, derived here from the archive, which keeps everything. So a refill brings the days back too.
"""
from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

from ledger.day_totals import add, date_of, nothing
from ledger.record import hash_of
from ledger.times import DAY
from local_agent.push.mirror import Database, Mirror, as_blob

OURS = """t.tenant = :tenant AND t.source = :source AND t.code IS NULL
  AND t.lease = (SELECT lease FROM ledger_heads h WHERE h.tenant = :tenant AND h.source = :source)"""
OLD = """t.kind IN ('session', 'block') AND
  coalesce(json_extract(t.body, '$.last_activity'), json_extract(t.body, '$.end_time'), json_extract(t.body, '$.start_time'), :cut) < :cut"""
OF_OLD = "t.kind = 'usage' AND EXISTS (SELECT 1 FROM mirror_aged a WHERE a.kind = 'session' AND a.id = json_extract(t.body, '$.session'))"
TOUCHED = f"""SELECT
  EXISTS (SELECT 1 FROM ledger_rows t WHERE {OURS} AND t.seq > :since
          AND (({OLD}) OR ({OF_OLD}) OR EXISTS (SELECT 1 FROM mirror_aged a WHERE a.kind = t.kind AND a.id = t.id AND a.hash <> t.hash)))
  OR EXISTS (SELECT 1 FROM mirror_aged a WHERE (a.kind, a.id) IN (
               SELECT t.kind, t.id FROM ledger_tombstones t WHERE t.tenant = :tenant AND t.source = :source AND t.seq > :since))"""


@dataclass(frozen=True, slots=True)
class Aged:
    """One old record: *usage* are its rows, in the order of the session record's contract."""

    session_type: str
    project: str
    usage: tuple[tuple[Any, ...], ...]


def oldest_kept(now_ms: int, keep_days: int) -> int:
    """Sessions whose last sign of life is before this moment are old. It moves once a day, at midnight UTC."""
    return (now_ms // DAY - keep_days) * DAY


def days_of(aged: Iterable[Aged], tz: str) -> dict[str, list[list[Any]]]:
    """Totals by local date: rows of [session_type, model, price_class, project, six amounts, reported cost]."""
    zone = ZoneInfo(tz)
    sums: dict[str, dict[tuple[str, ...], list[Any]]] = defaultdict(dict)
    for one in aged:
        for row in one.usage:
            name = (one.session_type, row[3], row[4], one.project)
            add(sums[date_of(row[0], zone)].setdefault(name, nothing()), row[5:12])
    return {date: [[*name, *total] for name, total in sorted(rows.items())] for date, rows in sums.items()}


class DayHorizon:
    """Keeps the mirror's tables of what aged out up to date; cheap when nothing changed. *project*: what its name leaves as."""

    def __init__(self, database: Database, mirror: Mirror, *, tenant: str, source: str, tz: str, project: Callable[[str], str | None] = str) -> None:
        self._database, self._mirror, self._tz, self._project = database, mirror, tz, project
        self._rows = {"tenant": tenant, "source": source}
        self._done: tuple[int | None, int] | None = None
        self._totals: int | None = None
        """Days before this moment are not kept either, where the relay says so."""

    def refresh(self, now_ms: int) -> None:
        """Look at what changed since the last time, and derive the days anew only if that touches them."""
        cut, totals = self._cut("keep_days", now_ms), self._cut("keep_totals_days", now_ms)
        version = self._version()
        if totals != self._totals:
            self._totals, self._done = totals, None
        if self._done is None or cut != self._done[0] or (version != self._done[1] and self._touched(self._done[1], cut)):
            self._rebuild(cut)
        self._done = (cut, version)

    def _cut(self, note: str, now_ms: int) -> int | None:
        keep = self._mirror.notes().get(note, "")
        return oldest_kept(now_ms, int(keep)) if keep.isdigit() else None

    def _version(self) -> int:
        row = self._sql.execute("SELECT max(seq) FROM ledger_heads WHERE tenant = :tenant AND source = :source", self._rows).fetchone()
        return row[0] or 0

    def _touched(self, since: int, cut: int | None) -> bool:
        if cut is None:
            return False
        return bool(self._sql.execute(TOUCHED, {**self._rows, "since": since, "cut": cut}).fetchone()[0])

    @property
    def _sql(self) -> sqlite3.Connection:
        return self._database.connection()

    def _rebuild(self, cut: int | None) -> None:
        if cut is None and not self._sql.execute("SELECT EXISTS (SELECT 1 FROM mirror_aged)").fetchone()[0]:
            return
        with self._database.transaction() as sql:
            sql.execute("DELETE FROM mirror_aged")
            sql.execute("DELETE FROM mirror_days")
            if cut is not None:
                self._age(sql, cut)
        self._mirror.look_again()

    def _age(self, sql: sqlite3.Connection, cut: int) -> None:
        limits = {**self._rows, "cut": cut}
        sql.execute(f"INSERT INTO mirror_aged SELECT kind, id, hash FROM ledger_rows t WHERE {OURS} AND {OLD}", limits)
        sql.execute(f"INSERT INTO mirror_aged SELECT kind, id, hash FROM ledger_rows t WHERE {OURS} AND {OF_OLD}", limits)
        first = date_of(self._totals or 0, UTC)
        days = {date: rows for date, rows in days_of(self._aged(sql), self._tz).items() if date >= first}
        bodies = [(date, json.dumps({"date": date, "tz": self._tz, "rows": rows}, separators=(",", ":"), ensure_ascii=False)) for date, rows in days.items()]
        sql.executemany("INSERT INTO mirror_days VALUES(?, ?, ?)", [(date, as_blob(hash_of("day", date, body)), body) for date, body in bodies])

    def _aged(self, sql: sqlite3.Connection) -> Iterator[Aged]:
        rows = sql.execute(
            """SELECT t.kind, t.body, s.body FROM ledger_rows t JOIN mirror_aged a ON a.kind = t.kind AND a.id = t.id
               LEFT JOIN ledger_rows s ON s.tenant = t.tenant AND s.source = t.source AND s.kind = 'session' AND s.id = json_extract(t.body, '$.session')
               WHERE t.tenant = :tenant AND t.source = :source AND t.kind IN ('session', 'usage')""",
            self._rows,
        )
        for _, body, session in rows:
            own = json.loads(body)
            about = json.loads(session) if session else own
            usage = tuple(tuple(row) for row in own.get("usage", ()))
            yield Aged(str(about.get("session_type") or "unknown"), self._project(str(about.get("project") or "")) or "", usage)
