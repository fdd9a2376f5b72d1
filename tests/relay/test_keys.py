"""Keys as their holders meet them: made, opened, expired, revoked, rotated."""
from __future__ import annotations

from base64 import b64encode, urlsafe_b64encode

import pytest

from ledger.errors import Misuse, Problem
from ledger.keytext import KeyText
from ledger.stores.memory import MemoryStore
from relay.keys import RECHECK_MS, TOUCH_MS, KeyRing

NOW = 1_790_000_000_000
OLD, NEW = b"the master secret of last year", b"the master secret of this year"


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shelf() -> MemoryStore:
    return MemoryStore()


def ring(shelf, clock, *masters, revoked=()):
    return KeyRing(masters or (NEW,), shelf, revoked, clock)


def refusal(call):
    with pytest.raises(Problem) as refused:
        call()
    assert refused.value.status == 401
    return refused.value.type


def test_a_push_key_knows_its_machine_and_signs_with_its_secret(shelf, clock):
    keys = ring(shelf, clock)
    text = keys.issue("push", "alice", "laptop")
    found = keys.find(KeyText.parse(text).id, NOW)
    assert (found.tenant, found.source, found.scope) == ("alice", "laptop", "push")
    assert found.secrets == [KeyText.parse(text).secret]


def test_a_relay_that_lost_everything_still_knows_its_keys(shelf, clock):
    text = ring(shelf, clock).issue("read", "alice")
    assert ring(MemoryStore(), clock).open(text, NOW).tenant == "alice"


def test_no_two_keys_are_alike(shelf, clock):
    keys = ring(shelf, clock)
    assert keys.issue("read", "alice") != keys.issue("read", "alice")


def test_a_key_of_another_relay_is_unknown(shelf, clock):
    assert refusal(lambda: ring(shelf, clock).open(ring(shelf, clock, OLD).issue("read", "alice"), NOW)) == "unknown-key"


def test_rotating_the_master_secret_leaves_no_gap(shelf, clock):
    before = ring(shelf, clock, OLD).issue("push", "alice", "laptop")
    both = ring(shelf, clock, NEW, OLD)
    assert both.open(before, NOW).source == "laptop"
    assert KeyText.parse(before).secret in both.find(KeyText.parse(before).id, NOW).secrets
    assert refusal(lambda: ring(shelf, clock, NEW).open(before, NOW)) == "unknown-key"


def test_a_key_ends_at_its_second(shelf, clock):
    keys = ring(shelf, clock)
    text = keys.issue("read", "alice", expires=NOW // 1000 + 60)
    assert keys.open(text, NOW + 59_999).tenant == "alice"
    assert refusal(lambda: keys.open(text, NOW + 60_000)) == "key-expired"


def test_a_revoked_key_opens_nothing_at_once_here_and_within_a_minute_elsewhere(shelf, clock):
    here, elsewhere = ring(shelf, clock), ring(shelf, clock)
    text = here.issue("read", "alice")
    elsewhere.open(text, NOW)
    here.revoke(KeyText.parse(text).id)
    assert refusal(lambda: here.open(text, NOW)) == "key-revoked"
    assert elsewhere.open(text, NOW + 1).tenant == "alice"
    assert RECHECK_MS < 60_000
    assert refusal(lambda: elsewhere.open(text, NOW + RECHECK_MS)) == "key-revoked"


def test_a_revocation_by_setting_survives_the_store(shelf, clock):
    text = ring(shelf, clock).issue("push", "alice", "laptop")
    id = KeyText.parse(text).id
    assert refusal(lambda: ring(MemoryStore(), clock, revoked=[id]).find(id, NOW)) == "key-revoked"


def test_two_keys_of_one_machine_may_be_valid_at_once(shelf, clock):
    keys = ring(shelf, clock)
    first, second = keys.issue("push", "alice", "laptop"), keys.issue("push", "alice", "laptop")
    keys.revoke(KeyText.parse(first).id)
    assert keys.open(second, NOW).source == "laptop"


def test_the_store_holds_nothing_that_opens(shelf, clock):
    text = ring(shelf, clock).issue("read", "alice")
    secret = KeyText.parse(text).secret
    forms = [text.split("_")[3], secret.hex(), b64encode(secret).decode()[:-4], urlsafe_b64encode(secret).decode()[:-4], repr(secret)]
    kept = [f"{name}{dict(document.value)}" for name, document in shelf.list("keys", now=NOW)]
    assert kept and not [form for form in forms for one in kept if form in one]


def test_the_list_says_what_became_of_each_key(shelf, clock):
    keys = ring(shelf, clock)
    laptop, old, gone = keys.issue("push", "alice", "laptop"), keys.issue("read", "bob", expires=NOW // 1000 + 1), keys.issue("read", "bob")
    keys.revoke(KeyText.parse(gone).id)
    clock.now += 5_000
    keys.touch(KeyText.parse(laptop).id, clock.now)
    states = {one.id: (one.state, one.last_use) for one in keys.list()}
    assert [states[KeyText.parse(text).id] for text in (laptop, old, gone)] == [("in force", clock.now), ("expired", 0), ("revoked", 0)]


def test_a_key_of_what_was_forgotten_is_listed_as_revoked(shelf, clock):
    keys = ring(shelf, clock)
    keys.issue("push", "alice", "laptop")
    keys.marks.note("alice", "laptop")
    keys.issue("push", "alice", "laptop")
    assert [one.state for one in keys.list()] == ["revoked", "in force"]


def test_last_use_is_written_rarely(shelf, clock):
    keys = ring(shelf, clock)
    id = KeyText.parse(keys.issue("read", "alice")).id
    keys.touch(id, NOW)
    version = shelf.take("keys", id, now=NOW).version
    keys.touch(id, NOW + TOUCH_MS - 1)
    assert shelf.take("keys", id, now=NOW).version == version


def test_a_name_that_cannot_be_is_wrong_use(shelf, clock):
    for tenant, source in (("a/b", "x"), ("alice", "~posts"), ("", "x"), ("alice", "")):
        with pytest.raises(Misuse):
            ring(shelf, clock).issue("push", tenant, source)
    with pytest.raises(Misuse):
        ring(shelf, clock).revoke("not-an-id")
