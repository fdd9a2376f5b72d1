"""The ledger in one DynamoDB table, paid per request.

A push is one transaction conditioned on the head, or, where it only changes the session it changed before, the head
alone (dynamo_hot.py); the feed is read through the log that the head carries (dynamo_log.py); nothing is ever scanned. Readings are strongly consistent: a feed that moved
its cursor past a change it did not see would never show it.
"""
from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ledger.errors import Busy, Conflict, Full, LedgerError, Unusable
from ledger.record import Ref
from ledger.store import TOMBSTONE_MS, Head, Row, Tombstone
from ledger.stores import dynamo_items as items
from ledger.stores.dynamo_hot import at_its_place, hot_of, laid_over, may_move_in, with_hot
from ledger.stores.dynamo_items import Item, number
from ledger.stores.dynamo_log import Stretch, advance, changed_since
from ledger.stores.dynamo_shelf import DynamoShelf
from ledger.stores.dynamo_table import Table

DAY_S = 24 * 3600
BEHIND_THE_HORIZON_S = 90 * DAY_S
"""The table removes by itself only what everybody else should have removed months ago. A machine that falls silent may do so a
whole horizon after it sent a row, and another horizon later upkeep makes totals of it: so both go by first."""
PAGE_S = 40 * DAY_S
TRIES = 3
SWEPT_AT_ONCE = 200

_WAIT = {"ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded", "InternalServerError",
         "ServiceUnavailable", "TransactionInProgressException", "ThrottlingError", "ProvisionedThroughputExceeded", "RequestTimeout",
         "LimitExceededException", "InternalFailure", "ServiceUnavailableException"}
_RACE = {"TransactionConflictException", "TransactionConflict"}
_NO = {"ConditionalCheckFailedException", "ConditionalCheckFailed"}
_FULL = {"ItemCollectionSizeLimitExceededException", "ItemCollectionSizeLimitExceeded", "ValidationException", "ValidationError"}

TABLE: Mapping[str, Any] = {
    "KeySchema": [{"AttributeName": "p", "KeyType": "HASH"}, {"AttributeName": "s", "KeyType": "RANGE"}],
    "AttributeDefinitions": [{"AttributeName": "p", "AttributeType": "S"}, {"AttributeName": "s", "AttributeType": "S"}],
    "BillingMode": "PAY_PER_REQUEST",
}


def connect(**options: Any) -> Any:
    """boto3's client, which finds the credentials of whoever runs a command; it gives up within seconds, since agents try again for ever."""
    import boto3
    from botocore.config import Config

    return boto3.client("dynamodb", config=Config(
        parameter_validation=False, tcp_keepalive=True, connect_timeout=1, read_timeout=2,
        retries={"total_max_attempts": TRIES, "mode": "standard"}), **options)


