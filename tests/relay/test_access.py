"""Who may do what, with which key, and how long after it was taken away."""
from __future__ import annotations

import json

import pytest

from ledger.keytext import KeyText
from ledger.serving.live import RECHECK_S
from relay.access import BELIEVED_MS
from relay.keys import RECHECK_MS
from tests.ledger.ledgerkit import MINUTE, a_session
from tests.relay.house import PAGE, SHARED, RelayHouse

READS = ["/status", "/sessions/active", "/sessions/recent", "/sessions", "/analytics/current", "/five-hour-blocks", "/limits", "/machines", "/dashboard-config", "/export", "/v1/feed"]
OPEN = ["/v1/ping", "/openapi.json", "/docs", "/healthz", "/"]


@pytest.fixture
def house():
    return RelayHouse()


def refusal(answer):
    return answer.status_code, json.loads(answer.data)["type"]


@pytest.mark.parametrize("mount", ["", "/api"])
@pytest.mark.parametrize("path", READS)
def test_every_read_needs_a_key(house, mount, path):
    assert refusal(house.ask(mount + path)) == (401, "unknown-key")
    assert house.ask(mount + path).headers["WWW-Authenticate"].startswith("Bearer")
    assert house.ask(mount + path, house.key()).status_code == 200
    assert house.ask(mount + path, house.key("admin")).status_code == 200


def test_the_key_may_come_in_either_header(house):
    key = house.key()
    assert house.ask("/status", X_API_Key=key).status_code == 200
    assert house.ask("/status", Authorization=f"bearer   {key} ").status_code == 200
    assert house.ask("/status", Authorization=f"Basic {key}").status_code == 401
    assert house.ask(f"/status?key={key}").status_code == 401


@pytest.mark.parametrize("path", OPEN)
def test_what_needs_no_key_tells_nothing_of_anybody(house, path):
    house.post(active_sessions=[{"id": "canary", "session_type": "canary"}])
    answer = house.ask(path)
    assert answer.status_code == 200 and b"canary" not in answer.data


def test_a_push_key_cannot_read(house):
    assert refusal(house.ask("/sessions", house.key("push", source="laptop"))) == (403, "scope")


def test_metrics_from_elsewhere_need_an_admin_key(house):
    assert house.ask("/metrics").status_code == 200
    assert refusal(house.ask("/metrics", X_Forwarded_For="192.0.2.1")) == (401, "unknown-key")
    assert refusal(house.ask("/metrics", house.key(), X_Forwarded_For="192.0.2.1")) == (403, "scope")
    assert house.ask("/metrics", house.key("admin"), X_Forwarded_For="192.0.2.1").status_code == 200


def test_metrics_are_prometheus_text(house):
    house.relay.store.tenants()
    for line in house.ask("/metrics").text.splitlines():
        assert line.startswith("# ") or (len(line.split()) == 2 and float(line.split()[1]) >= 0)


@pytest.mark.parametrize("key", ["sr_read_x_y_z", "sr_admin_", "xyzzy", "é" * 20, "x" * 2000])
def test_what_is_no_key_is_unknown_and_is_not_repeated(house, key):
    answer = house.ask("/status", X_API_Key=key.encode().decode("latin-1"))
    assert answer.status_code == 401 and key not in answer.text


def test_one_changed_letter_is_refused(house):
    key = house.key()
    for place in range(0, len(key), 7):
        wrong = key[:place] + ("b" if key[place] != "b" else "c") + key[place + 1 :]
        assert house.ask("/status", wrong).status_code == 401


def test_a_revoked_key_is_out_within_a_minute_wherever_it_was_used(house):
    key, elsewhere = house.key(), RelayHouse(house.store)
    for relay in (house, elsewhere):
        assert relay.ask("/status", key).status_code == 200
    house.relay.ring.revoke(KeyText.parse(key).id)
    assert BELIEVED_MS + RECHECK_MS < MINUTE
    assert RECHECK_S * 1000 + RECHECK_MS < MINUTE, "and so is whoever watches"
    for relay in (house, elsewhere):
        relay.clock.goes(BELIEVED_MS + RECHECK_MS)
        assert refusal(relay.ask("/status", key)) == (401, "key-revoked")


