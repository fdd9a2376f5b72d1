"""What a monitor wants to know of an agent: numbers in Prometheus' text form, and whether it is well."""
from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from local_agent.agent import Agent

LATE_MS = 180_000
"""A look that is this late will not come by itself."""


def trouble(agent: Agent) -> list[str]:
    """Why the agent is not well; empty while it is. A relay that cannot be reached is its own trouble, not ours."""
    late = agent.clock() - agent.eyes.looked_at > LATE_MS
    reasons = [("reading has stopped", late), ("the disk is full", agent.archive.disk != "ok")]
    if agent.courier:
        reasons.append((agent.courier.outcome.detail, agent.courier.outcome.state in ("halted", "upgrade")))
    return [reason for reason, holds in reasons if holds]


def text(agent: Agent) -> str:
    return "\n".join([*_lines(agent), ""])


def _lines(agent: Agent) -> Iterator[str]:
    live, reports = agent.live.statistics(), agent.eyes.reports
    yield from _one("session_agent_up_seconds", "gauge", "how long this process has run", (agent.clock() - agent.began) / 1000)
    yield from _one("session_agent_last_look_seconds", "gauge", "how long ago the tools were looked at", (agent.clock() - agent.eyes.looked_at) / 1000)
    yield from _one("session_agent_change_sets_total", "counter", "change sets in the archive", agent.archive.head().seq)
    yield from _one("session_agent_disk_full", "gauge", "1 while there is no room", int(agent.archive.disk != "ok"))
    yield from _one("session_agent_live_viewers", "gauge", "open live channels", live["current_connections"])
    yield from _many("session_agent_reader_ok", "gauge", "1 where a tool can be read", "reader", {name: int(report.get("state") == "ok") for name, report in reports.items()})
    yield from _many("session_agent_left_out", "gauge", "rows or lines left out, by reader", "reader", {name: _left_out(report) for name, report in reports.items()})
    if agent.courier:
        yield from _one("session_agent_relay_agreed_total", "counter", "how often the relay said that it holds everything", agent.courier.agreed)
        yield from _many("session_agent_relay_state", "gauge", "1 for the state delivery is in", "state", {agent.courier.outcome.state: 1})


def _left_out(report: dict[str, object]) -> int:
    skipped = report.get("skipped")
    return sum(skipped.values()) if isinstance(skipped, dict) else 0


def _one(name: str, kind: str, what: str, value: float) -> Iterator[str]:
    yield from (f"# HELP {name} {what}", f"# TYPE {name} {kind}", f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}")


def _many(name: str, kind: str, what: str, label: str, values: dict[str, int]) -> Iterator[str]:
    yield from (f"# HELP {name} {what}", f"# TYPE {name} {kind}")
    for key, value in sorted(values.items()):
        escaped = key.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
        yield f'{name}{{{label}="{escaped}"}} {value}'
