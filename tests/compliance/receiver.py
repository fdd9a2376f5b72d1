"""What a correct receiver does: each check is a conversation that starts from a lease of its own."""
from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ledger.record import to_hex
from tests.compliance.client import Reply, Sender

CHECKS: list[Callable[[Sender], None]] = []
A, B, OTHER = '{"id":"a","n":1}', '{"id":"a","n":2}', '{"id":"b"}'


class Failed(AssertionError):
    """The receiver did something else than the protocol says."""


@dataclass(frozen=True)
class Verdict:
    name: str
    failure: str = ""


def check(function: Callable[[Sender], None]) -> Callable[[Sender], None]:
    CHECKS.append(function)
    return function


def verdicts(sender: Sender) -> Iterator[Verdict]:
    """Run every check; a receiver that drops the connection fails the check at hand, not the run."""
    for each in CHECKS:
        name = each.__name__.replace("_", " ")
        try:
            each(sender)
        except Failed as failed:
            yield Verdict(name, str(failed))
        except (OSError, ValueError, KeyError, TypeError) as error:
            yield Verdict(name, f"no usable answer: {type(error).__name__}: {error}")
        else:
            yield Verdict(name)


def expect(reply: Reply, kind: str, why: str) -> Reply:
    if reply.kind != kind:
        raise Failed(f"{why}: expected {kind}, got {reply.kind}")
    return reply


def state(sender: Sender, reply: Reply) -> None:
    """The answer names exactly where this sender stands, and is signed."""
    said = (reply.document.get("seq"), reply.document.get("digest"))
    if said != (sender.seq, to_hex(sender.digest)):
        raise Failed(f"the answer names {said[0]}/{str(said[1])[:8]}, not {sender.seq}/{to_hex(sender.digest)[:8]}")
    if not sender.believes(reply):
        raise Failed("the answer is not signed")


def begun(sender: Sender) -> None:
    """A fresh lease with record a in it, committed."""
    sender.start()
    state(sender, expect(sender.push({"a": A}, commit=True), "200", "the first push under a fresh lease"))


@check
def a_sender_without_a_lease_is_offered_one_and_the_offer_stands(sender: Sender) -> None:
    first = expect(sender.start(), "409 lease", "a push without a lease")
    lease = first.document.get("lease")
    if not re.fullmatch(r"[0-9a-f]{32}", str(lease)):
        raise Failed(f"the lease is not 128 bits of lower-case hexadecimal: {lease!r}")
    if not sender.believes(first):
        raise Failed("the offer is not signed")
    if sender.start().document.get("lease") != lease:
        raise Failed("an unused offer was replaced: a replay could churn it")
    if not sender.believes(expect(sender.send(sender.message(lease="f" * 32)), "409 lease", "a lease of the sender's own making")):
        raise Failed("the offer is not signed")


@check
def a_push_is_acknowledged_with_the_state_it_made(sender: Sender) -> None:
    sender.start()
    reply = expect(sender.push({"a": A}), "200", "the first push")
    state(sender, reply)
    if reply.document.get("committed") is not False:
        raise Failed("a push without commit was called committed")
    if expect(sender.push({"b": OTHER}, commit=True), "200", "the push with commit").document.get("committed") is not True:
        raise Failed("a push with commit was not called committed")
    missing = {"v", "re", "lease", "seq", "digest", "committed", "durable", "stubs", "server_time", "beat_s", "max_changes"} - reply.document.keys()
    if missing:
        raise Failed(f"the answer lacks {sorted(missing)}")


@check
def the_last_push_again_changes_nothing(sender: Sender) -> None:
    sender.start()
    message = sender.message(put={"a": A}, commit=True)
    expect(sender.send(message), "200", "the push")
    expect(sender.send(message), "200", "the same push again")
    sender.seq, sender.digest = 1, int(message["after"], 16)
    state(sender, expect(sender.send(sender.message("beat")), "200", "a beat after the repeat"))


@check
def an_older_push_is_refused_with_the_state(sender: Sender) -> None:
    sender.start()
    old = sender.message(put={"a": A})
    sender.push({"a": A})
    sender.push({"a": B}, gone={"a": A}, **{"del": []})
    state(sender, expect(sender.send(old), "409 state", "a push from the past"))


