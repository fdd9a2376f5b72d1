"""Official limits: how much of a five-hour or weekly window an account has used, as the tool itself says.

A window belongs to an account, not to a session or a machine: the newest reading wins, readings are never
added, and a window is gone once it was reset. What the tools leak into these fields is not believed.
"""
from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from ledger.record import Ref
from local_agent.archive import LOCAL, Archive, Step
from local_agent.readers import handover, untidy
from local_agent.readers.windows import believed

LIMIT = "limit"


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of one window; times in milliseconds."""

    used_percent: float
    resets_at: int
    observed_at: int


def reading(used: object, resets_at: object, observed_at: int) -> Reading | None:
    """A reading that can be believed, or None."""
    found = believed(used, resets_at, observed_at)
    return Reading(*found, observed_at) if found else None


def window_name(minutes: object, otherwise: str) -> str:
    """Five hours and seven days by their length, give or take a little; *otherwise* the name the tool's field has."""
    length = untidy.amount(minutes)
    if length is None:
        return otherwise
    for name, meant in (("five_hour", 300), ("seven_day", 7 * 24 * 60)):
        if abs(length - meant) <= meant * 0.02:
            return name
    return f"{int(length)}_minutes"


def readings(value: object) -> dict[str, Reading]:
    """Readings as a reader keeps them among its facts: {window: [percent, resets_at, observed_at]}."""
    if not isinstance(value, dict):
        return {}
    return {name: Reading(*each) for name, each in value.items()}


def keep(archive: Archive, step: Step, tool: str, account: str, window: str, found: Reading, source: str, now: int) -> bool:
    """Keep *found* if it is newer than what is known and its window is not over."""
    if found.resets_at <= now:
        return False
    id = f"{tool}/{account}/{window}"
    known = _known(archive, step, Ref(LIMIT, id))
    if known is not None and (known.observed_at, known.resets_at, known.used_percent) >= (found.observed_at, found.resets_at, found.used_percent):
        return False
    handover.put(step, LIMIT, id, {
        "tool": tool, "account": account, "window": window, "used_percent": found.used_percent, "resets_at": found.resets_at,
        "observed_at": found.observed_at, "source": source,
    })
    return True


def _known(archive: Archive, step: Step, ref: Ref) -> Reading | None:
    under_way = step.puts.get(ref)
    body = under_way.body if under_way else archive.get(ref)
    return _reading(body) if body else None


def _reading(body: str) -> Reading:
    found = json.loads(body)
    return Reading(found["used_percent"], found["resets_at"], found["observed_at"])


def expired(archive: Archive, tool: str, now: int) -> list[Ref]:
    """The windows of a tool's accounts that were reset since they were read."""
    return [
        row.ref
        for row in archive.store.rows(LOCAL, archive.source, kind=LIMIT)
        if row.ref.id.startswith(f"{tool}/") and _reading(row.body).resets_at <= now
    ]


def drop(step: Step, refs: Iterable[Ref]) -> int:
    """A window that was reset is gone: nothing is known of the one that follows."""
    dropped = list(refs)
    for ref in dropped:
        step.delete(ref)
    return len(dropped)
