"""Wires an agent together from its parts, in the same way for the service and for a single run; it decides nothing."""
from __future__ import annotations

import json
import logging
import platform
import secrets
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ledger import __version__
from ledger.clock import now_ms
from ledger.errors import Full, LedgerError
from ledger.record import Record
from local_agent.archive import LOCAL, Archive
from local_agent.commands import pairing
from local_agent.delivery import Delivery, Outcome, Relay, Reporter
from local_agent.log import where
from local_agent.push import seals
from local_agent.push.horizon import DayHorizon
from local_agent.push.mirror import Mirror
from local_agent.push.privacy import ALIASES, SEALED, Privacy
from local_agent.push.transport import HttpTransport, open_session
from local_agent.settings import Settings

log = logging.getLogger("agent")

VERSION = __version__
COUNTS_EVERY_MS = 600_000
"""How often mere counts of what was read are worth a new machine record; what goes wrong is worth one at once."""
BEAT_EVERY_MS = 45_000


class Reader(Protocol):
    name: str

    def poll(self, archive: Archive, now_ms: int) -> Any: ...


@dataclass
class Eyes:
    """All readers, and what they last said of themselves."""

    archive: Archive
    readers: Sequence[Reader]
    machine: Mapping[str, object]
    clock: Callable[[], int] = now_ms

    def __post_init__(self) -> None:
        self.reports: dict[str, dict[str, object]] = {}
        self._told: tuple[str, int] = ("", -COUNTS_EVERY_MS)
        self._beat, self.looked_at = 0, self.clock()
        self._turn = threading.Lock()

    def look(self, *, whole: bool = False) -> int:
        """One look of every reader; how many records changed. *whole*: tell the counts, too, however fresh they are."""
        with self._turn:
            self._mend()
            changed = sum(self._one(reader) for reader in self.readers)
            try:
                self._tell(whole)
            except Full as error:
                log.warning("%s", error)
            self.looked_at = self.clock()
            return changed

    def _mend(self) -> None:
        try:
            self.archive.mend()
        except LedgerError as error:
            log.warning("%s", error)

    def _one(self, reader: Reader) -> int:
        try:
            report = reader.poll(self.archive, self.clock())
        except Exception as error:  # a reader that fails must not stop the others
            detail = str(error) if isinstance(error, LedgerError) else f"{where(error)} (please report this)"
            if self.reports.get(reader.name, {}).get("detail") != detail:
                log.warning("%s: %s", reader.name, detail)
            self.reports[reader.name] = {"state": "unreadable", "detail": detail}
            return 0
        said = {"state": report.state, "detail": report.detail, "counted": dict(report.counted), "skipped": dict(report.skipped)}
        if said["state"] != "ok" and said["state"] != self.reports.get(reader.name, {}).get("state"):
            log.info("%s is %s%s", reader.name, report.state, f": {report.detail}" if report.detail else "")
        self.reports[reader.name] = {name: value for name, value in said.items() if value}
        return int(report.changed)

    def _tell(self, whole: bool) -> None:
        """Keep the machine's record, and this machine shown as alive."""
        now = self.clock()
        disk = {} if self.archive.disk == "ok" else {"disk": self.archive.disk}
        urgent = json.dumps([disk, {name: {**report, "counted": None} for name, report in self.reports.items()}], sort_keys=True)
        if whole or urgent != self._told[0] or now - self._told[1] >= COUNTS_EVERY_MS:
            body = json.dumps({**self.machine, **disk, "readers": self.reports}, separators=(",", ":"), ensure_ascii=False, sort_keys=True)
            with self.archive.step() as step:
                step.put(Record("machine", self.archive.source, body))
            self._told = (urgent, now)
        if abs(now - self._beat) >= BEAT_EVERY_MS:
            self.archive.beat(now)
            self._beat = now


def machine_of(settings: Settings) -> dict[str, object]:
    return {"name": settings.name, "os": f"{platform.system()} {platform.release()}".strip(), "version": VERSION, "tz": settings.tz, "sample": settings.sample}


def open_delivery(settings: Settings, archive: Archive, report: Reporter) -> Delivery | None:
    """Delivery to the paired relay, or None while there is none."""
    if not settings.relay or not settings.key:
        return None
    key = pairing.read_key(settings.key)
    leaving = privacy_of(settings, archive)
    mirror = Mirror(archive.store, tenant=LOCAL, source=archive.source, leaving=leaving)
    horizon = DayHorizon(archive.store, mirror, tenant=LOCAL, source=archive.source, tz=settings.tz, project=lambda name: leaving.name("project", name))
    relay: Relay = pairing.relay_of(settings.relay, settings.aud or settings.relay, key)
    return Delivery(mirror, HttpTransport(open_session(settings.relay)), relay, report=report, horizon=horizon)


def privacy_of(settings: Settings, archive: Archive) -> Privacy:
    """The rule for names that leave; what it needs is made when it is first needed."""
    if settings.privacy == ALIASES:
        return Privacy(ALIASES, key=archive.alias_key())
    if settings.privacy == SEALED:
        return Privacy(SEALED, seal=seals.open_seal(settings.home))
    return Privacy(settings.privacy)


class Report:
    """What the agent says of itself in its messages: little beside changes, because it travels with each, and all of it in a beat."""

    def __init__(self, settings: Settings, archive: Archive, eyes: Eyes, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._archive, self._eyes, self._monotonic = settings, archive, eyes, monotonic
        self._boot, self._began = secrets.token_hex(4), monotonic()
        self.delivery: Delivery | None = None

    def __call__(self, *, whole: bool = True) -> dict[str, object]:
        said: dict[str, object] = {"version": VERSION, "boot": self._boot, "uptime_s": int(self._monotonic() - self._began)}
        if whole:
            said |= {"os": sys.platform, "name": self._settings.name, "tz": self._settings.tz}
        reports = dict(self._eyes.reports)
        called = Privacy(self._settings.privacy).readers(reports)
        unwell = {called[name]: report["state"] for name, report in reports.items() if report["state"] == "unreadable"}
        held = self.delivery.mirror.stubs() if self.delivery else []
        extras = {"readers": unwell, "refused": len(held), "clock_offset_ms": self.delivery.clock_offset_ms if self.delivery else 0,
                  "disk": "" if self._archive.disk == "ok" else self._archive.disk}  # fmt: skip
        return said | {name: value for name, value in extras.items() if value}


def remember(mirror: Mirror, outcome: Outcome, at: int) -> None:
    """Keep how delivery fares where `status` finds it; only when it changes."""
    said = {"state": "ok" if outcome.state in ("synced", "behind") else outcome.state, "detail": outcome.detail if outcome.state not in ("synced", "behind") else ""}
    notes = mirror.notes()
    if {name: notes.get(name, "") for name in said} != said:
        try:
            mirror.note(**said, since=at)
        except LedgerError as error:
            log.warning("%s", error)
