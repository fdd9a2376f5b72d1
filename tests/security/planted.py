"""Five hundred secrets of twenty kinds, planted wherever a coding tool or a tracker may have written them down."""
from __future__ import annotations

import base64
import itertools
import json
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.agent.test_codex import Rollout
from tests.agent.test_gemini import chat, gemini, user
from tests.agent.test_opencode import Database, message
from tests.agent.trackers import Tracker, a_row
from tests.agent.transcripts import OPUS, Home, line

EACH = 25
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def kinds(chance: random.Random) -> dict[str, str]:
    """One fresh secret of every kind."""

    def some(length: int, letters: str = LETTERS) -> str:
        return "".join(chance.choices(letters, k=length))

    digits = "0123456789"
    return {
        "aws key": "AKIA" + some(16, LETTERS[:26] + digits), "aws secret": some(40), "github": "ghp_" + some(36), "gitlab": "glpat-" + some(20),
        "slack": f"xoxb-{some(12, digits)}-{some(24)}", "stripe": "sk_live_" + some(24), "anthropic": "sk-ant-api03-" + some(40), "openai": "sk-proj-" + some(40),
        "google": "AIza" + some(35), "npm": "npm_" + some(36), "jwt": f"eyJ{some(20)}.eyJ{some(30)}.{some(30)}", "database": f"postgres://app:{some(16)}@db-{some(6)}.internal",
        "basic": base64.b64encode(f"admin:{some(18)}".encode()).decode(), "pem": f"MIIEvQIBADANBgkq{some(40)}", "ssh": f"AAAAC3NzaC1lZDI1NTE5{some(43)}",
        "mail": f"{some(12).lower()}@customer-{some(5).lower()}.example", "phone": "+49151" + some(9, digits), "iban": "DE" + some(20, digits),
        "password": f"Tr0ub4dor-{some(10)}", "host": f"vault-{some(8).lower()}.corp.internal",
    }  # fmt: skip


def secrets(seed: int = 4711) -> list[str]:
    """All of them, no two alike."""
    chance = random.Random(seed)
    found = [secret for _ in range(EACH) for secret in kinds(chance).values()]
    assert len(set(found)) == len(found) == 500
    return found


PLACES = ("prompt", "answer", "thinking", "tool argument", "tool result", "path above", "codex prompt", "codex answer", "codex path", "gemini prompt", "gemini answer", "opencode path",
          "model path", "codex model path", "gemini model path", "opencode model path", "tracker model path", "tracker column path")
"""Where things stand that never leave."""
NAMES = ("folder", "branch", "title", "codex branch", "opencode title", "tracker path", "tracker metadata", "tracker metadata name", "tracker conversation", "tracker column", "tracker file", "folded folder")
"""Where names stand, and what trackers wrote down: they leave only if names may."""


def plant(root: Path) -> tuple[set[str], set[str]]:
    """Homes of every tool below *root*. What never may leave, and what may leave as a name."""
    supply = iter(secrets())
    told: dict[str, set[str]] = {}
    for place in itertools.cycle((*PLACES, *NAMES)):
        secret = next(supply, None)
        if secret is None:
            break
        told.setdefault(place, set()).add(secret)
    hidden = set().union(*(told[place] for place in PLACES), told["folded folder"])
    names = set().union(*(told[place] for place in NAMES)) - told["folded folder"]
    left = {place: sorted(found) for place, found in told.items()}
    _claude(Home(root / "claude"), left)
    _codex(root / "codex", left)
    _gemini(root / "gemini", left)
    (root / "opencode").mkdir()
    _opencode(root / "opencode", left)
    _tracker(root / "sessions.db", left)
    with closing(Tracker(root / another(left["tracker file"][0]), "v1")) as tracker:
        tracker.write(**a_row(900))
    return hidden, names - set(left["tracker file"][1:])


def another(secret: str) -> str:
    """What a second tracker's file is called."""
    return f"{secret.replace('/', '_')}.db"


def model(left: dict[str, list[str]], place: str, number: int) -> str:
    """A model of one's own, which its server calls by the path of its file."""
    return f"/home/{left[place][number % len(left[place])].replace('/', '_')}/models/{place.partition(' ')[0]}.gguf"