@check
def a_push_from_the_future_is_refused_with_the_state(sender: Sender) -> None:
    begun(sender)
    state(sender, expect(sender.send(sender.message(put={"b": OTHER}, seq=sender.seq + 2)), "409 state", "a push that skips a number"))


@check
def a_push_computed_for_another_state_is_refused(sender: Sender) -> None:
    begun(sender)
    state(sender, expect(sender.send(sender.message(put={"b": OTHER}, prev="0" * 63 + "7")), "409 state", "a push with another prev"))


@check
def a_digest_that_does_not_follow_applies_nothing(sender: Sender) -> None:
    begun(sender)
    expect(sender.send(sender.message(put={"b": OTHER}, after="0" * 64)), "422 digest-mismatch", "a push whose after is wrong")
    state(sender, expect(sender.send(sender.message("beat")), "200", "a beat after the refusal"))


@check
def a_replaced_record_counts_once_in_the_digest(sender: Sender) -> None:
    begun(sender)
    message = sender.message(put={"a": B}, gone={"a": A}, **{"del": []})
    expect(sender.send(message), "200", "a push that replaces a record")


@check
def a_deletion_leaves_the_digest(sender: Sender) -> None:
    begun(sender)
    expect(sender.push(gone={"a": A}), "200", "a deletion")
    if sender.digest:
        raise Failed("the digest of nothing is not zero")
    expect(sender.push(gone={"a": A}, after=to_hex(0)), "200", "the deletion of what is not there")


@check
def a_beat_that_disagrees_hears_the_state(sender: Sender) -> None:
    begun(sender)
    state(sender, expect(sender.send(sender.message("beat")), "200", "a beat that agrees"))
    state(sender, expect(sender.send(sender.message("beat", seq=sender.seq + 1)), "409 state", "a beat with another number"))
    state(sender, expect(sender.send(sender.message("beat", prev="1" * 64)), "409 state", "a beat with another digest"))


@check
def a_superseded_lease_cannot_come_back(sender: Sender) -> None:
    sender.start()
    first = sender.message(put={"a": A}, commit=True)
    expect(sender.send(first), "200", "the first push of a lease")
    begun(sender)
    if expect(sender.send(first), "409 lease", "the first push of the old lease again").document.get("lease") == first["lease"]:
        raise Failed("the old lease was offered again")
    state(sender, expect(sender.send(sender.message("beat")), "200", "a beat under the new lease"))


@check
def the_offered_lease_is_used_by_its_first_push_only(sender: Sender) -> None:
    begun(sender)
    sender_lease, sender.lease = sender.lease, None
    offered = sender.send(sender.message()).document.get("lease")
    expect(sender.send(sender.message("beat", lease=offered, seq=1)), "409 lease", "a beat under an unused lease")
    expect(sender.send(sender.message(lease=offered, seq=2)), "409 lease", "a second push under an unused lease")
    sender.lease = sender_lease
    state(sender, expect(sender.send(sender.message("beat")), "200", "a beat under the lease in force"))


@check
def a_changed_byte_is_refused(sender: Sender) -> None:
    begun(sender)
    body = json.dumps(sender.message("beat")).encode()
    expect(sender.raw(body, secret=b"\1" * 32), "401 bad-signature", "another secret")
    expect(sender.raw(body, webhook_signature="v1,AAAA"), "401 bad-signature", "another signature")
    expect(sender.raw(body, webhook_id="msg_other"), "401 bad-signature", "another id than the signed one")
    expect(sender.raw(body, webhook_timestamp=str(sender.clock() + 1)), "401 bad-signature", "another time than the signed one")


@check
def malformed_headers_are_refused_and_never_an_error_of_the_server(sender: Sender) -> None:
    begun(sender)
    body = json.dumps(sender.message("beat")).encode()
    for value in ("nocomma", "v1,a", "v1,", ",", "v1," + "A" * 9999, "v1,é".encode().decode("latin-1"), None):
        expect(sender.raw(body, webhook_signature=value), "401 bad-signature", f"the signature {str(value)[:12]!r}")
    for value in ("", "x", "-1", "1e9", "9" * 40, None):
        expect(sender.raw(body, webhook_timestamp=value), "401 bad-signature", f"the timestamp {str(value)[:12]!r}")
    for value in ("", "a" * 500, "a b", None):
        expect(sender.raw(body, webhook_id=value), "401 bad-signature", f"the id {str(value)[:12]!r}")


