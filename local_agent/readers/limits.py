"""Official limits: how much of a five-hour or weekly window an account has used, as the tool itself says.

A window belongs to an account, not to a session or a machine: the newest reading wins, readings are never
added. A reading whose window was reset is not shown any more, but it still says where a block ended. What the tools leak into these fields is not believed.
"""
from __future__ import annotations

import json
from dataclasses import dataclass

from ledger import untidy
from ledger.record import Ref
from local_agent.archive import Step
from local_agent.limit_reading import believed
from local_agent.readers import handover

LIMIT = "limit"
SAME_MS = 10 * 60 * 1000
MOST_EARLIER = 64
"""How many earlier resets are remembered: they say where past blocks began, and what was used of them."""


@dataclass(frozen=True, slots=True, order=True)
class Reading:
    """One reading of one window; times in milliseconds. The newest of several is the greatest."""

    observed_at: int
    resets_at: int
    used_percent: float


def reading(window: str, used: object, resets_at: object, observed_at: int) -> Reading | None:
    """A reading of *window* that can be believed, or None."""
    found = believed(used, resets_at, observed_at, window)
    return Reading(observed_at, found[1], found[0]) if found else None


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
    """Readings as a reader keeps them among its facts: {window: [observed_at, resets_at, percent]}."""
    if not isinstance(value, dict):
        return {}
    return {name: Reading(*each) for name, each in value.items()}


def keep(step: Step, tool: str, account: str, window: str, found: Reading, source: str) -> bool:
    """Take over a reading: the newest is shown, and the resets of earlier windows are remembered. False if it says nothing new."""
    ref = Ref(LIMIT, f"{tool}/{account}/{window}")
    known = _known(step, ref)
    before = _reading(known) if known else None
    newest, other = (found, before) if before is None or found > before else (before, found)
    body = {
        "tool": tool, "account": account, "window": window, "used_percent": newest.used_percent, "resets_at": newest.resets_at,
        "observed_at": newest.observed_at, "source": source if newest is found else known.get("source") if known else source,
    }
    earlier = _earlier(known.get("earlier") if known else None, newest, other)
    if earlier:
        body["earlier"] = earlier
    used = _earlier_used(known.get("earlier_used") if known else None, newest, other)
    if used:
        body["earlier_used"] = used
    if body == known:
        return False
    handover.put(step, LIMIT, ref.id, body)
    return True


def _earlier(known: object, newest: Reading, other: Reading | None) -> list[int]:
    """The resets before the newest reading's, oldest first. Readings of one window name its reset within some seconds."""
    resets = [each for each in known if isinstance(each, int)] if isinstance(known, list) else []
    if other is not None and all(abs(each - other.resets_at) > SAME_MS for each in (*resets, newest.resets_at)):
        resets.append(other.resets_at)
    return sorted(each for each in resets if each < newest.resets_at - SAME_MS)[-MOST_EARLIER:]


def _earlier_used(known: object, newest: Reading, other: Reading | None) -> list[list[float]]:
    """Reset and percent of windows before the newest reading's, oldest first. Of one window the most that was read: use only grows."""
    used = [list(pair) for pair in known if isinstance(pair, list)] if isinstance(known, list) else []
    if other is not None:
        same = next((pair for pair in used if abs(pair[0] - other.resets_at) <= SAME_MS), None)
        if same is None:
            used.append([other.resets_at, other.used_percent])
        else:
            same[1] = max(same[1], other.used_percent)
    return sorted(pair for pair in used if pair[0] < newest.resets_at - SAME_MS)[-MOST_EARLIER:]


def _known(step: Step, ref: Ref) -> dict[str, object] | None:
    body = step.get(ref)
    found = json.loads(body) if body else None
    return found if isinstance(found, dict) else None


def _reading(body: dict[str, object]) -> Reading | None:
    found = [untidy.amount(body.get(name)) for name in ("observed_at", "resets_at", "used_percent")]
    return Reading(int(found[0] or 0), int(found[1] or 0), found[2] or 0.0)
