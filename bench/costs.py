"""What the relay on AWS costs a month, from list prices and a day's work: `python -m bench.costs`.

Prices are us-east-1's list prices of PRICED, without any free tier. The day is a stated one: change it with the options.
"""
from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

PRICED = "2026-11-22"
M = 1_000_000
PRICES = {
    "HTTP API, a request": 1.00 / M,
    "WebSocket API, a message": 1.00 / M,
    "WebSocket API, a minute connected": 0.25 / M,
    "Lambda, a request": 0.20 / M,
    "Lambda on arm64, a GB-second": 0.0000133334,
    "DynamoDB on demand, a write unit": 0.625 / M,
    "DynamoDB on demand, a read unit": 0.125 / M,
    "DynamoDB, a GB-month": 0.25,
    "CloudWatch Logs, a GB taken in": 0.50,
}
MEMORY_GB = 0.5
FULL_CORE_GB = 1.769
"""A function gets a whole core at this much memory, and its share of one below."""
REQUESTS_PER_LOAD = 5
"""Is the page new, who is there, the feed, a ticket, the status; the page itself opens from the browser's own store."""


@dataclass(frozen=True, slots=True)
class Usage:
    """A user's month, and what one of each thing needs (measured by bench/cloud.py)."""

    days: int = 22
    awake_hours: float = 8.0
    busy_hours: float = 4.0
    """Hours in which something changes all the time; in the rest the agent only says that it is there."""
    watched_hours: float = 2.0
    push_every_s: float = 30.0
    watched_push_every_s: float = 20.0
    """Agents are asked for more while somebody watches (relay/live/fanout.py)."""
    idle_beat_s: float = 300.0
    page_loads: int = 10
    sessions: int = 2_000
    writes_per_push: float = 1.5
    reads_per_push: float = 3.0
    reads_per_load: float = 20.0
    push_cpu_ms: float = 2.5
    read_cpu_ms: float = 15.0
    calls_ms: float = 18.0
    """What a push waits for the table: three calls one after the other."""
    starts: int = 12
    start_cpu_ms: float = 180.0
    looks_an_hour: int = 12
    """How often the schedule asks whether anybody must be told of something, day and night."""

    @property
    def looks(self) -> float:
        return 30 * 24 * self.looks_an_hour

    @property
    def watched_and_busy_hours(self) -> float:
        """With half of the hours busy, half of those in which somebody watches."""
        return self.watched_hours * self.busy_hours / self.awake_hours

    @property
    def pushes(self) -> float:
        return self.days * 3600 * ((self.busy_hours - self.watched_and_busy_hours) / self.push_every_s + self.watched_and_busy_hours / self.watched_push_every_s)

    @property
    def beats(self) -> float:
        return self.days * (self.awake_hours - self.busy_hours) * 3600 / self.idle_beat_s

    @property
    def told(self) -> float:
        """Messages to a page: every push made while it watches."""
        return self.days * 3600 * self.watched_and_busy_hours / self.watched_push_every_s

    @property
    def talked(self) -> float:
        """Messages of a page: it subscribes when it comes, and asks after 45 s of silence."""
        return self.days * (self.page_loads / 2 + self.watched_hours * (1 - self.busy_hours / self.awake_hours) * 3600 / 45)


def gb_seconds(cpu_ms: float, waited_ms: float = 0.0) -> float:
    """A function with half a gigabyte has two sevenths of a core: its work takes that much longer."""
    return (cpu_ms * FULL_CORE_GB / MEMORY_GB + waited_ms) / 1000 * MEMORY_GB


def lines(u: Usage) -> Iterator[tuple[str, float, str]]:
    """(what, how much, at which price)."""
    loads, live = u.days * u.page_loads, u.talked
    requests = u.pushes + u.beats + REQUESTS_PER_LOAD * loads
    yield "pushes, beats and page loads", requests, "HTTP API, a request"
    yield "messages of the live channel", u.told + 2 * live, "WebSocket API, a message"
    yield "minutes of watching", u.days * u.watched_hours * 60, "WebSocket API, a minute connected"
    yield "invocations", requests + live + u.looks + 30, "Lambda, a request"
    looking = u.looks * gb_seconds(2, 12)
    work = looking + (u.pushes + u.beats) * gb_seconds(u.push_cpu_ms, u.calls_ms) + loads * (gb_seconds(u.read_cpu_ms, 6) + (REQUESTS_PER_LOAD - 1) * gb_seconds(1, 3)) + live * gb_seconds(2, 12)
    yield "their time", work + u.days * u.starts * gb_seconds(u.start_cpu_ms) + 30 * gb_seconds(u.start_cpu_ms, 5_000), "Lambda on arm64, a GB-second"
    yield "writes", u.pushes * u.writes_per_push + u.beats + u.told + u.days * u.page_loads / 2 * 7, "DynamoDB on demand, a write unit"
    scrub = u.sessions / 4 * 30
    yield "reads", u.pushes * u.reads_per_push + u.beats * 2 + loads * u.reads_per_load + u.looks + scrub, "DynamoDB on demand, a read unit"
    yield "what is kept", u.sessions * 1.1e-6, "DynamoDB, a GB-month"
    yield "logs", (u.days * 200 + 30) * 300 / 1e9, "CloudWatch Logs, a GB taken in"


def month(usage: Usage) -> float:
    """Dollars."""
    return sum(amount * PRICES[price] for _, amount, price in lines(usage))


def report(usage: Usage) -> str:
    rows = [f"{'what':32}{'a month':>12}  {'price':40}{'$':>9}"]
    rows += [f"{what:32}{amount:12,.1f}  {price:40}{amount * PRICES[price]:9.4f}" for what, amount, price in lines(usage)]
    hard = replace(usage, busy_hours=usage.awake_hours)
    return "\n".join([
        *rows, f"{'one user':86}{month(usage):9.4f}", f"{'1,000 such users':86}{1000 * month(usage):9.2f}",
        f"{'one user for whom something changes in every half minute of the day':86}{month(hard):9.4f}", f"List prices of {PRICED}, us-east-1, no free tier.",
    ])  # fmt: skip


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.costs", description=__doc__.splitlines()[0])
    for one in fields(Usage):
        parser.add_argument(f"--{one.name.replace('_', '-')}", type=float, default=one.default, metavar=str(one.default))
    sys.stdout.write(report(Usage(**vars(parser.parse_args(words)))) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
