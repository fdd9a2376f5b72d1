"""What you want to see in a terminal: is it running, is the relay up to date, how much of the block and the week is used.

Reads the archive and leaves it as it is, so that it works whether the agent runs or not.
"""
from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from typing import Any

from ledger.prices import PriceBook
from ledger.stores.sqlite import SqliteStore
from ledger.times import iso, parse
from ledger.view import Views
from local_agent.archive import LOCAL
from local_agent.identity import Identity
from local_agent.lock import who_runs
from local_agent.log import one_line
from local_agent.mirror import Mirror
from local_agent.parts import VERSION
from local_agent.refuge import EnduringStore
from local_agent.settings import Settings

BAR = 24
COLOURS = {"bold": "1", "dim": "2", "good": "32", "warn": "33", "bad": "31", "name": "36"}
Ink = Callable[[str, str], str]


def gather(settings: Settings, identity: Identity | None, now_ms: int) -> dict[str, Any]:
    """Everything that status tells, as one JSON object."""
    running = who_runs(settings.home)
    said: dict[str, Any] = {
        "version": VERSION, "home": str(settings.home), "running": running is not None, "pid": running.pid if running else None,
        "url": f"http://localhost:{running.port}" if running and running.port else None, "name": settings.name, "sample": settings.sample,
        "source": identity.source if identity else None, "copied": identity.copied if identity else False, "time": iso(now_ms),
        "disk": _disk(running.port if running else None),
    }  # fmt: skip
    if not settings.archive.exists() or identity is None:
        return {**said, "relay": _relay(settings, None), "readers": {}, "sessions": {"total": 0, "active": 0}, "block": None, "limits": [], "totals": {}, "alerts": []}
    store = EnduringStore(settings.archive)
    try:
        return {**said, **_known(store, settings, identity, now_ms)}
    finally:
        store.close()


def _disk(port: int | None) -> str:
    """How the running agent finds its disk; it alone knows, since it goes on in memory."""
    if port is None:
        return "unknown"
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/status", timeout=2) as answer:
            return str(json.load(answer).get("disk", "unknown"))
    except (OSError, ValueError, AttributeError):
        return "unknown"


def _known(store: SqliteStore, settings: Settings, identity: Identity, now_ms: int) -> dict[str, Any]:
    summary = Views(store, PriceBook.load(), lambda: now_ms).view(LOCAL).summary(settings.tz)
    machine: dict[str, Any] = next((json.loads(row.body) for row in store.rows(LOCAL, identity.source, kind="machine")), {})
    return {
        "relay": _relay(settings, Mirror(store, tenant=LOCAL, source=identity.source)), "readers": machine.get("readers", {}),
        "sessions": {"total": summary.get("sessions_total", 0), "active": summary.get("active", 0)}, "block": summary.get("block"),
        "limits": summary.get("limits", []), "totals": summary.get("totals", {}), "alerts": summary.get("alerts", []), "unpriced": summary.get("unpriced", []),
    }  # fmt: skip


def _relay(settings: Settings, mirror: Mirror | None) -> dict[str, Any]:
    if not settings.relay:
        return {"url": None, "state": "unpaired", "detail": "python -m local_agent pair URL KEY"}
    if mirror is None:
        return {"url": settings.relay, "state": "new", "detail": "nothing was pushed yet", "behind": 0, "stubs": []}
    notes, place = mirror.notes(), mirror.place()
    last = notes.get("last_success", "")
    return {
        "url": settings.relay, "state": notes.get("state", "new") if settings.key else "no key", "detail": notes.get("detail", ""),
        "last_success": iso(int(last)) if last.isdigit() else None, "behind": len(mirror.difference(10_000)), "committed": place.committed,
        "durable": notes.get("durable") != "False", "keep_days": int(notes["keep_days"]) if notes.get("keep_days", "").isdigit() else None,
        "notices": notes.get("notices", "").split(), "bugs": int(notes.get("bugs", "0")), "stubs": [{"kind": s.ref.kind, "id": s.ref.id, "code": s.code} for s in mirror.stubs()],
    }  # fmt: skip


def plain(text: str, _style: str) -> str:
    return text


def coloured(text: str, style: str) -> str:
    return f"\x1b[{COLOURS[style]}m{text}\x1b[0m"


