"""Bombs, poison and guesses: what costs a stranger little must cost the relay little."""
from __future__ import annotations

import ast
import gzip
import json
import os
import re
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.relay.pushing import Office

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20


def rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def most_at_once(work: Callable[[], object]) -> int:
    """How many bytes *work* held at its worst moment; what is left of it afterwards tells nothing of that."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def bomb(kind: int, size: int) -> bytes:
    """Some shapes that inflate a thousandfold."""
    fill = (b"\0", b" ", b"[", b'{"a":', b"9")[kind % 5]
    inner = fill * (size // len(fill))
    if kind % 3 == 1:
        inner = b'{"v":1,"type":"push","put":[{"k":"session","id":"a","b":"' + inner + b'"}]}'
    packed = gzip.compress(inner, mtime=0)
    return gzip.compress(packed, mtime=0) if kind % 7 == 6 else packed + (packed if kind % 11 == 10 else b"")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is measured through /proc")
@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_bombs_leave_no_more_than_ten_megabytes(count: int) -> None:
    office = Office()
    sender = office.begun(put={"a": "{}"})
    bombs = [bomb(kind, (16 if count < 1000 else 64) * MIB) for kind in range(12)]
    for packed in bombs:
        sender.raw(packed, packed=False, content_encoding="gzip")
    assert most_at_once(lambda: [sender.raw(packed, packed=False, content_encoding="gzip") for packed in bombs]) < 10 * MIB, "a bomb may not even explode for a moment"
    before = rss()
    for number in range(count):
        reply = sender.raw(bombs[number % len(bombs)], packed=False, content_encoding="gzip")
        assert reply.status in (400, 413)
    assert rss() - before < 10 * MIB
    assert sender.send(sender.message("beat")).status == 200


POISON: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "deep lists": lambda m: b"[" * 500_000, "deep objects": lambda m: b'{"a":' * 200_000, "a huge number": lambda m: b'{"seq":' + b"9" * 900_000 + b"}",
    "an exponent": lambda m: b'{"seq":1e999999999}', "many digits after the point": lambda m: b'{"seq":0.' + b"1" * 900_000 + b"}",
    "not a number": lambda m: json.dumps({**m, "seq": float("nan")}).encode(), "infinity": lambda m: json.dumps({**m, "seq": float("inf")}).encode(),
    "a key twice": lambda m: json.dumps(m).encode()[:-1] + b',"seq":1}', "a lone surrogate": lambda m: json.dumps({**m, "source": "\ud800"}).encode(),
    "a NUL in a name": lambda m: json.dumps({**m, "source": "a\0b"}).encode(), "bytes that are no text": lambda m: b'{"v":1,"type":"\xff\xfe"}',
    "two documents": lambda m: json.dumps(m).encode() * 2, "nothing": lambda m: b"", "a list": lambda m: b"[]", "a string": lambda m: b'"' + b"x" * 900_000 + b'"',
    "members that nobody knows, and one that is wrong": lambda m: json.dumps({**m, **{f"k{number}": 0 for number in range(60_000)}, "seq": "x"}).encode(),
    "agents of a thousand parts": lambda m: json.dumps({**m, "agent": [{"a": 1}] * 60_000}).encode(),
    "changes that are lists": lambda m: json.dumps({**m, "put": [[]] * 90, "del": "x" * 100_000}).encode(),
    "a million changes": lambda m: json.dumps({**m, "put": [{}] * 200_000}).encode(), "changes of no kind": lambda m: json.dumps({**m, "put": [{"k": "", "id": "", "b": ""}]}).encode(),
    "an id without end": lambda m: json.dumps({**m, "put": [{"k": "session", "id": "x" * 900_000, "b": "{}"}]}).encode(),
    "a negative number": lambda m: json.dumps({**m, "seq": -1}).encode(), "a number beyond all stores": lambda m: json.dumps({**m, "seq": 2**63}).encode(),
    "escapes only": lambda m: b'{"aud":"' + b"\\u0041" * 150_000 + b'"}', "true as a number": lambda m: json.dumps({**m, "seq": True}).encode(),
}


@pytest.mark.parametrize("shape", POISON)
def test_poison_is_refused_and_costs_little(shape: str) -> None:
    office = Office()
    sender = office.begun(put={"a": "{}"})
    body, best = POISON[shape](sender.message(put={"b": "{}"})), 1e9
    for _ in range(3):  # our own work alone, and the best of three: the machine may be busy
        began = time.thread_time()
        reply = sender.raw(body)
        best = min(best, time.thread_time() - began)
        assert 400 <= reply.status < 500, reply
    assert best < 0.5, f"{best * 1000:.0f} ms: what was refused only after it was understood took twenty seconds"
    assert sender.send(sender.message("beat")).status == 200


# -- what time tells

SECRETIVE = re.compile(r"secret|signature|\btoken\b|\bmac\b|password", re.IGNORECASE)
WATCHED = ("ledger/signing.py", "relay/keys.py", "relay/access.py", "relay/push.py", "relay/live/tickets.py", "relay/legacy.py", "relay/posted.py", "relay/admission.py")


def compared(node: ast.Compare) -> list[str]:
    """What stands on the sides of == and !=, where it is a thing and not a constant."""
    if not any(isinstance(operator, (ast.Eq, ast.NotEq)) for operator in node.ops):
        return []
    return [ast.unparse(side) for side in (node.left, *node.comparators) if not isinstance(side, ast.Constant)]


@pytest.mark.parametrize("module", WATCHED)
def test_no_secret_is_compared_letter_by_letter(module: str) -> None:
    tree = ast.parse((ROOT / module).read_text("utf-8"))
    sides = [side for node in ast.walk(tree) if isinstance(node, ast.Compare) for side in compared(node)]
    assert not [side for side in sides if SECRETIVE.search(side) and not side.startswith("len(")]


def test_where_secrets_are_checked_the_comparison_takes_constant_time() -> None:
    for module in ("ledger/signing.py", "relay/keys.py", "relay/access.py"):
        assert "hmac.compare_digest(" in (ROOT / module).read_text("utf-8"), module


def test_a_key_that_nobody_knows_is_as_much_work_as_one_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    from ledger import signing

    office, calls = Office(), list[str]()
    known, strange = office.sender(), office.sender(tenant="nobody")
    other = Office()
    other.keys = type(other.keys)([b"another master secret"], other.store, frozenset(), other.clock)
    vouch = signing.vouch

    def counted(*words: Any) -> None:
        calls.append("vouch")
        vouch(*words)

    monkeypatch.setattr(signing, "vouch", counted)
    assert known.raw(b"{}", secret=b"\1" * 32).status == 401
    with_a_known_key = len(calls)
    office.keys.revoke(strange.key.id)
    office.now += 60
    assert strange.raw(b"{}").status == 401
    assert len(calls) == 2 * with_a_known_key == 2
