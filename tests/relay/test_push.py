"""POST /v1/push: every rule of the protocol, in the order in which a message meets them."""
from __future__ import annotations

import gzip
import json

import pytest
from marshmallow import RAISE

from ledger import signing
from ledger.errors import Busy, Conflict, Full, Unusable
from ledger.messages import TakenSchema
from ledger.record import Ref, hash_of, to_hex
from ledger.stores.memory import MemoryStore
from relay.limits import Buckets, Limits, Rate
from relay.protocol import Terms
from tests.compliance.client import JSON
from tests.compliance.receiver import verdicts
from tests.relay.pushing import AUD, NOW, Office, unlimited

A1, A2, B1 = '{"id":"a","n":1}', '{"id":"a","n":2}', '{"id":"b"}'


def test_the_relay_passes_the_compliance_suite_over_every_store(any_office):
    assert {verdict.name: verdict.failure for verdict in verdicts(any_office.sender()) if verdict.failure} == {}


# -- before the key: cheap and anonymous


def plain(office, method="POST", path="/v1/push", body=b"{}", **headers):
    given = {"content-type": JSON, "content-length": str(len(body)), **{name.replace("_", "-"): value for name, value in headers.items()}}
    status, answered, document = office.push.answer(method, path, {name: value for name, value in given.items() if value is not None}, body)
    assert "webhook-signature" not in answered
    return f"{status} {json.loads(document)['type']}"


@pytest.mark.parametrize("request_, expected", [
    ({"method": "GET"}, "405 method-not-allowed"), ({"method": "PUT"}, "405 method-not-allowed"), ({"path": "/v1/pull"}, "404 not-found"),
    ({"content_length": None}, "411 length-required"), ({"content_length": ""}, "411 length-required"),
    ({"content_length": "x"}, "400 malformed"), ({"content_length": "-1"}, "400 malformed"), ({"content_length": "1e3"}, "400 malformed"),
    ({"content_length": "٣"}, "400 malformed"), ({"content_length": "1" * 13}, "400 malformed"),
    ({"content_length": str((1 << 20) + 1)}, "413 too-large"),
    ({"content_type": None}, "415 encoding"), ({"content_type": "text/plain"}, "415 encoding"), ({"content_type": "application/jsonp"}, "415 encoding"),
    ({"content_encoding": "br"}, "415 encoding"), ({"content_encoding": "gzip, gzip"}, "415 encoding"), ({"content_encoding": "zstd"}, "415 encoding"),
    ({}, "401 unknown-key"), ({"relay_key": "no key"}, "401 unknown-key"), ({"relay_key": "ä" * 30}, "401 unknown-key"),
    ({"relay_key": "a" * 30}, "401 bad-signature"),
])  # fmt: skip
def test_a_request_that_is_wrong_from_afar_is_refused_unread(office, request_, expected):
    assert plain(office, **request_) == expected


def test_the_body_is_not_read_before_the_headers_are_found_good(office):
    def reading(length):
        raise AssertionError("read")

    headers = {"content-type": JSON, "content-length": "5", "relay-key": office.sender().key.id}
    assert office.push.answer("POST", "/v1/push", headers, reading)[0] == 401
    assert office.push.answer("POST", "/v1/push", {**headers, "content-length": "99999999"}, reading)[0] == 413


def test_a_body_shorter_than_announced_is_malformed(office):
    sender = office.begun()
    reply = sender.raw(b"{}", content_length="3")
    assert (reply.status, reply.document["type"]) == (400, "malformed")


def test_the_body_may_be_plain_and_the_media_type_may_have_parameters(office):
    sender = office.begun()
    reply = sender.raw(json.dumps(sender.message("beat")).encode(), packed=False, content_type="application/json; charset=utf-8")
    assert reply.status == 200


def test_too_many_requests_of_an_address_are_asked_to_wait():
    office = Office(limits=Limits(Buckets(Rate(2, 1)), Buckets(Rate(9, 1)), Buckets(Rate(9, 1))))
    sender = office.sender()
    replies = [sender.send(sender.message()) for _ in range(3)]
    assert [reply.kind for reply in replies] == ["409 lease", "409 lease", "429 rate-limited"]
    assert replies[-1].headers["Retry-After"] == "1"