def _claude(home: Home, left: dict[str, list[str]]) -> None:
    for number in range(EACH):
        def take(place: str, number: int = number) -> str:
            return left[place][number % len(left[place])]

        id = f"{number:08x}-1111-4111-8111-111111111111"
        content = [
            {"type": "thinking", "thinking": take("thinking")}, {"type": "text", "text": f"use {take('answer')} then"},
            {"type": "tool_use", "id": "t", "name": "Bash", "input": {"command": f"export KEY={take('tool argument')}", "file_path": f"/etc/{take('tool argument')}"}},
        ]  # fmt: skip
        cwd = f"/home/alice/{take('path above').replace('/', '_')}/{take('folder').replace('/', '_')}"
        answer = line(f"msg_{number}", session=id, cwd=cwd, gitBranch=take("branch"), model=model(left, "model path", number) if number % 2 else OPUS)
        answer["message"]["content"] = content
        asked = {"type": "user", "sessionId": id, "cwd": cwd, "timestamp": answer["timestamp"], "uuid": f"q{number}", "message": {"role": "user", "content": f"my key is {take('prompt')}"}}
        result = {**asked, "uuid": f"r{number}", "message": {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": take("tool result")}]}, "toolUseResult": {"stdout": take("tool result")}}
        folder = home.folder / "projects" / f"-home-{take('folded folder').replace('/', '-')}"
        folder.mkdir(parents=True, exist_ok=True)
        lines = [{"type": "summary", "summary": take("title"), "leafUuid": "x"}, asked, answer, result]
        (folder / f"{id}.jsonl").write_text("".join(json.dumps(each, separators=(",", ":")) + "\n" for each in lines))


def _codex(home: Path, left: dict[str, list[str]]) -> None:
    for number in range(EACH):
        id = f"019a97b0-85be-7e60-9c60-{number:012x}"
        path = f"/home/{left['codex path'][number % len(left['codex path'])].replace('/', '_')}/work"
        rollout = Rollout(id, cwd=path, git={"branch": left["codex branch"][number % len(left["codex branch"])]})
        rollout.lines[1]["payload"]["model"] = model(left, "codex model path", number)
        rollout.lines[0]["payload"]["instructions"] = left["codex prompt"][number % len(left["codex prompt"])]
        rollout.say("event_msg", {"type": "user_message", "message": left["codex prompt"][number % len(left["codex prompt"])]})
        rollout.say("event_msg", {"type": "agent_message", "message": left["codex answer"][number % len(left["codex answer"])]})
        rollout.answer(100, 0, 10)
        rollout.write(home)


def _gemini(home: Path, left: dict[str, list[str]]) -> None:
    chats = home / "tmp" / "79b6fa86" / "chats"
    chats.mkdir(parents=True)
    said: list[dict[str, Any]] = []
    for number, (prompt, answer) in enumerate(zip(left["gemini prompt"], left["gemini answer"], strict=False)):
        said += [user(f"u{number}") | {"content": prompt}, gemini(f"g{number}", input=10, output=5) | {"content": answer, "model": model(left, "gemini model path", number)}]
    (chats / "session-2026.json").write_text(json.dumps(chat(*said)))


def _opencode(home: Path, left: dict[str, list[str]]) -> None:
    database = Database(home / "opencode.db")
    with closing(database.database):
        for number, title in enumerate(left["opencode title"]):
            path = f"/home/{left['opencode path'][number % len(left['opencode path'])].replace('/', '_')}/work"
            id = f"ses_{number:026}"
            database.session(id, title)
            database.say(message(f"msg_{number}", input=5, output=5) | {"sessionID": id, "path": {"cwd": path, "root": path}, "modelID": model(left, "opencode model path", number)})


def _tracker(path: Path, left: dict[str, list[str]]) -> None:
    tracker = Tracker(path, "v1")
    tracker.database.execute("ALTER TABLE real_sessions ADD COLUMN log_file TEXT")
    with closing(tracker):
        for number in range(EACH):
            def take(place: str, number: int = number) -> str:
                return left[place][number % len(left[place])]

            metadata = {"description": take("tracker metadata"), take("tracker metadata name"): 5}
            tracker.write(**a_row(
                number, metadata=json.dumps(metadata), project_path=f"/srv/{take('path above').replace('/', '_')}/{take('tracker path').replace('/', '_')}",
                conversation_id=take("tracker conversation"), five_hour_block_id=take("tracker column"),
                log_file=f"/var/{take('tracker column path').replace('/', '_')}/log.txt", models_used=json.dumps([model(left, "tracker model path", number)]),
            ))  # fmt: skip


def forms(secret: str) -> Iterator[bytes]:
    """How a secret may look in bytes: plain, as part of a path, and in base64 at any offset."""
    yield secret.encode()
    yield secret.replace("/", "_").encode()
    yield secret.replace("/", "-").encode()
    for shift in range(3):
        inner = base64.b64encode(b"\0" * shift + secret.encode())[4 if shift else 0 : -4]
        if len(inner) >= 12:
            yield inner


def found_in(haystack: bytes, wanted: set[str]) -> set[str]:
    """Which of the secrets stand in the bytes, whole or as the last part of a path."""
    return {secret for secret in wanted if any(form in haystack for form in {*forms(secret), *forms(secret.rpartition("/")[2])} if len(form) >= 8)}


def is_planted(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as database:
        return bool(database.execute("SELECT count(*) FROM real_sessions").fetchone()[0])
