"""What a monitor wants to know, in Prometheus' text form: of everybody, sums that name nobody; of one tenant, what it uses."""
from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ledger import __version__
from ledger.http.gauges import labelled, many, one, usage

if TYPE_CHECKING:
    from relay.app import Relay

PREFIX = "session_relay"


def text(relay: Relay, tenant: str | None = None) -> str:
    """The sums, and the use of *tenant* where somebody may know it."""
    lines = list(_lines(relay))
    if tenant is not None:
        lines += usage(f"{PREFIX}_usage", relay.views.view(tenant).summary())
    return "\n".join([*lines, ""])


def _lines(relay: Relay) -> Iterator[str]:
    now, health = relay.clock(), relay.health
    tenants = relay.store.tenants()
    heads = [head for tenant in tenants for head in relay.store.heads(tenant)]
    fresh = sum(now < head.silent_from for head in heads)
    live = relay.live.statistics()
    trouble = health.trouble(relay)
    yield from labelled(f"{PREFIX}_info", "gauge", "which version this is", [({"version": __version__}, 1)])
    yield from one(f"{PREFIX}_up_seconds", "gauge", "how long this process has run", (now - relay.began) / 1000)
    yield from one(f"{PREFIX}_healthy", "gauge", "1 while /healthz is green", int(not trouble))
    yield from one(f"{PREFIX}_store_probe_seconds", "gauge", "how long the store took to answer", health.probe_ms / 1000)
    yield from one(f"{PREFIX}_store_durable", "gauge", "1 where a restart forgets nothing", int(relay.store.durable))
    if health.upkeep_at is not None:
        yield from one(f"{PREFIX}_upkeep_age_seconds", "gauge", "since the last round of upkeep", (now - health.upkeep_at) / 1000)
    yield from one(f"{PREFIX}_tenants", "gauge", "tenants with a copy here", len(tenants))
    yield from one(f"{PREFIX}_sources", "gauge", "sources with a copy here", len(heads))
    yield from one(f"{PREFIX}_sources_fresh", "gauge", "sources heard of lately", fresh)
    yield from one(f"{PREFIX}_sources_incomplete", "gauge", "sources whose copy is not whole yet", sum(not head.committed for head in heads))
    yield from one(f"{PREFIX}_live_viewers", "gauge", "open live channels", live["current_connections"])
    yield from one(f"{PREFIX}_live_messages_total", "counter", "messages sent to viewers", live["messages_sent"])
    yield from one(f"{PREFIX}_live_errors_total", "counter", "viewers who were closed or not told", live["errors"])
    yield from one(f"{PREFIX}_changes_total", "counter", "pushes and posts that changed something", relay.changes)
    if relay.access_log is not None:
        yield from one(f"{PREFIX}_answer_seconds_total", "counter", "time spent answering", relay.access_log.seconds)
        yield from many(f"{PREFIX}_answers_total", "counter", "answers by status", "status", dict(relay.access_log.answers))