def paint(said: dict[str, Any], ink: Ink) -> str:
    """The same for people."""
    lines = [_headline(said, ink), _relay_line(said["relay"], ink)]
    if said["disk"] == "full":
        lines.append(f"{ink('!', 'bad')} disk   is full: the agent goes on in memory; make room and it writes everything down within a minute")
    lines += [_reader_line(name, report, ink) for name, report in sorted(said["readers"].items()) if report.get("state") != "absent"]
    sessions = said["sessions"]
    lines += ["", f"{sessions['total']} sessions, {ink(str(sessions['active']) + ' active', 'bold')}"]
    lines += _usage_lines(said, ink)
    lines += [f"{ink('!', 'warn')} {one_line(str(alert.get('text', '')))}" for alert in said["alerts"]]
    if said["sample"]:
        lines.append(ink("this is sample data", "warn"))
    return "\n".join(lines)


def _headline(said: dict[str, Any], ink: Ink) -> str:
    if said["running"]:
        return f"{ink('●', 'good')} agent  running at {ink(said['url'] or 'a port not known yet', 'name')} (process {said['pid']}, {said['version']})"
    return f"{ink('○', 'bad')} agent  not running: python -m local_agent service install"


def _relay_line(relay: dict[str, Any], ink: Ink) -> str:
    state = relay["state"]
    if state == "unpaired":
        return f"{ink('○', 'dim')} relay  not paired: {relay['detail']}"
    style = {"ok": "good", "new": "warn", "offline": "warn", "waiting": "warn", "throttled": "warn"}.get(state, "bad")
    behind = f", {relay['behind']} changes to send" if relay.get("behind") else ", up to date" if state == "ok" else ""
    when = f", last agreed {relay['last_success']}" if relay.get("last_success") else ""
    text = f"{ink('●', style)} relay  {ink(relay['url'], 'name')} {state}{behind}{when}"
    if relay.get("detail"):
        text += f"\n         {one_line(relay['detail'])}"
    if relay.get("stubs"):
        text += f"\n         {len(relay['stubs'])} records cannot be shown there: see --json"
    return text


def _reader_line(name: str, report: dict[str, Any], ink: Ink) -> str:
    ok = report.get("state") == "ok"
    counts = ", ".join(f"{count} {what}" for what, count in report.get("counted", {}).items())
    left_out = ", ".join(f"{count} {why}" for why, count in report.get("skipped", {}).items())
    detail = one_line(report.get("detail", ""))
    words = "; ".join(word for word in (counts, f"left out: {left_out}" if left_out else "", detail) if word)
    return f"{ink('●' if ok else '○', 'good' if ok else 'bad')} reads  {name}{': ' + words if words else ''}"


def _usage_lines(said: dict[str, Any], ink: Ink) -> list[str]:
    now, rows = parse(said["time"]), []
    block = said["block"]
    if block:
        rows.append(("Current block", _block(block, now, ink)))
    for limit in said["limits"]:
        rows.append((one_line(str(limit.get("label") or limit.get("window"))), f"{bar(limit.get('percent') or 0, ink)}  resets in {left(limit.get('resets_at'), now)}"))
    for name in ("today", "week", "month"):
        total = said["totals"].get(name)
        if total:
            rows.append((name.capitalize(), f"{_tokens(total):>{BAR},} tokens{_money(total.get('cost'))}"))
    width = max((len(name) for name, _ in rows), default=0)
    return [f"{name:{width}}  {text}" for name, text in rows]


def _block(block: dict[str, Any], now: int, ink: Ink) -> str:
    percent = block.get("percent")
    figure = bar(percent, ink) if percent is not None else f"{block['tokens']['total']:>{BAR},} tokens"
    ahead = (block.get("projection") or {}).get("percent")
    heading = f", heading for {ahead:.0f} %" if ahead is not None and percent is not None and ahead > percent + 0.5 else ""
    return f"{figure}  {left(block['end'], now)} left{heading}{_money(block.get('cost'))}"


def left(until: str | None, now: int) -> str:
    """How long until then, in the two largest units."""
    if not until:
        return "an unknown time"
    minutes = max(0, parse(until) - now) // 60_000
    days, hours = minutes // 1440, minutes // 60
    return f"{days} d {hours % 24} h" if days else f"{hours} h {minutes % 60:02} min" if hours else f"{minutes} min"


def _tokens(total: dict[str, Any]) -> int:
    tokens = total.get("tokens") or 0
    return int(tokens.get("total", 0)) if isinstance(tokens, dict) else int(tokens)


def _money(cost: float | None) -> str:
    return f"  ${cost:,.2f}" if cost is not None else ""


def bar(percent: float, ink: Ink) -> str:
    """A bar with its figure; red where the limit is near."""
    filled = round(min(max(percent, 0), 100) / 100 * BAR)
    style = "bad" if percent >= 90 else "warn" if percent >= 75 else "good"
    return f"{ink('█' * filled, style)}{ink('░' * (BAR - filled), 'dim')} {percent:5.1f} %"
