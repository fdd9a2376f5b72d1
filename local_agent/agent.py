"""The service: readers fill the archive, delivery sends the relay what it lacks, localhost shows it.

Three threads beside the server: one reads by the clock, one when files change, one delivers. Each survives whatever the
others do, and a kill at any moment costs nothing that the next start does not mend.
"""
from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from urllib.parse import urlsplit

from ledger.clock import now_ms
from ledger.errors import LedgerError
from ledger.http.reads import Home, Reads
from ledger.prices import PriceBook
from ledger.serving.live import Live
from ledger.serving.server import listen, serve
from ledger.views.tenants import Views
from local_agent import metrics
from local_agent.archive import LOCAL, Archive
from local_agent.guard import Guard
from local_agent.identity import Identity
from local_agent.lock import HomeLock
from local_agent.log import where
from local_agent.notify import Notifier
from local_agent.parts import VERSION, Eyes, Report, machine_of, open_delivery, remember
from local_agent.push.courier import Courier
from local_agent.readers import build_readers
from local_agent.server import Serving, shell_of
from local_agent.settings import Settings, mark
from local_agent.watch import Follower

log = logging.getLogger("agent")

HEARTBEAT_MS = 500
PATIENCE_S, LAST_LOOK_S = 3.0, 0.5
WATCHDOG_S = 30.0


