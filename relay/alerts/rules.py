"""What a person should hear of, by the thresholds that they chose: pure functions from facts to findings.

A threshold is left only some way below it, so that a value that wavers there is told once.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ledger.blocks import SAME_WINDOW
from ledger.times import DAY, HOUR, MINUTE, parse
from ledger.views.notices import span
from ledger.words import many
from relay.alerts.episodes import Finding
from relay.alerts.facts import GONE, Facts, Window
from relay.alerts.quiet import local
from relay.alerts.wishes import Rules, Share

BACK = 5.0
"""Points below a step at which it is armed again."""
AHEAD = 5.0
"""Points that a week must be ahead of its even pace before its end is foretold."""
NEWS_FOR = 2 * HOUR
"""How long a reset is still worth a word."""
GIVEN_UP = DAY
"""A silence that was not told within a day will not be; one that was stays open for a week."""
Seen = dict[str, dict[str, Any]]
"""By window: its "key", "id" (the reset it was first seen with: readings differ by seconds), "resets_at", "percent", "label"."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A window that ended at *at*, with what was used of it."""

    id: str
    label: str
    at: int
    percent: float


def follow_windows(seen: Seen, windows: Iterable[Window], now: int) -> tuple[Seen, list[Ended]]:
    """What is remembered of the windows after these readings, and those that ended a short while ago."""
    after = {key: dict(window) for key, window in seen.items() if now - window["resets_at"] < NEWS_FOR}
    for window in windows:
        known = after.get(window.key)
        if known and abs(window.resets_at - known["resets_at"]) <= SAME_WINDOW:
            after[window.key] = {**known, "percent": window.percent}
        else:
            if known and known["resets_at"] <= now:
                after[f"{window.key}@{known['id']}"] = known  # the next one is open already; this one is still worth a word
            after[window.key] = {"key": window.key, "id": window.resets_at, "resets_at": window.resets_at, "percent": window.percent, "label": window.label}
    ended = [Ended(f"{one['key']}/{one['id']}", one["label"], one["resets_at"], one["percent"]) for one in after.values() if one["resets_at"] <= now]
    return after, ended


def findings(rules: Rules, facts: Facts, seen: Seen, ended: Iterable[Ended]) -> list[Finding]:
    """All that is true now. *seen* is what follow_windows made of these facts."""
    return [
        *_shares(rules, facts, seen), *_ahead(rules, facts, seen), *_resets(rules, ended, facts), *_day(rules, facts),
        *_runaways(rules, facts), *_machines(rules, facts), *_keys(rules, facts),
    ]  # fmt: skip


def _id(window: Window, seen: Mapping[str, Mapping[str, Any]]) -> str:
    return f"{window.key}/{seen[window.key]['id']}"


def _shares(rules: Rules, facts: Facts, seen: Seen) -> Iterable[Finding]:
    for window in facts.windows:
        rule = _share_of(rules, window)
        if rule is None or not rule.on:
            continue
        reached = [step for step in rule.steps if window.percent >= step]
        for step in sorted(set(rule.steps)):
            if window.percent > step - BACK:
                level = "bad" if step == 100 else "warn" if step >= 90 else "info"
                said = "the limit is reached" if step == 100 else f"{window.percent:.0f}% used"
                text = f"{window.label}: {said}; it resets at {_clock(window.resets_at, facts)}."
                name = "block" if rule is rules.block else "week"
                yield Finding(f"{name}/{_id(window, seen)}/{step}", name, level, text, firm=window.percent >= step, rearm=0, covered=bool(reached) and step < max(reached))


def _share_of(rules: Rules, window: Window) -> Share | None:
    return rules.block if window.kind == "five_hour" else rules.week if window.kind.startswith("seven_day") else None


def _ahead(rules: Rules, facts: Facts, seen: Seen) -> Iterable[Finding]:
    if not rules.ahead.on:
        return
    block, least = facts.block, rules.ahead.minutes * MINUTE
    hit = parse(block["projection"]["hit_at"]) if block and block["unit"] == "percent" and block["projection"]["hit_at"] else None
    if block and hit is not None and (block["percent"] or 0) < 100:
        yield _runs_out(f"ahead/block/{block['id']}", "The block", hit, parse(block["end"]), least, facts)
    for window in facts.windows:
        out = window.runs_out_at
        if window.kind.startswith("seven_day") and out is not None and window.percent < 100:
            gap = window.percent - (window.pace_percent or 0)
            if gap > 0:
                yield _runs_out(f"ahead/{_id(window, seen)}", window.label, out, window.resets_at, least, facts, firm=gap >= AHEAD)


