"""Numbers in Prometheus' text form, and what they tell of somebody's use: the same on both homes."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ledger.times import parse

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def one(name: str, kind: str, what: str, value: float) -> Iterator[str]:
    """A number without labels."""
    yield from (f"# HELP {name} {what}", f"# TYPE {name} {kind}", f"{name} {number(value)}")


def many(name: str, kind: str, what: str, label: str, values: Mapping[Any, float]) -> Iterator[str]:
    """A number for each value of one label."""
    yield from labelled(name, kind, what, [({label: str(key)}, value) for key, value in sorted(values.items())])


def labelled(name: str, kind: str, what: str, values: list[tuple[dict[str, str], float]]) -> Iterator[str]:
    yield from (f"# HELP {name} {what}", f"# TYPE {name} {kind}")
    for labels, value in values:
        named = ",".join(f'{key}="{escaped(text)}"' for key, text in labels.items())
        yield f"{name}{{{named}}} {number(value)}"


def number(value: float) -> str:
    return f"{value:.12g}" if isinstance(value, float) else str(int(value))


def escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")


def usage(prefix: str, summary: Mapping[str, Any]) -> Iterator[str]:
    """How much of the block and of the limits is used and what it costs, from a summary; projects, titles and machines are not named."""
    yield from one(f"{prefix}_sessions", "gauge", "sessions that are known", summary.get("sessions_total", 0))
    yield from one(f"{prefix}_sessions_active", "gauge", "sessions that go on now", summary.get("active", 0))
    totals = summary.get("totals") or {}
    spans = [(span, totals.get(span) or {}) for span in ("today", "week", "month", "all")]
    yield from labelled(f"{prefix}_tokens", "gauge", "tokens used, by span of time", [({"span": span}, total.get("tokens") or 0) for span, total in spans])
    yield from labelled(f"{prefix}_cost_dollars", "gauge", "list price of what was used, by span of time", [({"span": span}, float(total.get("cost") or 0)) for span, total in spans])
    block = summary.get("block")
    if block:
        yield from _block(prefix, block)
    limits = summary.get("limits") or []
    yield from labelled(f"{prefix}_limit_used_percent", "gauge", "official limits, as the tool tells them", [(_window(limit), float(limit["percent"])) for limit in limits])
    resets = [(_window(limit), parse(limit["resets_at"]) / 1000) for limit in limits if limit.get("resets_at")]
    yield from labelled(f"{prefix}_limit_resets_timestamp_seconds", "gauge", "when an official limit begins anew", resets)


def _block(prefix: str, block: Mapping[str, Any]) -> Iterator[str]:
    projection, burn = block.get("projection") or {}, block.get("burn") or {}
    found = (
        ("used_percent", "how much of the current block is used", block.get("percent")), ("projected_percent", "where the current block is heading", projection.get("percent")),
        ("tokens", "tokens of the current block", block["tokens"]["total"]), ("cost_dollars", "list price of the current block", block.get("cost")),
        ("tokens_per_minute", "how fast the current block is used", burn.get("tokens_per_minute")), ("cost_dollars_per_hour", "what that costs", burn.get("cost_per_hour")),
        ("ends_timestamp_seconds", "when the current block ends", parse(block["end"]) / 1000),
    )  # fmt: skip
    for name, what, value in found:
        if value is not None:
            yield from one(f"{prefix}_block_{name}", "gauge", what, value)


def _window(limit: Mapping[str, Any]) -> dict[str, str]:
    return {"tool": str(limit["tool"]), "window": str(limit["window"])}
