"""The suite itself: a correct receiver passes, and each broken one fails for the right reason."""
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from ledger.keytext import Claims, KeyText, id_of
from ledger.stores import open_store
from relay.keys import KeyRing
from relay.limits import Buckets, Limits, Rate
from relay.push import Push
from tests.compliance.client import Reply, Sender
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
