"""What every shelf of small documents promises. tests/ledger/stores.py says which stores must keep it."""
from __future__ import annotations

import random
import string
import threading

import pytest

from ledger.errors import Conflict, Full
from ledger.store import LARGEST_DOCUMENT, Document

NOW = 1_760_000_000_000


def names(found) -> list[str]:
    return [name for name, _ in found]


def test_an_empty_shelf_has_nothing(store):
    assert store.take("keys", "one", now=NOW) is None
    assert list(store.list("keys", now=NOW)) == []
    assert store.drop("keys", "one") is False


def test_a_document_comes_back_as_it_was_put(store):
    value = {"text": "naïve 🦉 \u0000", "n": 1, "big": 2**53 - 1, "half": 0.5, "none": None, "yes": True, "list": [1, {"a": []}], "": {}}
    assert store.put("keys", "Ünï/#|1", value, now=NOW, expires=NOW + 5) == 1
    assert store.take("keys", "Ünï/#|1", now=NOW) == Document(value, 1, NOW + 5)


def test_each_write_raises_the_version(store):
    assert [store.put("d", "n", {"v": n}, now=NOW) for n in range(3)] == [1, 2, 3]
    assert store.take("d", "n", now=NOW) == Document({"v": 2}, 3)


def test_a_kept_document_does_not_change_with_what_was_handed_in(store):
    value = {"list": [1]}
    store.put("d", "n", value, now=NOW)
    value["list"].append(2)
    assert store.take("d", "n", now=NOW).value == {"list": [1]}


def test_only_a_new_document_may_be_asked_for(store):
    assert store.put("d", "n", {"by": "first"}, now=NOW, expect=0) == 1
    with pytest.raises(Conflict):
        store.put("d", "n", {"by": "second"}, now=NOW, expect=0)
    assert store.take("d", "n", now=NOW).value == {"by": "first"}


def test_a_write_may_expect_a_version(store):
    store.put("d", "n", {}, now=NOW)
    assert store.put("d", "n", {"v": 2}, now=NOW, expect=1) == 2
    for wrong in (1, 3):
        with pytest.raises(Conflict):
            store.put("d", "n", {"v": 3}, now=NOW, expect=wrong)
    assert store.take("d", "n", now=NOW) == Document({"v": 2}, 2)


def test_a_version_of_a_document_that_is_not_there_is_a_conflict(store):
    with pytest.raises(Conflict):
        store.put("d", "n", {}, now=NOW, expect=1)
    assert store.take("d", "n", now=NOW) is None


def test_an_expired_document_is_as_good_as_gone(store):
    store.put("d", "n", {}, now=NOW, expires=NOW + 10)
    assert store.take("d", "n", now=NOW + 9) is not None
    assert store.take("d", "n", now=NOW + 10) is None
    assert list(store.list("d", now=NOW + 10)) == []
    with pytest.raises(Conflict):
        store.put("d", "n", {}, now=NOW + 10, expect=1)
    assert store.put("d", "n", {"v": "new"}, now=NOW + 10, expect=0) == 1
    assert store.take("d", "n", now=NOW + 10) == Document({"v": "new"}, 1)


def test_a_write_sets_the_expiry_anew(store):
    store.put("d", "n", {}, now=NOW, expires=NOW + 10)
    store.put("d", "n", {}, now=NOW)
    assert store.take("d", "n", now=NOW + 100) == Document({}, 2)


def test_a_dropped_document_is_gone_and_may_come_again(store):
    store.put("d", "n", {}, now=NOW)
    assert store.drop("d", "n") is True
    assert store.drop("d", "n") is False
    assert store.take("d", "n", now=NOW) is None
    assert store.put("d", "n", {}, now=NOW, expect=0) == 1


def test_a_drop_may_expect_a_version(store):
    store.put("d", "n", {}, now=NOW)
    store.put("d", "n", {}, now=NOW)
    assert store.drop("d", "n", expect=1) is False
    assert store.take("d", "n", now=NOW) is not None
    assert store.drop("d", "n", expect=2) is True


def test_documents_are_listed_by_name_and_prefix(store):
    for name in ("b", "a/2", "a/10", "A", "é", "a"):
        store.put("d", name, {"name": name}, now=NOW)
    store.put("d", "a/expired", {}, now=NOW, expires=NOW)
    assert names(store.list("d", now=NOW)) == ["A", "a", "a/10", "a/2", "b", "é"]
    assert list(store.list("d", "a/", now=NOW)) == [("a/10", Document({"name": "a/10"}, 1)), ("a/2", Document({"name": "a/2"}, 1))]
    assert names(store.list("d", "é", now=NOW)) == ["é"]
    assert names(store.list("d", "zz", now=NOW)) == []


@pytest.mark.parametrize("prefix", ["%", "_", "a%", "\\", "*", "["])
def test_a_prefix_is_text_and_no_pattern(store, prefix):
    store.put("d", "abc", {}, now=NOW)
    store.put("d", f"{prefix}x", {}, now=NOW)
    assert names(store.list("d", prefix, now=NOW)) == [f"{prefix}x"]


def test_many_documents_are_listed_whole(store):
    for n in range(250):
        store.put("d", f"{n:04}", {"n": n}, now=NOW)
    assert names(store.list("d", now=NOW)) == [f"{n:04}" for n in range(250)]


def test_documents_may_be_dropped_while_they_are_listed(store):
    for n in range(10):
        store.put("d", f"{n}", {}, now=NOW)
    assert [name for name, _ in store.list("d", now=NOW) if store.drop("d", name)] == [f"{n}" for n in range(10)]
    assert list(store.list("d", now=NOW)) == []


def test_drawers_are_apart(store):
    store.put("keys", "n", {"in": "keys"}, now=NOW)
    store.put("keys/n", "x", {"in": "other"}, now=NOW)
    store.put("key", "sn", {"in": "third"}, now=NOW)
    assert names(store.list("keys", now=NOW)) == ["n"]
    assert store.take("keys", "n", now=NOW).value == {"in": "keys"}
    assert store.take("key", "n", now=NOW) is None
    assert store.take("keys/n", "x", now=NOW).value == {"in": "other"}


def test_a_large_document_fits_and_a_too_large_one_is_refused(store):
    text = "".join(random.Random(1).choices(string.ascii_letters + string.digits, k=290_000))
    store.put("d", "n", {"text": text}, now=NOW)
    assert store.take("d", "n", now=NOW).value == {"text": text}
    with pytest.raises(Full):
        store.put("d", "n", {"text": text[::-1] + text}, now=NOW)
    assert store.take("d", "n", now=NOW).version == 1


@pytest.mark.parametrize("expect", [None, 0])
def test_a_document_is_as_large_as_its_text_however_well_it_packs(store, expect):
    most = "x" * (LARGEST_DOCUMENT - len('{"text":""}'))
    with pytest.raises(Full):
        store.put("d", "n", {"text": most + "x"}, now=NOW, expect=expect)
    assert store.take("d", "n", now=NOW) is None
    assert store.put("d", "n", {"text": most}, now=NOW, expect=expect) == 1


def test_a_single_use_ticket_has_one_winner(store):
    store.put("tickets", "one", {}, now=NOW)
    won = []
    start = threading.Barrier(6)

    def redeem() -> None:
        start.wait()
        if store.drop("tickets", "one"):
            won.append(1)

    threads = [threading.Thread(target=redeem) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [1]
