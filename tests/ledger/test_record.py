"""A record's hash is the same on every machine, whichever code computes it."""
from __future__ import annotations

import sys
from hashlib import sha256

import pytest

from ledger.record import hash_of


@pytest.mark.parametrize("with_openssl", [True, False])
def test_a_hash_does_not_depend_on_what_else_a_program_has_loaded(monkeypatch: pytest.MonkeyPatch, with_openssl: bool) -> None:
    if not with_openssl:
        monkeypatch.delitem(sys.modules, "_hashlib", raising=False)
    expected = int.from_bytes(sha256("session\0a\0{\"title\":\"größer\"}".encode()).digest(), "big")
    assert hash_of("session", "a", '{"title":"größer"}') == expected