def test_too_many_requests_of_a_key_are_asked_to_wait_by_the_relay_itself():
    office = Office(limits=Limits(Buckets(Rate(9, 1)), Buckets(Rate(1, 1)), Buckets(Rate(9, 1))))
    sender = office.sender()
    sender.send(sender.message())
    reply = sender.send(sender.message())
    assert reply.kind == "429 rate-limited"
    assert sender.believes(reply)


# -- the key


def test_an_unknown_key_and_a_wrong_secret_are_refused_without_a_signature(office):
    sender = office.begun()
    reply = sender.raw(b"{}", secret=b"guess" * 7)
    assert reply.kind == "401 bad-signature"
    assert "webhook-signature" not in reply.headers
    assert sender.raw(b"{}", relay_key="a" * 40).kind == "401 unknown-key"


def test_who_signed_is_found_out_without_counting_or_changing_anything(office):
    sender, met = office.sender(), []
    sender.post = lambda body, headers: met.append((body, headers)) or office.post(body, headers)
    sender.start()
    [(body, headers)] = met
    before = office.store.heads("alice")
    revoked = office.sender(source="revoked").key.id
    office.keys.revoke(revoked)
    assert office.push.is_signed(headers, body)
    for other in ({"relay-key": "a" * 30}, {"relay-key": revoked}, {"relay-key": "no key"}, {"webhook-signature": "v1,AAAA"}, {"webhook-id": ""}, {"content-type": "text/plain"}):
        assert not office.push.is_signed({**headers, **other}, body)
    assert not office.push.is_signed(headers, body + b" ")
    assert office.store.heads("alice") == before


def test_an_unknown_key_is_weighed_like_a_known_one(office, monkeypatch):
    sender, weighed = office.sender(), []
    monkeypatch.setattr(signing, "vouch", lambda claim, tokens, body, secrets: weighed.append(body))
    for key in (sender.key.id, "a" * 30):
        office.push.is_signed({"content-type": JSON, "relay-key": key, **signing.headers(b"{}", [b"x" * 32], "m1", NOW)}, b"{}")
    assert weighed == [b"{}", b"{}"]


def test_where_keys_cannot_be_looked_up_nobody_is_known(office, monkeypatch):
    def away(*_, **__):
        raise Busy

    monkeypatch.setattr(office.keys, "find", away)
    assert not office.push.is_signed({"content-type": JSON, "relay-key": "a" * 30, **signing.headers(b"{}", [b"x" * 32], "m1", NOW)}, b"{}")


def test_guessing_keys_is_slowed_down():
    office = Office(limits=Limits(Buckets(Rate(1e9, 1e9)), Buckets(Rate(1e9, 1e9)), Buckets(Rate(2, 1))))
    sender = office.sender()
    assert [sender.raw(b"{}", secret=b"guess").status for _ in range(3)] == [401, 401, 429]
    assert sender.send(sender.message()).kind == "409 lease"


def test_guessing_which_keys_there_are_is_slowed_down_too():
    office = Office(limits=Limits(Buckets(Rate(1e9, 1e9)), Buckets(Rate(1e9, 1e9)), Buckets(Rate(2, 1))))
    sender = office.sender()
    assert [sender.raw(b"{}", relay_key="nobody" * 5).status for _ in range(3)] == [401, 401, 429]


def test_an_expired_and_a_revoked_key_are_told_so(office):
    expired = office.sender(expires=NOW + 10)
    revoked = office.sender(source="desktop")
    office.keys.revoke(revoked.key.id)
    office.now += 60
    assert expired.send(expired.message()).kind == "401 key-expired"
    assert revoked.send(revoked.message()).kind == "401 key-revoked"


@pytest.mark.parametrize("away", [-301, 301, 10**8])
def test_a_clock_that_is_off_is_told_the_time_by_the_relay_itself(office, away):
    sender = office.begun()
    reply = sender.raw(b"{}", at=office.now + away)
    assert (reply.kind, reply.document["server_time"]) == ("401 clock-skew", office.now * 1000)
    assert sender.believes(reply)


