"""The signature: fixed vectors, an independent library as oracle, and every way a header can be wrong."""
from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from ledger import signing
from ledger.errors import Problem
from ledger.signing import Signed, headers, sign, verify

SECRET, OTHER = b"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b"another secret of thirty-two byte"
ID, AT = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330
BODY = b'{"test": 2432232314}'


def refusal(headers, body=BODY, secrets=(SECRET,), now=AT) -> str:
    with pytest.raises(Problem) as caught:
        verify(headers, body, list(secrets), now)
    assert caught.value.status == 401
    return caught.value.type


# -- vectors: whoever writes another sender can check it against these


@pytest.mark.parametrize("body, secret, id, at, expected", ids=["specification", "empty", "all-bytes"], argvalues=[
    # The specification's own example; the others were made with openssl.
    (BODY, base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), ID, AT, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    (b"", b"\x00" * 32, "a", 1, "v1,ECTJx8x4DJFLHqPTe4R+gFPQ+IPCuMAYrZz7SuFJIr4="),
    (bytes(range(256)), bytes(range(32)), "msg_-9Z", 999_999_999_999, "v1,veeLzqhU3VAPm19BOrxvXEPj1V7BKA9Zgzk7Fm7IDnM="),
])  # fmt: skip
def test_signatures_are_what_they_always_were(body, secret, id, at, expected):
    assert sign(body, secret, id, at) == expected


# -- the oracle


@given(body=st.text(max_size=200), secret=st.binary(min_size=1, max_size=64), id=st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True))
def test_another_implementation_signs_the_same(body, secret, id):
    oracle = standardwebhooks.Webhook(base64.b64encode(secret).decode())
    assert oracle.sign(id, datetime.fromtimestamp(AT, UTC), body) == sign(body.encode(), secret, id, AT)


@given(body=st.text(max_size=200), secret=st.binary(min_size=1, max_size=64))
def test_another_implementation_accepts_what_we_sign(body, secret):
    now = int(datetime.now(UTC).timestamp())
    signed = headers(body.encode(), [OTHER, secret], ID, now)
    oracle = standardwebhooks.Webhook(base64.b64encode(secret).decode())
    try:
        oracle.verify(body, signed)
    except ValueError:  # accepted, but it wants to hand out JSON
        pass


# -- what is accepted


def test_what_was_signed_is_verified():
    assert verify(headers(BODY, [SECRET], ID, AT), BODY, [SECRET], AT) == Signed(ID, AT)


def test_names_of_headers_may_come_in_any_case():
    assert verify({name.title(): value for name, value in headers(BODY, [SECRET], ID, AT).items()}, BODY, [SECRET], AT)


@pytest.mark.parametrize("signers, holders", [([SECRET, OTHER], [SECRET]), ([OTHER, SECRET], [SECRET]), ([SECRET], [OTHER, SECRET]), ([SECRET], [SECRET, OTHER])])
def test_one_common_secret_is_enough_while_a_key_is_rotated(signers, holders):
    assert verify(headers(BODY, signers, ID, AT), BODY, holders, AT).id == ID


def test_signatures_of_kinds_we_do_not_know_are_passed_over():
    signed = headers(BODY, [SECRET], ID, AT)
    signed["webhook-signature"] = f"v1a,AAAA {signed['webhook-signature']} v2,abc="
    assert verify(signed, BODY, [SECRET], AT).id == ID


@pytest.mark.parametrize("away", [-300, -1, 0, 1, 300])
def test_clocks_may_differ_by_five_minutes(away):
    assert verify(headers(BODY, [SECRET], ID, AT), BODY, [SECRET], AT + away)


# -- what is refused


@pytest.mark.parametrize("away", [-10**9, -301, 301, 10**9])
def test_a_wrong_clock_is_told_the_time(away):
    with pytest.raises(Problem) as caught:
        verify(headers(BODY, [SECRET], ID, AT), BODY, [SECRET], AT + away)
    assert (caught.value.status, caught.value.type) == (401, "clock-skew")
    assert caught.value.extra == {"server_time": (AT + away) * 1000}


