"""A made-up year of work, for looking at the page without owning a transcript.

Writes a Claude Code home, a Codex home and a tracker database that look like the real ones. The same
seed and the same moment write the same files. Nothing in it is about anybody.
"""
from __future__ import annotations

import json
import random
import sqlite3
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

PROJECTS = (("payments-api", 30), ("relay", 22), ("dashboard", 18), ("infra-terraform", 9), ("docs-site", 8), ("notebook-etl", 6), ("dotfiles", 3))
MODELS = (("claude-opus-4-7", 38), ("claude-sonnet-4-6", 50), ("claude-haiku-4-5-20251001", 12))
BRANCHES = ("main", "fix/webhooks", "feat/usage-csv", "chore/deps", "spike/limits", "fix/flaky")
TITLES = (
    "Idempotency keys for payouts", "Batch relay uploads", "Make the block projection honest", "Retry webhook deliveries with jitter",
    "Fix the flaky refund test", "Move rate limits out of process", "Read session logs incrementally", "Add CSV to the usage report",
    "Explain the migration order", "Split the settings module", "Type the storage layer", "Chase memory growth in the worker",
    "Write the incident post-mortem", "Drop unused buckets", "Profile the slow dashboard query", "Port cron jobs to timers",
)  # fmt: skip
ANSWER_GAP_S = 55
DAYS = 370


@dataclass
class Talk:
    """One session being written: its file, its identity and how much context the model holds."""

    path: Path
    cwd: str
    model: str
    branch: str
    rng: random.Random
    id: str
    context: int = 0
    lines: list[str] = field(default_factory=list)

    def envelope(self, kind: str, at: datetime, **body: object) -> dict[str, object]:
        return {
            "parentUuid": None, "isSidechain": False, "userType": "external", "cwd": self.cwd, "sessionId": self.id, "version": "2.1.140",
            "gitBranch": self.branch, "type": kind, "uuid": self.uuid(), "timestamp": stamp(at), **body,
        }  # fmt: skip

    def uuid(self) -> str:
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def title(self, text: str) -> None:
        self.add({"type": "summary", "summary": text, "leafUuid": self.uuid()})

    def answer(self, at: datetime) -> None:
        """A prompt and the model's answer to it."""
        rng = self.rng
        self.add(self.envelope("user", at - timedelta(seconds=9), message={"role": "user", "content": "(sample)"}))
        fresh, output = rng.randrange(800, 9_000), rng.randrange(120, 2_400)
        usage = {
            "input_tokens": rng.randrange(2, 40), "cache_creation_input_tokens": fresh, "cache_read_input_tokens": self.context,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": fresh}, "output_tokens": output,
            "service_tier": "standard", "speed": "standard",
        }  # fmt: skip
        message = {
            "model": self.model, "id": f"msg_01{rng.getrandbits(100):x}", "type": "message", "role": "assistant",
            "content": [{"type": "text", "text": "(sample)"}], "stop_reason": "end_turn", "stop_sequence": None, "usage": usage,
        }  # fmt: skip
        self.add(self.envelope("assistant", at, message=message, requestId=f"req_011C{rng.getrandbits(90):x}"))
        self.context = (self.context + fresh + output) % 165_000

    def add(self, line: dict[str, object]) -> None:
        self.lines.append(json.dumps(line, separators=(",", ":")))

    def flush(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(line + "\n" for line in self.lines))
        self.lines.clear()


def stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def pick(rng: random.Random, weighted: tuple[tuple[str, int], ...]) -> str:
    return rng.choices([name for name, _ in weighted], [weight for _, weight in weighted])[0]


def talk(rng: random.Random, claude: Path, number: int) -> Talk:
    project = pick(rng, PROJECTS)
    id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
    cwd = f"/home/sample/{project}"
    path = claude / "projects" / cwd.replace("/", "-") / f"{id}.jsonl"
    made = Talk(path, cwd, pick(rng, MODELS), rng.choice(BRANCHES), rng, id, context=rng.randrange(12_000, 60_000))
    made.title(TITLES[number % len(TITLES)])
    return made


def starts(rng: random.Random, now: datetime) -> Iterator[datetime]:
    """When past sessions began: office hours mostly, weekends rarely, one holiday."""
    for back in range(DAYS, 0, -1):
        day = (now - timedelta(days=back)).replace(hour=0, minute=0, second=0, microsecond=0)
        if 96 < back < 108 or (day.weekday() >= 5 and rng.random() < 0.66):
            continue
        for _ in range(rng.choice((0, 1, 1, 2, 2, 3, 4))):
            yield day + timedelta(minutes=rng.choice((540, 640, 800, 900, 1150)) + rng.randrange(90))
    for hours in (4.3, 2.6, 1.4):
        yield now - timedelta(hours=hours)


