"""The self-hosted relay: one process that takes pushes, answers reads, holds live viewers and keeps house."""
from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable
from time import monotonic

from ledger import signing
from ledger.errors import LedgerError, Problem
from ledger.http.request import Request
from ledger.keytext import claims_of
from ledger.serving.cache import Answer
from ledger.serving.server import serve
from ledger.shell import Native, Shell
from ledger.stores import open_store
from relay.app import Relay, create_app
from relay.limits import address_of
from relay.logs import AccessLog
from relay.push import PATH
from relay.routes import ALWAYS, MOUNTS, words_of
from relay.settings import Settings

ROUND_S, SILENT_S, LOOK_S = 600.0, 15.0, 60.0
STOP_S = 5.0
"""With the three that callers under way are given, less than the ten after which Docker kills."""
_NOT_KEPT = ("/export", "/v1/live", "/v1/ping", "/healthz", "/metrics")
log = logging.getLogger("relay")


def shell_of(relay: Relay) -> Shell:
    """*relay* behind the thin shell, with the push answered without Flask."""

    def push(asked: Request, body: bytes) -> Answer:
        address = address_of(asked.client)
        status, headers, answer = relay.push.answer(asked.method, asked.path, asked.headers, body, address=address)
        if signing.SIGNATURE in headers:  # only who proved to hold a key is answered with it
            key = asked.headers["relay-key"]
            asked.note.update(tenant=claims_of(key).tenant, key=key[-12:])
            if status == 200:
                relay.door.pushed(key, address)
        return Answer(status, [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()], answer)

    def is_signed(asked: Request, body: bytes) -> bool:
        return relay.push.is_signed(asked.headers, body)

    def who(asked: Request) -> str | None:
        if asked.path.endswith(_NOT_KEPT):
            return None
        entered = relay.door.known(asked.headers, address_of(asked.client))
        if entered is None:
            return None
        asked.note.update(tenant=entered.access.tenant, key=entered.key_id[-12:] or "shared", headers=entered.quota)
        return entered.access.tenant

    def refusal(asked: Request, problem: Problem) -> Answer:
        body, headers = words_of(problem, asked.method, asked.path)
        return Answer(problem.status, [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()], body)

    reads = [mount for mount in MOUNTS if not mount.startswith("/.")]
    return Shell(
        create_app(relay), relay.live, relay.admissions.admit, who=who, native={f"{mount}{PATH}": Native(push, is_signed, lambda asked: address_of(asked.client)) for mount in reads},
        sockets=[f"{mount}/ws" for mount in reads], streams=[f"{mount}/v1/live" for mount in reads], always=ALWAYS,
        logger=relay.access_log, clock=relay.clock, refusal=refusal,
    )  # fmt: skip


class Housekeeper:
    """Repeats the steps of upkeep, writes the access log out, and survives every failure of either."""

    def __init__(self, relay: Relay) -> None:
        self._relay, self._stop = relay, threading.Event()
        relay.views.pause = self._stop.wait
        self._threads = [threading.Thread(target=work, name=name, daemon=True) for work, name in ((self._run, "upkeep"), (self._read_on, "ahead"))]

    def __enter__(self) -> Housekeeper:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        until = monotonic() + STOP_S
        for thread in self._threads:
            thread.join(max(0.0, until - monotonic()))
        self._log()

    def _run(self) -> None:
        seconds = 0
        settle = getattr(self._relay.store, "settle", lambda: None)
        while not self._stop.wait(1.0):
            seconds += 1
            self._log()
            self._try("settling the store", settle)
            self._relay.health.kept_at = self._relay.clock()
            self._try("telling alerts", self._relay.alerts.duty.step)
            if seconds % SILENT_S == 0:
                self._try("looking for silent machines", self._relay.upkeep.tell_silent)
            if seconds % ROUND_S == 0:
                self._try("upkeep", self._upkeep)
                self._try("looking for garbage", gc.collect)
            if seconds % LOOK_S == 0:
                self._try("looking at the clock", lambda: self._relay.health.look(self._relay))

    def _read_on(self) -> None:
        seconds = 0
        while not self._stop.wait(1.0):
            seconds += 1
            self._try("reading on", self._relay.ahead.step)
            if seconds % LOOK_S == 0:
                self._try("keeping checkpoints", self._relay.views.save_due)

    def _upkeep(self) -> None:
        health = self._relay.health
        health.upkeep_trouble = self._relay.upkeep.round().trouble
        health.upkeep_at = self._relay.clock()

    def _log(self) -> None:
        if self._relay.access_log is not None:
            self._relay.access_log.write()

    @staticmethod
    def _try(what: str, step: Callable[[], object]) -> None:
        try:
            step()
        except LedgerError as error:
            log.warning("%s: %s", what, error)
        except Exception as error:  # the house must stay kept, whatever one round met
            log.error("%s failed", what, exc_info=error)


def run(settings: Settings) -> None:
    """Serve until told to stop. Raises LedgerError for whatever keeps it from starting."""
    store = open_store(settings.store)
    try:
        relay = Relay(settings, store, access_log=AccessLog(settings.log_format))
        relay.views.saves = False  # the house is kept here: nobody who asks waits for it

        def listening(port: int) -> None:
            kept = "" if store.durable else "; nothing outlives this process: agents fill it again"
            log.info("listening on port %d of %s as %s, store %s%s", port, settings.host, settings.url, settings.store.split("@")[-1], kept)

        # A look through everything that is old holds up every request: the housekeeper takes it, and not while thousands of sessions come in.
        gc.freeze()
        gc.set_threshold(2_000, 5, 10_000)
        with Housekeeper(relay):
            serve(shell_of(relay), settings.host, settings.port, ready=listening, proxies=settings.proxies)
    except Problem as problem:
        raise LedgerError(str(problem)) from None
    finally:
        store.close()
