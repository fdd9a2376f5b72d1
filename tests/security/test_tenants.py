"""Another tenant's eyes: every path, cursor, ticket and export, twenty thousand answers, and not one foreign canary."""
from __future__ import annotations

import base64
import json
import random
import re
from collections.abc import Iterator

import pytest

from ledger.errors import Problem
from ledger.http.reads import Access
from tests.ledger.ledgerkit import a_session
from tests.relay.house import RelayHouse

TENANTS = ("alice", "bob", "charlie")
KINDS = ("session", "block", "day", "machine", "limit", "usage")


def canary(tenant: str) -> str:
    return f"canary-of-{tenant}-4711"


@pytest.fixture(scope="module")
def house() -> RelayHouse:
    found = RelayHouse()
    for tenant in TENANTS:
        name = canary(tenant)
        sender = found.sender(tenant, name)
        sender.start()
        bodies = {}
        for number in range(4):
            _, id, body = a_session(f"{name}-{number}", project=name, title=f"{name} {number}", git_branch=name, machine=name, account=name, metadata={"description": name}, columns={"note": name})
            bodies[id] = json.dumps(body)
        assert sender.push(bodies, commit=True).status == 200
    return found


class Curious:
    """Asks everything of one tenant with what it knows of another."""

    def __init__(self, house: RelayHouse, victim: str, chance: random.Random) -> None:
        self.victim, self.chance, name = victim, chance, canary(victim)
        theirs = house.get("/v1/feed", house.key(tenant=victim))
        page = house.ask("/sessions?limit=1", house.key(tenant=victim))
        self.cursors = [theirs["cursor"], *re.findall(r"cursor=([A-Za-z0-9_-]+)", str(page.headers) + page.text), base64.urlsafe_b64encode(json.dumps({name: ["0" * 32, 1]}).encode()).decode(), "x"]
        self.ids = [f"{name}-{number}" for number in range(4)] + [name, f"{name}:{name}-0", f"{name}/{name}-0", f"../{victim}/{name}-0", f"{victim}:{name}-0"]

    def questions(self) -> Iterator[tuple[str, dict[str, str]]]:
        pick, name = self.chance.choice, canary(self.victim)
        while True:
            yield f"/sessions/{pick(self.ids)}", {}
            yield f"/sessions/{pick(self.ids)}/cost", {}
            yield "/v1/feed", {"cursor": pick(self.cursors), "tz": pick(["UTC", "Asia/Tokyo"]), "sessions": str(self.chance.randrange(1, 400))}
            yield "/sessions", {pick(["q", "project", "machine", "session_type", "model", "tenant", "source", "account"]): pick([name, self.victim, f"{self.victim}'--"])}
            yield "/sessions", {"cursor": pick(self.cursors), "limit": str(self.chance.randrange(1, 200)), "sort": pick(["start_time", "-last_activity", "-cost"])}
            yield "/export", {"format": pick(["csv", "json", "jsonl"]), "kind": pick(KINDS), "tenant": self.victim}
            yield pick(["/status", "/summary", "/v1/ping", "/blocks", "/models", "/days", "/analytics", "/v1/stubs", "/openapi.json", "/dashboard-config"]), {"tenant": self.victim, "tz": "UTC"}


def test_in_twenty_thousand_answers_there_is_no_foreign_canary(house: RelayHouse) -> None:
    assert _answers(house, 20_000, seed=1) == 20_000


@pytest.mark.slow
def test_in_a_million_answers_there_is_no_foreign_canary(house: RelayHouse) -> None:
    assert _answers(house, 1_000_000, seed=2) == 1_000_000


def _answers(house: RelayHouse, most: int, seed: int) -> int:
    """Straight from the handlers, which know nothing of keys: what keeps tenants apart there is all there is."""
    chance, seen = random.Random(seed), 0
    reads = house.relay.reads
    pairs = [(asker, victim) for asker in TENANTS for victim in TENANTS if asker != victim]
    share = -(-most // len(pairs))
    for asker, victim in pairs:
        access, forbidden, cursors = Access(asker, chance.choice(["read", "admin"]), None), canary(victim).encode(), Curious(house, victim, chance)
        for path, query in cursors.questions():
            if seen >= most or seen >= share * (pairs.index((asker, victim)) + 1):
                break
            try:
                answer = reads.answer(access, "GET", path, query, {})
                told = answer.body if isinstance(answer.body, bytes) else b"".join(answer.body)
                told += repr(answer.headers).encode()
            except Problem as problem:
                told = problem.document()
            seen += 1
            # A cursor tells whoever holds it which sources it is about, and the answer says to forget them.
            assert forbidden not in told.replace(b'"reset":["' + forbidden + b'"]', b""), (asker, path, query)
    return seen


def test_the_same_over_the_whole_app_with_keys_mounts_and_posts(house: RelayHouse) -> None:
    chance = random.Random(3)
    keys = {tenant: [house.key(tenant=tenant), house.key("admin", tenant=tenant), house.key("push", tenant, "thief")] for tenant in TENANTS}
    count = 0
    for victim in TENANTS:
        asker = chance.choice([tenant for tenant in TENANTS if tenant != victim])
        for (path, query), _ in zip(Curious(house, victim, chance).questions(), range(250), strict=False):
            mount, key = chance.choice(["", "/api", "/.netlify/functions/session-sync"]), chance.choice([*keys[asker], None])
            method = chance.choice(["GET", "GET", "GET", "HEAD", "POST", "DELETE"])
            answer = house.ask(mount + path + "?" + "&".join(f"{name}={value}" for name, value in query.items()), key, method=method)
            told = answer.get_data().replace(b'"reset":["' + canary(victim).encode() + b'"]', b"") + str(answer.headers).encode()
            assert canary(victim).encode() not in told and answer.status_code < 500
            count += 1
    assert count == 750


def test_a_stranger_s_alerts_and_live_channel_tell_nothing(house: RelayHouse) -> None:
    for path in ("/v1/alerts", "/v1/alerts/settings", "/v1/push-key"):
        for scope in ("read", "admin"):
            answer = house.ask(path, house.key(scope, tenant="charlie"))
            assert b"canary-of-alice" not in answer.get_data() and b"canary-of-bob" not in answer.get_data() and answer.status_code < 500
    theirs = house.get("/v1/feed", house.key(tenant="alice"))["cursor"]
    assert canary("alice") not in json.dumps(house.relay.feed("charlie", theirs, "UTC", 200)["records"])
