"""Imports as a reader among the readers: each look makes their records agree with what is known by now."""
from __future__ import annotations

from pathlib import Path

from local_agent.archive import Archive
from local_agent.imports import kept
from local_agent.readers.report import ABSENT, OK, Report


class ImportReader:
    """Looks at what commands imported; without any import it costs one question to the archive."""

    name = "imports"

    def __init__(self) -> None:
        self._began = False

    def watch_paths(self) -> list[Path]:
        return []

    def poll(self, archive: Archive, now_ms: int) -> Report:
        sql = archive.store.connection()
        if not kept.has_any(sql):
            return Report(state=ABSENT, detail="nothing was imported")
        # The first look tells everything anew: what names may be told could have changed since.
        changed = kept.reconcile(archive, whole=not self._began)
        self._began = True
        found = sql.execute("SELECT left_out <> '', count(*) FROM import_items GROUP BY 1").fetchall()
        counts = {"left out" if out else "items": count for out, count in found}
        return Report(changed, OK, "", counts)
