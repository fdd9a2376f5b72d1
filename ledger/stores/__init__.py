"""Where the ledger is kept: one address says which store, and every store behaves the same.

memory:                        forgets everything with the process
sqlite:///relay.db             a file (three slashes: relative, four: absolute)
dynamodb://table               a table of the account and region that boto3 finds
postgresql://user@host/name    a database
"""
from __future__ import annotations

from typing import Any, Protocol

from ledger.errors import Misconfigured
from ledger.store import Shelf, Store


class Ledger(Store, Shelf, Protocol):
    """One place for both ports."""


def open_store(url: str, **options: Any) -> Ledger:
    """The store at *url*; *options* go to its class. Raises Misconfigured, or Unusable for what is there but is no ledger."""
    scheme, colon, rest = url.partition(":")
    if not colon or scheme not in _OPENERS:
        raise Misconfigured(f"no store begins with {scheme!r}: use {', '.join(_EXAMPLES)}")
    return _OPENERS[scheme](url, rest, options)


def _memory(url: str, rest: str, options: dict[str, Any]) -> Ledger:
    from ledger.stores.memory import MemoryStore

    return MemoryStore(**options)


def _sqlite(url: str, rest: str, options: dict[str, Any]) -> Ledger:
    from ledger.stores.sqlite import SqliteStore

    if not rest.startswith("///") or len(rest) == 3:
        raise Misconfigured("name the file of the store: sqlite:///relative.db or sqlite:////absolute/path.db")
    return SqliteStore(rest[3:], **options)


def _dynamodb(url: str, rest: str, options: dict[str, Any]) -> Ledger:
    from ledger.stores.dynamodb import DynamoStore

    table = rest.removeprefix("//").strip("/")
    if not table:
        raise Misconfigured("name the table of the store: dynamodb://table")
    return DynamoStore(table, **options)


def _postgres(url: str, rest: str, options: dict[str, Any]) -> Ledger:
    try:
        from ledger.stores.postgres import PostgresStore
    except ImportError:
        raise Misconfigured("a PostgreSQL store needs psycopg: pip install 'psycopg[binary]'") from None
    return PostgresStore(url, **options)


# Imported when opened: a relay loads the libraries of its own store only.
_OPENERS = {"memory": _memory, "sqlite": _sqlite, "dynamodb": _dynamodb, "postgresql": _postgres, "postgres": _postgres}
_EXAMPLES = ("memory:", "sqlite:///path", "dynamodb://table", "postgresql://user@host/name")
