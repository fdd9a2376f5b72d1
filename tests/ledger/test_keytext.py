"""A key's text: what can be read from it, and that nothing else passes for one."""
from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.keytext import BadKey, Claims, KeyText, claims_of, id_of

LAPTOP = Claims("push", "alice", "laptop.home", 1_790_000_000, 0, b"nonce!")
KEY = KeyText("push", id_of(LAPTOP), bytes(range(32)))
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,62}", fullmatch=True)


def test_a_key_says_whose_it_is_without_asking_anybody():
    assert KeyText.parse(KEY.text()).claims == LAPTOP


def test_a_key_has_five_parts_and_a_readable_prefix():
    parts = KEY.text().split("_")
    assert parts[:2] == ["sr", "push"] and len(parts) == 5


@given(st.sampled_from(["push", "read", "admin"]), NAMES, NAMES, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.binary(min_size=6, max_size=6), st.binary(min_size=32, max_size=32))
def test_every_key_is_read_back_as_it_was_written(scope, tenant, source, issued, expires, nonce, secret):
    claims = Claims(scope, tenant, source if scope == "push" else "", issued, expires, nonce)
    read = KeyText.parse(KeyText(scope, id_of(claims), secret).text())
    assert (read.claims, read.secret) == (claims, secret)


@given(st.integers(0, len(KEY.text()) - 1), st.characters(codec="utf-8"))
def test_one_wrong_character_is_noticed(place, wrong):
    text = KEY.text()
    if text[place] == wrong:
        return
    with pytest.raises(BadKey):
        KeyText.parse(text[:place] + wrong + text[place + 1 :])


@given(st.text())
def test_no_other_text_is_a_key_nor_an_id(text):
    with pytest.raises(BadKey):
        KeyText.parse(text)
    with pytest.raises(BadKey):
        claims_of(text)


def test_an_id_has_one_spelling_so_that_no_other_one_escapes_its_revocation():
    others = [KEY.id[:-1] + letter for letter in "abcdefghijklmnopqrstuvwxyz234567" if KEY.id[:-1] + letter != KEY.id]
    same = [other for other in others if decoded(other) == decoded(KEY.id)]
    assert same, "base32 leaves bits over here"
    for other in same:
        with pytest.raises(BadKey):
            claims_of(other)


def decoded(id: str) -> bytes:
    return base64.b32decode(id.upper() + "=" * (-len(id) % 8))


def test_what_is_no_key_is_told_what_the_wanted_one_looks_like():
    for wanted in ("push", "read", "admin"):
        with pytest.raises(BadKey, match=f"sr_{wanted}_…"):
            KeyText.parse("hunter2", wanted=wanted)


def test_a_name_that_could_be_mistaken_for_something_else_is_refused():
    for name in ("", "~posts", "a b", "a/b", "_a", "x" * 64, "é", "\0"):
        with pytest.raises(BadKey):
            id_of(Claims("read", name, "", 1, 0))


def test_the_repr_shows_no_secret():
    assert KEY.text().split("_")[3] not in repr(KEY)


def test_a_key_expires_at_its_second():
    claims = Claims("read", "alice", "", 0, 100)
    assert [claims.expired(at) for at in (99_999, 100_000)] == [False, True]
