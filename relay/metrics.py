"""What a monitor wants to know, in Prometheus' text form: sums over everything, nobody's name."""
from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from relay.app import Relay

SILENT_BEATS = 2.5


def text(relay: Relay) -> str:
    return "\n".join([*_lines(relay), ""])


def _lines(relay: Relay) -> Iterator[str]:
    now = relay.clock()
    heads = [head for tenant in relay.store.tenants() for head in relay.store.heads(tenant)]
    fresh = sum(now < head.last_seen + SILENT_BEATS * head.beat_s * 1000 for head in heads)
    live = relay.live.statistics()
    yield from _one("session_relay_up_seconds", "gauge", "how long this process has run", (now - relay.began) / 1000)
    yield from _one("session_relay_sources", "gauge", "sources with a copy here", len(heads))
    yield from _one("session_relay_sources_fresh", "gauge", "sources heard of lately", fresh)
    yield from _one("session_relay_live_viewers", "gauge", "open live channels", live["current_connections"])
    yield from _one("session_relay_live_messages_total", "counter", "messages sent to viewers", live["messages_sent"])
    yield from _one("session_relay_live_errors_total", "counter", "viewers who were closed or not told", live["errors"])
    yield from _one("session_relay_changes_total", "counter", "pushes and posts that changed something", relay.changes)
    if relay.access_log is not None:
        yield from _one("session_relay_answer_seconds_total", "counter", "time spent answering", relay.access_log.seconds)
        yield "# HELP session_relay_answers_total answers by status"
        yield "# TYPE session_relay_answers_total counter"
        for status, count in sorted(relay.access_log.answers.items()):
            yield f'session_relay_answers_total{{status="{status}"}} {count}'


def _one(name: str, kind: str, what: str, value: float) -> Iterator[str]:
    yield f"# HELP {name} {what}"
    yield f"# TYPE {name} {kind}"
    yield f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
