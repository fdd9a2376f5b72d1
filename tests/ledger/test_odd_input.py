"""Whatever a machine pushed and whatever is asked: an answer or a clear refusal, never an accident."""
from __future__ import annotations

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.bodies import KINDS
from ledger.http.described import ALL
from ledger.http.reads import Access
from tests.ledger.ledgerkit import NOW, House, a_session, use

texts = st.text(max_size=12) | st.sampled_from(["", "default", "claude_code", "2026-11-22", "five_hour", "Europe/Berlin", "../x", "\0", "💥", "<synthetic>"])
numbers = st.integers(-5, 2**60) | st.sampled_from([0, NOW, NOW - 1, 2**53, 253_402_300_799_000]) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(st.none() | st.booleans() | numbers | texts, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=8)
a_row = st.tuples(
    *[st.integers(0, 253_402_300_799_000) | st.just(NOW)] * 3, texts, st.sampled_from(["standard", "fast+long:200", "long:", "+", ""]),
    *[st.integers(0, 10**13 + 1)] * 6, st.none() | st.floats(0, 1e7),
).map(list)  # fmt: skip


a_day_row = st.tuples(texts, st.sampled_from(["claude-opus-5", "", "x"]), st.just("standard"), st.none() | texts, *[st.integers(0, 10**13)] * 6, st.none()).map(list)
dates = st.sampled_from(["2026-11-22", "2026-99-99", "0000-00-00", "9999-12-31", "0001-01-01"])


def members(kind: str) -> st.SearchStrategy[dict]:
    """An object with the members of a kind, each as it should be or as it should not."""
    odd = dict.fromkeys(KINDS[kind].__struct_fields__, values)
    rows = {"usage": st.lists(a_row, max_size=3)} if "usage" in odd else {}
    if kind == "day":
        return st.fixed_dictionaries({"date": dates, "rows": st.lists(a_day_row, max_size=3)})
    return st.fixed_dictionaries({}, optional={**odd, **rows})


bodies = st.sampled_from(sorted(KINDS)).flatmap(lambda kind: st.tuples(st.just(kind), texts.map(lambda id: id.replace("\0", "") or "x"), members(kind)))
PATHS = [route.path.replace("{id}", "s1") for route in ALL]
names = st.sampled_from(["q", "project", "model", "machine", "session_type", "active", "since", "until", "sort", "limit", "cursor", "tz", "sessions", "gaps", "format", "kind", "x"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(bodies, min_size=1, max_size=6))
def test_no_body_breaks_an_answer(pushed):
    house = House()
    laptop = house.laptop()
    laptop.pushes(a_session("s1", use(NOW - 1)))
    for kind, id, body in pushed:
        laptop.pushes((kind, id[:128], json.dumps(body)))
        house.view()
    for path in PATHS:
        answer = house.reads.answer(Access("alice", "read"), "GET", path, {}, {})
        assert answer.status == 200, path
        if answer.stream is not None:
            b"".join(answer.stream)
        elif answer.headers["content-type"] == "application/json":
            json.loads(answer.body)
    for kind in ("usage", "block", "day"):
        b"".join(house.answer("/export", kind=kind, format="json").stream)
    assert house.view().summary("UTC") == house.anew().summary("UTC")


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(PATHS) | st.text(max_size=30).map("/sessions/".__add__) | st.text(max_size=30), st.dictionaries(names, st.text(max_size=40), max_size=4),
    st.sampled_from(["read", "local", "admin", "push", ""]), st.dictionaries(st.sampled_from(["If-None-Match", "if-none-match", "accept"]), st.text(max_size=20)),
)  # fmt: skip
def test_no_question_breaks_an_answer(path, query, scope, headers):
    house = House()
    house.laptop().pushes(a_session("s1"))
    answer = house.reads.answer(Access("alice", scope), "GET", path, query, headers)
    assert answer.status in (200, 304, 400, 403, 404)
    if answer.status >= 400:
        assert set(json.loads(answer.body)) >= {"type", "title", "status", "detail"}