def _runs_out(id: str, what: str, hit: int, end: int, least: int, facts: Facts, *, firm: bool = True) -> Finding:
    text = f"{what}: at this rate it runs out at {_clock(hit, facts)}, {span(end - hit)} before it resets."
    return Finding(id, "ahead", "warn", text, firm=firm and end - hit >= least)


def _resets(rules: Rules, ended: Iterable[Ended], facts: Facts) -> Iterable[Finding]:
    for window in ended:
        if rules.reset.on and window.percent >= rules.reset.percent and facts.now - window.at < NEWS_FOR:
            yield Finding(f"reset/{window.id}", "reset", "info", f"{window.label}: reset at {_clock(window.at, facts)}; {window.percent:.0f}% had been used.")


def _day(rules: Rules, facts: Facts) -> Iterable[Finding]:
    budget = rules.day.usd
    if budget is not None and facts.day_cost > 0.95 * budget:
        text = f"Today cost ${facts.day_cost:,.2f}, more than the ${budget:,.2f} that you set."
        yield Finding(f"day/{facts.day}", "day", "warn", text, firm=facts.day_cost > budget)


def _runaways(rules: Rules, facts: Facts) -> Iterable[Finding]:
    rule, usual = rules.runaway, facts.usual
    if not rule.on:
        return
    most_cost = max(rule.usd_per_hour, rule.factor * usual.cost)
    most_tokens = max(rule.tokens_per_hour, rule.factor * usual.tokens)
    for session in facts.burners:
        times = max(session.cost / most_cost, session.tokens / most_tokens)
        if times > 0.7:
            used = f"${session.cost:,.2f}, {session.tokens:,} tokens in the last hour"
            against = f"; a busy hour here is ${usual.cost:,.2f}" if usual.hours else ""
            yield Finding(f"runaway/{session.key}", "runaway", "bad", f"{session.name} runs away: {used}{against}.", firm=times >= 1)


def _machines(rules: Rules, facts: Facts) -> Iterable[Finding]:
    for machine in facts.machines:
        silence = facts.now - machine.last_seen
        if rules.silent.on and machine.state == "lost" and rules.silent.minutes * MINUTE <= silence < GONE:
            text = f"{machine.name} fell silent at {_clock(machine.last_seen, facts)} in the middle of work, without a goodbye: asleep, offline, or its agent died."
            yield Finding(f"silent/{machine.source}", "silent", "warn", text, firm=silence < GIVEN_UP)
        if not rules.unreadable.on:
            continue
        for name, detail in machine.unread:
            text = f"{machine.name}: {name} cannot be read{f' ({detail[:120]})' if detail else ''}. `python -m local_agent doctor` there says what to do."
            yield Finding(f"unreadable/{machine.source}/{name}", "unreadable", "warn", text, wait=rules.unreadable.minutes * MINUTE)
        if machine.refused:
            text = f"{machine.name}: {many(machine.refused, 'record')} could not be taken in."
            yield Finding(f"refused/{machine.source}", "unreadable", "info", text, wait=rules.unreadable.minutes * MINUTE)


def _keys(rules: Rules, facts: Facts) -> Iterable[Finding]:
    """A key that ends soon, unless another of the same machine is good for longer."""
    if not rules.key.on:
        return
    horizon = facts.now + rules.key.days * DAY
    safe = {key.source for key in facts.keys if not key.expires or key.expires > horizon}
    for key in facts.keys:
        if key.source not in safe and key.expires > facts.now:
            last = key.expires - facts.now < DAY
            text = (f"The push key of {key.source} expires {_date(key.expires, facts)}: `python -m relay keys create --scope push --source {key.source}`, "
                    "then `python -m local_agent pair` there.")  # fmt: skip
            yield Finding(f"key/{key.source}/{key.expires // 1000}{'/last' if last else ''}", "key", "warn" if last else "info", text)


def _clock(at: int, facts: Facts) -> str:
    """17:40, on other days with the weekday."""
    there = local(at, facts.tz)
    return f"{there:%H:%M}" if there.date() == local(facts.now, facts.tz).date() else f"{there:%a %H:%M}"


def _date(at: int, facts: Facts) -> str:
    return f"{local(at, facts.tz):%Y-%m-%d %H:%M}"