class DynamoStore(DynamoShelf):
    """Store and Shelf on the table *table*, through boto3's client or one that is like it (dynamo_http.py).
    *keep_days*: the horizon of a tenant's sessions, None to keep them for ever."""

    durable = True

    def __init__(self, table: str, *, client: Any = None, keep_days: Callable[[str], int | None] = lambda tenant: None,
                 sleep: Callable[[float], None] = time.sleep, roll: Callable[[], float] = random.random) -> None:
        self._client, self._keep_days = client or connect(), keep_days
        self._sleep, self._roll = sleep, roll
        super().__init__(Table(table, self._call, self._wait))
        self._known: dict[tuple[str, str], Item] = {}
        self._lock = threading.Lock()

    def create(self) -> None:
        """Make the table, where no template made it."""
        self._client.create_table(TableName=self._table.name, **TABLE)
        self._client.get_waiter("table_exists").wait(TableName=self._table.name)

    def close(self) -> None:
        self._client.close()

    def head(self, tenant: str, source: str) -> Head | None:
        item = self._head_item(tenant, source)
        return items.head_of(item) if item else None

    def heads(self, tenant: str) -> list[Head]:
        found = list(self._table.query("H|" + items.part(tenant)))
        for item in found:
            self._remember(tenant, item)
        return [items.head_of(item) for item in found]

    def tenants(self) -> list[str]:
        return sorted({items.unpart(item["s"]["S"])[0] for item in self._table.query("T", ProjectionExpression="s")})

    def hashes(self, tenant: str, source: str, lease: str, refs: Sequence[Ref]) -> dict[Ref, int]:
        hot = hot_of(self._head_item(tenant, source))
        found = laid_over(hot, self._items(tenant, source, refs, hot), set(refs).__contains__)
        rows = (items.row_of(item) for item in found if "d" not in item)
        return {row.ref: row.hash for row in rows if row.lease == lease}

    def apply(self, tenant: str, before: Head | None, after: Head, puts: Sequence[Row] = (), gone: Sequence[Tombstone] = ()) -> None:
        was = self._item_of(tenant, before) if before else None
        same_lease = before is not None and before.lease == after.lease
        tail = Stretch.unpacked(bytes(was["t"]["B"])) if was and same_lease else Stretch()
        step = advance(tail, after.seq, [*((row.ref, row.seq) for row in puts), *((stone.ref, stone.seq) for stone in gone)])
        changed = {row.ref: items.row_item(tenant, after.source, row, expires=self._expiry(tenant, after)) for row in puts}
        changed |= {stone.ref: items.tombstone_item(tenant, after.source, stone) for stone in gone}
        oldest = min([stone.at for stone in gone] + ([number(was, "o")] if was and "o" in was else []), default=0)
        # Also a source that begins may find rows: those that an interrupted forget left behind.
        stale = not same_lease or bool(was and "w" in was)
        head, hot = items.head_item(tenant, after, step.tail, stale=stale, oldest_tombstone=oldest), hot_of(was)
        more = list(changed.values())
        if step.page:
            more.append(items.page_item(tenant, after, step.page, expires=after.last_seen // 1000 + PAGE_S))
        if before is None:
            more.append(items.tenant_key(tenant, after.source))
        if not changed and same_lease:
            head = with_hot(head, hot)
        elif before and same_lease and not gone and len(more) == 1 and may_move_in(more[0], head, hot, tail, before.seq):
            head, more = with_hot(head, more[0]), []
        elif hot and items.ref_of(hot) not in changed:
            more.append(at_its_place(hot, items.rows_of(tenant, after.source)))
        self._table.write(head, more, **items.unless_moved(before))
        self._remember(tenant, head)

    def changes(self, tenant: str, source: str, lease: str, after: int) -> tuple[list[Row], list[Tombstone]]:
        head = self._head_item(tenant, source)
        refs, hot = self._changed_since(tenant, source, head, lease, after), hot_of(head)
        if refs is None:
            newer: Item = {":l": items.lease_value(lease), ":n": {"N": str(after)}}
            found = laid_over(hot, self._rows(tenant, source, where="l = :l AND n > :n", values=newer), lambda ref: True)
        else:
            found = laid_over(hot, self._items(tenant, source, sorted(refs), hot), refs.__contains__)
        mine = [item for item in found if items.lease_of(item, "l") == lease and number(item, "n") > after]
        mine.sort(key=lambda item: number(item, "n"))
        return ([items.row_of(item) for item in mine if "d" not in item],
                [items.tombstone_of(item) for item in mine if "d" in item])

    def rows(self, tenant: str, source: str, *, kind: str | None = None) -> Iterator[Row]:
        item = self._head_item(tenant, source)
        if item is None:
            return
        head, where, values = items.head_of(item), "attribute_not_exists(d)", {}
        if head.committed and head.lease is not None:
            where, values = f"{where} AND l = :l", {":l": items.lease_value(head.lease)}
        found = self._rows(tenant, source, "" if kind is None else f"{kind}/", where, values)
        yield from map(items.row_of, laid_over(hot_of(item), found, lambda ref: kind in (None, ref.kind)))

    def get(self, tenant: str, source: str, ref: Ref) -> Row | None:
        item = self._head_item(tenant, source)
        if item is None:
            return None
        head, hot = items.head_of(item), hot_of(item)
        found = next(laid_over(hot, self._items(tenant, source, [ref], hot), ref.__eq__), None)
        if found is None or "d" in found:
            return None
        row = items.row_of(found)
        return row if not head.committed or row.lease == head.lease else None

    def sweep(self, tenant: str, source: str, *, now: int) -> int:
        item, old = self._head_item(tenant, source), now - TOMBSTONE_MS
        if item is None:
            return 0
        head = items.head_of(item)
        if not (head.committed and "w" in item) and not 0 < number(item, "o") <= old:
            return 0
        return self._sweep(tenant, item, head, old)

    def forget(self, tenant: str, source: str) -> int:
        hot = hot_of(self._head_item(tenant, source))
        rows = {hot["s"]["S"]} if hot else set()
        # The head goes last: until then a second call finds its way to whatever a crash left of the first.
        for item in list(self._table.query(items.rows_of(tenant, source), ProjectionExpression="p, s, d")):
            self._table.delete(item)
            if item["s"]["S"].startswith("r") and "d" not in item:
                rows.add(item["s"]["S"])
        self._table.delete(items.head_key(tenant, source))
        self._table.delete(items.tenant_key(tenant, source))
        with self._lock:
            self._known.pop((tenant, source), None)
        return len(rows)

    # -- how it is done

    def _expiry(self, tenant: str, head: Head) -> int | None:
        keep = self._keep_days(tenant)
        return None if keep is None else head.last_seen // 1000 + 2 * keep * DAY_S + BEHIND_THE_HORIZON_S

    def _head_item(self, tenant: str, source: str) -> Item | None:
        item = self._table.get(items.head_key(tenant, source))
        if item:
            self._remember(tenant, item)
        return item

    def _remember(self, tenant: str, item: Item) -> None:
        with self._lock:
            if len(self._known) >= 1000:
                self._known.clear()
            self._known[tenant, item["s"]["S"]] = item

    def _item_of(self, tenant: str, head: Head) -> Item:
        """The item that *head* was read from, with the parts that a Head does not show. Raises Conflict if it is gone."""
        wanted = items.fingerprint(head)
        with self._lock:
            found = self._known.get((tenant, head.source))
        if not found or bytes(found["f"]["B"]) != wanted:
            found = self._head_item(tenant, head.source)
        if not found or bytes(found["f"]["B"]) != wanted:
            raise Conflict("the head moved on since it was read: read it again")
        return found

    def _changed_since(self, tenant: str, source: str, item: Item | None, lease: str, after: int) -> set[Ref] | None:
        """The records to look at, from the log in the head *item*; None where it does not reach so far back."""
        if item is None or items.lease_of(item, "l") != lease:
            return None
        tail = Stretch.unpacked(bytes(item["t"]["B"]))
        if tail.start <= after:
            return tail.after(after)
        names = items.page_name(lease, after + 1), items.page_name(lease, tail.start)
        pages = self._table.query(items.rows_of(tenant, source), between=names)
        return changed_since(after, tail, [(number(page, "n"), Stretch.unpacked(bytes(page["t"]["B"]))) for page in pages])

    def _sweep(self, tenant: str, item: Item, head: Head, old: int) -> int:
        gone: list[Item] = []
        waiting: list[int] = []
        superseded_or_deleted: Item = {":l": items.lease_value(head.lease or "")}
        for found in self._rows(tenant, head.source, "", "l <> :l OR attribute_exists(d)", superseded_or_deleted, ProjectionExpression="p, s, l, n, d"):
            if (head.committed and items.lease_of(found, "l") != head.lease) or 0 < number(found, "d") <= old:
                gone.append(found)
            elif "d" in found:
                waiting.append(number(found, "d"))
            if len(gone) == SWEPT_AT_ONCE:
                break
        finished = len(gone) < SWEPT_AT_ONCE
        purged = max((number(found, "n") for found in gone if "d" in found and items.lease_of(found, "l") == head.lease), default=0)
        told = replace(head, purged_seq=max(head.purged_seq, purged))
        tail = Stretch.unpacked(bytes(item["t"]["B"]))
        try:
            if told != head:
                # First say what can no longer be told, then remove it: a crash between the two must not hide a deletion.
                new = items.head_item(tenant, told, tail, stale="w" in item, oldest_tombstone=number(item, "o"))
                self._rewrite(tenant, head, with_hot(new, hot_of(item)))
            removed = sum(map(self._remove_unless_changed, gone))
            if finished:
                left = min(waiting, default=0)
                new = items.head_item(tenant, told, tail, stale=not head.committed, oldest_tombstone=left)
                self._rewrite(tenant, told, with_hot(new, hot_of(item)))
        except Conflict:
            # A push came between: its change counts, and the next round goes on from there.
            return max(1, len(gone))
        return removed

    def _rewrite(self, tenant: str, before: Head, item: Item) -> None:
        self._table.put(item, **items.unless_moved(before))
        self._remember(tenant, item)

    def _remove_unless_changed(self, item: Item) -> bool:
        try:
            return self._table.delete(item, ConditionExpression="l = :l AND n = :n",
                                      ExpressionAttributeValues={":l": item["l"], ":n": item["n"]})
        except Conflict:
            return False

    def _rows(self, tenant: str, source: str, prefix: str = "", where: str = "", values: Item | None = None, **more: Any) -> Iterator[Item]:
        return self._table.query(items.rows_of(tenant, source), "r" + prefix, FilterExpression=where, values=values, **more)

    def _items(self, tenant: str, source: str, refs: Sequence[Ref], hot: Item | None) -> list[Item]:
        """The rows and tombstones of *refs* at their own places; that of the hot row need not be read."""
        known = items.ref_of(hot) if hot else None
        return self._table.get_all(items.row_key(tenant, source, ref) for ref in dict.fromkeys(refs) if ref != known)

    def _call(self, operation: str, **arguments: Any) -> Any:
        """One call of the API. Raises Conflict, Busy, Full or Unusable, and nothing else that the table can answer."""
        for attempt in range(1, TRIES + 1):
            try:
                return getattr(self._client, operation)(**arguments)
            except Exception as error:
                meaning = meaning_of(error, self._table.name)
                if meaning is None:
                    raise
                # The client has tried everything else again already; a lost race of transactions it leaves to us.
                ours = isinstance(meaning, Busy) and _code(error).startswith("Transaction")
            if not ours or attempt == TRIES:
                raise meaning
            self._wait(attempt)
        raise AssertionError("unreachable")

    def _wait(self, attempt: int) -> None:
        self._sleep(min(0.05 * 2**attempt, 0.5) * (0.5 + self._roll() / 2))


def meaning_of(error: Exception, table: str) -> LedgerError | None:
    """What a caller can do about an error of either client; never the service's own text. None for what is no such error."""
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return _silence(error)
    # A cancelled transaction gives a reason for each of its items.
    reasons = {reason.get("Code", "None") for reason in response.get("CancellationReasons", [])}
    codes = {_code(error), *reasons} - {"None", "TransactionCanceledException"}
    if codes & _NO:
        return Conflict("the state moved on since it was read: read it again")
    if codes & (_RACE | _WAIT) or not codes:
        return Busy("the table is busy: the same again in a moment", retry_after=1 if codes & _RACE else 2)
    if codes & _FULL:
        return Full("the table does not take an item or a transaction of this size")
    if "ResourceNotFoundException" in codes:
        return Unusable(f"there is no table {table} in this account and region: deploy first, or name another")
    return Unusable(f"table {table}: {', '.join(sorted(codes))}: look at the credentials and the role's policy")


def _silence(error: Exception) -> LedgerError | None:
    # By name: a function must not load botocore only to ask whether an error is one of its own.
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "NoCredentialsError" in kinds:
        return Unusable("there are no AWS credentials: run aws configure, or give the process a role")
    if kinds & {"BotoCoreError", "NoAnswer"}:
        return Busy(f"the table does not answer ({error if 'NoAnswer' in kinds else type(error).__name__}): the same again in a few seconds", retry_after=5)
    return None


def _code(error: Exception) -> str:
    response: Mapping[str, Any] = getattr(error, "response", {})
    return str(response.get("Error", {}).get("Code", ""))