@pytest.mark.parametrize("scope", ["read", "admin"])
def test_only_a_push_key_pushes(office, scope):
    sender = office.sender(scope=scope)
    assert sender.raw(json.dumps(sender.message(source="laptop", type="beat")).encode()).kind == "403 scope"


@pytest.mark.parametrize("changed, expected", [
    ({"aud": "https://other.example.org"}, "403 wrong-audience"), ({"aud": AUD + ".evil"}, "403 wrong-audience"), ({"source": "desktop"}, "403 source-mismatch"),
])  # fmt: skip
def test_a_message_for_somebody_else_is_refused(office, changed, expected):
    sender = office.begun()
    reply = sender.send(sender.message("beat", **changed))
    assert reply.kind == expected
    assert sender.believes(reply)
    assert office.head(sender).last_timestamp == NOW


def test_a_slash_at_the_end_of_the_address_is_no_difference(office):
    sender = office.begun()
    assert sender.send(sender.message("beat", aud=AUD + "/")).status == 200


def test_any_of_the_master_secrets_opens_and_the_answer_is_believed_whichever_made_the_key(office):
    old = office.begun()
    from relay.keys import KeyRing

    office.keys = office.push._keys = KeyRing([b"n" * 32, b"m" * 32], office.store, frozenset(), office.clock)
    reply = old.send(old.message("beat"))
    assert reply.status == 200
    assert old.believes(reply)


# -- the message


def test_every_member_is_checked_and_the_complaint_names_the_place(office):
    sender = office.begun()
    for name, value in {"seq": -1, "prev": "xyz", "lease": "UPPER", "put": {}, "del": [1], "commit": 1, "agent": [], "aud": "", "type": None}.items():
        reply = sender.send(sender.message("beat") | {name: value})
        assert reply.kind == "400 malformed", name
        assert name in reply.document["detail"]


@pytest.mark.parametrize("change", [
    {"put": [{"k": "Session", "id": "a", "b": "{}"}]}, {"put": [{"k": "session", "id": "", "b": "{}"}]}, {"put": [{"k": "session", "id": "a"}]},
    {"put": [{"k": "session", "id": "a", "b": {}}]}, {"put": [{"k": "session", "id": "é" * 300, "b": "{}"}]},
    {"put": [{"k": "session", "id": "a", "b": "{}"}] * 2}, {"put": [{"k": "session", "id": "a", "b": "{}"}], "del": [{"k": "session", "id": "a"}]},
    {"del": [{"k": "session"}]},
])  # fmt: skip
def test_changes_that_cannot_even_be_counted_are_malformed(office, change):
    sender = office.begun()
    assert sender.send(sender.message() | change).kind == "400 malformed"
    assert sender.send(sender.message("beat")).status == 200


def test_a_beat_carries_no_changes(office):
    sender = office.begun()
    assert sender.send(sender.message("beat", put={"a": A1})).kind == "400 malformed"
    assert sender.send(sender.message("beat", commit=True)).kind == "400 malformed"


@pytest.mark.parametrize("version, status", [(0, 200), (1, 200), (2, 426), (99, 426), (-1, 426), ("1", 400), (1.5, 400), (True, 400), (None, 400)])
def test_this_version_and_the_one_before_are_spoken(office, version, status):
    sender = office.begun()
    reply = sender.send(sender.message("beat", v=version))
    assert reply.status == status
    if status == 200:
        assert reply.document["v"] == version


def test_members_nobody_knows_are_ignored_and_kinds_nobody_knows_are_kept(office):
    sender = office.begun()
    body = '{"anything":[1]}'
    put = [{"k": "novelty", "id": "x", "b": body, "extra": 1}]
    reply = sender.send(sender.message(put={}, future={"a": 1}) | {"put": put, "after": to_hex((sender.digest + hash_of("novelty", "x", body)) % (1 << 256))})
    assert reply.status == 200
    assert office.store.get("alice", "laptop", Ref("novelty", "x")).body == body


# -- the state machine


