"""What DynamoDB charges for a call: units by its published rules, worked out from the items that went over."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ledger.stores.dynamo_items import size_of

WRITE_UNIT, READ_UNIT = 1024, 4096


def _units(size: int, unit: int) -> int:
    return max(1, -(-size // unit))


def written(operation: str, arguments: Mapping[str, Any], answer: Mapping[str, Any]) -> int:
    """Write units; inside a transaction everything counts twice."""
    if operation == "put_item":
        return _units(size_of(arguments["Item"]), WRITE_UNIT)
    if operation == "delete_item":
        return _units(size_of(answer.get("Attributes", {})), WRITE_UNIT)
    if operation == "transact_write_items":
        return sum(2 * _units(size_of(one["Put"]["Item"]), WRITE_UNIT) for one in arguments["TransactItems"])
    return 0


def read(operation: str, arguments: Mapping[str, Any], answer: Mapping[str, Any]) -> float:
    """Read units of strongly consistent readings. A query pays for the sum of what it looked at, a batch for each item."""
    if operation == "get_item":
        return _units(size_of(answer.get("Item", {})), READ_UNIT)
    if operation == "query":
        return _units(sum(size_of(item) for item in answer["Items"]), READ_UNIT)
    if operation == "batch_get_item":
        ((table, asked),) = arguments["RequestItems"].items()
        found = answer["Responses"].get(table, [])
        return sum(_units(size_of(item), READ_UNIT) for item in found) + len(asked["Keys"]) - len(found)
    return 0


class Meter:
    """Stands before a client and counts calls and units."""

    def __init__(self, client: Any) -> None:
        self.client, self.calls, self.written, self.read = client, [], 0, 0.0

    def __getattr__(self, name: str) -> Any:
        call = getattr(self.client, name)
        if name in ("get_waiter", "create_table") or not callable(call):
            return call

        def counted(**arguments: Any) -> Any:
            answer = call(**arguments)
            self.calls.append(name)
            self.written += written(name, arguments, answer)
            self.read += read(name, arguments, answer)
            return answer

        return counted
