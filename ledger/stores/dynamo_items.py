"""How heads, rows and documents look as items of one table.

Attribute names are single letters because a write unit is a kilobyte *including* names. The table's
key is p (partition) and s (sort):

    H|tenant         source       a head, with the tail of its log and perhaps one row (i)
    R|tenant|source  rkind/id     a row, or the tombstone that took its place (d)
    R|tenant|source  l<lease>seq  a page of the log, named by the last seq it covers
    T                tenant|source   which tenants there are
    D|drawer         name         a document of the shelf

x is the time, in seconds, after which the table itself may remove an item.
"""
from __future__ import annotations

import re
from hashlib import sha256
from typing import Any

from ledger.record import Ref, hash_of
from ledger.store import Head, Row, Tombstone
from ledger.stores.dynamo_log import Stretch
from ledger.stores.packing import pack, unpack

Item = dict[str, Any]
AGING = frozenset({"session", "usage", "block"})
"""Kinds that grow old. A day or a machine is written once and must outlive them."""
_HEX_LEASE = re.compile(r"[0-9a-f]{32}")


def part(*names: str) -> str:
    """Several names as one key, so that no two lists of names give the same key."""
    return "|".join(name.replace("%", "%25").replace("|", "%7C") for name in names)


def unpart(key: str) -> list[str]:
    return [name.replace("%7C", "|").replace("%25", "%") for name in key.split("|")]


def key(p: str, s: str) -> Item:
    return {"p": {"S": p}, "s": {"S": s}}


def head_key(tenant: str, source: str) -> Item:
    return key("H|" + part(tenant), source)


def tenant_key(tenant: str, source: str) -> Item:
    return key("T", part(tenant, source))


def rows_of(tenant: str, source: str) -> str:
    return "R|" + part(tenant, source)


def row_key(tenant: str, source: str, ref: Ref) -> Item:
    return key(rows_of(tenant, source), f"r{ref.kind}/{ref.id}")


def page_name(lease: str, seq: int) -> str:
    return f"l{lease}{seq:016d}"


def ref_of(item: Item) -> Ref:
    kind, _, id = item["s"]["S"][1:].partition("/")
    return Ref(kind, id)


def size_of(item: Item) -> int:
    """An item's size by the published rules: names, text and bytes as they are, half a byte a digit and one more, maps a little more."""
    return sum(len(name) + _size(*next(iter(value.items()))) for name, value in item.items())


def _size(kind: str, content: Any) -> int:
    if kind == "M":
        return 3 + len(content) + size_of(content)
    if kind == "N":
        return (len(content) + 1) // 2 + 1
    return len(content if kind == "B" else content.encode())


def number(item: Item, name: str) -> int:
    return int(item[name]["N"]) if name in item else 0


def lease_value(lease: str) -> Item:
    """A lease of 32 hexadecimal digits is kept as the 16 bytes that it is."""
    return {"B": bytes.fromhex(lease)} if _HEX_LEASE.fullmatch(lease) else {"S": lease}


def lease_of(item: Item, name: str) -> str | None:
    value = item.get(name, {})
    return bytes(value["B"]).hex() if "B" in value else value.get("S")


def fingerprint(head: Head) -> bytes:
    """What a write is conditioned on: equal for equal heads, and only 16 bytes of them."""
    fields = (head.source, head.lease, head.seq, head.digest, head.committed, head.pending_lease, head.last_timestamp,
              head.last_seen, head.beat_s, head.agent, head.purged_seq)
    return sha256(repr(fields).encode()).digest()[:16]


def head_item(tenant: str, head: Head, tail: Stretch, *, stale: bool, oldest_tombstone: int) -> Item:
    """*stale*: rows of an older lease may lie about; *oldest_tombstone*: its time, or 0. Both spare the sweep a reading."""
    item = head_key(tenant, head.source) | {
        "q": {"N": str(head.seq)}, "d": {"B": head.digest.to_bytes(32, "big")}, "c": {"N": str(int(head.committed))},
        "k": {"N": str(head.last_timestamp)}, "a": {"N": str(head.last_seen)}, "b": {"N": str(head.beat_s)},
        "g": {"B": pack(head.agent)}, "u": {"N": str(head.purged_seq)}, "f": {"B": fingerprint(head)}, "t": {"B": tail.packed()},
    }
    for name, lease in (("l", head.lease), ("m", head.pending_lease)):
        if lease is not None:
            item[name] = lease_value(lease)
    for name, value in (("w", int(stale)), ("o", oldest_tombstone)):
        if value:
            item[name] = {"N": str(value)}
    return item


def head_of(item: Item) -> Head:
    return Head(
        source=item["s"]["S"], lease=lease_of(item, "l"), seq=number(item, "q"), digest=int.from_bytes(bytes(item["d"]["B"]), "big"),
        committed=bool(number(item, "c")), pending_lease=lease_of(item, "m"), last_timestamp=number(item, "k"),
        last_seen=number(item, "a"), beat_s=number(item, "b"), agent=unpack(bytes(item["g"]["B"])), purged_seq=number(item, "u"),
    )


def page_item(tenant: str, head: Head, page: Stretch, *, expires: int) -> Item:
    return key(rows_of(tenant, head.source), page_name(head.lease or "", head.seq)) | {
        "t": {"B": page.packed()}, "n": {"N": str(head.seq)}, "x": {"N": str(expires)}}


def unless_moved(before: Head | None) -> Item:
    """The condition of a put that replaces the head *before*, or makes the first one."""
    if before is None:
        return {"ConditionExpression": "attribute_not_exists(p)"}
    return {"ConditionExpression": "f = :f", "ExpressionAttributeValues": {":f": {"B": fingerprint(before)}}}


def row_item(tenant: str, source: str, row: Row, *, expires: int | None) -> Item:
    item = row_key(tenant, source, row.ref) | {"b": {"B": pack(row.body)}, "l": lease_value(row.lease), "n": {"N": str(row.seq)}}
    if row.code is not None:
        # The body of a stub is gone, so its hash cannot be worked out again.
        item |= {"e": {"S": row.code}, "h": {"B": row.hash.to_bytes(32, "big")}}
    if expires is not None and row.ref.kind in AGING:
        item["x"] = {"N": str(expires)}
    return item


def row_of(item: Item) -> Row:
    ref, body = ref_of(item), unpack(bytes(item["b"]["B"]))
    hash = int.from_bytes(bytes(item["h"]["B"]), "big") if "h" in item else hash_of(ref.kind, ref.id, body)
    return Row(ref, body, hash, lease_of(item, "l") or "", number(item, "n"), item.get("e", {}).get("S"))


def tombstone_item(tenant: str, source: str, gone: Tombstone) -> Item:
    return row_key(tenant, source, gone.ref) | {
        "d": {"N": str(gone.at)}, "l": lease_value(gone.lease), "n": {"N": str(gone.seq)}}


def tombstone_of(item: Item) -> Tombstone:
    return Tombstone(ref_of(item), lease_of(item, "l") or "", number(item, "n"), number(item, "d"))
