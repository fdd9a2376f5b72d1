"""Make up a feed: for the sample that a visitor may ask for, and for the page's tests.

    python dashboard/tools/sample.py             write dashboard/sample.json

Everything follows from the seed and the moment, so the same call gives the same bytes. The shapes are
those of GET /v1/feed; the numbers are nobody's.
"""
from __future__ import annotations

import json
import random
import uuid
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

OUT = Path(__file__).resolve().parent.parent / "sample.json"
MODELS = {"claude-opus-4-5-20251101": (0.42, 5.0), "claude-sonnet-4-5-20250929": (0.46, 3.0), "claude-haiku-4-5-20251001": (0.12, 1.0)}
"""Each with its share, and dollars for a million tokens of input; the other kinds cost this many times as much."""
TIMES = {"input": 1, "output": 5, "cache_write_5m": 1.25, "cache_write_1h": 2, "cache_read": 0.1}
PROJECTS = {"payments-api": 5, "relay": 5, "dashboard": 4, "infra-terraform": 2, "docs-site": 3, "dotfiles": 1, "data-pipeline": 1, "mobile": 1}
TITLES = ["Idempotency keys for payouts", "Batch relay uploads", "Make the block projection honest", "Add CSV export to usage report",
          "Explain the migration order", "Upgrade to Python 3.12", "Clean up dead feature flags", "Parse cache tokens for old logs",
          "Audit log for token changes", "Profile slow dashboard query", "Split the settings module", "Move rate limits into Redis",
          "Retry webhook deliveries with jitter", "Flaky test in the scheduler", "Document the restore drill", "Trim the container image"]
BRANCHES = ["main", "fix/webhooks", "feat/relay-batch", "main", "chore/deps", "spike/projection"]
MACHINES = [("mbp-16", "macOS 15.6"), ("studio", "macOS 15.6"), ("ci-runner-2", "Debian 12"), ("thinkpad", "Ubuntu 24.04")]
SPENT = {"claude-opus-4-5-20251101": 12.10, "claude-sonnet-4-5-20250929": 5.61, "claude-haiku-4-5-20251001": 0.71}
"""Of the open block, which is all of today; the same by machine in TODAY."""
TODAY = [12.84, 4.10, 1.48, 0.0]
USED = 46_300_000
HOURS = [0, 0, 0, 0, 0, 0, 1, 4, 9, 16, 19, 17, 9, 14, 20, 21, 17, 12, 6, 4, 7, 8, 5, 2]


def iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def session(roll: random.Random, number: int, last: datetime, *, active: bool = False) -> dict[str, Any]:
    """One session that was last active at *last*."""
    model = roll.choices(list(MODELS), [share for share, _ in MODELS.values()])[0]
    project = roll.choices(list(PROJECTS), list(PROJECTS.values()))[0]
    minutes = roll.choice([9, 14, 19, 24, 31, 41, 50, 64, 80, 128]) if not active else [41, 128, 9][number % 3]
    requests = max(3, minutes * roll.randint(2, 5) // 2)
    tokens = {"input": requests * roll.randint(40, 900), "output": requests * roll.randint(100, 500), "cache_write_5m": requests * roll.randint(600, 2200),
              "cache_write_1h": 0, "cache_read": requests * roll.randint(12_000, 52_000)}
    total, name = sum(tokens.values()), str(uuid.UUID(int=roll.getrandbits(128), version=4))
    cost = round(sum(n * TIMES[kind] for kind, n in tokens.items()) * MODELS[model][1] / 1e6, 4)
    machine = MACHINES[(number % 2) if active else roll.choices(range(4), [6, 3, 1, 2])[0]]
    size, used = 200_000, roll.randint(18_000, 168_000)
    return {"key": name, "id": name, "session_type": "claude_code" if roll.random() < 0.9 else "codex", "start_time": iso(last - timedelta(minutes=minutes)),
            "end_time": None if active else iso(last), "last_activity": iso(last), "is_active": active, "stale": False,
            "total_messages": requests, "models_used": [model], "estimated_tokens": total, "duration_minutes": minutes, "project": project,
            "title": TITLES[number % len(TITLES)] if active else roll.choice(TITLES), "git_branch": roll.choice(BRANCHES), "machine": machine[0],
            "source": machine[0], "account": "a1", "metadata": {}, "provenance": "observed", "tokens": tokens, "cost": cost, "unpriced": [],
            "models": [{"model": model, "tokens": total, "cost": cost}], "context": {"used": used, "size": size, "percent": round(100 * used / size, 1)},
            "activity": [roll.randint(2_000, 90_000) if roll.random() < 0.9 else 0 for _ in range(24)] if active else []}


def sessions(roll: random.Random, now: datetime, count: int) -> list[dict[str, Any]]:
    """*count* sessions, newest first, three of them active, the others in working hours."""
    found = [session(roll, n, now - timedelta(seconds=20 + 40 * n), active=True) for n in range(min(3, count))]
    at = now
    for number in range(3, count):
        at -= timedelta(minutes=roll.choice([25, 50, 95, 180, 420]))
        while roll.randint(0, 21) > HOURS[at.hour] or (at.weekday() > 4 and roll.random() < 0.7):
            at -= timedelta(hours=1)
        found.append(session(roll, number, at))
    return found


def split(total: float, names: dict[str, float], roll: random.Random) -> dict[str, float]:
    weights = {name: weight * roll.uniform(0, 1.6) for name, weight in names.items()}
    whole = sum(weights.values()) or 1
    return {name: total * weight / whole for name, weight in weights.items() if weight > 0.02 * whole}


def day(roll: random.Random, at: datetime, *, today: bool = False) -> dict[str, Any] | None:
    weekend = at.weekday() > 4
    if not today and roll.random() < (0.72 if weekend else 0.16):
        return None
    cost = sum(SPENT.values()) if today else roll.lognormvariate(2.6 if weekend else 3.0, 0.55)
    per = USED / sum(SPENT.values()) if today else 2.4e6

    def part(names: dict[str, float]) -> dict[str, list[float]]:
        return {name: [round(value * per), round(value, 4)] for name, value in split(cost, names, roll).items()}
    if today:
        exact: dict[str, dict[str, float]] = {"models": SPENT, "machines": {name: spent for (name, _), spent in zip(MACHINES, TODAY, strict=True) if spent}}
        return {"date": at.date().isoformat(), "cost": round(cost, 4), "tokens": USED, "sessions": 5, "projects": part({name: float(n) for name, n in PROJECTS.items()}), "tools": part({"claude_code": 9, "codex": 1}),
                **{by: {name: [round(spent * per), spent] for name, spent in amounts.items()} for by, amounts in exact.items()}}
    return {"date": at.date().isoformat(), "cost": round(cost, 4), "tokens": round(cost * per), "sessions": max(1, round(cost / 3)),
            "models": part({name: share for name, (share, _) in MODELS.items()}), "projects": part({name: float(n) for name, n in PROJECTS.items()}),
            "machines": part({name: 4.0 - n for n, (name, _) in enumerate(MACHINES)}), "tools": part({"claude_code": 9, "codex": 1})}


def block(roll: random.Random, now: datetime, percent: float) -> dict[str, Any]:
    """A block under way for 2 h 56 min, with *percent* of the plan's limit used."""
    start = now - timedelta(minutes=176)
    steps = [roll.choice([0, 1, 2, 3]) + 0.2 for _ in range(30)]
    whole, so_far, curve = sum(steps), 0.0, [[iso(start), 0.0]]
    for number, step in enumerate(steps, 1):
        so_far += step
        curve.append([iso(start + timedelta(minutes=176 * number / 30)), round(percent * so_far / whole, 2)])
    ahead = percent * 300 / 176
    hit = start + timedelta(minutes=176 * 100 / percent) if ahead > 100 else None
    series = [roll.randint(20_000, 160_000) if roll.random() < 0.85 else 2_000 for _ in range(60)]
    return {"id": "block-" + iso(start), "start": iso(start), "end": iso(start + timedelta(hours=5)), "basis": "official", "percent": percent,
            "percent_basis": "official", "tokens": {"input": 1_280_000, "output": 318_000, "cache_write": 2_400_000, "cache_read": 42_302_000, "total": 46_300_000},
            "cost": round(sum(SPENT.values()), 2), "requests": 431, "sessions": 5, "burn": {"tokens_per_minute": 94_200, "cost_per_hour": 6.71, "series": series},
            "projection": {"percent": round(ahead, 1), "low": round(ahead * 0.875, 1), "high": round(ahead * 1.135, 1), "cost": 33.10, "tokens": 78_900_000, "hit_at": hit and iso(hit)},
            "curve": curve, "unit": "percent", "limit": 100, "even_pace_percent": 58.7,
            "models": [{"model": name, "tokens": round(USED * share), "cost": SPENT[name]} for name, (share, _) in MODELS.items()]}


def limits(now: datetime) -> list[dict[str, Any]]:
    resets = now + timedelta(days=3, hours=7, minutes=22)
    rows = [("seven_day", "Week, all models", 41), ("seven_day_opus", "Week, Opus", 63), ("seven_day_sonnet", "Week, Sonnet", 28)]
    return [{"key": f"claude_code/a1/{window}", "label": label, "tool": "claude_code", "account": "a1", "window": window, "percent": percent, "pace_percent": 52.7,
             "resets_at": iso(resets), "observed_at": iso(now - timedelta(minutes=2)), "source": "statusline", "runs_out_at": iso(resets - timedelta(hours=46)) if percent > 60 else None}
            for window, label, percent in rows]


def machines(now: datetime, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"source": name, "name": name, "os": os, "version": "1.0.0", "tz": "UTC", "online": n < 3, "beat_s": 60,
             "last_seen": iso(now - (timedelta(seconds=8 * n + 3) if n < 3 else timedelta(days=2, hours=4))), "active": sum(1 for s in rows if s["is_active"] and s["source"] == name),
             "today_cost": TODAY[n], "readers": {"claude_code": {"state": "ok", "detail": "", "counted": {}, "skipped": {}}}, "state": "ok" if n < 3 else "silent", "note": ""}
            for n, (name, os) in enumerate(MACHINES)]


