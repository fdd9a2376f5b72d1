from __future__ import annotations

import pytest

from tests.ledger.stores import STORES
from tests.relay.pushing import Office


@pytest.fixture(params=STORES)
def any_office(request, tmp_path):
    """A relay over each kind of store in turn."""
    with STORES[request.param](tmp_path) as store:
        yield Office(store)


@pytest.fixture
def office():
    return Office()
