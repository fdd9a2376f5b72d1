"""Is it there, is it a relay, does it take this key."""
from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from ledger.errors import Misuse
from local_agent.agent import Agent
from local_agent.commands import checkup, pairing
from local_agent.identity import Identity, open_identity
from local_agent.lock import HomeLock
from local_agent.push.transport import Reply
from local_agent.settings import Settings
from tests.agent.relays import ModelRelay, Network
from tests.agent.test_doctor import a_key

NOW = 1_700_000_000_000
URL = "https://relay.example.org"


class Answers:
    def __init__(self, reply: Reply | Exception) -> None:
        self.reply = reply

    def get(self, url: str) -> Reply:
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply


def ping(**said: object) -> Reply:
    return Reply(200, {}, json.dumps({"home": "relay", "version": "1.0.0", "url": URL, "server_time": "2023-11-14T22:13:20.000Z", **said}).encode())


def test_a_relay_is_recognised_with_its_own_address_and_clock() -> None:
    found = pairing.look(Answers(ping()), URL, NOW + 5000)
    assert (found.aud, found.version, found.skew_s) == (URL, "1.0.0", 5.0)


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (Reply(200, {}, b"<html>log in</html>"), "is no relay"), (Reply(404, {}, b""), "is no relay"), (Reply(302, {}, b""), "is no relay"),
        (Reply(200, {}, b'{"home":"dragon"}'), "is no relay"), (ping(home="agent"), "is an agent, not a relay"), (ConnectionRefusedError(111, "Connection refused"), "connection refused"),
        (Reply(200, {}, b"[" * 10_000), "is no relay"),
    ],
)  # fmt: skip
def test_what_is_no_relay_is_named(reply: Reply | Exception, why: str) -> None:
    with pytest.raises(pairing.NotPaired, match=why):
        pairing.look(Answers(reply), URL, NOW)


def test_a_relay_that_tells_no_time_is_a_relay_still() -> None:
    assert pairing.look(Answers(ping(server_time="soon")), URL, NOW).skew_s is None


class Door(Network):
    """A relay that knows one secret, or answers as it is told."""

    def __init__(self, reply: Reply | None = None) -> None:
        super().__init__(ModelRelay(clock=lambda: NOW // 1000))
        self.reply = reply

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        return self.reply or super().post(url, body, headers)


def test_an_agent_whose_key_has_expired_starts_all_the_same(tmp_path: Path) -> None:
    """It reads and serves its page; that the key is not taken any more is the relay's to say, and is shown."""
    settings = Settings(home=tmp_path / "home", no_defaults=True, relay=URL, key=a_key(expires=1_700_000_001))
    with HomeLock(settings.home) as lock:
        agent = Agent(settings, Identity("me", "here"), lock)
        assert agent.courier is not None
        agent.archive.close()


def test_pairing_makes_a_copied_home_a_machine_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Found(Door):
        def get(self, url: str) -> Reply:
            return ping()

    monkeypatch.setattr(checkup, "HttpTransport", lambda session: Found())
    monkeypatch.setattr(checkup, "now_ms", lambda: NOW)
    copied = open_identity(tmp_path, fingerprint="another computer")
    said = checkup.pair(Settings(home=tmp_path), URL, a_key())
    assert said.startswith(f"paired with {URL} as laptop of alice")
    assert open_identity(tmp_path).source != copied.source and not open_identity(tmp_path).copied


def test_a_key_that_the_relay_takes_is_proven_without_moving_anything(tmp_path: object) -> None:
    door = Door()
    pairing.prove(checkup.prover(URL, URL, a_key(), door), NOW)  # type: ignore[arg-type]
    assert door.relay.head is None and door.relay.rows == {}


def test_a_wrong_clock_does_not_stand_in_the_way_of_pairing(tmp_path: object) -> None:
    pairing.prove(checkup.prover(URL, URL, a_key(), Door()), NOW + 7_200_000)  # type: ignore[arg-type]


@pytest.mark.parametrize("type", ["unknown-key", "bad-signature", "key-revoked", "source-mismatch"])
def test_a_key_that_the_relay_refuses_is_told_with_the_reason(tmp_path: object, type: str) -> None:
    door = Door(Reply(401, {"content-type": "application/problem+json"}, json.dumps({"type": type, "status": 401}).encode()))
    with pytest.raises(pairing.NotPaired, match="keys create --scope push"):
        pairing.prove(checkup.prover(URL, URL, a_key(), door), NOW)  # type: ignore[arg-type]


def test_a_portal_proves_nothing(tmp_path: object) -> None:
    with pytest.raises(pairing.NotPaired, match="something other than the relay answered"):
        pairing.prove(checkup.prover(URL, URL, a_key(), Door(Reply(200, {"content-type": "text/html"}, b"hi"))), NOW)  # type: ignore[arg-type]


@pytest.mark.parametrize("scope", ["read", "admin"])
def test_a_key_of_another_scope_is_misuse(scope: str) -> None:
    with pytest.raises(Misuse, match=f"{scope} key"):
        pairing.read_key(a_key(scope))