def test_a_key_that_expires_is_out_at_that_moment(house):
    key = house.key(expires=house.clock() // 1000 + 5)
    assert house.ask("/status", key).status_code == 200
    house.clock.goes(5_000)
    assert refusal(house.ask("/status", key)) == (401, "key-expired")


def test_guessing_gets_slow_and_then_even_a_right_guess_of_a_shared_key_does_not_open(house):
    for number in range(60):
        assert house.ask("/status", X_API_Key=f"guess {number}").status_code == 401
    assert refusal(house.ask("/status", X_API_Key="one more")) == (429, "rate-limited")
    assert house.ask("/status", X_API_Key=SHARED).status_code == 429
    assert house.ask("/status", house.key()).status_code == 200
    house.clock.goes(2_000)
    assert house.ask("/status", X_API_Key=SHARED).status_code == 200


def test_too_many_requests_are_429_and_say_when_to_come_back():
    house = RelayHouse(RELAY_RATE="10")
    key = house.key()
    answers = [house.ask("/status", key) for _ in range(13)]
    assert [answer.status_code for answer in answers].count(429) == 1 and int(answers[-1].headers["Retry-After"]) >= 1
    assert answers[0].headers["RateLimit"] == '"default";r=11'
    assert house.ask("/status", house.key()).status_code == 200


def test_a_flood_from_one_address_does_not_reach_the_keys():
    house = RelayHouse(RELAY_RATE="10")
    codes = [house.ask("/v1/ping").status_code for _ in range(31)]
    assert codes[-1] == 429 and codes[29] == 200


def test_only_our_pages_may_read_across_origins(house):
    key = house.key()
    assert house.ask("/status", key, Origin=PAGE).headers["Access-Control-Allow-Origin"] == PAGE
    for origin in ("https://elsewhere.example", "null", "https://page.example.evil", "http://page.example", "*"):
        answer = house.ask("/status", key, Origin=origin)
        assert "Access-Control-Allow-Origin" not in answer.headers and "Origin" in answer.headers["Vary"]


def test_every_answer_carries_the_headers_that_keep_browsers_careful(house):
    for path in ("/", "/status", "/nothing", "/v1/ping", "/docs", "/js/main.js"):
        headers = house.ask(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["X-Frame-Options"] == "DENY" and headers["Referrer-Policy"] == "no-referrer"
    assert "script-src 'self'" in house.ask("/").headers["Content-Security-Policy"]
    assert "default-src 'none'" in house.ask("/status").headers["Content-Security-Policy"]


# -- tickets


def ticket(house, key, origin="https://relay.example.org", **headers):
    return house.ask("/v1/live-tickets", key, method="POST", Origin=origin, Host="relay.example.org", **headers)


def test_a_page_that_this_relay_served_under_another_name_may_watch(house):
    lan = "http://relay.lan:8787"
    assert house.ask("/v1/live-tickets", house.key(), method="POST", Origin=lan, Host="relay.lan:8787").status_code == 200
    assert house.ask("/v1/live-tickets", house.key(), method="POST", Origin=lan, Host="relay.example.org").status_code == 403


def admit(house, text, origin="https://relay.example.org", **headers):
    from ledger.errors import Problem
    from ledger.http.request import Request

    given = {"host": "relay.example.org", **({"origin": origin} if origin else {}), **headers}
    try:
        return house.relay.admissions.admit(Request("GET", "/ws", f"ticket={text}" if text else "", given, "192.0.2.1")).tenant
    except Problem as problem:
        return problem.status


def test_a_ticket_lets_one_viewer_in_once(house):
    made = json.loads(ticket(house, house.key()).data)
    assert made["expires_in_s"] == 30
    assert [admit(house, made["ticket"]), admit(house, made["ticket"])] == ["alice", 401]


def test_a_ticket_is_of_one_page_and_half_a_minute(house):
    made = [json.loads(ticket(house, house.key()).data)["ticket"] for _ in range(3)]
    assert admit(house, made[0], origin=PAGE) == 401
    assert admit(house, made[1], origin="https://elsewhere.example") == 403
    house.clock.goes(30_001)
    assert admit(house, made[2]) == 401


def test_a_ticket_does_not_outlive_its_key(house):
    key = house.key()
    made = json.loads(ticket(house, key).data)["ticket"]
    house.relay.ring.revoke(KeyText.parse(key).id)
    assert admit(house, made) == 401


def test_only_who_may_read_gets_a_ticket(house):
    assert ticket(house, None).status_code == 401
    assert ticket(house, house.key("push", source="laptop")).status_code == 403
    assert ticket(house, house.key(), origin="https://elsewhere.example").status_code == 403
    assert house.ask("/v1/live-tickets", house.key()).status_code in (404, 405)


def test_a_script_may_watch_with_its_key_in_a_header_but_never_in_the_address(house):
    key = house.key()
    assert admit(house, "", origin="", authorization=f"Bearer {key}") == "alice"
    assert admit(house, key, origin="") == 401
    assert admit(house, "", origin="") == 401


def test_a_viewer_stays_as_long_as_the_key(house):
    from ledger.http.request import Request

    key = house.key()
    admission = house.relay.admissions.admit(Request("GET", "/ws", "", {"authorization": f"Bearer {key}"}, ""))
    assert admission.still()
    house.relay.ring.revoke(KeyText.parse(key).id)
    assert not admission.still()


# -- tenants


def test_a_stranger_sees_nothing_of_anybody_by_any_path(house):
    canary = "canary-4711"
    sender = house.sender("alice", canary)
    sender.start()
    _, id, body = a_session(canary, project=canary, title=canary, git_branch=canary, machine=canary, account=canary, metadata={"description": canary})
    assert sender.push({id: json.dumps(body)}, commit=True).status == 200
    house.post(source=canary, active_sessions=[{"id": canary, "session_type": canary}])
    alice, stranger = house.key(tenant="alice"), house.key(tenant="charlie")
    cursor = house.get("/v1/feed", alice)["cursor"]
    assert canary in house.ask("/sessions", alice).text
    paths = [*READS, *OPEN, "/metrics", f"/sessions/{canary}", f"/sessions/{canary}/cost", f"/v1/feed?cursor={cursor}", f"/sessions?q={canary}", f"/sessions?project={canary}", f"/sessions?machine={canary}"]
    paths += [f"/export?format={form}&kind={kind}" for form in ("csv", "json", "jsonl") for kind in ("session", "block", "day", "machine", "limit", "usage")]
    for mount in ("", "/api", "/.netlify/functions/session-sync"):
        for path in paths:
            for key in (stranger, house.key("admin", tenant="charlie"), None):
                answer = house.ask(mount + path, key)
                assert answer.status_code < 500
                # A cursor tells whoever holds it which sources it is about, and the answer says to forget them.
                shown = answer.text.replace(f'"reset":["{canary}"]', "")
                assert canary not in shown and canary not in str(answer.headers), path
    made = json.loads(ticket(house, stranger).data)["ticket"]
    assert admit(house, made) == "charlie" and house.relay.feed("charlie", cursor, "UTC", 200)["records"] == []


def test_foreign_and_absent_are_the_same_answer(house):
    house.post(active_sessions=[{"id": "here", "session_type": "x"}])
    stranger = house.key(tenant="charlie")
    foreign, absent = (house.ask(f"/sessions/~laptop:{id}", stranger) for id in ("here", "gone"))
    assert (foreign.status_code, foreign.data) == (absent.status_code, absent.data) == (404, absent.data)


def test_many_keys_do_not_give_a_tenant_more_than_its_share():
    house = RelayHouse(RELAY_RATE="10")
    keys = [house.key() for _ in range(31)]
    house.relay.limits.address.rate = house.relay.limits.address.rate.__class__(1e9, 1e9)
    assert [house.ask("/status", key).status_code for key in keys].count(429) == 1
    assert house.ask("/status", house.key(tenant="bob")).status_code == 200


def test_a_key_that_asks_too_much_leaves_the_others_of_its_tenant_their_share():
    house = RelayHouse(RELAY_RATE="10")
    house.relay.limits.address.rate = house.relay.limits.address.rate.__class__(1e9, 1e9)
    loud, quiet = house.key(), house.key()
    assert [house.ask("/status", loud).status_code for _ in range(60)].count(200) == 12
    assert house.ask("/status", quiet).status_code == 200
