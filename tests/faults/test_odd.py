"""Odd messages by the thousand: whatever bytes, headers or members come, the answer is a refusal or right, and the copy stays whole."""
from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from ledger.record import MODULUS
from tests.compliance.client import Reply, Sender
from tests.long import counted, shares
from tests.relay.pushing import Office

ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2**53 - 1, 2**53, 2**63, 10**40, 1.5, -0.0, 1e308, "", "x", "\0", "\ud800", "é" * 200, "ff" * 32, "0" * 64, "f" * 64, "z" * 64, "x" * 70_000,
    [], [[]], {}, {"a": {}}, ["x"] * 100, [{"k": "session", "id": "s", "b": "{}"}], [{"k": "Session", "id": "", "b": 5}], [None] * 3,
]  # fmt: skip
RAW = [b"", b"{", b"null", b"[]", b"NaN", b'{"v":1,"v":1}', b'{"v":Infinity}', b"\xff\xfe{}", b"[" * 5000, b'{"a":' * 500 + b"1" + b"}" * 500, b"1" * 5000, b'"\\ud800"', b"{}\0"]
HEADERS = ["webhook-id", "webhook-timestamp", "webhook-signature", "relay-key", "content-type", "content-encoding"]
VALUES = ["", " ", "x", "0", "-1", "9" * 40, "nan", "1e9", "v1,", "v1,a", "nocomma", "v1a," * 50, "msg_\n", "é", "\0", "gzip", "gzip, gzip", "br", "application/json", "text/html; charset=" + "x" * 300]


def odd_member(sender: Sender, chance: random.Random) -> Reply:
    """A right message of which one or two members are anything at all."""
    message = sender.message(put={f"s{chance.randrange(5)}": "{}"})
    places = [message, message["put"][0], message["agent"]]
    for _ in range(chance.randint(1, 2)):
        place = chance.choice(places)
        place[chance.choice([*place, "extra", "__proto__"])] = chance.choice(ODD)
    return sender.raw(json.dumps(message).encode("utf-8", "surrogatepass"))


def odd_bytes(sender: Sender, chance: random.Random) -> Reply:
    """Well signed, and no message; or a message of which bytes were changed before it was signed."""
    if chance.random() < 0.2:
        return sender.raw(chance.choice(RAW), packed=chance.random() < 0.5)
    body = bytearray(json.dumps(sender.message(put={"s": "{}"})).encode())
    for _ in range(chance.randint(1, 4)):
        body[chance.randrange(len(body))] = chance.randrange(256)
    return sender.raw(bytes(body), packed=chance.random() < 0.5)


def odd_header(sender: Sender, chance: random.Random) -> Reply:
    name = chance.choice(HEADERS).replace("-", "_")
    return sender.raw(json.dumps(sender.message("beat")).encode(), **{name: chance.choice([*VALUES, None])})


def odd_wire(sender: Sender, chance: random.Random) -> Reply:
    """What is signed as gzip and is none, or not to its end, or followed by more."""
    packed = gzip.compress(json.dumps(sender.message("beat")).encode())
    spoiled = chance.choice([packed[: chance.randrange(len(packed))], packed + b"x", packed + packed, b"\x1f\x8b" + bytes(chance.randrange(256) for _ in range(30))])
    return sender.raw(spoiled, packed=False, content_encoding=chance.choice(["gzip", None]))


KINDS: list[Callable[[Sender, random.Random], Reply]] = [odd_member, odd_bytes, odd_header, odd_wire]


@pytest.mark.parametrize("seeds", shares("odd"), ids=str)
def test_no_message_is_more_than_refused_and_the_copy_stays_whole(seeds: range) -> None:
    chance = random.Random(seeds.start)
    office = Office()
    sender = office.begun(put={"keep": '{"v":1}'})
    with counted("odd", len(seeds)) as answers:
        for turn in seeds:
            reply = chance.choice(KINDS)(sender, chance)
            assert 200 <= reply.status < 500, turn
            answers[reply.kind] += 1
            head = office.head(sender)
            if (head.seq, head.digest, head.lease) != (sender.seq, sender.digest, sender.lease):
                rows = [row for row in office.store.rows("alice", "laptop") if row.lease == head.lease]
                assert sum(row.hash for row in rows) % MODULUS == head.digest, turn
                sender.seq, sender.digest = head.seq, head.digest
        assert "keep" in office.visible(sender)
    assert {kind[:3] for kind in answers} >= {"200", "400", "401", "409"}
