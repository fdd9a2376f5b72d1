"""What `status` knows: is it running, is the relay up to date, how much of the block and the week is used (overview.py shows it).

Reads the archive and leaves it as it is, so that it works whether the agent runs or not.
"""
from __future__ import annotations

import json
import urllib.request
from typing import Any

from ledger.prices import PriceBook
from ledger.stores.sqlite import SqliteStore
from ledger.times import iso
from ledger.views.tenants import Views
from local_agent.archive import LOCAL
from local_agent.commands.doctor import who_holds
from local_agent.identity import Identity
from local_agent.lock import who_runs
from local_agent.parts import VERSION
from local_agent.push.mirror import Mirror
from local_agent.refuge import EnduringStore
from local_agent.settings import Settings


def gather(settings: Settings, identity: Identity | None, now_ms: int) -> dict[str, Any]:
    """Everything that status tells, as one JSON object."""
    running = who_runs(settings.home)
    said: dict[str, Any] = {
        "version": VERSION, "home": str(settings.home), "running": running is not None, "pid": running.pid if running else None,
        "url": f"http://localhost:{running.port}" if running and running.port else None, "name": settings.name, "sample": settings.sample,
        "source": identity.source if identity else None, "copied": identity.copied if identity else False, "time": iso(now_ms),
        "disk": disk_of(running.port if running else None), "elsewhere": None if running else elsewhere(settings.port),
    }  # fmt: skip
    if not settings.archive.exists() or identity is None:
        return {**said, "relay": _relay(settings, None), "readers": {}, "sessions": {"total": 0, "active": 0}, "block": None, "limits": [], "totals": {}, "alerts": []}
    store = EnduringStore(settings.archive)
    try:
        return {**said, **_known(store, settings, identity, now_ms)}
    finally:
        store.close()


def elsewhere(port: int) -> str | None:
    """Where an agent answers that has another home, while none runs with this one: its numbers are not these."""
    return f"http://localhost:{port}" if who_holds(port, None) == "other-agent" else None


def disk_of(port: int | None) -> str:
    """How the running agent finds its disk; it alone knows, since it goes on in memory."""
    if port is None:
        return "unknown"
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/status", timeout=2) as answer:
            return str(json.load(answer).get("disk", "unknown"))
    except (OSError, ValueError, AttributeError):
        return "unknown"


def _known(store: SqliteStore, settings: Settings, identity: Identity, now_ms: int) -> dict[str, Any]:
    summary = Views(store, PriceBook.load(), lambda: now_ms).view(LOCAL).summary(settings.tz)
    machine: dict[str, Any] = next((json.loads(row.body) for row in store.rows(LOCAL, identity.source, kind="machine")), {})
    return {
        "relay": _relay(settings, Mirror(store, tenant=LOCAL, source=identity.source)), "readers": machine.get("readers", {}),
        "sessions": {"total": summary.get("sessions_total", 0), "active": summary.get("active", 0)}, "block": summary.get("block"),
        "limits": summary.get("limits", []), "totals": summary.get("totals", {}), "alerts": summary.get("alerts", []), "unpriced": summary.get("unpriced", []),
    }  # fmt: skip


def _relay(settings: Settings, mirror: Mirror | None) -> dict[str, Any]:
    if not settings.relay:
        return {"url": None, "state": "unpaired", "detail": "python -m local_agent pair URL KEY"}
    if mirror is None:
        return {"url": settings.relay, "state": "new", "detail": "nothing was pushed yet", "behind": 0, "stubs": []}
    notes, place = mirror.notes(), mirror.place()
    last = notes.get("last_success", "")
    return {
        "url": settings.relay, "state": notes.get("state", "new") if settings.key else "no key", "detail": notes.get("detail", ""),
        "last_success": iso(int(last)) if last.isdigit() else None, "behind": len(mirror.difference(10_000)), "committed": place.committed,
        "durable": notes.get("durable") != "False", "keep_days": int(notes["keep_days"]) if notes.get("keep_days", "").isdigit() else None,
        "notices": notes.get("notices", "").split(), "bugs": int(notes.get("bugs", "0")), "stubs": [{"kind": s.ref.kind, "id": s.ref.id, "code": s.code} for s in mirror.stubs()],
    }  # fmt: skip
