"""The earlier system's clients, unchanged, against this relay."""
from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.upkeep import Upkeep
from tests.ledger.ledgerkit import DAY, MINUTE
from tests.ledger.stores import STORES
from tests.relay.house import PAGE, SHARED, RelayHouse

OLD = "/.netlify/functions/session-sync"
WORKING = {
    "id": "session_1", "session_type": "claude-code", "start_time": "2026-11-22T09:00:00.000Z", "end_time": None, "models_used": '["claude-opus-4-7"]', "estimated_tokens": 4200, "real_input_tokens": 4000, "real_output_tokens": 200,
    "is_active": 1, "metadata": '{"description":"fix the tests"}', "total_messages": 7, "project_path": "/home/alice/relay", "process_id": 4711,
}  # fmt: skip
DONE = {**WORKING, "id": "session_0", "is_active": 0, "start_time": "2026-11-22T07:00:00Z", "end_time": "2026-11-22T08:30:00Z"}
BLOCK = {"id": "block_1", "start_time": "2026-11-22T07:00:00Z", "end_time": "2026-11-22T12:00:00Z", "total_sessions": 2, "total_tokens": 8400, "efficiency_score": 0.7, "is_complete": 0}


@pytest.fixture
def house():
    return RelayHouse()


def ids(house, path, key=SHARED):
    return [one["id"] for one in house.get(path, key)]


def test_a_post_is_answered_as_the_function_answered_it(house):
    answer = house.post(active_sessions=[WORKING], recent_sessions=[DONE, WORKING], five_hour_blocks=[BLOCK], analytics={"today": {}}, path=OLD)
    assert answer.status_code == 200 and answer.mimetype == "application/json"
    assert json.loads(answer.data) == {
        "status": "received", "source": "laptop", "timestamp": "2026-11-22T10:56:00.000Z",
        "cached_items": {"active_sessions": 1, "recent_sessions": 2, "five_hour_blocks": 1},
    }  # fmt: skip


def test_what_a_long_post_names_is_kept_in_rows_that_every_store_takes(house):
    house.post(recent_sessions=[{**DONE, "id": f"session_{number}"} for number in range(900)])
    pages = [json.loads(row.body) for row in house.store.rows("main", "~laptop", kind="post")]
    named = [page.get("recent_sessions", []) for page in pages]
    assert sorted(map(len, named)) == [100, 400, 400] and len({key for keys in named for key in keys}) == 900
    house.post(recent_sessions=[DONE])
    assert ids(house, "/sessions/recent") == ["session_0"], "and all of it is known when the next one replaces it"


def test_who_says_to_be_active_without_a_sign_of_life_for_a_day_is_stale(house):
    claims = {**WORKING, "start_time": "2026-11-20T09:00:00Z"}
    house.post(recent_sessions=[{**claims, "id": "old"}, {**claims, "id": "new", "last_activity": "2026-11-22T09:00:00Z"}])
    shown = {one["id"]: (one["is_active"], one["stale"]) for one in house.get("/sessions/recent", SHARED)}
    assert shown == {"old": (False, True), "new": (True, False)}


def test_further_columns_are_shown_as_far_as_they_are_small(house):
    house.post(recent_sessions=[{**DONE, "note": "short", "dump": "x" * 5000, "after": 1}])
    [shown] = house.get("/sessions/recent", SHARED)
    assert shown["note"] == "short" and "dump" not in shown


def test_the_whole_sequence_of_an_old_client(house):
    for path in ("/", OLD, OLD + "/"):
        assert house.post(active_sessions=[WORKING], recent_sessions=[DONE, WORKING], five_hour_blocks=[BLOCK], path=path).status_code == 200
    for mount in ("", "/api", OLD):
        assert ids(house, f"{mount}/sessions/active") == ["session_1"]
        assert ids(house, f"{mount}/sessions/recent?limit=20") == ["session_1", "session_0"]
        assert ids(house, f"{mount}/five-hour-blocks?limit=10") == ["block_1"]
        assert house.get(f"{mount}/analytics/current", SHARED)["today"]["claude_code"] == {"sessions": 2, "tokens": 8400, "avg_messages": 7.0, "active": 1}
        status = house.get(f"{mount}/status", SHARED)
        assert status["has_localhost_connection"] and status["cache_size"] == {"active_sessions": 1, "recent_sessions": 2, "five_hour_blocks": 1}
    config = house.get(f"{OLD}/dashboard-config", SHARED)
    assert config["localhost_fallback"] is True and config["localhost_url"]