def totals(days: list[dict[str, Any]], today: str) -> dict[str, Any]:
    def of(length: int) -> dict[str, Any]:
        first = (datetime.fromisoformat(today) - timedelta(days=length - 1)).date().isoformat()
        fit = [d for d in days if d["date"] >= first]
        return {"tokens": sum(d["tokens"] for d in fit), "cost": round(sum(d["cost"] for d in fit), 4), "sessions": sum(d["sessions"] for d in fit)}
    return {"today": of(1), "week": of(7), "month": of(30), "all": of(371)}


def feed(now: datetime, *, count: int = 240, sent: int = 200, percent: float = 58, seed: int = 7, home: str = "agent", sample: bool = False, zone: tzinfo = UTC) -> dict[str, Any]:
    """A whole feed as a server of this *home* would send it at *now*, with the days of a *zone*."""
    roll = random.Random(seed)
    rows = sessions(roll, now, count)
    days = [d for n in range(370, -1, -1) if (d := day(roll, now.astimezone(zone) - timedelta(days=n), today=not n))]
    recent = [{"start": iso(now - timedelta(hours=9 * (13 - n) + 8)), "end": iso(now - timedelta(hours=9 * (13 - n) + 3)), "percent": p, "percent_basis": "official", "tokens": p * 800_000, "cost": p * 0.31, "reached": p >= 100, "gap": False}
              for n, p in enumerate([70, 37, 100, 62, 20, 82, 61, 90, 45, 10, 66, 100, 32])]
    current = block(roll, now, percent)
    alerts = [{"id": "limit:seven_day_opus:1", "level": "warn", "text": "Opus is ahead of its weekly pace. At this rate it runs out 46 hours before it resets.", "at": iso(now)}]
    if current["projection"]["hit_at"]:
        early = (datetime.fromisoformat(current["end"]) - datetime.fromisoformat(current["projection"]["hit_at"])) // timedelta(minutes=1)
        alerts = [{"id": "block:hit:1", "level": "bad", "text": f"At this pace the block reaches its limit {early} minutes before it resets.", "at": iso(now)}]
    today = now.astimezone(zone).date().isoformat()
    summary = {"block": current, "recent_blocks": recent, "limits": limits(now), "days": days, "hours": [h * 1.7 for h in HOURS],
               "totals": totals(days, today), "alerts": alerts, "sessions_total": count, "active": min(3, count), "projects": list(PROJECTS), "models": list(MODELS),
               "unpriced": [], "stubs": [], "price_book": {"date": "2026-11-01"}}
    return {"cursor": "c1", "head": "c1", "since": None, "reset": [], "full": True, "records": [{"kind": "session", "source": s["source"], "key": s["key"], "value": s} for s in rows[:sent]],
            "removed": [], "summary": summary, "machines": machines(now, rows), "server_time": iso(now), "sample": sample, "home": home, "today": today}


def main() -> None:
    made = feed(datetime(2026, 11, 18, 11, 0, tzinfo=UTC), count=60, sample=True)
    for each in made["summary"]["days"][:-30]:
        for part in ("models", "projects", "machines", "tools"):
            del each[part]  # the page shows parts of the last 30 days only
    OUT.write_text(json.dumps(made, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
