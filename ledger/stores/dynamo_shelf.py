"""The shelf: small documents in the same table as the ledger."""
from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from ledger.errors import Busy, Conflict
from ledger.store import Document, document_text
from ledger.stores.dynamo_items import Item, key, number
from ledger.stores.dynamo_table import Table
from ledger.stores.packing import pack, unpack


class DynamoShelf:
    def __init__(self, table: Table) -> None:
        self._table = table

    def take(self, drawer: str, name: str, *, now: int) -> Document | None:
        item = self._table.get(key("D|" + drawer, name))
        return _document(item, now) if item else None

    def put(self, drawer: str, name: str, value: Mapping[str, object], *, now: int, expect: int | None = None,
            expires: int | None = None) -> int:
        text = document_text(drawer, value)
        if expect is not None:
            return self._put_if(drawer, name, text, now, expect, expires)
        for _ in range(5):
            there = self.take(drawer, name, now=now)
            try:
                return self._put_if(drawer, name, text, now, there.version if there else 0, expires)
            except Conflict:
                continue
        raise Busy("many writers want the same document: the same again in a second")

    def drop(self, drawer: str, name: str, *, expect: int | None = None) -> bool:
        only = {} if expect is None else {"ConditionExpression": "v = :v", "ExpressionAttributeValues": {":v": {"N": str(expect)}}}
        try:
            return self._table.delete(key("D|" + drawer, name), **only)
        except Conflict:
            return False

    def list(self, drawer: str, prefix: str = "", *, now: int) -> Iterator[tuple[str, Document]]:
        for item in self._table.query("D|" + drawer, prefix):
            document = _document(item, now)
            if document:
                yield item["s"]["S"], document

    def _put_if(self, drawer: str, name: str, text: str, now: int, expect: int, expires: int | None) -> int:
        item = key("D|" + drawer, name) | {"v": {"N": str(expect + 1)}, "b": {"B": pack(text)}}
        if expires is not None:
            # A second more for the table's own clock, which counts whole seconds.
            item |= {"y": {"N": str(expires)}, "x": {"N": str(expires // 1000 + 1)}}
        values: Item = {":now": {"N": str(now)}}
        there = "(attribute_not_exists(y) OR y > :now)"
        if expect:
            condition, values[":v"] = f"v = :v AND {there}", {"N": str(expect)}
        else:
            condition = f"attribute_not_exists(s) OR NOT {there}"
        self._table.put(item, ConditionExpression=condition, ExpressionAttributeValues=values)
        return expect + 1


def _document(item: Item, now: int) -> Document | None:
    expires = number(item, "y") if "y" in item else None
    if expires is not None and expires <= now:
        return None
    return Document(json.loads(unpack(bytes(item["b"]["B"]))), number(item, "v"), expires)
