"""What a monitor wants to know of an agent: numbers in Prometheus' text form, and whether it is well."""
from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ledger.http.gauges import labelled, many, one, usage
from local_agent.parts import VERSION

if TYPE_CHECKING:
    from local_agent.agent import Agent

PREFIX = "session_agent"
CLOCK_OFF_S = 240
"""A little less than what makes a relay refuse our signatures."""
LATE_MS = 180_000
"""A look that is this late will not come by itself."""


def trouble(agent: Agent) -> list[str]:
    """Why the agent is not well; empty while it is. A relay that cannot be reached is its own trouble, not ours."""
    late = agent.clock() - agent.eyes.looked_at > LATE_MS
    reasons = [("reading has stopped", late), ("the disk is full", agent.archive.disk != "ok")]
    if agent.courier:
        off = agent.courier.clock_offset_ms / 1000
        reasons.append((f"this computer's clock is {off:+.0f} s off by the relay's", abs(off) > CLOCK_OFF_S))
        reasons.append((agent.courier.outcome.detail, agent.courier.outcome.state in ("halted", "upgrade")))
    return [reason for reason, holds in reasons if holds]


def text(agent: Agent) -> str:
    return "\n".join([*_lines(agent), *usage(f"{PREFIX}_usage", agent.summary()), ""])


def _lines(agent: Agent) -> Iterator[str]:
    live, reports = agent.live.statistics(), agent.eyes.reports
    yield from labelled(f"{PREFIX}_info", "gauge", "which version this is", [({"version": VERSION}, 1)])
    yield from one(f"{PREFIX}_up_seconds", "gauge", "how long this process has run", (agent.clock() - agent.began) / 1000)
    yield from one(f"{PREFIX}_healthy", "gauge", "1 while /healthz is green", int(not trouble(agent)))
    yield from one(f"{PREFIX}_last_look_seconds", "gauge", "how long ago the tools were looked at", (agent.clock() - agent.eyes.looked_at) / 1000)
    yield from one(f"{PREFIX}_change_sets_total", "counter", "change sets in the archive", agent.archive.head().seq)
    yield from one(f"{PREFIX}_disk_full", "gauge", "1 while there is no room", int(agent.archive.disk != "ok"))
    yield from one(f"{PREFIX}_live_viewers", "gauge", "open live channels", live["current_connections"])
    yield from many(f"{PREFIX}_reader_ok", "gauge", "1 where a tool can be read", "reader", {name: int(report.get("state") == "ok") for name, report in reports.items()})
    yield from many(f"{PREFIX}_left_out", "gauge", "rows or lines left out, by reader", "reader", {name: _left_out(report) for name, report in reports.items()})
    if agent.courier:
        outcome = agent.courier.outcome
        yield from one(f"{PREFIX}_relay_agreed_total", "counter", "how often the relay said that it holds everything", agent.courier.agreed)
        yield from many(f"{PREFIX}_relay_state", "gauge", "1 for the state delivery is in", "state", {outcome.state: 1})


def _left_out(report: dict[str, object]) -> int:
    skipped = report.get("skipped")
    return sum(skipped.values()) if isinstance(skipped, dict) else 0