def test_a_first_push_is_offered_a_lease_and_the_offer_stands(any_office):
    sender = any_office.sender()
    offered = {sender.start().document["lease"] for _ in range(3)}
    assert len(offered) == 1
    assert any_office.head(sender).lease is None
    assert any_office.told == []


def test_a_push_is_applied_and_answered_with_the_state(any_office):
    sender = any_office.begun()
    reply = sender.push({"a": A1, "b": B1})
    assert reply.document == {
        "v": 1, "re": reply.headers["webhook-id"], "lease": sender.lease, "seq": 2, "digest": to_hex(sender.digest), "committed": True,
        "durable": any_office.store.durable, "keep_days": None, "stubs": [], "server_time": NOW * 1000, "beat_s": 60, "max_changes": 90, "notices": [],
    }  # fmt: skip
    assert any_office.visible(sender) == {"a": A1, "b": B1}
    assert any_office.told == ["alice", "alice"]


def test_what_is_answered_is_what_the_definition_says_and_nothing_else():
    office = Office(terms=Terms(keep_days=90, keep_totals_days=400))
    sender = office.sender()
    sender.start()
    office.push.apart = lambda tenant: 30
    for reply in (sender.push({"a": "{}", "broken": "{"}, commit=True), sender.send(sender.message("beat")), sender.send(sender.message("bye"))):
        assert reply.status == 200
        TakenSchema(unknown=RAISE).load(reply.document)
    assert set(reply.document) == set(TakenSchema().fields)


def test_the_last_batch_again_is_answered_as_the_first_time_and_changes_nothing(any_office):
    sender = any_office.begun()
    message = sender.message(put={"a": A1, "bad": "["})
    first, again = sender.send(message), sender.send(message)
    assert again.status == 200
    assert again.document["stubs"] == first.document["stubs"] == [{"k": "session", "id": "bad", "code": "malformed-body"}]
    assert again.document["seq"] == 2
    assert any_office.told == ["alice", "alice"]


def test_an_older_or_later_number_or_another_digest_hears_the_state(any_office):
    sender = any_office.begun(put={"a": A1})
    for changed in ({"seq": 1}, {"seq": 3}, {"seq": 0}, {"prev": to_hex(7)}):
        reply = sender.send(sender.message(put={"a": A2}, **changed))
        assert reply.kind == "409 state"
        assert (reply.document["seq"], reply.document["digest"], reply.document["committed"]) == (1, to_hex(sender.digest), True)
    assert any_office.visible(sender) == {"a": A1}


def test_refusals_that_writers_of_senders_meet_say_what_to_do_next(office):
    sender = office.sender()
    offered = sender.start()
    sender.push({"a": A1})
    elsewhere, unequal = sender.send(sender.message(seq=9)), sender.send(sender.message(put={"a": A2}, after=to_hex(5)))
    assert [reply.kind for reply in (offered, elsewhere, unequal)] == ["409 lease", "409 state", "422 digest-mismatch"]
    assert all("begin a new copy" in reply.document["detail"] for reply in (offered, elsewhere, unequal))


def test_a_digest_that_does_not_follow_applies_nothing(any_office):
    sender = any_office.begun(put={"a": A1})
    before = any_office.head(sender)
    assert sender.send(sender.message(put={"a": A2}, after=to_hex(5))).kind == "422 digest-mismatch"
    assert any_office.head(sender) == before
    assert any_office.visible(sender) == {"a": A1}


def test_a_deletion_takes_the_row_and_its_hash(any_office):
    sender = any_office.begun(put={"a": A1, "b": B1})
    assert sender.push(gone={"a": A1}).status == 200
    assert any_office.visible(sender) == {"b": B1}
    assert sender.digest == hash_of("session", "b", B1)


def test_a_deletion_of_what_is_not_there_counts_nothing(any_office):
    sender = any_office.begun(put={"a": A1})
    message = sender.message() | {"del": [{"k": "session", "id": "never"}]}
    assert sender.send(message).status == 200


def test_ninety_changes_fit_and_ninety_one_do_not(any_office):
    sender = any_office.begun(put={f"s{n}": "{}" for n in range(90)})
    assert len(any_office.visible(sender)) == 90
    reply = sender.send(sender.message(put={f"t{n}": "{}" for n in range(91)}))
    assert (reply.kind, reply.document["max_changes"]) == ("413 too-large", 90)


