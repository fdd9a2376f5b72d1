"""The stores that must all behave the same. A new store joins by a function and one line in STORES."""
from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ledger.stores import open_store


@contextmanager
def memory(folder: Path) -> Iterator[Any]:
    yield open_store("memory:")


@contextmanager
def sqlite(folder: Path) -> Iterator[Any]:
    store = open_store(f"sqlite:///{folder / 'ledger.db'}", synchronous="OFF")
    yield store
    store.close()


@contextmanager
def dynamodb(folder: Path) -> Iterator[Any]:
    moto = pytest.importorskip("moto", reason="the DynamoDB store is tested on moto: pip install -r requirements-dev.txt")
    fake = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
    with moto.mock_aws(), pytest.MonkeyPatch.context() as patch:
        for name, value in fake.items():
            patch.setitem(os.environ, name, value)
        store: Any = open_store("dynamodb://ledger")
        store.create()
        yield store
        store.close()


STORES: dict[str, Callable[[Path], Any]] = {"memory": memory, "sqlite": sqlite, "dynamodb": dynamodb}
