"""One run: read everything, push until the relay itself says that it agrees, and report."""
from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from typing import Any

from ledger.clock import now_ms
from ledger.prices import PriceBook
from ledger.record import to_hex
from ledger.words import many
from local_agent.archive import LOCAL, Archive
from local_agent.delivery import Delivery, Outcome
from local_agent.identity import Identity, open_identity
from local_agent.lock import HomeLock, Taken
from local_agent.log import one_line
from local_agent.parts import Eyes, Report, machine_of, open_delivery, remember
from local_agent.readers import build_readers
from local_agent.settings import Settings

PATIENCE_S = 30.0
"""How long a single run waits out failures before it says so."""
LONGEST_WAIT_S = 5.0


def run(settings: Settings) -> dict[str, Any]:
    """The report. Where the service runs already, it is asked to do it."""
    identity = open_identity(settings.home)
    try:
        with HomeLock(settings.home):
            return _alone(settings, identity)
    except Taken as taken:
        return ask_the_service(taken)


def _alone(settings: Settings, identity: Identity) -> dict[str, Any]:
    archive = Archive(settings.archive, source=identity.source, clock=now_ms)
    try:
        eyes = Eyes(archive, build_readers(settings, book=PriceBook.load()), machine_of(settings))
        while eyes.look(whole=True):
            pass
        report = Report(settings, archive, eyes)
        delivery = None if identity.copied else open_delivery(settings, archive, report)
        report.delivery = delivery
        outcome, sent = push(delivery) if delivery else (_why_not(settings, identity), {"messages": 0, "changes": 0, "bytes": 0})
        if delivery:
            remember(delivery.mirror, outcome, now_ms())
        return _told(archive, eyes, delivery, outcome, sent)
    finally:
        archive.close()


def _why_not(settings: Settings, identity: Identity) -> Outcome:
    if identity.copied:
        return Outcome("copied", "this home was copied from another computer: pair this one with a key of its own")
    if settings.relay:
        return Outcome("no key", "there is no key for the relay: python -m local_agent pair URL KEY")
    return Outcome("unpaired", "not paired with a relay: python -m local_agent pair URL KEY")


def push(
    delivery: Delivery, *, clock: Callable[[], int] = now_ms, monotonic: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
) -> tuple[Outcome, dict[str, int]]:
    """Steps until the relay says that it holds the whole truth, or until waiting makes no sense."""
    sent = {"messages": 0, "changes": 0, "bytes": 0}
    until = monotonic() + PATIENCE_S
    while True:
        outcome = delivery.push_once(clock(), ask=True)
        sent["messages"] += bool(outcome.wire)
        sent["changes"] += outcome.changes if outcome.state in ("synced", "behind") else 0
        sent["bytes"] += outcome.wire
        hopeless = outcome.state in ("halted", "upgrade", "portal", "offline") or monotonic() > until
        if outcome.agreed or (outcome.state != "behind" and (hopeless or outcome.wait_s > LONGEST_WAIT_S)):
            return outcome, sent
        sleep(outcome.wait_s)


def _told(archive: Archive, eyes: Eyes, delivery: Delivery | None, outcome: Outcome, sent: dict[str, int]) -> dict[str, Any]:
    head = archive.head()
    kinds = archive.store.connection().execute("SELECT kind, count(*) FROM ledger_rows WHERE tenant = ? GROUP BY kind ORDER BY kind", (LOCAL,))
    stubs = delivery.mirror.stubs() if delivery else []
    return {
        "in_sync": outcome.agreed, "state": outcome.state, "detail": outcome.detail, "relay": delivery.relay.url if delivery else None,
        "source": delivery.relay.source if delivery else archive.source, "records": dict(kinds.fetchall()), "digest": to_hex(head.digest), "pushed": sent,
        "readers": eyes.reports, "stubs": [{"kind": stub.ref.kind, "id": stub.ref.id, "code": stub.code} for stub in stubs],
    }  # fmt: skip


def ask_the_service(taken: Taken) -> dict[str, Any]:
    """The running agent reads and pushes; we only watch until it says that it agrees."""
    base, until = f"http://127.0.0.1:{taken.port}/api", time.monotonic() + PATIENCE_S
    try:
        before = _relay_of(base)
        with urllib.request.urlopen(urllib.request.Request(f"{base}/netlify-sync", method="POST", data=b"{}"), timeout=10):
            pass
        relay = _until_it_agrees(base, before, until)
    except (OSError, ValueError) as error:
        relay = {"state": "unknown", "detail": f"{taken}, but it does not answer ({type(error).__name__}): python -m local_agent doctor"}
    return {"in_sync": relay.get("state") == "agreed", "state": relay.get("state"), "detail": relay.get("detail", ""), "relay": relay.get("url"), "by": "the running agent"}


def _until_it_agrees(base: str, before: dict[str, Any], until: float) -> dict[str, Any]:
    relay = before
    while time.monotonic() < until and relay["state"] not in ("unpaired", "halted", "upgrade", "portal", "offline"):
        time.sleep(0.1)
        relay = _relay_of(base)
        if relay["agreed"] > before["agreed"]:
            return {**relay, "state": "agreed"}
    return relay


def _relay_of(base: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{base}/status", timeout=10) as answer:
        said = json.load(answer)
    return said.get("relay") or {"state": "unpaired", "detail": "not paired with a relay: python -m local_agent pair URL KEY", "agreed": 0}


def in_words(report: dict[str, Any]) -> str:
    records = ", ".join(many(count, kind) for kind, count in report.get("records", {}).items()) or "nothing"
    lines = [f"read     {records}"] if "records" in report else []
    for name, reader in sorted(report.get("readers", {}).items()):
        if reader.get("state") == "unreadable":
            lines.append(f"         {name} cannot be read: {one_line(str(reader.get('detail')))}")
        lines += [f"         {name} left out {count}: {reason}" for reason, count in reader.get("skipped", {}).items()]
    if report["in_sync"]:
        pushed = report.get("pushed")
        told = f" ({many(pushed['changes'], 'change')} in {many(pushed['messages'], 'message')}, {pushed['bytes']:,} bytes)" if pushed else ""
        lines.append(f"in sync  {report['relay']} holds exactly this{told}")
    if report.get("stubs"):
        lines.append(f"         {many(len(report['stubs']), 'record')} cannot be shown there")
    return "\n".join(lines)


def why_not(report: dict[str, Any]) -> str:
    """Why the relay does not hold exactly this, and what to do next."""
    reason = report["detail"] or report["state"]
    return f"not in sync: {reason}" + ("" if "python -m" in reason else "; python -m local_agent doctor looks closer")
