"""After many pushes the next who asks need not wait for the sums: they were read on meanwhile."""
from __future__ import annotations

import json
from typing import Any

import pytest

from ledger.errors import Busy
from ledger.views.view import BREATH
from tests.compliance.client import Sender
from tests.ledger.ledgerkit import NOW, a_session, use
from tests.relay.house import RelayHouse


@pytest.fixture
def house() -> RelayHouse:
    return RelayHouse()


@pytest.fixture
def laptop(house: RelayHouse) -> Sender:
    sender = house.sender()
    sender.start()
    assert sender.push(commit=True).status == 200
    return sender


@pytest.fixture
def reads(house: RelayHouse, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tenants whose changes are read from the store."""
    found: list[str] = []
    changes = house.store.changes

    def counted(tenant: str, *words: Any) -> Any:
        found.append(tenant)
        return changes(tenant, *words)

    monkeypatch.setattr(house.store, "changes", counted)
    return found


def push(laptop: Sender, *ids: str) -> None:
    assert laptop.push({id: json.dumps(a_session(id, use(NOW - 1000))[2]) for id in ids}).status == 200


def total(house: RelayHouse) -> int:
    found: int = house.get("/sessions?limit=1")["total"]
    return found


def test_what_was_pushed_is_summed_up_before_anybody_asks(house: RelayHouse, laptop: Sender, reads: list[str]) -> None:
    assert total(house) == 0
    push(laptop, "one", "two")
    house.relay.ahead.step()
    assert reads == ["alice"]
    assert total(house) == 2 and reads == ["alice"], "the reader found it read"


def test_nothing_is_read_on_where_nothing_changed_or_nobody_ever_asked(house: RelayHouse, laptop: Sender, reads: list[str]) -> None:
    push(laptop, "one")
    house.relay.ahead.step()
    assert reads == []
    assert total(house) == 1
    house.relay.ahead.step()
    assert reads == []


def test_a_store_that_is_busy_is_asked_again(house: RelayHouse, laptop: Sender, reads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert total(house) == 0
    push(laptop, "one")
    with monkeypatch.context() as patched:
        patched.setattr(house.store, "heads", lambda tenant: (_ for _ in ()).throw(Busy))
        with pytest.raises(Busy):
            house.relay.ahead.step()
    house.relay.ahead.step()
    assert reads == ["alice"] and total(house) == 1


@pytest.mark.parametrize(("waiting", "pauses"), [(0, 2), (1, 0)])
def test_it_leaves_others_room_until_somebody_waits(house: RelayHouse, laptop: Sender, monkeypatch: pytest.MonkeyPatch, waiting: int, pauses: int) -> None:
    assert total(house) == 0
    push(laptop, *[f"s{number}" for number in range(BREATH)])
    slept: list[float] = []
    house.relay.views.pause = slept.append
    view = house.relay.views._views["alice"]
    view.lock.waiting = waiting
    house.relay.ahead.step()
    assert len(slept) == pauses and view.lock.waiting == waiting
    view.lock.waiting = 0
    assert total(house) == BREATH and len(slept) == pauses, "a reader never pauses"
