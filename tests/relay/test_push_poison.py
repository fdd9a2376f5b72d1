"""Whatever arrives at the push endpoint, the answer is a clear refusal: never a 5xx, never an exception, never a change."""
from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import signing
from ledger.record import to_hex
from tests.compliance.client import JSON
from tests.relay.pushing import Office

OFFICE = Office()
SENDER = OFFICE.begun(put={"a": '{"n":1}'})
NAMES = ["content-type", "content-length", "content-encoding", "relay-key", "webhook-id", "webhook-timestamp", "webhook-signature", "transfer-encoding", "host"]
CALM = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def refused(status: int, headers, body: bytes) -> None:
    assert 400 <= status < 500
    document = json.loads(body)
    assert headers["content-type"] == "application/problem+json"
    assert document["status"] == status
    assert document["type"] and document["detail"]


def unchanged(before) -> None:
    assert OFFICE.head(SENDER) == before
    assert OFFICE.visible(SENDER) == {"a": '{"n":1}'}


@CALM
@given(st.dictionaries(st.sampled_from(NAMES), st.text()), st.binary(max_size=100), st.sampled_from(["POST", "GET", "", "post\n"]), st.sampled_from(["/v1/push", "", "/", "/v1/push/"]))
def test_no_headers_in_the_world_are_more_than_refused(headers, body, method, path):
    refused(*OFFICE.push.answer(method, path, headers, body))


@CALM
@given(st.sampled_from(NAMES), st.text() | st.text(st.characters(min_codepoint=32, max_codepoint=255)))
def test_one_odd_header_among_good_ones_is_refused_or_harmless(name, value):
    body = json.dumps(SENDER.message("beat")).encode()
    good = {"content-type": JSON, "content-length": str(len(body)), "relay-key": SENDER.key.id, **signing.headers(body, [SENDER.key.secret], "msg_1", OFFICE.now)}
    status, headers, document = OFFICE.push.answer("POST", "/v1/push", good | {name: value}, body)
    if status != 200:
        refused(status, headers, document)


@CALM
@given(st.binary(max_size=300), st.booleans())
def test_no_signed_bytes_are_more_than_refused(body, packed):
    before = OFFICE.head(SENDER)
    reply = SENDER.raw(body, packed=packed)
    refused(reply.status, reply.headers, reply.body)
    assert SENDER.believes(reply)
    unchanged(before)


odd = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=()), max_size=40) | st.sampled_from([to_hex(0), "0" * 32]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["k", "id", "b", "x"]), inner, max_size=3), max_leaves=10,
)  # fmt: skip


@CALM
@given(st.dictionaries(st.sampled_from(["v", "type", "aud", "source", "lease", "seq", "prev", "after", "commit", "put", "del", "x"]), odd, min_size=1, max_size=3))
def test_no_odd_member_is_more_than_refused(changed):
    before = OFFICE.head(SENDER)
    reply = SENDER.send(SENDER.message() | changed)
    assert reply.status < 500
    if reply.status == 200:  # the odd member said what was right anyway, or is one nobody reads
        SENDER.seq += 1
        assert OFFICE.visible(SENDER) == {"a": '{"n":1}'}
    else:
        refused(reply.status, reply.headers, reply.body)
        head = OFFICE.head(SENDER)
        assert (head.lease, head.seq, head.digest) == (before.lease, before.seq, before.digest)
        assert OFFICE.visible(SENDER) == {"a": '{"n":1}'}


@CALM
@given(st.dictionaries(st.sampled_from(["boot", "name", "version", "readers", "relay", "uptime_s", "x"]), odd))
def test_no_odd_report_of_an_agent_does_any_harm(report):
    OFFICE.now += 1
    reply = SENDER.send(SENDER.message("beat", agent=report))
    assert reply.status in (200, 400)
    OFFICE.now += 1
    assert SENDER.send(SENDER.message("beat")).status == 200


@pytest.mark.parametrize("report", [
    {"relay": {"leases": "x"}}, {"relay": 7}, {"relay": None}, {"boot": 5}, {"boot": "x" * 5000}, {"boot": ["a"]},
])  # fmt: skip
def test_an_agent_cannot_write_the_relays_own_notes(report):
    office = Office()
    sender = office.sender()
    sender.start()
    assert sender.push({"a": "{}"}, agent=report).status == 200
    office.now += 1
    assert sender.send(sender.message("beat", agent=report)).status == 200
    assert [len(entry) for entry in json.loads(office.head(sender).agent)["relay"]["leases"]] == [2]


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=140), st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
def test_any_record_is_kept_or_becomes_a_stub_that_counts(id, body):
    if len(id.encode()) > 512 or "\0" in body:
        return
    office = Office()
    sender = office.sender()
    sender.start()
    assert sender.push({id: body}, commit=True).status == 200
    assert sender.send(sender.message("beat")).status == 200
    assert set(office.visible(sender)) == {id}
