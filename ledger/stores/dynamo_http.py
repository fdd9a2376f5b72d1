"""DynamoDB's own protocol, as far as the store speaks it: JSON over POST, with the same calls and answers as boto3's client."""
from __future__ import annotations

import json
import random
import time
import uuid
from base64 import b64decode, b64encode
from collections.abc import Callable
from functools import partial
from typing import Any

from ledger.aws import Account, Line, NoAnswer

TRIES = 3
PATIENCE_S = 5.0
"""A call that found no answer for so long is not tried again: the function must answer itself before its own time is up."""
AGAIN = {"ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded", "InternalServerError", "ServiceUnavailable",
         "ServiceUnavailableException", "LimitExceededException"}


class Refused(Exception):
    """The service said no. *response* has the shape that boto3's errors have."""

    def __init__(self, response: dict[str, Any]) -> None:
        super().__init__(response["Error"]["Code"])
        self.response = response


class HttpClient:
    """get_item, put_item, delete_item, batch_get_item, query and transact_write_items. Raises Refused or NoAnswer."""

    def __init__(self, account: Account, *, sleep: Callable[[float], None] = time.sleep, roll: Callable[[], float] = random.random,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._line, self._sleep, self._roll, self._clock = Line(account, "dynamodb"), sleep, roll, clock

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        if operation.startswith("_"):
            raise AttributeError(operation)
        return partial(self._call, "".join(word.title() for word in operation.split("_")))

    def close(self) -> None:
        self._line.close()

    def _call(self, operation: str, **arguments: Any) -> Any:
        if operation == "TransactWriteItems":
            # The same token at every try: a transaction that was done though its answer was lost is not done twice.
            arguments["ClientRequestToken"] = str(uuid.uuid4())
        body = json.dumps(arguments, default=_text, separators=(",", ":")).encode()
        headers = {"content-type": "application/x-amz-json-1.0", "x-amz-target": f"DynamoDB_20120810.{operation}"}
        began = self._clock()
        for left in reversed(range(TRIES)):
            try:
                return self._once(headers, body)
            except NoAnswer:
                if not left or self._clock() - began >= PATIENCE_S:
                    raise
            except Refused as refusal:
                if not left or refusal.response["Error"]["Code"] not in AGAIN:
                    raise
            self._sleep(0.05 * 2 ** (TRIES - left) * self._roll())
        raise AssertionError("unreachable")

    def _once(self, headers: dict[str, str], body: bytes) -> Any:
        status, content = self._line.post("/", headers, body)
        try:
            said = json.loads(content, object_hook=_bytes)
        except ValueError:
            said = {}
        if status == 200:
            return said
        code = said.get("__type", "").rpartition("#")[2] or ("InternalServerError" if status >= 500 else f"Status{status}")
        raise Refused({"Error": {"Code": code}, "CancellationReasons": said.get("CancellationReasons", [])})


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} has no place in an item")


def _bytes(found: dict[str, Any]) -> dict[str, Any]:
    """Binary values come as base64 text; everything that is one has the single name B."""
    if len(found) == 1 and isinstance(found.get("B"), str):
        return {"B": b64decode(found["B"])}
    return found
