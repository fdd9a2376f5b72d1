from __future__ import annotations

import pytest

from tests.ledger.stores import STORES


@pytest.fixture(params=STORES)
def store(request, tmp_path):
    """An empty store of each kind in turn."""
    with STORES[request.param](tmp_path) as opened:
        yield opened
