"""Nothing that was planted leaves the laptop: not in a body, not in a header, not in a log, not in the relay's file."""
from __future__ import annotations

import gzip
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ledger.clock import now_ms
from ledger.keytext import KeyText
from ledger.stores import open_store
from local_agent import settings
from local_agent.commands import once
from local_agent.push.sealing import Seal
from local_agent.push.seals import seal_key
from relay.keys import KeyRing
from relay.push import Push
from tests.compliance.client import Reply
from tests.compliance.process import Theatre, theatre
from tests.compliance.stage import Stage
from tests.relay.pushing import unlimited
from tests.security.planted import NAMES, PLACES, found_in, is_planted, plant


class Tapped(Stage):
    """A real relay behind a wire that is listened to."""

    def __init__(self, folder: Path, url: str) -> None:
        self.file = folder / "relay.db"
        self.store = open_store(f"sqlite:///{self.file}")
        self.heard: list[bytes] = []
        ring = KeyRing([b"m" * 32], self.store, frozenset(), now_ms)
        self.text = ring.issue("push", "alice", "laptop")
        self.push = Push(self.store, ring, aud=url, limits=unlimited(), clock=now_ms)
        super().__init__(KeyText.parse(self.text), url, time.time)

    def post(self, wire: bytes, headers: dict[str, str]) -> Reply:  # type: ignore[override]
        self.heard += [wire, repr(headers).encode(), gzip.decompress(wire) if headers.get("content-encoding") == "gzip" else b""]
        status, answer, body = self.push.answer("POST", "/v1/push", headers, wire, address="10.0.0.1")
        self.heard += [repr(answer).encode(), body]
        return Reply(status, answer, body)

    def kept(self) -> bytes:
        """Everything that the relay's store has on its disk."""
        return b"".join(path.read_bytes() for path in self.file.parent.glob("relay.db*"))


@dataclass
class Laptop:
    folder: Path
    house: Theatre
    hidden: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)

    def syncs(self, relay: Tapped, privacy: str) -> dict[str, object]:
        self.house.stage = relay
        at = self.folder
        options = {
            "home": str(at / "agent"), "relay": self.house.url, "key": relay.text, "no_defaults": True, "privacy": privacy, "tz": "UTC", "name": "laptop",
            "transcripts": [str(at / "claude")], "codex": str(at / "codex"), "gemini": str(at / "gemini"), "opencode": str(at / "opencode"),
            "trackers": [str(path) for path in sorted(at.glob("*.db"))],
        }  # fmt: skip
        return once.run(settings.load(options, environ={}, user=at))


@pytest.fixture
def laptop(tmp_path: Path) -> Iterator[Laptop]:
    (tmp_path / "here").mkdir()
    with theatre() as house:
        found = Laptop(tmp_path / "here", house)
        found.hidden, found.names = plant(found.folder)
        assert is_planted(found.folder / "sessions.db")
        yield found


@pytest.mark.parametrize("privacy", ["names", "aliases", "sealed", "none"])
def test_of_five_hundred_planted_secrets_none_leaves(laptop: Laptop, tmp_path: Path, privacy: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    caplog.set_level(logging.DEBUG)
    (tmp_path / "there").mkdir()
    relay = Tapped(tmp_path / "there", laptop.house.url)
    report = laptop.syncs(relay, privacy)
    assert report["in_sync"], report
    read = report["readers"]
    assert all(read[name]["state"] == "ok" for name in ("claude_code", "codex", "gemini", "opencode")), read  # type: ignore[index]
    assert len(list(relay.store.rows("alice", "laptop", kind="session"))) >= 70
    wanted = laptop.hidden | (laptop.names if privacy != "names" else set())
    assert len(wanted) >= 240
    printed = capfd.readouterr()
    assert not found_in(b"\n".join(relay.heard), wanted), "on the wire"
    assert not found_in(relay.kept(), wanted), "in the relay's file"
    assert not found_in((caplog.text + printed.out + printed.err).encode(), laptop.hidden | laptop.names), "in a log"
    if privacy == "names":
        assert found_in(b"\n".join(relay.heard), laptop.names), "names may leave by this rule, so that the test is known to see"


def test_after_names_were_told_sealing_takes_them_from_the_relay(laptop: Laptop, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    relay = Tapped(tmp_path / "there", laptop.house.url)
    assert laptop.syncs(relay, "names")["in_sync"]

    def told() -> bytes:
        return b"\n".join(row.body.encode() for row in relay.store.rows("alice", "laptop"))

    before = found_in(told(), laptop.names)
    assert before
    relay.heard.clear()
    assert laptop.syncs(relay, "sealed")["in_sync"]
    assert not found_in(told(), laptop.names) and not found_in(b"\n".join(relay.heard), laptop.names)
    seal = Seal(seal_key(laptop.folder / "agent"))
    titles = {row.body.partition('"title":"')[2].partition('"')[0] for row in relay.store.rows("alice", "laptop", kind="session")} - {""}
    assert titles and {seal.opened("title", title) for title in titles} <= laptop.names
    relay.heard.clear()
    assert laptop.syncs(relay, "names")["in_sync"]
    assert found_in(told(), laptop.names) == before


def test_every_place_is_planted() -> None:
    assert len(PLACES) + len(NAMES) >= 20
