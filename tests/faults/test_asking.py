"""Everything that may be asked, by chance and from our own OpenAPI document: never a fault, never an undocumented answer, never a word of another tenant."""
from __future__ import annotations

import json
import random
import re
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, quote, unquote_to_bytes, urlencode, urlsplit

import pytest

from ledger.record import add, hash_of, to_hex
from tests.long import counted, shares
from tests.relay.house import RelayHouse

PEOPLE = ("alice", "bob")
ODD = ["", " ", "0", "-1", "1", "500", "501", "99999999999999999999", "1e3", "nan", "null", "true", "maybe", "x" * 3000, "é", "\0", "'; DROP TABLE", "../..", "%2e%2e", "Europe/Berlin", "UTC",
       "Mars/Olympus", "2026-11-22", "2026-13-45", "2026-11-22T10:00:00Z", "cost", "-cost", "last_activity", "csv", "jsonl", "json", "xml", "session", "usage", "day", "machine", "{}", "[]"]  # fmt: skip


class Street:
    """Two tenants of one relay, whose every text has their own word in it."""

    def __init__(self) -> None:
        self.house = RelayHouse()
        self.keys = {person: self.house.key("read", person) for person in PEOPLE}
        for person in PEOPLE:
            self._fill(person)
        self.operations = self._operations()
        self.cursors = {person: self.house.get("/v1/feed", self.keys[person])["cursor"] for person in PEOPLE}

    def word(self, person: str) -> str:
        return f"canary{person}"

    def _fill(self, person: str) -> None:
        word, now = self.word(person), self.house.clock()
        sender = self.house.sender(person, f"{word}machine")
        sender.start()
        changes = [("session", f"{word}-{n}", json.dumps({
            "id": f"{word}-{n}", "session_type": "claude_code", "start_time": now - n * 3_600_000, "last_activity": now - n * 3_000_000, "project": f"{word} project",
            "title": f"{word} title", "git_branch": word, "models_used": ["claude-opus-4-7"], "estimated_tokens": 100 + n,
            "usage": [[(now - n * 3_600_000) // 900_000 * 900_000, now - n * 3_600_000, now - n * 3_000_000, "claude-opus-4-7", "standard", 10, 20, 30, 0, 40, 1, None]],
            "metadata": {"description": word}})) for n in range(12)]  # fmt: skip
        changes.append(("machine", f"{word}machine", json.dumps({"name": f"{word} laptop", "os": word, "version": "1", "tz": "UTC", "readers": {}})))
        changes.append(("limit", f"claude/{word}/five_hour", json.dumps(
            {"tool": "claude", "account": word, "window": "five_hour", "used_percent": 10, "resets_at": now + 3_600_000, "observed_at": now, "source": "statusline"})))  # fmt: skip
        message = sender.message(put={}, commit=True) | {
            "put": [{"k": kind, "id": id, "b": body} for kind, id, body in changes], "after": to_hex(add(0, put=[hash_of(*change) for change in changes])),
        }  # fmt: skip
        assert sender.send(message).status == 200

    def _operations(self) -> list[tuple[str, str, list[str], set[str]]]:
        document = self.house.get("/openapi.json")
        return [
            (method.upper(), path, [each["name"] for each in operation.get("parameters", ()) if "name" in each], set(operation["responses"]))
            for path, methods in document["paths"].items() for method, operation in methods.items() if method == "get"
        ]  # fmt: skip

    def values(self, asker: str, name: str, chance: random.Random) -> str:
        """Odd, right or another's."""
        other = next(person for person in PEOPLE if person != asker)
        rights = {"cursor": [self.cursors[asker]], "id": [f"{self.word(asker)}-3"], "project": [f"{self.word(asker)} project"], "machine": [f"{self.word(asker)}machine"]}
        foreign = {"cursor": [self.cursors[other]], "id": [f"{self.word(other)}-3"], "machine": [f"{self.word(other)}machine"], "project": [f"{self.word(other)} project"]}
        return chance.choice([*rights.get(name, ()), *foreign.get(name, ()), *chance.sample(ODD, 3)])

    def ask(self, asker: str | None, chance: random.Random) -> tuple[str, Any, set[str]]:
        """One question of *asker*; what was asked, the answer, and the statuses that are documented."""
        method, path, names, documented = chance.choice(self.operations)
        given = {name: self.values(asker or "alice", name, chance) for name in names if name == "id" or chance.random() < 0.4}
        where = path.replace("{id}", quote(given.pop("id", "x"), safe=""))
        asked = where + (f"?{urlencode(given)}" if given else "")
        headers = {"If_None_Match": chance.choice(['"x"', "*", "W/"])} if chance.random() < 0.05 else {}
        return asked, self.house.ask(asked, self.keys[asker] if asker else chance.choice([None, "sr_read_x_y_00000000", "x"]), method=method, **headers), documented


@pytest.fixture(scope="module")
def street() -> Iterator[Street]:
    yield Street()


@pytest.mark.parametrize("seeds", shares("api", 2), ids=str)
def test_every_answer_is_documented_and_none_is_a_fault(street: Street, seeds: range) -> None:
    chance = random.Random(seeds.start)
    with counted("api", len(seeds)) as answers:
        for turn in seeds:
            asked, answer, documented = street.ask(chance.choice(["alice", "bob", None]), chance)
            status = str(answer.status_code)
            assert status in documented or f"{status[0]}XX" in documented, (turn, asked, status)
            if answer.content_type and "json" in answer.content_type:
                for document in answer.data.splitlines() if "ndjson" in answer.content_type else filter(None, [answer.data]):
                    json.loads(document)
            answers[status] += 1
    assert answers.keys() >= {"200", "400", "401", "404"}


@pytest.mark.parametrize("seeds", shares("tenants"), ids=str)
def test_no_answer_holds_a_word_of_another_tenant(street: Street, seeds: range) -> None:
    chance = random.Random(seeds.start)
    own = 0
    with counted("tenants", len(seeds)):
        for turn in seeds:
            asker = chance.choice([*PEOPLE, None])
            asked, answer, _ = street.ask(asker, chance)
            for person in PEOPLE:
                word = street.word(person).encode()
                if person != asker and word in answer.data:
                    assert word in told_by(asked) and word + b" title" not in answer.data, (turn, asker, asked)
                own += person == asker and word in answer.data
    assert own > len(seeds) / 10, "own words are there to be found"


def told_by(asked: str) -> bytes:
    """What the question says itself, in a cursor, too: its sources may be named as those to forget."""
    cursor = parse_qs(urlsplit(asked).query).get("cursor", [""])[0].encode("utf-8", "replace")
    return unquote_to_bytes(asked) + urlsafe_b64decode(re.sub(rb"[^A-Za-z0-9_-]", b"", cursor)[: len(cursor) // 4 * 4] + b"====")


def test_what_is_anothers_and_what_is_not_there_are_refused_alike(street: Street) -> None:
    foreign = street.house.ask("/sessions/canarybob-3", street.keys["alice"])
    absent = street.house.ask("/sessions/canaryeve-3", street.keys["alice"])
    assert foreign.status_code == absent.status_code == 404
    assert foreign.data.replace(b"canarybob", b"") == absent.data.replace(b"canaryeve", b"")