def build(folder: Path, *, now: datetime, seed: int = 7) -> list[Talk]:
    """Write the sample under *folder* (claude/, codex/, tracker.db); returns the sessions that are still open."""
    rng = random.Random(seed)
    claude = folder / "claude"
    for number, start in enumerate(starts(rng, now)):
        made = talk(rng, claude, number)
        at = start
        for _ in range(min(90, 2 + int(rng.expovariate(1 / 16)))):
            at += timedelta(seconds=rng.expovariate(1 / ANSWER_GAP_S) + 5)
            if at < now - timedelta(minutes=6):
                made.answer(at)
        made.flush()
    codex(rng, folder / "codex", now)
    tracker(rng, folder / "tracker.db", now)
    return [opened(rng, claude, now, number) for number in range(3)]


def opened(rng: random.Random, claude: Path, now: datetime, number: int) -> Talk:
    """A session that somebody is in right now."""
    made = talk(rng, claude, number)
    made.model = MODELS[number][0]
    minutes = (41, 128, 9)[number]
    for step in range(minutes):
        if rng.random() < 0.7:
            made.answer(now - timedelta(minutes=minutes - step, seconds=rng.randrange(50)))
    made.answer(now - timedelta(seconds=rng.randrange(3, 30)))
    made.flush()
    return made


def codex(rng: random.Random, folder: Path, now: datetime) -> None:
    for back in (1, 3, 8, 20):
        at = now - timedelta(days=back, hours=2)
        id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
        total = dict.fromkeys(("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_output_tokens", "total_tokens"), 0)
        lines: list[dict[str, object]] = [
            {"timestamp": stamp(at), "type": "session_meta", "payload": {"id": id, "timestamp": stamp(at), "cwd": "/home/sample/relay", "cli_version": "0.60.0"}},
            {"timestamp": stamp(at), "type": "turn_context", "payload": {"model": "gpt-5-codex", "cwd": "/home/sample/relay"}},
        ]
        for _ in range(12):
            at += timedelta(seconds=70)
            last = {"input_tokens": rng.randrange(8_000, 40_000), "cached_input_tokens": rng.randrange(2_000, 8_000), "output_tokens": rng.randrange(200, 2_000), "reasoning_output_tokens": 100}
            last["total_tokens"] = last["input_tokens"] + last["output_tokens"]
            total = {name: total[name] + last[name] for name in total}
            lines.append({"timestamp": stamp(at), "type": "event_msg", "payload": {"type": "token_count", "info": {"total_token_usage": total, "last_token_usage": last}}})
        path = folder / "sessions" / f"{at:%Y/%m/%d}" / f"rollout-{at:%Y-%m-%dT%H-%M-%S}-{id}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines), encoding="utf-8")


def tracker(rng: random.Random, path: Path, now: datetime) -> None:
    """A tracker of desktop sessions, which write no transcript."""
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as database:
        database.execute(
            "CREATE TABLE real_sessions (id TEXT PRIMARY KEY, session_type TEXT, start_time TIMESTAMP, end_time TIMESTAMP, process_id INTEGER,"
            " project_path TEXT, conversation_id TEXT, total_messages INTEGER, models_used TEXT, estimated_tokens INTEGER, is_active BOOLEAN,"
            " metadata TEXT, five_hour_block_id TEXT, created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)"
        )
        database.execute(
            "CREATE TABLE five_hour_blocks (id TEXT PRIMARY KEY, start_time TIMESTAMP, end_time TIMESTAMP, session_type TEXT, total_sessions INTEGER,"
            " total_tokens INTEGER, efficiency_score REAL, is_complete BOOLEAN, created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)"
        )
        for number in range(12):
            start = now - timedelta(days=number * 2 + 1, hours=rng.randrange(6))
            database.execute(
                "INSERT INTO real_sessions (id, session_type, start_time, end_time, project_path, total_messages, models_used, estimated_tokens, is_active)"
                " VALUES (?, 'claude_desktop', ?, ?, '/home/sample/docs-site', ?, '[\"claude-sonnet-4-6\"]', ?, 0)",
                (f"session_{number}", stamp(start), stamp(start + timedelta(minutes=40)), rng.randrange(4, 40), rng.randrange(4_000, 90_000)),
            )
    database.close()


def statusline(now: datetime, id: str) -> str:
    """What Claude Code hands to its status line: the official limits."""
    block = (now - timedelta(hours=2, minutes=56)).replace(minute=0, second=0, microsecond=0)
    limits = {
        "five_hour": {"used_percentage": 57.8, "resets_at": int((block + timedelta(hours=5)).timestamp())},
        "seven_day": {"used_percentage": 41, "resets_at": int((now + timedelta(days=3, hours=7)).timestamp())},
    }
    return json.dumps({"session_id": id, "version": "2.1.140", "model": {"id": MODELS[0][0], "display_name": "Opus"}, "rate_limits": limits})
