"""What a person should hear of: simple rules over what the summary says. Pure; no rule remembers anything."""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ledger.times import HOUR, parse
from ledger.words import many

RANK = {"bad": 0, "warn": 1, "info": 2}
"""Levels, the worst first."""
STEPS = ((100, "bad"), (90, "warn"), (75, "info"))
AHEAD = 5.0
"""Points ahead of an even pace that are worth a word."""
FRESH_SILENCE = 24 * HOUR
"""A machine that has been silent for longer is switched off, which is no news."""
Notice = dict[str, Any]


def notices(
    block: Mapping[str, Any] | None, limits: Sequence[Mapping[str, Any]], machines: Sequence[Mapping[str, Any]],
    refused: Mapping[str, int], now: int,
) -> list[Notice]:  # fmt: skip
    """Worst first; *refused* counts the records of each source that were not taken in. The id stays the same for the same matter, so that it can be dismissed or replaced."""
    found = [*_steps(limits), *_heading(block), *_pace(limits), *_machines(machines, now), *_refused(refused)]
    return sorted(found, key=lambda notice: (RANK[notice["level"]], notice["id"]))


def _notice(id: str, level: str, text: str, at: str | None) -> Notice:
    return {"id": id, "level": level, "text": text, "at": at}


def _steps(limits: Iterable[Mapping[str, Any]]) -> Iterable[Notice]:
    """75, 90 and 100 % of an official window."""
    for limit in limits:
        for step, level in STEPS:
            if limit["percent"] >= step:
                text = f"{limit['label']}: the limit is reached." if step == 100 else f"{limit['label']}: {limit['percent']:.0f}% used."
                yield _notice(f"limit/{limit['key']}/{step}/{limit['resets_at']}", level, text, limit["observed_at"])
                break


def _heading(block: Mapping[str, Any] | None) -> Iterable[Notice]:
    """The block runs out before it resets."""
    if block is None or block["unit"] != "percent" or not block["projection"]["hit_at"] or (block["percent"] or 0) >= 100:
        return
    hit = block["projection"]["hit_at"]
    early = span(parse(block["end"]) - parse(hit))
    yield _notice(f"heading/{block['id']}", "warn", f"Heading to reach the limit {early} before the block resets.", hit)


def _pace(limits: Iterable[Mapping[str, Any]]) -> Iterable[Notice]:
    """A week that is used up faster than it goes by."""
    for limit in limits:
        if not limit["window"].startswith("seven_day") or not limit["runs_out_at"] or limit["percent"] >= 100:
            continue
        if limit["percent"] < (limit["pace_percent"] or 0) + AHEAD:
            continue
        early = span(parse(limit["resets_at"]) - parse(limit["runs_out_at"]))
        text = f"{limit['label']}: ahead of its pace. At this rate it runs out {early} before it resets."
        yield _notice(f"pace/{limit['key']}/{limit['resets_at']}", "warn", text, limit["runs_out_at"])


def _machines(machines: Iterable[Mapping[str, Any]], now: int) -> Iterable[Notice]:
    for machine in machines:
        if not machine["online"] and machine["last_seen"] and now - parse(machine["last_seen"]) < FRESH_SILENCE:
            yield _notice(f"silent/{machine['source']}", "info", f"{machine['name']} is silent.", machine["last_seen"])
        for name, reader in sorted(machine["readers"].items()):
            if isinstance(reader, Mapping) and reader.get("state") == "unreadable":
                detail = reader.get("detail")
                text = f"{machine['name']}: {name} cannot be read" + (f" ({detail})." if detail else ".")
                yield _notice(f"reader/{machine['source']}/{name}", "warn", text, machine["last_seen"])


def _refused(refused: Mapping[str, int]) -> Iterable[Notice]:
    for source, count in sorted(refused.items()):
        yield _notice(f"stubs/{source}", "info", f"{many(count, 'record')} of {source} could not be taken in.", None)


def span(ms: int) -> str:
    """ "49m", "3h 20m", "46 hours" as people say it; to the nearest minute and half a minute up, as the page does."""
    minutes = max((ms + 30_000) // 60_000, 0)
    if minutes < 60:
        return f"{minutes}m"
    hours, rest = divmod(minutes, 60)
    return f"{hours} hours" if hours >= 10 else f"{hours}h {rest:02d}m"