def test_a_wrong_clock_and_a_wrong_signature_is_told_nothing():
    assert refusal(headers(BODY, [OTHER], ID, AT), now=AT + 999) == "bad-signature"


def test_nobody_signs_where_no_secret_is_known():
    assert refusal(headers(BODY, [b"\0" * 32], ID, AT), secrets=()) == "bad-signature"


@pytest.mark.parametrize("changed", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_header_is_a_bad_signature(changed):
    signed = headers(BODY, [SECRET], ID, AT)
    del signed[changed]
    assert refusal(signed) == "bad-signature"


GOOD = sign(BODY, SECRET, ID, AT)
MALFORMED = {
    "webhook-id": ["", " ", "a b", "a.b", "a,b", "ä", "a\n", "a\0", "x" * 65, "\ud800", f" {ID}", f"{ID} ", None, 7, b"x"],
    "webhook-timestamp": ["", "0", "-1", "+1", "1.0", "1e9", "0x1", " 1", "1 ", "1\n", "01", "1_000", "١٢٣", "²", "9" * 13, "NaN", "now", None, AT, b"1"],
    "webhook-signature": ["", " ", "v1", "v1,", ",", "nocomma", "v1,a\n", "v1;AAAA", f"{GOOD},", f"{GOOD}  {GOOD}", f" {GOOD}", f"{GOOD} ", f"{GOOD}\t{GOOD}",
                          "v1,ä", "v1,****", "v1,a", "v1,=", "v1,====", GOOD[:-1], GOOD[:-2] + "==", GOOD.replace("v1", "V1"), GOOD.replace("v1", "v2"),
                          GOOD.replace("v1", ""), GOOD[3:], GOOD.lower(), "v1," + "A" * 200, " ".join([GOOD] * 5), "\ud800", "\0", None, 7, b"v1,AAAA"],
}  # fmt: skip


@pytest.mark.parametrize("name, value", [(name, value) for name, values in MALFORMED.items() for value in values])
def test_every_malformed_header_is_a_bad_signature(name, value):
    assert refusal({**headers(BODY, [SECRET], ID, AT), name: value}) == "bad-signature"


@given(st.dictionaries(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature", "x"]), st.text()), st.binary())
def test_no_header_in_the_world_raises_anything_else(found, body):
    assert refusal(found, body) == "bad-signature"


@given(st.text(alphabet="v12a,=+/AZ09 .-\n", max_size=60))
def test_no_signature_header_raises_anything_else(text):
    assert refusal({**headers(BODY, [SECRET], ID, AT), "webhook-signature": text}) == "bad-signature"


def every_flip(data: bytes):
    for n in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[n // 8] ^= 1 << n % 8
        yield bytes(flipped)


def test_every_flipped_bit_of_the_body_is_noticed():
    signed = headers(BODY, [SECRET], ID, AT)
    assert {refusal(signed, flipped) for flipped in every_flip(BODY)} == {"bad-signature"}


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_every_flipped_bit_of_a_header_is_noticed(name):
    signed = headers(BODY, [SECRET], ID, AT)
    for flipped in every_flip(signed[name].encode()):
        assert refusal({**signed, name: flipped.decode("latin-1")}) == "bad-signature"


@given(cut=st.integers(0, len(BODY) - 1), more=st.binary(min_size=1))
def test_a_body_that_was_cut_or_lengthened_is_noticed(cut, more):
    signed = headers(BODY, [SECRET], ID, AT)
    assert refusal(signed, BODY[:cut]) == "bad-signature"
    assert refusal(signed, BODY + more) == "bad-signature"


def test_parts_cannot_be_shifted_between_id_time_and_body():
    assert sign(b"2.x", SECRET, "a", 1) != sign(b"x", SECRET, "a", 12)
    moved = {**headers(b"7.x", [SECRET], "a", 1), "webhook-timestamp": "17"}
    assert refusal(moved, b"x", now=17) == "bad-signature"


def test_the_grammar_can_be_asked_before_any_key_is_known():
    signed = headers(BODY, [SECRET, OTHER], ID, AT)
    claim, tokens = signing.claimed(signed)
    assert claim == Signed(ID, AT)
    assert tokens == signed["webhook-signature"].split(" ")
