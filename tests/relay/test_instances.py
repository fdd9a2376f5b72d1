"""Several instances answer one source, as functions do: between any two readings of one, another may have written."""
from __future__ import annotations

from copy import copy
from typing import Any

import pytest

from tests.relay.pushing import Office

BEFORE, OURS, THEIRS = '{"n":0}', '{"n":1}', '{"n":2}'


def replacing(sender: Any, body: str) -> dict[str, Any]:
    """A push that replaces the one session there is, which is no deletion but takes its old hash out of the digest."""
    return sender.message(put={"s1": body}, gone={"s1": BEFORE}) | {"del": []}


@pytest.mark.parametrize("reading", ["head", "hashes"])
def test_a_push_overtaken_between_two_readings_hears_where_the_copy_stands(any_office: Office, monkeypatch: pytest.MonkeyPatch, reading: str) -> None:
    ours = any_office.begun(put={"s1": BEFORE})
    theirs = copy(ours)
    read = getattr(any_office.store, reading)

    def overtaken(*words: Any) -> Any:
        found = read(*words) if reading == "head" else None
        monkeypatch.undo()
        assert theirs.send(replacing(theirs, THEIRS)).status == 200
        return found or read(*words)

    monkeypatch.setattr(any_office.store, reading, overtaken)
    assert ours.send(replacing(ours, OURS)).kind == "409 state"
    assert any_office.visible(ours) == {"s1": THEIRS}