def test_a_posted_session_keeps_every_column_and_gains_fields(house):
    house.post(active_sessions=[WORKING])
    shown = house.get("/sessions/active", SHARED)[0]
    assert (shown["session_type"], shown["estimated_tokens"], shown["total_messages"], shown["models_used"]) == ("claude_code", 4200, 7, ["claude-opus-4-7"])
    assert (shown["start_time"], shown["end_time"], shown["is_active"], shown["process_id"], shown["project"]) == ("2026-11-22T09:00:00.000Z", None, True, 4711, "relay")
    assert shown["metadata"] == {"description": "fix the tests"} and shown["machine"] == "laptop" and shown["provenance"] == "declared"


def test_everything_that_fits_a_post_is_kept(house):
    many = [{**DONE, "id": f"s{n}"} for n in range(1500)]
    assert json.loads(house.post(recent_sessions=many).data)["cached_items"] == {"active_sessions": 0, "recent_sessions": 1500, "five_hour_blocks": 0}
    assert house.get("/sessions?limit=1", SHARED)["total"] == 1500
    house.post(recent_sessions=many[:3], active_sessions=[WORKING])
    assert house.get("/sessions?limit=1", SHARED)["total"] == 4


def test_what_cannot_be_kept_is_not_counted_but_named(house):
    sessions = [WORKING, 7, {"session_type": "codex"}, None]
    blocks = [BLOCK, {**BLOCK, "id": "b2", "start_time": "noon"}]
    answer = house.post(active_sessions=sessions, five_hour_blocks=blocks, analytics="x" * 40_000)
    assert json.loads(answer.data)["cached_items"] == {"active_sessions": 1, "recent_sessions": 0, "five_hour_blocks": 1}
    machine = house.get("/machines", SHARED)[0]
    assert machine["state"] == "attention"
    assert machine["note"] == (
        "not kept: 1 of active_sessions: no id, 2 of active_sessions: not an object, 1 of analytics: too large, 1 of five_hour_blocks: no readable start"
    )
    assert machine["readers"]["post"]["skipped"]["active_sessions: not an object"] == 2
    house.post(recent_sessions=[DONE])
    assert house.get("/machines", SHARED)[0]["note"] == machine["note"], "the parts that were not posted again are as they were"
    house.post(active_sessions=[WORKING], five_hour_blocks=[BLOCK], analytics={})
    assert house.get("/machines", SHARED)[0]["note"] is None


def test_a_session_may_be_as_sparse_as_two_words(house):
    assert house.post(active_sessions=[{"id": "test", "session_type": "test"}]).status_code == 200
    first = house.get("/sessions/active", SHARED)[0]
    house.clock.goes(3 * MINUTE)
    house.post(active_sessions=[{"id": "test", "session_type": "test"}])
    assert house.get("/sessions/active", SHARED)[0]["start_time"] == first["start_time"]


@pytest.mark.parametrize("analytics", [None, [], "none", 7, {"anything": {"at": ["all"]}}, {"today": None}])
def test_analytics_may_have_any_shape(house, analytics):
    assert house.post(analytics=analytics).status_code == 200
    assert house.get("/analytics/current", SHARED)["total_active_sessions"] == 0


def test_what_we_do_not_know_is_ignored_and_every_part_is_optional(house):
    assert house.post(mystery=[1], weekly_goal={"x": 1}).status_code == 200
    assert house.post().status_code == 200