def test_a_new_copy_replaces_the_old_one_at_its_commit_and_not_before(any_office):
    sender = any_office.begun(put={"a": A1, "b": B1})
    sender.start()
    sender.push({"a": A2})
    assert any_office.visible(sender) == {"a": A2, "b": B1}
    reply = sender.push(commit=True)
    assert reply.document["committed"] is True
    assert any_office.visible(sender) == {"a": A2}


def test_what_an_earlier_copy_superseded_does_not_show_again_in_the_next(any_office):
    sender = any_office.begun(put={"old": A1})
    sender.start()
    sender.push({"mid": A1}, commit=True)
    sender.start()
    sender.push({"new": A1})
    assert any_office.visible(sender) == {"mid": A1, "new": A1}


def test_a_commit_stays_committed(any_office):
    sender = any_office.begun()
    assert sender.push({"a": A1}, commit=False).document["committed"] is True


def test_a_lease_is_taken_up_by_a_first_push_only(any_office):
    sender = any_office.sender()
    sender.start()
    offered = sender.lease
    for type, seq in (("beat", 0), ("push", 2), ("bye", 1)):
        reply = sender.send(sender.message(type, seq=seq, lease=offered))
        assert reply.kind == "409 lease"
        assert reply.document["lease"] != offered
        offered = reply.document["lease"]


def test_a_lease_of_the_past_never_comes_back(any_office):
    sender = any_office.begun(put={"a": A1})
    past = sender.message(put={"a": A2})
    sender.start()
    sender.push({"b": B1}, commit=True)
    assert sender.send(past).kind == "409 lease"
    assert sender.send({**past, "seq": 1, "prev": to_hex(0), "after": to_hex(hash_of("session", "a", A2))}).kind == "409 lease"
    assert any_office.visible(sender) == {"b": B1}


def test_after_the_relay_lost_everything_the_next_beat_asks_for_a_new_copy():
    office = Office()
    sender = office.begun(put={"a": A1})
    office.store = office.push._store = MemoryStore()
    assert sender.send(sender.message("beat")).kind == "409 lease"


def test_a_source_has_so_many_records_and_no_more():
    office = Office(terms=Terms(max_records=3))
    sender = office.begun(put={"a": A1, "b": B1, "bad": "["})
    reply = sender.send(sender.message(put={"c": A1}))
    assert (reply.kind, reply.headers["Retry-After"]) == ("507 quota", "3600")
    assert sender.believes(reply)
    assert sender.push(gone={"b": B1}).status == 200
    assert sender.push({"c": A1}).status == 200
    known = sender.digest - hash_of("session", "c", A1) + hash_of("session", "c", A2)
    assert sender.send(sender.message(put={"c": A2}, after=to_hex(known % (1 << 256)))).status == 200
    sender.start()
    assert sender.push({"x": A1, "y": A1}).status == 200
    assert sender.push({"z": A1}, commit=True).status == 200
    assert sender.push({"more": A1}).status == 507


# -- stubs


def test_a_record_that_cannot_be_kept_is_a_stub_that_counts_and_is_shown(any_office):
    sender = any_office.sender()
    sender.start()
    bad = {
        "array": "[]", "cut": '{"a":', "text": '"x"', "nan": '{"a":NaN}', "twice": '{"a":1,"a":2}', "deep": "[" * 33 + "]" * 33, "int": '{"a":9007199254740993}',
        "surrogate": '{"a":"\\ud83d"}', "nul": '{"a":"\\u0000"}', "huge": json.dumps({"a": "x" * 65_536}), "odd\tid": "{}", "x" * 129: "{}", "": None,
    }  # fmt: skip
    bad = {id: body for id, body in bad.items() if body is not None}
    reply = sender.push({"good": A1, **bad}, commit=True)
    assert reply.status == 200
    codes = {stub["id"]: stub["code"] for stub in reply.document["stubs"]}
    assert codes.pop("huge") == "too-large"
    assert codes.pop("odd\tid") == codes.pop("x" * 129) == "malformed-id"
    assert set(codes.values()) == {"malformed-body"}
    assert any_office.visible(sender) == {"good": A1, "huge": "[too-large]", "odd\tid": "[malformed-id]", "x" * 129: "[malformed-id]",
                                          **dict.fromkeys(codes, "[malformed-body]")}  # fmt: skip
    assert sender.send(sender.message("beat")).status == 200


