"""Every state that a small world with the protocol in it can come to: one document and one fault for each change, two and two at night."""
from __future__ import annotations

import pytest

from relay import protocol
from tests.faults import model
from tests.journeys.mutants import Mutant, broken
from tests.long import FACTOR, count, counted

SMALL, LARGE = (1, 2, 1), (2, 2, 2)


def bound(documents: int) -> int:
    return 3 + documents + 1


def test_every_state_of_a_small_world_is_sound_and_settles() -> None:
    seen = model.explore(model.start(*SMALL), 10**6, bound(1))
    assert 1000 < seen < 10**6, "all of them were visited"


def test_so_is_every_state_of_a_larger_one_as_far_as_there_is_time() -> None:
    states = count("model")
    with counted("model", states):
        assert model.explore(model.start(*LARGE), states, bound(2)) >= min(states, 100_000 if FACTOR else states)


@pytest.mark.parametrize("mutant", [
    Mutant("a push is the next number and names the digest before it", protocol, "decide", "message.seq != head.seq + 1 or prev != head.digest", "False"),
    Mutant("the last batch is known by its digest", protocol, "decide", "(message.seq, after) == (head.seq, head.digest)", "message.seq == head.seq"),
    Mutant("a beat names the digest", protocol, "decide", "(message.seq, prev) == (head.seq, head.digest)", "True"),
    Mutant("the relay mints the lease", protocol, "_opens_copy", "message.lease == head.pending_lease", "True"),
], ids=lambda mutant: mutant.rule.replace(" ", "-"))  # fmt: skip
def test_the_small_world_notices_a_broken_rule(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    with broken(mutant), pytest.raises((model.Broken, AssertionError)):
        monkeypatch.setattr(model, "decide", protocol.decide)
        model.decided.cache_clear()
        model.explore(model.start(*SMALL), 10**6, bound(1))
    model.decided.cache_clear()