def test_each_present_part_replaces_and_an_absent_one_stays(house):
    house.post(active_sessions=[WORKING], recent_sessions=[DONE], five_hour_blocks=[BLOCK])
    house.post(active_sessions=[])
    assert ids(house, "/sessions/active") == [] and ids(house, "/sessions/recent") == ["session_0"]
    house.post(recent_sessions=[{**DONE, "id": "session_9"}])
    assert ids(house, "/sessions/recent") == ["session_9"] and ids(house, "/five-hour-blocks") == ["block_1"]
    house.post(five_hour_blocks=[])
    assert "block_1" not in ids(house, "/five-hour-blocks") and ids(house, "/sessions/recent") == ["session_9"]


def test_a_session_that_is_no_longer_active_but_recent_stays_and_is_closed(house):
    house.post(active_sessions=[WORKING], recent_sessions=[WORKING])
    house.post(active_sessions=[], recent_sessions=[{**WORKING, "is_active": 0, "end_time": "2026-11-22T10:00:00Z"}])
    assert ids(house, "/sessions/active") == []
    assert house.get("/sessions/recent", SHARED)[0]["end_time"] == "2026-11-22T10:00:00.000Z"


def test_two_sources_do_not_replace_each_other(house):
    house.post(source="laptop", active_sessions=[WORKING])
    house.post(source="desk/top über", active_sessions=[{**WORKING, "id": "session_7"}])
    assert sorted(ids(house, "/sessions/active")) == ["session_1", "session_7"]
    assert {one["machine"] for one in house.get("/sessions/active", SHARED)} == {"laptop", "desk/top über"}


def test_a_silent_client_has_no_active_sessions(house):
    house.post(active_sessions=[WORKING])
    house.clock.goes(6 * MINUTE)
    assert ids(house, "/sessions/active") == [] and ids(house, "/sessions/recent") == ["session_1"]
    assert not house.get("/status", SHARED)["has_localhost_connection"]


@pytest.mark.parametrize("store", STORES)
def test_what_was_posted_outlives_the_process_on_every_store_that_does(store, tmp_path):
    with STORES[store](tmp_path) as opened:
        RelayHouse(opened).post(active_sessions=[{**WORKING, "id": f"s{n}"} for n in range(100)], recent_sessions=[DONE])
        again = RelayHouse(opened)
        assert again.get("/sessions?limit=1", SHARED)["total"] == 101
        again.post(active_sessions=[{**WORKING, "id": "s7"}])
        assert sorted(ids(again, "/sessions/recent?limit=500")) == ["s7", "session_0"]
        head = opened.heads("main")[0]
        assert sum(row.hash for row in opened.rows("main", head.source)) % (1 << 256) == head.digest


def test_the_feed_tells_of_posts(house):
    cursor = house.get("/v1/feed", SHARED)["cursor"]
    house.post(active_sessions=[WORKING])
    feed = house.get(f"/v1/feed?cursor={cursor}", SHARED)
    assert [one["value"]["id"] for one in feed["records"] if one["kind"] == "session"] == ["session_1"]
    house.post(active_sessions=[])
    assert [one["key"] for one in house.get(f"/v1/feed?cursor={feed['cursor']}", SHARED)["removed"]] == ["~laptop:session_1"]


def test_posts_end_at_the_horizon(house):
    house.post(recent_sessions=[DONE, {**DONE, "id": "old", "start_time": "2025-01-01T00:00:00Z", "end_time": "2025-01-01T01:00:00Z"}])
    assert Upkeep(house.store, keep_days=400, clock=house.clock).round().retired == 1
    assert ids(house, "/sessions/recent") == ["session_0"]
    house.clock.goes(431 * DAY)
    assert Upkeep(house.store, keep_days=400, clock=house.clock).round().forgotten == 1


# -- refusals


