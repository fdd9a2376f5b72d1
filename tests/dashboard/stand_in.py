"""A stand-in for an agent or a relay: the page's files and the read API's shapes, with made-up sessions.

The page's own tests use it for what real servers cannot be asked to do: ten thousand sessions, an hour of
messages in a minute, names nobody should have, clocks that are wrong. The journeys use real servers.

    python -m tests.dashboard.stand_in --home agent --port 3901 --count 240
"""
from __future__ import annotations

import argparse
import asyncio
import copy
import gzip
import importlib.util
import json
import mimetypes
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote
from zoneinfo import ZoneInfo

import uvicorn
from msgspec import structs

from ledger.errors import Problem
from ledger.http.page import POLICY
from local_agent.push.sealing import Seal, to_bytes
from relay.alerts.wishes import Channel, Wishes, changed

PAGE = Path(__file__).resolve().parents[2] / "dashboard"
spec = importlib.util.spec_from_file_location("sample", PAGE / "tools/sample.py")
assert spec and spec.loader
made_up = importlib.util.module_from_spec(spec)
spec.loader.exec_module(made_up)
mimetypes.add_type("application/manifest+json", ".webmanifest")
mimetypes.add_type("text/javascript", ".js")
BERLIN = ZoneInfo("Europe/Berlin")
"""Where the tests' browser is."""
SORTS = {"last_activity": lambda s: s["last_activity"], "tokens": lambda s: s["estimated_tokens"], "cost": lambda s: s["cost"] or 0, "duration": lambda s: s["duration_minutes"]}