class Agent:
    """Everything of one home. run() serves until a signal says stop, or until it must begin anew."""

    def __init__(self, settings: Settings, identity: Identity, lock: HomeLock, *, clock: Callable[[], int] = now_ms) -> None:
        self.settings, self.clock, self._lock = settings, clock, lock
        self.port, self.began = settings.port, clock()
        self._stop, self._look, self._closing = threading.Event(), threading.Event(), threading.Event()
        self._anew, self._trouble = False, ""
        self._notifier = Notifier(settings.notify)
        self.archive = Archive(settings.archive, source=identity.source, clock=clock)
        if self.archive.rescued is not None:
            log.warning("the archive was damaged and set aside; %d records were saved, and the tools are read again", self.archive.rescued)
        self.eyes = Eyes(self.archive, build_readers(settings, book=PriceBook.load()), machine_of(settings), clock)
        self._report = Report(settings, self.archive, self.eyes)
        self.courier = self._courier(identity)
        self.live = self._serving()
        self.archive.on_change = self._changed

    def _courier(self, identity: Identity) -> Courier | None:
        delivery = None if identity.copied else open_delivery(self.settings, self.archive, self._report)
        if identity.copied:
            log.error("this home was copied from another computer, so nothing is pushed: pair this one with a key of its own")
        if delivery is None:
            return None
        self._report.delivery = delivery
        mirror = delivery.mirror
        return Courier(delivery, clock=self.clock, on_outcome=lambda outcome: remember(mirror, outcome, self.clock()), on_wake=self.read_now)

    def _serving(self) -> Live:
        # The relay knows this machine by the source in the key: a question asked there is answered here, too.
        also = {self._report.delivery.relay.source: self.archive.source} if self._report.delivery else None
        views = self._views = Views(self.archive.store, PriceBook.load(), self.clock, also=also)
        home = Home("agent", VERSION, f"http://localhost:{self.port}", self.settings.tz, self.settings.sample, self._status, self._config)
        reads = Reads(views, home=home, clock=self.clock)
        guard = Guard(lambda: self.port, origins=self._origins)
        self.serving = Serving(reads, guard, self, self.clock)
        return Live(
            lambda tenant, cursor, tz, sessions: views.view(tenant).feed(cursor, tz, sessions=sessions),
            clock=self.clock, first=self.serving.initial_data, beat_ms=HEARTBEAT_MS,
        )  # fmt: skip

    def _origins(self) -> frozenset[str]:
        """Pages of elsewhere that may read: those allowed by name, and the paired relay's own."""
        relay = urlsplit(self.settings.relay) if self.settings.relay else None
        return frozenset(self.settings.origins) | ({f"{relay.scheme}://{relay.netloc}"} if relay else frozenset())

    # -- what happens

    def _changed(self) -> None:
        self.live.changed(LOCAL)
        if self.courier:
            self.courier.changed()

    def read_now(self) -> None:
        self._look.set()

    def push_now(self) -> None:
        """Read first, so that what is pushed is the truth of this moment; the caller does not wait for it."""
        threading.Thread(target=self._sync, name="sync", daemon=True).start()

    def _sync(self) -> None:
        self._look_now()
        if self.courier:
            self.courier.hurry()

    def metrics(self) -> str:
        return metrics.text(self)

    def trouble(self) -> list[str]:
        return metrics.trouble(self)

    def summary(self) -> Mapping[str, object]:
        return self._views.view(LOCAL).summary(self.settings.tz)

    def telemetry(self, signal: str, headers: Mapping[str, str], body: bytes) -> tuple[bytes, str]:
        from local_agent.telemetry import Telemetry

        return Telemetry(self.archive, self.clock).take(signal, headers, body)

    def _config(self) -> dict[str, object]:
        return {"localhost_port": self.port, "dashboard_url": f"http://localhost:{self.port}"}

    def _status(self, tenant: str = "") -> dict[str, object]:
        return {
            "connected_clients": self.live.count, "port": self.port, "websocket_endpoint": f"ws://localhost:{self.port}/ws",
            "features": {"real_time": True, "websocket": True, "session_tracking": True, "five_hour_blocks": True, "relay": self.courier is not None},
            "statistics": self.live.statistics(), "readers": self.eyes.reports, "disk": self.archive.disk,
            "relay": self._relay_status(),
        }  # fmt: skip

    def _relay_status(self) -> dict[str, object] | None:
        if self.courier is None:
            return None
        outcome = self.courier.outcome
        return {"url": self.settings.relay, "state": outcome.state, "detail": outcome.detail, "agreed": self.courier.agreed}

    # -- its life

    def run(self) -> bool:
        """Serve until told to stop; True if all must begin anew, from the settings on. Raises LedgerError
        when the port cannot be had."""
        reading = [threading.Thread(target=work, name=name, daemon=True) for name, work in (("reader", self._read), ("follower", self._follow))]
        for thread in reading:
            thread.start()
        if self.courier:
            self.courier.start()
        try:
            serve(shell_of(self.serving, self.live), "127.0.0.1", self.port, ready=self._ready, also=self._also(), stop=self._closing)
        finally:
            self._end(reading)
        return self._anew

    def _also(self) -> list[socket.socket]:
        """localhost may mean ::1 to a browser."""
        if self.port:
            with suppress(LedgerError):
                return [listen("::1", self.port)]
        return []

    def _ready(self, port: int) -> None:
        self.port = port
        self._lock.say(port)
        self._notifier.say("READY=1")
        log.info("reading %d sources; see http://localhost:%d", len(self.eyes.readers), port)
        if self.courier is None:
            log.info("not paired with a relay: python -m local_agent pair URL KEY")

    def _read(self) -> None:
        """By the clock, and when somebody asks."""
        while not self._stop.is_set():
            self._look_now()
            self._notifier.say("WATCHDOG=1")
            self._look.wait(min(self.settings.interval, WATCHDOG_S))
            self._look.clear()

    def _follow(self) -> None:
        """When a file changed."""
        follower = Follower(self.eyes.readers, self._look_now, ignore=is_no_news(self.settings))
        while not self._stop.is_set():
            try:
                follower.run(self._stop)
            except Exception as error:  # the clock still looks; following is tried again
                log.error("following files failed: %s", where(error))
                self._stop.wait(WATCHDOG_S)

    def _look_now(self) -> None:
        try:
            if reason := self._outdated():
                self._begin_anew(reason)
                return
            self.eyes.look()
            self._trouble = ""
        except Exception as error:  # the next look may be better; delivery and the page go on
            trouble = where(error)
            if trouble != self._trouble:
                log.error("a look failed: %s", trouble)
            self._trouble = trouble

    def _outdated(self) -> str:
        """Why nothing that is open here is of use any more; "" while it is."""
        if self.archive.store.head(LOCAL, self.archive.source) is None:
            return "the archive was taken away while the agent ran: reading everything again"
        if self.settings.mark and mark(self.settings.home) != self.settings.mark:
            return "the pairing or the settings were changed: taking them over"
        return ""

    def _begin_anew(self, reason: str) -> None:
        if not self._anew:
            log.info("%s", reason)
        self._anew = True
        self._closing.set()

    def _end(self, reading: list[threading.Thread]) -> None:
        """Within five seconds: finish the message under way, push what is left, say goodbye, close in order."""
        self._notifier.say("STOPPING=1")
        self._stop.set()
        self._look.set()
        if self.courier:
            self.courier.stop(PATIENCE_S)
        for thread in reading:
            thread.join(LAST_LOOK_S)
        if not any(thread.is_alive() for thread in reading):
            self.archive.close()
            return
        with suppress(LedgerError):
            self.archive.store.come_home()


def is_no_news(settings: Settings) -> Callable[[str], bool]:
    """Which changed paths are our own writing, or only neighbours of a tracker's database."""
    ours, limits = f"{settings.home}/", f"{settings.home}/statusline"
    kept = {f"{settings.home}/{name}" for name in ("settings.json", "key", "seal")}
    trackers: dict[str, tuple[str, ...]] = {}
    for path in settings.trackers:
        trackers[str(path.parent)] = (*trackers.get(str(path.parent), ()), path.name)

    def no_news(path: str) -> bool:
        folder, _, name = path.rpartition("/")
        if path in kept:
            return False
        if path.startswith(ours) and not path.startswith(limits):
            return folder not in trackers or not name.startswith(trackers[folder])
        return folder in trackers and not name.startswith(trackers[folder])

    return no_news
