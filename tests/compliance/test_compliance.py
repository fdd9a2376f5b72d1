"""The suite itself: a correct receiver passes, and each broken one fails for the right reason."""
from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from ledger.keytext import Claims, KeyText, id_of
from ledger.stores import open_store
from relay.keys import KeyRing
from relay.limits import Buckets, Limits, Rate
from relay.push import Push
from tests.compliance.__main__ import main
from tests.compliance.client import Reply, Sender
from tests.compliance.process import theatre
from tests.compliance.receiver import CHECKS, verdicts
from tests.compliance.reference import DEFECTS, Reference

NOW = 1_790_000_000
KEY = KeyText("push", id_of(Claims("push", "alice", "laptop", NOW, 0)), b"\7" * 32)


def failures(defect: str = "") -> dict[str, str]:
    receiver = Reference(KEY, "https://relay.example", lambda: NOW, defect)
    return {verdict.name: verdict.failure for verdict in verdicts(Sender(receiver.post, KEY, receiver.aud, lambda: NOW)) if verdict.failure}


def test_a_correct_receiver_passes_every_check() -> None:
    assert failures() == {}
    assert len(CHECKS) >= 20


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_broken_receiver_fails_for_the_right_reason(defect: str) -> None:
    assert any(DEFECTS[defect] in name for name in failures(defect)), failures(defect)


class Shown:
    """A receiver behind a real server."""

    def __init__(self, receiver: Reference) -> None:
        self.receiver = receiver

    def post(self, wire: bytes, headers: Mapping[str, str]) -> Reply:
        return self.receiver.post(wire, headers)

    def other(self, method: str, path: str, headers: Mapping[str, str]) -> Reply:
        return Reply(200, {"content-type": "application/json"}, json.dumps({"url": self.receiver.aud}).encode())


@pytest.mark.parametrize("defect", ["", *DEFECTS])
def test_the_command_that_anyone_runs_tells_a_correct_receiver_from_a_broken_one(defect: str, capsys: pytest.CaptureFixture[str]) -> None:
    key = KeyText("push", id_of(Claims("push", "alice", "laptop", NOW, 0)), b"\7" * 32)
    with theatre() as house:
        house.stage = Shown(Reference(key, house.url, lambda: int(time.time()), defect))  # type: ignore[assignment]
        code = main(["--relay", house.url, "--key", key.text()])
    told = capsys.readouterr().out.splitlines()
    failed = [line for line in told if line.startswith("FAIL ")]
    assert code == (1 if defect else 0) and bool(failed) == bool(defect), told
    assert not defect or any(DEFECTS[defect] in line for line in failed), told
    assert told[-1] == f"{len(CHECKS) - len(failed)} passed, {len(failed)} failed"


@pytest.mark.parametrize("scope", ["read", "admin"])
def test_a_key_that_cannot_push_is_refused_before_anything_is_sent(scope: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = KeyText(scope, id_of(Claims(scope, "alice", "", NOW, 0)), b"\7" * 32).text()
    assert main(["--relay", "http://127.0.0.1:9", "--key", text]) == 2
    assert f"this is a {scope} key" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["memory:", "sqlite"])
def test_our_own_relay_passes_every_check(url: str, tmp_path: Path) -> None:
    store = open_store("memory:" if url == "memory:" else f"sqlite:///{tmp_path / 'relay.db'}")
    ring = KeyRing([b"master secret of the test, long enough"], store, frozenset(), lambda: NOW * 1000)
    key = KeyText.parse(ring.issue("push", "alice", "laptop"))
    generous = Buckets(Rate(1e9, 1e9))
    push = Push(store, ring, aud="https://relay.example", limits=Limits(generous, generous, generous), clock=lambda: NOW * 1000)

    def post(body: bytes, headers: Mapping[str, str]) -> Reply:
        return Reply(*push.answer("POST", "/v1/push", {**headers, "content-length": str(len(body))}, body))

    sender = Sender(post, key, "https://relay.example", lambda: NOW)
    assert {verdict.name: verdict.failure for verdict in verdicts(sender) if verdict.failure} == {}