class Ledger:
    """What the stand-in knows; *offset* is how wrong its clock is, in seconds."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.version, self.viewers, self.beats = options, 1, set[asyncio.Event](), True
        self.offset, self.quiet_since = options.offset, 0
        now = self.now()
        self.whole = made_up.feed(now, count=options.count, sent=options.count, percent=options.percent, home=options.home, sample=options.sample, zone=BERLIN)
        if not options.count:
            self.whole["summary"] |= {"block": None, "recent_blocks": [], "limits": [], "days": [], "hours": [], "alerts": [], "projects": [], "models": []}
        if options.odd:
            odd(self.whole, now)
        if options.shows:
            self.whole = cut(self.whole, options.shows.split(","))
        if options.seal:
            seal(self.whole, options.seal)
        self.rows = [r["value"] for r in self.whole["records"]]
        self.changed: list[tuple[int, str]] = []

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.offset)

    def feed(self, cursor: str | None, sent: int) -> dict[str, Any]:
        mine = f"{self.options.home}-{self.options.count}-"  # what another ledger said last is no cursor here
        known = int(cursor.removeprefix(mine)) if cursor and cursor.startswith(mine) and int(cursor.removeprefix(mine)) <= self.version else 0
        machines = copy.deepcopy(self.whole["machines"])
        for each in machines:
            if each["online"]:
                each["last_seen"] = made_up.iso(self.now() - timedelta(seconds=self.quiet_since))
                each["online"] = self.quiet_since < 150
        base = {"cursor": f"{mine}{self.version}", "head": f"{mine}{self.version}", "since": f"{mine}{known}" if known else None, "reset": [], "removed": [], "machines": machines,
                "server_time": made_up.iso(self.now()), "sample": self.options.sample, "home": self.options.home, "full": not known}
        if known == self.version:
            del base["machines"]
        if not known:
            return base | {"records": [self.record(s) for s in self.rows[:sent]], "summary": self.whole["summary"]}
        keys = {key for at, key in self.changed if at > known}
        summary = {k: self.whole["summary"][k] for k in ("block", "totals", "sessions_total", "active", "limits", "alerts")} | {"days_changed": self.whole["summary"]["days"][-1:]} if keys or known < self.version else {}
        return base | {"records": [self.record(s) for s in self.rows if s["key"] in keys], "summary": summary}

    @staticmethod
    def record(s: dict[str, Any]) -> dict[str, Any]:
        return {"kind": "session", "source": s["source"], "key": s["key"], "value": s}

    def change(self, n: int = 1) -> None:
        """The *n* newest sessions used a little more; below zero, the oldest."""
        self.version += 1
        block = self.whole["summary"]["block"]
        some, n = self.rows[:n] if n > 0 else self.rows[n:], abs(n)
        for s in some:
            s["tokens"]["output"] += 1200
            s["estimated_tokens"] += 1200
            s["cost"] = round((s["cost"] or 0) + 0.05, 4)
            s["last_activity"] = made_up.iso(self.now())
            self.changed.append((self.version, s["key"]))
            for machine in self.whole["machines"]:
                machine["today_cost"] = round(machine["today_cost"] + 0.05 * (machine["source"] == s["source"]), 4)
        self.changed = self.changed[-500:]
        if block:
            block["tokens"]["total"] += 1200 * n
            block["cost"] = round(block["cost"] + 0.05 * n, 2)
            block["percent"] = block["percent"] and min(130, round(block["percent"] + 0.01, 2))
            block["curve"][-1] = [made_up.iso(self.now()), block["percent"] or block["tokens"]["total"]]
        if self.whole["summary"]["days"]:
            today = self.whole["summary"]["days"][-1]
            today["cost"], today["tokens"] = round(today["cost"] + 0.05 * n, 4), today["tokens"] + 1200 * n
        self.wake()

    def wake(self) -> None:
        for viewer in self.viewers:
            viewer.set()

    def sessions(self, query: dict[str, list[str]]) -> dict[str, Any]:
        def one(name: str, otherwise: str = "") -> str:
            return query.get(name, [otherwise])[0]
        words, sort = one("q").lower().split(), one("sort", "-last_activity")
        fit = [s for s in self.rows if all(w in f"{s['title']} {s['project']} {s['git_branch']}".lower() for w in words)
               and (not one("project") or s["project"] == one("project")) and (not one("machine") or s["machine"] == one("machine")) and (not one("model") or one("model") in s["models_used"])]
        fit.sort(key=SORTS[sort.lstrip("-")], reverse=sort.startswith("-"))
        start, limit = int(one("cursor", "0")), int(one("limit", "50"))
        return {"sessions": fit[start:start + limit], "next": str(start + limit) if start + limit < len(fit) else None, "total": len(fit)}

    def session(self, key: str) -> dict[str, Any] | None:
        return next((s for s in self.rows if s["key"] == key), None)


def usage(s: dict[str, Any]) -> list[dict[str, Any]]:
    """The session's tokens over its quarter-hours, some busier than others."""
    start, n = datetime.fromisoformat(s["start_time"]), max(1, min(960, s["duration_minutes"] // 15 + 1))
    start -= timedelta(minutes=start.minute % 15, seconds=start.second, microseconds=start.microsecond)
    busy = [2 + i * 7 % 5 + i * 3 % 4 for i in range(n)]
    return [{"at": made_up.iso(start + timedelta(minutes=15 * i)), "first": s["start_time"], "last": s["last_activity"], "model": s["models_used"][0] if s["models_used"] else "", "price_class": "standard",
             **{k: v * each // sum(busy) for k, v in s["tokens"].items()}, "requests": 3, "reported_cost": None, "cost": (s["cost"] or 0) * each / sum(busy)} for i, each in enumerate(busy)]


def cost(s: dict[str, Any]) -> dict[str, Any]:
    model = s["models_used"][0] if s["models_used"] else ""
    base = made_up.MODELS.get(model, (0, 0))[1]
    return {"cost": s["cost"], "currency": "USD", "price_book": {"date": "2026-11-01"}, "lines": [{"model": model, "price_class": "standard", "kind": k, "tokens": v, "usd_per_million": base * made_up.TIMES[k], "amount": v * base * made_up.TIMES[k] / 1e6, "source": "the price list", "source_date": "2026-11-01"} for k, v in s["tokens"].items() if v and model]}


def odd(whole: dict[str, Any], now: datetime) -> None:
    """Names and numbers that are allowed, and that a page may fail to show well."""
    names = ["🚀🔥 émoji 👩‍👩‍👧‍👦 family", "שלום עולם — مشروع", "<img src=x onerror=alert(1)><script>alert(2)</script>", "long " + "x" * 495, "", "a\u202egnp.exe", "Ζ" * 120, "${constructor.constructor('alert(3)')()}", '"><svg onload=alert(4)>']
    for record, name in zip(whole["records"], names, strict=False):
        record["value"] |= {"title": name, "project": name[:200] or None, "git_branch": name[:200] or None, "machine": name[:80] or "thinkpad"}
    rows = [r["value"] for r in whole["records"]]
    rows[3] |= {"duration_minutes": 40 * 24 * 60, "start_time": made_up.iso(now - timedelta(days=40))}
    rows[5] |= {"estimated_tokens": 0, "tokens": dict.fromkeys(rows[5]["tokens"], 0), "cost": 0, "models_used": [], "models": []}
    rows[6] |= {"estimated_tokens": 10_000_000, "cost": None, "unpriced": ["mystery-9"], "models_used": ["mystery-9"], "models": [{"model": "mystery-9", "tokens": 10_000_000, "cost": None}], "provenance": "declared"}
    rows[7] |= {"provenance": "declared", "context": None, "stale": True}
    models = {f"model-{n}-{'x' * (n % 30)}": [1_000_000 * n, 3.5 * n] for n in range(1, 61)}
    summary = whole["summary"]
    summary["models"] = list(models)
    summary["unpriced"] = ["mystery-9", names[2]]
    summary["projects"] = [n for n in names if n]
    for d in summary["days"][-20:]:
        d["models"] = models
        d["projects"] = {name: [d["tokens"] / len(names), d["cost"] / len(names)] for name in names}
        d["cost"], d["tokens"] = sum(v[1] for v in models.values()), sum(v[0] for v in models.values())
    summary["block"]["models"] = [{"model": m, "tokens": v[0], "cost": v[1]} for m, v in models.items()]
    summary["alerts"] = [{"id": "odd", "level": "info", "text": names[2] + " " + names[3], "at": made_up.iso(now)}]
    whole["machines"][0] |= {"name": names[3][:80], "os": names[1]}
    whole["machines"][1] |= {"name": names[0], "state": "attention", "note": "The tracker database cannot be read: " + names[2]}


def seal(whole: dict[str, Any], key: str) -> None:
    """Every name as an agent that seals would send it."""
    sealer = Seal(to_bytes(key))
    for record in whole["records"]:
        record["value"] |= {kind: sealer.sealed(kind, record["value"][kind]) for kind in ("title", "project", "git_branch") if record["value"][kind]}
    summary = whole["summary"]
    summary["projects"] = [sealer.sealed("project", name) for name in summary["projects"]]
    for d in summary["days"]:
        d["projects"] = {name and sealer.sealed("project", name): value for name, value in d["projects"].items()}


def cut(value: Any, shows: list[str]) -> Any:
    """What a key that shows these parts only gets: the rest is null, or empty where it is a list."""
    parts = {"records": "sessions", "machines": "machines", "block": "blocks", "recent_blocks": "blocks", "limits": "limits", "days": "totals", "hours": "totals", "totals": "totals"}
    names = {"title": "titles", "git_branch": "titles", "project": "projects", "machine": "machines", "cost": "costs", "cost_per_hour": "costs", "today_cost": "costs"}
    if isinstance(value, dict):
        return {k: ([] if isinstance(v, list) else None) if parts.get(k, shows[0]) not in shows or names.get(k, shows[0]) not in shows else [] if k == "alerts" else cut(v, shows) for k, v in value.items()}
    return [cut(each, shows) for each in value] if isinstance(value, list) else value


class StandIn:
    """The ASGI application."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger, self.tickets, self.wishes = ledger, set[str](), Wishes()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["type"] == "websocket":
            await self.live(scope, receive, send)
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {k.decode(): v.decode() for k, v in scope["headers"]}
        status, kind, data, extra = self.answer(scope["method"], unquote(scope["path"]), parse_qs(scope["query_string"].decode()), headers, body)
        head = [(b"content-type", kind.encode()), (b"access-control-allow-origin", b"*"), (b"access-control-allow-headers", b"authorization, if-none-match"), (b"access-control-expose-headers", b"etag, date"), (b"cache-control", b"no-cache"), *extra]
        if len(data) > 500 and "gzip" in headers.get("accept-encoding", "") and "woff2" not in kind:
            data = gzip.compress(data, 6)
            head.append((b"content-encoding", b"gzip"))
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": data})

    def answer(self, method: str, path: str, query: dict[str, list[str]], headers: dict[str, str], body: bytes) -> tuple[int, str, bytes, list[tuple[bytes, bytes]]]:
        ledger, wanted = self.ledger, self.ledger.options.key
        if method == "OPTIONS":
            return 204, "text/plain", b"", []
        if path == "/_test":
            return self.told(json.loads(body))
        path = path.removeprefix("/api")
        if path == "/v1/ping" and not ledger.options.static:
            return self.json({"home": ledger.options.home, "version": "1.0.0", "server_time": made_up.iso(ledger.now()), "url": "", "sample": ledger.options.sample}
                             | ({"scope": ledger.options.scope, "role": ledger.options.role, "shows": ledger.options.shows.split(",") if ledger.options.shows else None, "expires": "2031-01-05T10:00:00.000Z" if ledger.options.shows else None} if "authorization" in headers else {}))
        if path.startswith(("/v1/", "/sessions", "/export")) and not ledger.options.static:
            if wanted and headers.get("authorization") != f"Bearer {wanted}":
                return self.json({"title": "unknown key", "status": 401}, 401)
            return self.asked(method, path, query, headers, body)
        return self.file(path)

    def alerts(self, method: str, path: str, body: bytes) -> tuple[int, str, bytes, list[tuple[bytes, bytes]]]:
        if path == "/v1/alerts":
            return self.json({"open": [{"id": "ahead/seven_day_opus", "rule": "ahead", "level": "warn", "text": "Week, Opus: at this rate it runs out 1d 22h before it resets.", "since": made_up.iso(self.ledger.now()), "told": made_up.iso(self.ledger.now()), "over": None}], "past": []})
        if path == "/v1/alerts/trial":
            return self.json({"channel": json.loads(body)["channel"], "ok": False, "detail": "its name is not known"})
        if method == "PUT":
            try:
                self.wishes, channels = changed(self.wishes, json.loads(body))
            except Problem as problem:
                return self.json({"detail": problem.detail}, problem.status)
            if channels is not None:
                self.wishes = structs.replace(self.wishes, channels=tuple(Channel(name=c.name, kind=c.kind or "webhook", shown="https://example.com/…") for c in channels))
        return self.json(self.wishes.public())

    def asked(self, method: str, path: str, query: dict[str, list[str]], headers: dict[str, str], body: bytes) -> tuple[int, str, bytes, list[tuple[bytes, bytes]]]:
        ledger = self.ledger
        if path == "/v1/feed":
            tag = f'"{ledger.options.home}-{ledger.options.count}-{ledger.version}-{ledger.quiet_since}"'
            if headers.get("if-none-match") == tag:
                return 304, "application/json", b"", [(b"etag", tag.encode())]
            status, kind, data, _ = self.json(ledger.feed(query.get("cursor", [None])[0], int(query.get("sessions", ["200"])[0])))
            return status, kind, data, [(b"etag", tag.encode())]
        if path == "/v1/live-tickets" and method == "POST":
            self.tickets.add(ticket := f"t{len(self.tickets)}")
            return self.json({"ticket": ticket}) if not ledger.options.no_live else self.json({}, 404)
        if path == "/export":
            return self.json(query)
        if path == "/v1/alerts/key":
            return self.json({"key": "BNcRdreALRFXTkOOUHK1EtK2wtaz5Ry4YfYCA_0QTpQtUbVlUls0VJXg7A8u-Ts1XbjhazAkj7I99e8QcYP7DkM"})
        if path in ("/v1/alerts", "/v1/alerts/settings", "/v1/alerts/trial"):
            return self.alerts(method, path, body)
        if path.startswith("/v1/alerts/subscriptions"):
            return self.json({"id": "browser-1"}, 201 if method == "POST" else 200)
        parts = path.strip("/").split("/")
        if len(parts) == 1:
            return self.json(ledger.sessions(query))
        found = ledger.session(parts[1])
        if not found:
            return self.json({"title": "no such session"}, 404)
        return self.json(cost(found) if len(parts) == 3 else found | {"usage": usage(found), "sources": [found["source"]]})

    def told(self, told: dict[str, Any]) -> tuple[int, str, bytes, list[tuple[bytes, bytes]]]:
        """What a test asks of the stand-in."""
        ledger = self.ledger
        if "change" in told:
            ledger.change(told["change"])
        ledger.beats = told.get("beats", ledger.beats)
        ledger.quiet_since = told.get("quiet_since", ledger.quiet_since)
        if "machines" in told:
            ledger.whole["machines"] = told["machines"]
        if "summary" in told:
            ledger.whole["summary"] |= told["summary"]
            ledger.version += 1
            ledger.wake()
        return self.json({"version": ledger.version})

    @staticmethod
    def json(value: Any, status: int = 200) -> tuple[int, str, bytes, list[tuple[bytes, bytes]]]:
        return status, "application/json", json.dumps(value, separators=(",", ":")).encode(), []

    @staticmethod
    def file(path: str) -> tuple[int, str, bytes, list[tuple[bytes, bytes]]]:
        found = (PAGE / (path.strip("/") or "index.html")).resolve()
        if not found.is_relative_to(PAGE) or not found.is_file() or found.suffix == ".py":
            return 404, "text/plain", b"not here", []
        kind = "font/woff2" if found.suffix == ".woff2" else mimetypes.guess_type(found.name)[0] or "application/octet-stream"
        return 200, kind, found.read_bytes(), [(b"content-security-policy", POLICY.encode())] if found.name in ("index.html", "sw.js") else []

    async def live(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        ledger, ticket = self.ledger, parse_qs(scope["query_string"].decode()).get("ticket", [""])[0]
        await receive()
        if ledger.options.home == "relay" and ticket not in self.tickets:
            return await send({"type": "websocket.close", "code": 4401})
        self.tickets.discard(ticket)
        await send({"type": "websocket.accept"})
        woken, cursor = asyncio.Event(), ""

        async def say(value: dict[str, Any]) -> None:
            await send({"type": "websocket.send", "text": json.dumps(value, separators=(",", ":"))})
        if ledger.options.home == "agent":
            await say({"type": "initial_data", "active_sessions": []})
        reading = asyncio.ensure_future(receive())
        ledger.viewers.add(woken)
        beat = 0.5 if ledger.options.home == "agent" else 20
        try:
            while True:
                waking = asyncio.ensure_future(woken.wait())
                await asyncio.wait({reading, waking}, timeout=beat, return_when=asyncio.FIRST_COMPLETED)
                if reading.done():
                    message = reading.result()
                    if message["type"] == "websocket.disconnect":
                        return None
                    asked = json.loads(message["text"])
                    reading = asyncio.ensure_future(receive())
                    if asked["type"] == "subscribe":
                        feed = ledger.feed(asked.get("cursor"), asked.get("sessions", 200))
                        cursor = feed["cursor"]
                        await say({"type": "feed", **feed})
                elif woken.is_set():
                    woken.clear()
                    if cursor:
                        feed = ledger.feed(cursor, 200)
                        large = len(json.dumps(feed)) > 24_576
                        await say({"type": "changed", "head": feed["head"]} if large else {"type": "feed", **feed})
                        cursor = feed["cursor"]
                elif cursor and ledger.beats:
                    await say({"type": "hb", "server_time": made_up.iso(ledger.now())})
                waking.cancel()
        finally:
            ledger.viewers.discard(woken)
            reading.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--home", default="agent", choices=["agent", "relay"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--count", type=int, default=240)
    parser.add_argument("--percent", type=float, default=58)
    parser.add_argument("--key", default="")
    parser.add_argument("--scope", default="read", help="of its key")
    parser.add_argument("--role", default="member", help="of its key")
    parser.add_argument("--seal", default="", help="a seal key: every name is sealed with it")
    parser.add_argument("--shows", default="", help="the only parts that its key shows")
    parser.add_argument("--offset", type=float, default=0, help="how wrong its clock is, in seconds")
    for flag in ("sample", "odd", "static", "no-live"):
        parser.add_argument(f"--{flag}", action="store_true")
    options = parser.parse_args()
    uvicorn.run(StandIn(Ledger(options)), host="127.0.0.1", port=options.port, log_level="warning", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()