@pytest.mark.parametrize("path", ["/", OLD])
@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"null", b"[]", b"7", b'"text"', b"\xff\xfe", b'{"source":"a","timestamp":"2026-11-22T00:00:00Z"}', b'{"source":"a","data":{}}',
        b'{"timestamp":"2026-11-22T00:00:00Z","data":{}}', b'{"source":7,"timestamp":"2026-11-22T00:00:00Z","data":{}}', b'{"source":"","timestamp":"2026-11-22T00:00:00Z","data":{}}',
        b'{"source":"a","timestamp":"yesterday","data":{}}', b'{"source":"a","timestamp":"2026-11-22T00:00:00Z","data":[]}',
        b'{"source":"a","timestamp":"2026-11-22T00:00:00Z","data":{"active_sessions":{}}}', b'{"source":"a","timestamp":"2026-11-22T00:00:00Z","data":{"five_hour_blocks":"x"}}',
        b'{"source":"a","timestamp":"2026-11-22T00:00:00Z","data":{"analytics":NaN}}', b"[" * 100_000,
    ],
)  # fmt: skip
def test_a_malformed_post_is_400_with_an_error(house, path, body):
    answer = house.ask(path, method="POST", body=body, X_API_Key=SHARED)
    assert answer.status_code == 400 and set(json.loads(answer.data)) == {"error"}


@pytest.mark.parametrize("key", ["", "wrong", SHARED[:-1], SHARED + "x", "ключ", "x" * 5000])
def test_a_wrong_key_is_401_with_an_error(house, key):
    answer = house.post(active_sessions=[], key=key.encode().decode("latin-1"), path=OLD)
    assert answer.status_code == 401 and set(json.loads(answer.data)) == {"error"}
    assert house.store.tenants() == []


def test_without_a_shared_key_the_door_is_closed():
    house = RelayHouse(API_SECRET="")
    assert house.post(active_sessions=[WORKING]).status_code == 401
    assert house.post(active_sessions=[WORKING], key="").status_code == 401
    assert house.ask("/sessions/active", X_API_Key="").status_code == 401


def test_a_push_or_read_key_is_no_shared_key(house):
    for scope, source in (("read", ""), ("push", "laptop"), ("admin", "")):
        assert house.post(active_sessions=[], key=house.key(scope, source=source)).status_code == 401


def test_unknown_paths_and_other_methods_say_so_as_before(house):
    unknown = house.ask(f"{OLD}/nothing", SHARED)
    assert unknown.status_code == 404 and set(json.loads(unknown.data)) == {"error"}
    for method in ("PUT", "DELETE", "PATCH"):
        for path in (OLD, f"{OLD}/status", f"{OLD}/sessions/active"):
            answer = house.ask(path, SHARED, method=method)
            assert answer.status_code == 405 and set(json.loads(answer.data)) == {"error"}


def test_a_preflight_allows_the_headers_but_only_our_pages(house):
    for path in (OLD, f"{OLD}/status", "/sessions/active", "/"):
        ours = house.ask(path, method="OPTIONS", Origin=PAGE)
        assert ours.status_code in (200, 204) and ours.headers["Access-Control-Allow-Origin"] == PAGE
        assert {"Content-Type", "Authorization", "X-API-Key"} <= set(ours.headers["Access-Control-Allow-Headers"].split(", "))
        assert "Access-Control-Allow-Origin" not in house.ask(path, method="OPTIONS", Origin="https://elsewhere.example").headers


def test_a_post_too_large_is_refused(house):
    assert house.post(active_sessions=[{"id": "x", "padding": "y" * (1 << 20)}]).status_code == 413


def test_sources_cannot_multiply_without_end(house):
    for number in range(50):
        assert house.post(source=f"machine {number}").status_code == 200
    assert house.post(source="one too many").status_code == 507
    assert house.post(source="machine 7").status_code == 200


JSON = st.recursive(st.none() | st.booleans() | st.integers(1 - 2**53, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(st.characters(codec="utf-8", exclude_characters="\0")), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*WORKING, "x", "key", "tokens", "usage"]), inner, max_size=6), max_leaves=12)  # fmt: skip


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(JSON, max_size=3), st.lists(JSON, max_size=3), JSON, st.lists(JSON, max_size=3))
def test_whatever_is_in_the_parts_the_reads_still_answer(house, active, recent, analytics, blocks):
    assert house.post(active_sessions=active, recent_sessions=recent, analytics=analytics, five_hour_blocks=blocks).status_code == 200
    for path in ("/sessions/active", "/sessions/recent", "/analytics/current", "/five-hour-blocks", "/v1/feed", "/sessions", "/machines", "/export"):
        assert house.ask(path, SHARED).status_code == 200
