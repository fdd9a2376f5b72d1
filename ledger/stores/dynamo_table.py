"""Reading and writing one DynamoDB table: pages, retries of batches, conditions. Knows nothing of what is in it."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from ledger.errors import Busy
from ledger.stores.dynamo_items import Item

Call = Callable[..., Any]
"""call(operation, **arguments): one call of the API; raises Conflict, Busy, Full or Unusable."""


class Table:
    """Strongly consistent readings and whole writings of the table *name*."""

    def __init__(self, name: str, call: Call, wait: Callable[[int], None]) -> None:
        self.name, self._call, self._wait = name, call, wait

    def get(self, key: Item) -> Item | None:
        found: Item | None = self._call("get_item", TableName=self.name, Key=key, ConsistentRead=True).get("Item")
        return found

    def put(self, item: Item, **condition: Any) -> None:
        self._call("put_item", TableName=self.name, Item=item, **condition)

    def delete(self, item: Item, **more: Any) -> bool:
        """True if it was there and this call removed it."""
        key = {"p": item["p"], "s": item["s"]}
        return bool(self._call("delete_item", TableName=self.name, Key=key, ReturnValues="ALL_OLD", **more).get("Attributes"))

    def write(self, first: Item, more: Iterable[Item], **condition: Any) -> None:
        """All of them or none, *condition* on the first; one item alone is spared the double price of a transaction."""
        rest = list(more)
        if not rest:
            self.put(first, **condition)
            return
        puts = [{"Item": first, **condition}, *({"Item": item} for item in rest)]
        self._call("transact_write_items", TransactItems=[{"Put": {"TableName": self.name, **put}} for put in puts])

    def query(self, partition: str, prefix: str = "", *, between: tuple[str, str] | None = None, values: Item | None = None,
              **more: Any) -> Iterator[Item]:
        """The items of one partition whose sort key begins with *prefix* or lies *between* two, in order."""
        condition, named = "p = :p", {":p": {"S": partition}, **(values or {})}
        if between:
            condition += " AND s BETWEEN :from AND :to"
            named |= {":from": {"S": between[0]}, ":to": {"S": between[1]}}
        elif prefix:
            condition += " AND begins_with(s, :s)"
            named[":s"] = {"S": prefix}
        while True:
            page = self._call("query", TableName=self.name, KeyConditionExpression=condition, ExpressionAttributeValues=named,
                              ConsistentRead=True, **more)
            yield from page["Items"]
            if "LastEvaluatedKey" not in page:
                return
            more["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def get_all(self, keys: Iterable[Item]) -> list[Item]:
        """Those of the items that exist, in no order."""
        asked, found = iter(keys), []
        while some := list(islice(asked, 100)):
            found += self._get_some(some)
        return found

    def _get_some(self, keys: list[Item]) -> list[Item]:
        """Up to 100 items; the table may hand them out in several goes."""
        found: list[Item] = []
        for attempt in range(1, 21):
            answer = self._call("batch_get_item", RequestItems={self.name: {"Keys": keys, "ConsistentRead": True}})
            found += answer["Responses"].get(self.name, [])
            keys = answer.get("UnprocessedKeys", {}).get(self.name, {}).get("Keys", [])
            if not keys:
                return found
            self._wait(attempt)
        raise Busy("the table gives its items too slowly: the same again in a few seconds", retry_after=5)