def test_a_stub_is_replaced_by_a_good_state_and_can_be_deleted(any_office):
    sender = any_office.begun(put={"a": "[", "b": "["})
    assert sender.digest == (hash_of("session", "a", "[") + hash_of("session", "b", "[")) % (1 << 256)
    after = to_hex((sender.digest - hash_of("session", "a", "[") + hash_of("session", "a", A1) - hash_of("session", "b", "[")) % (1 << 256))
    message = sender.message(put={"a": A1}, gone={"b": "["}, after=after)
    assert sender.send(message).status == 200
    assert any_office.visible(sender) == {"a": A1}


def test_the_largest_body_is_kept(any_office):
    body = '{"a":"' + "x" * (65_536 - 8) + '"}'
    sender = any_office.begun(put={"a": body})
    assert any_office.visible(sender) == {"a": body}


# -- liveness


def test_a_beat_that_agrees_keeps_the_source_fresh(any_office):
    sender = any_office.begun()
    any_office.now += 60
    assert sender.send(sender.message("beat")).status == 200
    head = any_office.head(sender)
    assert (head.last_seen, head.last_timestamp) == (any_office.now * 1000, any_office.now)


def test_a_replayed_beat_or_bye_changes_nothing(office):
    sender = office.begun()
    office.now += 60
    for type in ("beat", "bye"):
        body = gzip.compress(json.dumps(sender.message(type)).encode())
        headers = {**signing.headers(body, [sender.key.secret], "msg_1", office.now - 60), "content-type": JSON, "content-encoding": "gzip", "relay-key": sender.key.id}
        before = office.head(sender)
        assert office.post(body, headers).status == 200
        assert office.head(sender) == before


def test_a_bye_says_that_no_beat_is_expected_and_a_beat_that_it_is(office):
    sender = office.begun()
    office.now += 1
    told = len(office.told)
    assert sender.send(sender.message("bye")).document["beat_s"] == 60
    assert office.head(sender).beat_s == 0
    office.now += 1
    sender.send(sender.message("beat"))
    assert office.head(sender).beat_s == 60
    assert len(office.told) == told + 2


def test_beats_in_between_are_no_news_to_viewers(office):
    sender = office.begun()
    told = len(office.told)
    office.now += 60
    sender.send(sender.message("beat"))
    assert len(office.told) == told


def test_a_source_with_nothing_to_say_may_beat_more_rarely():
    office = Office(terms=Terms(beat_s=20, keep_days=400))
    sender = office.begun(put={"a": A1})
    reply = sender.send(sender.message("beat"))
    assert (reply.document["beat_s"], reply.document["keep_days"]) == (20, 400)
    office.now += 1800
    assert sender.send(sender.message("beat")).document["beat_s"] == 100
    assert sender.push({"b": B1}).document["beat_s"] == 20


def test_the_agents_report_is_kept_and_a_huge_one_is_cut_down(office):
    sender = office.begun()
    sender.push({"a": A1}, agent={"name": "Älice's", "readers": {"codex": {"state": "ok"}}})
    kept = json.loads(office.head(sender).agent)
    assert (kept["name"], kept["readers"]["codex"]["state"]) == ("Älice's", "ok")
    office.now += 1
    sender.send(sender.message("beat", agent={"name": "Alice", "uptime_s": 5, "noise": "x" * 20_000, "readers": {str(n): "y" * 100 for n in range(300)}}))
    kept = json.loads(office.head(sender).agent)
    assert (kept["name"], kept["uptime_s"]) == ("Alice", 5)
    assert len(office.head(sender).agent) < 2000


