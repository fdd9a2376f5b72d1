"""The suite itself: a correct receiver passes, and each broken one fails for the right reason."""
from __future__ import annotations

import pytest

from ledger.keytext import Claims, KeyText, id_of
from tests.compliance.client import Sender
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
