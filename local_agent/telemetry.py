"""Claude Code's telemetry at the agent: sessions of places whose files it cannot see, such as containers.

Where a transcript describes the same session, it decides; telemetry is then one declaration more beside it.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping

from ledger.otlp import fold, http
from ledger.prices import PriceBook
from local_agent.archive import Archive
from local_agent.fastjson import decode, encode
from local_agent.forgotten import is_forgotten
from local_agent.readers import sessions

DECLARER = "telemetry"


class Telemetry:
    """Takes exports into the archive."""

    def __init__(self, archive: Archive, clock: Callable[[], int]) -> None:
        self._archive, self._clock, self._book = archive, clock, PriceBook.load()

    def take(self, signal: str, headers: Mapping[str, str], body: bytes) -> tuple[bytes, str]:
        """The answer to one export: (body, content type). Raises Problem or Full."""
        export = http.read(signal, headers, body, self._clock())
        found = http.by_session(export.heard)
        if found:
            with self._archive.step() as step:
                for key, told in found.items():
                    if is_forgotten(step.sql, key):
                        continue
                    row = step.sql.execute("SELECT body FROM telemetry_sessions WHERE key = ?", (key,)).fetchone()
                    known = fold.fold(decode(row[0]) if row else None, told, self._book)
                    step.sql.execute("INSERT OR REPLACE INTO telemetry_sessions VALUES (?, ?)", (key, encode(known).decode()))
                    sessions.declare(step, DECLARER, key, fold.told_of(known))
        return export.answer()