def test_who_the_agent_is_need_not_be_said_again_but_how_it_fares_must(office):
    sender = office.begun()
    office.now += 1
    sender.send(sender.message("beat", agent={"name": "Alice's", "tz": "Europe/Berlin", "disk": "full"}))
    sender.push({"a": A1}, agent={"version": "2"})
    kept = json.loads(office.head(sender).agent)
    assert (kept["name"], kept["tz"], kept["version"], "disk" in kept) == ("Alice's", "Europe/Berlin", "2", False)


# -- two agents with one key


def takes_over(sender, boot):
    """A copied agent: it knows another past, asks for a lease and begins its copy."""
    reply = sender.send(sender.message(lease=None, agent={"boot": boot}))
    sender.lease, sender.seq, sender.digest = reply.document.get("lease"), 0, 0
    if reply.kind == "409 lease":
        assert sender.push({boot: A1}, commit=True, agent={"boot": boot}).status == 200
    return reply.kind


def test_two_agents_that_take_turns_with_one_key_are_told_and_one_of_them_keeps_it(any_office):
    sender = any_office.sender()
    assert [takes_over(sender, boot) for boot in ("one", "two", "one")] == ["409 lease"] * 3
    holder = (sender.lease, sender.seq, sender.digest)
    assert takes_over(sender, "two") == "409 duplicate-source"
    sender.lease, sender.seq, sender.digest = holder
    reply = sender.push({"more": A2}, agent={"boot": "one"})
    assert reply.document["notices"] == ["duplicate-source"]
    any_office.now += 601
    assert takes_over(sender, "two") == "409 lease"


def test_one_agent_that_starts_often_is_not_two(any_office):
    sender = any_office.sender()
    assert {takes_over(sender, f"boot{n}") for n in range(6)} == {"409 lease"}
    assert {takes_over(sender, "same") for n in range(6)} == {"409 lease"}


# -- walls and trouble


def test_tenants_and_sources_do_not_touch_each_other(any_office):
    senders = [any_office.begun(tenant=tenant, source=source, put={"x": json.dumps({"of": tenant + source})})
               for tenant, source in (("alice", "laptop"), ("alice", "desktop"), ("bob", "laptop"))]  # fmt: skip
    assert [any_office.visible(sender) for sender in senders] == [
        {"x": '{"of": "alicelaptop"}'}, {"x": '{"of": "alicedesktop"}'}, {"x": '{"of": "boblaptop"}'},
    ]  # fmt: skip


class Trouble(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.raises: list[Exception] = []

    def apply(self, *args, **named):
        if self.raises:
            raise self.raises.pop(0)
        super().apply(*args, **named)


@pytest.mark.parametrize("errors, kind, retry", [
    ([Conflict()] * 4, "200", None), ([Conflict()] * 5, "503 store-unavailable", "1"), ([Busy(retry_after=70)], "503 store-unavailable", "3"),
    ([Full("")], "507 quota", "300"), ([Unusable("")], "503 store-unavailable", "2"),
])  # fmt: skip
def test_a_store_in_trouble_asks_the_agent_to_wait_in_the_relays_own_words(errors, kind, retry):
    office = Office(Trouble())
    sender = office.begun()
    office.store.raises = errors
    reply = sender.send(sender.message(put={"a": A1}))
    assert reply.kind == kind
    assert reply.headers.get("Retry-After") == retry
    assert sender.believes(reply)


def test_no_answer_repeats_the_body_or_a_secret(office):
    sender = office.begun()
    secret = "canary-3141592653589793"
    for body in (secret.encode(), json.dumps({secret: 1}).encode(), json.dumps(sender.message("beat", source=secret)).encode(),
                 json.dumps(sender.message(secret)).encode(), json.dumps(sender.message(put={secret: "["}, after=to_hex(1))).encode()):  # fmt: skip
        reply = sender.raw(body)
        assert reply.status >= 400
        assert secret.encode() not in reply.body.replace(b'"message does not fit: ', b"")
        assert sender.key.secret not in reply.body


def test_the_usual_limits_let_an_honest_agent_through():
    office = Office(limits=unlimited())
    sender = office.begun()
    assert all(sender.push({f"s{n}": "{}"}).status == 200 for n in range(50))