@check
def an_unknown_key_is_refused(sender: Sender) -> None:
    body = json.dumps(sender.message("beat")).encode()
    for value in ("", "nobody", "a" * 9000, None):
        reply = sender.raw(body, relay_key=value)
        if reply.status != 401 or reply.document.get("type") not in ("unknown-key", "bad-signature"):
            raise Failed(f"the key {str(value)[:8]!r}: expected 401, got {reply.kind}")


@check
def a_clock_that_is_off_is_told_the_time(sender: Sender) -> None:
    begun(sender)
    for seconds in (-301, 301, 86_400 * 365):
        reply = expect(sender.raw(json.dumps(sender.message("beat")).encode(), at=sender.clock() + seconds), "401 clock-skew", f"{seconds} s off")
        if not sender.believes(reply):
            raise Failed("the time is not told in a signed answer")


@check
def a_message_for_another_relay_or_source_is_refused(sender: Sender) -> None:
    begun(sender)
    for changed, type in (({"aud": "https://other.example"}, "wrong-audience"), ({"source": "somebody-else"}, "source-mismatch")):
        reply = sender.send(sender.message("beat", **changed))
        if not 400 <= reply.status < 500 or reply.document.get("type") != type:
            raise Failed(f"expected {type}, got {reply.kind}")


@check
def poison_is_refused_by_name(sender: Sender) -> None:
    begun(sender)
    right = json.dumps(sender.message("beat"))
    poisons = {
        "not JSON": b"{", "not an object": b"[]", "empty": b"", "NaN": right.replace('"v": 1', '"v": 1, "x": NaN').encode(),
        "a key twice": right.replace('"v": 1', '"v": 1, "v": 1').encode(), "depth": right.replace('"v": 1', f'"v": 1, "x": {"[" * 99}{"]" * 99}').encode(),
        "a lone surrogate": right.replace('"v": 1', '"v": 1, "x": "\\ud83d"').encode(), "a NUL": right.replace('"v": 1', '"v": 1, "x": "\\u0000"').encode(),
        "a huge integer": right.replace('"v": 1', f'"v": 1, "x": {10**30}').encode(), "not UTF-8": right.encode() + b"\xff", "two values": right.encode() * 2,
        "another type": right.replace('"beat"', '"drop"').encode(), "a text for seq": right.replace(f'"seq": {sender.seq}', '"seq": "1"').encode(),
    }  # fmt: skip
    for name, body in poisons.items():
        expect(sender.raw(body), "400 malformed", name)
    state(sender, expect(sender.send(sender.message("beat")), "200", "a beat after the poison"))


@check
def a_bomb_or_trailing_bytes_are_refused(sender: Sender) -> None:
    begun(sender)
    bomb = gzip.compress(b" " * (8 << 20))
    reply = sender.raw(bomb, packed=False, content_encoding="gzip")
    if reply.status != 413 or reply.document.get("type") != "too-large":
        raise Failed(f"8 MiB in a few bytes: expected 413 too-large, got {reply.kind}")
    good = gzip.compress(json.dumps(sender.message("beat")).encode())
    for name, body in {"trailing bytes": good + b"x", "a cut stream": good[:-4], "no gzip at all": b"{}"}.items():
        reply = sender.raw(body, packed=False, content_encoding="gzip")
        if reply.status != 400:
            raise Failed(f"{name}: expected 400, got {reply.kind}")
    reply = sender.raw(b"{}", packed=False, content_encoding="br")
    if reply.document.get("type") != "encoding":
        raise Failed(f"another encoding: expected encoding, got {reply.kind}")


@check
def too_many_changes_are_too_large(sender: Sender) -> None:
    begun(sender)
    expect(sender.send(sender.message(put={f"r{n}": "{}" for n in range(91)})), "413 too-large", "91 changes")


@check
def a_record_that_cannot_be_kept_becomes_a_stub_that_counts(sender: Sender) -> None:
    sender.start()
    reply = expect(sender.push({"a": A, "bad": "not json {", "big": json.dumps({"x": "y" * 70_000})}, commit=True), "200", "a good and two bad records")
    stubs = {stub.get("id"): stub.get("code") for stub in reply.document.get("stubs", [])}
    if set(stubs) != {"bad", "big"}:
        raise Failed(f"the stubs are {sorted(stubs)}, not the two bad records")
    state(sender, expect(sender.send(sender.message("beat")), "200", "a beat that counts the stubs"))
