"""Claude Code's telemetry at the relay, for machines without an agent: kept under a source of its own beside the key's.

What a machine's agent tells of the same session wins in every view: transcripts are complete.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from ledger.errors import Busy, Conflict, Problem
from ledger.otlp import fold, http
from ledger.otlp.signals import Told
from ledger.prices import Thresholds
from ledger.record import Record, Ref
from ledger.store import Store
from ledger.views.view import TELEMETRY
from relay.written import write

BEAT_S = 300
_TRIES = 6
_LARGEST = 64 << 10


class Telemetry:
    """Takes exports. *on_change* hears of the tenants to whom one brought news."""

    def __init__(self, store: Store, book: Thresholds, clock: Callable[[], int], on_change: Callable[[str], None]) -> None:
        self._store, self._book, self._clock, self._on_change = store, book, clock, on_change

    def take(self, tenant: str, source: str, signal: str, headers: Mapping[str, str], body: bytes, *, begins: Callable[[], object] = int) -> tuple[bytes, str]:
        """The answer to one export: (body, content type); *begins* is asked before the first of a machine is kept. Raises Problem, Busy or Full."""
        export = http.read(signal, headers, body, self._clock())
        sessions = http.by_session(export.heard)
        if sessions and self._keep(tenant, f"{TELEMETRY}{source}", source, sessions, begins):
            self._on_change(tenant)
        return export.answer()

    def _keep(self, tenant: str, source: str, name: str, sessions: Mapping[str, Iterable[Told]], begins: Callable[[], object]) -> bool:
        for _ in range(_TRIES):
            head = self._store.head(tenant, source)
            if head is None:
                begins()

            def get(kind: str, id: str) -> str | None:
                row = self._store.get(tenant, source, Ref(kind, id))
                return row.body if row else None

            wanted = [self._machine(source, name)]
            for key, told in sessions.items():
                wanted += fold.records_of(key, fold.fold(fold.body_of(key, get), told, self._book))
            if any(len(one.body.encode()) > _LARGEST for one in wanted):
                raise Problem(413, "too-large", "one of these sessions is too large to be kept")
            try:
                return write(self._store, tenant, source, head, wanted, set(), self._clock(), BEAT_S)
            except Conflict:
                continue  # another export came at the same moment
        raise Busy("telemetry of this machine comes from several places at once: the same again in a moment")

    @staticmethod
    def _machine(source: str, name: str) -> Record:
        return Record("machine", source, msgspec.json.encode({"name": name, "version": "telemetry", "readers": {"telemetry": {"state": "ok"}}}).decode())
