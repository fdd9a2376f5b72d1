"""The status as people read it: what runs, what was read, how much is used, and when it ends, as wide as the terminal is."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from ledger.times import parse
from ledger.words import many
from local_agent.commands.terminal import Ink, Piece, bar, breadth, folded, style_of
from local_agent.log import one_line

INDENT = 10
WIDE = 72
"""From so many columns on a bar stands beside its name."""
STATES = {"ok": "up to date", "new": "nothing was pushed yet", "offline": "cannot be reached", "no key": "has no key"}
HEALTH = {"ok": "good", "new": "warn", "offline": "warn", "waiting": "warn", "throttled": "warn"}


@dataclass(frozen=True, slots=True)
class Usage:
    """A line of use: its name, a share or an amount, and what there is to say of it."""

    name: str
    percent: float | None
    amount: str
    notes: str


def paint(said: dict[str, Any], ink: Ink, width: int = 80, tz: str = "UTC") -> str:
    """What status.gather found, for people."""
    now, zone = parse(said["time"]), ZoneInfo(tz)
    lines: list[str] = []
    for pieces in _state(said, now):
        lines += folded(pieces, width, INDENT, ink)
    sessions = said["sessions"]
    lines += ["", *folded([(f"{many(sessions['total'], 'session')}, ", ""), (f"{sessions['active']} active", "bold")], width, 2, ink)]
    lines += _drawn(list(_usages(said, now, zone)), width, ink)
    if said.get("unpriced"):
        lines += folded([(f"no price is known for {', '.join(map(one_line, said['unpriced']))}: the amounts are without them", "dim")], width, 2, ink)
    for alert in said["alerts"]:
        lines += folded([("!", "warn"), (f" {one_line(str(alert.get('text', '')))}", "")], width, 2, ink)
    if said["sample"]:
        lines.append(ink("this is sample data", "warn"))
    return "\n".join(lines)


# -- what runs


def _state(said: dict[str, Any], now: int) -> Iterator[list[Piece]]:
    if said["running"]:
        yield [("●", "good"), (" agent   running at ", ""), (said["url"] or "a port not known yet", "name"), (f" (process {said['pid']}, {said['version']})", "")]
    elif said.get("elsewhere"):
        yield [("○", "bad"), (" agent   not running with this home; one that answers at ", ""), (said["elsewhere"], "name"), (" has another: name it with --home", "")]
    else:
        yield [("○", "bad"), (" agent   not running: python -m local_agent service install", "")]
    yield from _relay(said["relay"], now)
    if said.get("disk") == "full":
        yield [("!", "bad"), (" disk    is full: the agent goes on in memory; make room and it writes everything down within a minute", "")]
    for name, report in sorted(said["readers"].items()):
        if report.get("state") != "absent":
            yield _reader(name, report)


def _relay(relay: dict[str, Any], now: int) -> Iterator[list[Piece]]:
    state = relay["state"]
    if state == "unpaired":
        yield [("○", "dim"), (f" relay   not paired: {relay['detail']}", "")]
        return
    behind = relay.get("behind")
    words = f"{many(behind, 'change')} to send" if behind and state in ("ok", "new") else STATES.get(state, state)
    agreed = f", agreed {ago(relay['last_success'], now)}" if relay.get("last_success") else ""
    yield [("●", HEALTH.get(state, "bad")), (" relay   ", ""), (relay["url"], "name"), (f" {words}{agreed}", "")]
    if relay.get("detail"):
        yield [(" " * INDENT + one_line(relay["detail"]), "")]
    if relay.get("stubs"):
        yield [(" " * INDENT + f"{many(len(relay['stubs']), 'record')} cannot be shown there: see --json", "")]


def _reader(name: str, report: dict[str, Any]) -> list[Piece]:
    good = report.get("state") == "ok"
    counts = ", ".join(f"{count:,} {what}" for what, count in report.get("counted", {}).items())
    left_out = ", ".join(f"{count} {why}" for why, count in report.get("skipped", {}).items())
    words = [word for word in (counts, f"left out: {left_out}" if left_out else "", one_line(report.get("detail", ""))) if word]
    return [("●" if good else "○", "good" if good else "bad"), (f" reads   {name}{': ' + '; '.join(words) if words else ''}", "")]


# -- how much is used


def _usages(said: dict[str, Any], now: int, zone: ZoneInfo) -> Iterator[Usage]:
    block = said["block"]
    if block:
        yield _block(block, now, zone)
    for limit in said["limits"]:
        yield Usage(one_line(str(limit.get("label") or limit.get("window"))), float(limit.get("percent") or 0), "", _limit_notes(limit, now, zone))
    for name in ("today", "week", "month"):
        total = said["totals"].get(name)
        if total:
            tokens = total.get("tokens") or 0
            yield Usage(name.capitalize(), None, f"{short(tokens.get('total', 0) if isinstance(tokens, dict) else tokens)} tokens", money(total.get("cost")))


def _limit_notes(limit: dict[str, Any], now: int, zone: ZoneInfo) -> str:
    """How long until what comes first; the other moment stands there without."""
    resets = when(limit.get("resets_at"), now, zone)
    if not limit.get("runs_out_at"):
        return f"resets {resets}"
    return f"resets {resets.partition(' (')[0]}, runs out {when(limit['runs_out_at'], now, zone)}"


def _block(block: dict[str, Any], now: int, zone: ZoneInfo) -> Usage:
    percent, ahead = block.get("percent"), (block.get("projection") or {}).get("percent")
    notes = [f"ends {when(block['end'], now, zone)}"]
    if ahead is not None and percent is not None and ahead > percent + 0.5:
        notes.append(f"heading for {ahead:.0f} %")
    if block.get("cost") is not None:
        notes.append(money(block["cost"]))
    return Usage("Current block", percent, f"{short(block['tokens']['total'])} tokens", ", ".join(notes))


def _drawn(usages: list[Usage], width: int, ink: Ink) -> list[str]:
    """Every line of use. In a narrow terminal the name has a line of its own; the bar takes what room there is."""
    room = max((breadth(usage.name) for usage in usages), default=0)
    wide = width >= WIDE
    length = max(8, min(24, width - room - 54)) if wide else max(8, min(30, width - 12))
    lines = []
    for usage in usages:
        figure = bar(usage.percent, ink, length) if usage.percent is not None else f"{usage.amount:>{length}}" if wide else usage.amount
        notes = [piece for piece in ((usage.notes, _note_style(usage)),) if piece[0]]
        if wide:
            head = usage.name + " " * (room - breadth(usage.name) + 2)
            taken = breadth(head) + length + (10 if usage.percent is not None else max(0, len(usage.amount) - length) + 2)
            pad = " " * (2 if usage.percent is not None else 10)
            first, *rest = folded([("x" * (taken - 1), ""), *((f" {text}", style) for text, style in notes)], width, room + 2, ink)
            said = first[taken - 1 :].lstrip()
            lines.append(f"{head}{figure}{pad if said else ''}{said}".rstrip())
            lines += rest
        else:
            lines += [*folded([(usage.name, "bold")], width, 2, ink), f"  {figure}"]
            lines += folded([("  ", ""), *notes], width, 2, ink) if notes else []
    return lines


def _note_style(usage: Usage) -> str:
    return "bad" if usage.percent is not None and style_of(usage.percent) == "bad" else ""


# -- amounts and times as people say them


def short(number: float) -> str:
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size * 0.9995:
            return f"{number / size:.3g} {unit}" if number / size < 999.5 else f"{number / size:,.0f} {unit}"
    return f"{number:,.0f}"


def money(cost: float | None) -> str:
    return f"${cost:,.2f}" if cost is not None else ""


def when(at: str | None, now: int, zone: ZoneInfo) -> str:
    """A moment to come, as a clock on the wall shows it, and how long until then."""
    if not at:
        return "at an unknown time"
    there, here = (datetime.fromtimestamp(each / 1000, zone) for each in (parse(at), now))
    days = (there.date() - here.date()).days
    day = "" if days == 0 else "tomorrow " if days == 1 else f"{there:%a %-d %b} "
    return f"{day}{there:%H:%M} (in {left(at, now)})"


def left(until: str | None, now: int) -> str:
    """How long until then, in the two largest units."""
    if not until:
        return "an unknown time"
    return _span(max(0, parse(until) - now) // 60_000)


def ago(at: str, now: int) -> str:
    seconds = max(0, now - parse(at)) // 1000
    return "just now" if seconds < 5 else f"{seconds} s ago" if seconds < 90 else f"{_span(seconds // 60)} ago"


def _span(minutes: int) -> str:
    days, hours = minutes // 1440, minutes // 60
    return f"{days} d {hours % 24} h" if days else f"{hours} h {minutes % 60:02} min" if hours else f"{minutes} min"
