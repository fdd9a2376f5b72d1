"""The read API: the predecessor's shapes, pages that stay stable, ETags, clear refusals, its own description."""
from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.api import PATHS, read_api
from ledger.errors import Problem
from ledger.export import export
from ledger.http import schemas
from ledger.http.described import ALL, ROUTES
from ledger.http.reads import HANDLERS, OPEN, Access
from ledger.times import zone
from tests.ledger.ledgerkit import DAY, HOUR, MINUTE, NOW, House, a_session, ms, use
from tests.ledger.test_blocks import declared, limit

LISTS = ["/sessions/active", "/sessions/recent", "/five-hour-blocks", "/limits", "/machines"]
ANSWERS = [route.path for route in ALL if route.answered]
READS = [path for path in ANSWERS if "{" not in path and path != "/v1/ping"]


@pytest.fixture
def house() -> House:
    """Alice's laptop with something of everything."""
    house = House()
    house.laptop().pushes(
        a_session("s1", use(NOW - MINUTE, model="claude-opus-5", reported=0.5), context={"used": 50_000, "size": 200_000}, git_branch="fix/webhooks"),
        a_session("s2", use(NOW - 2 * HOUR, model="nimbus"), use(NOW - HOUR), project="page", metadata={"description": "x"}, columns={"process_id": 77}),
        a_session("abcd1234:session_1", use(NOW - 3 * DAY), id="session_1", session_type="codex", provenance="declared", estimated_tokens=999, machine="studio"),
        ("machine", "mbp-16", {"name": "mbp", "os": "macOS 15.6", "version": "1.0.0", "tz": "Europe/Berlin", "readers": {"claude_code": {"state": "ok"}}}),
        limit(58, ms("2026-11-22T13:00Z")), limit(63, NOW + 3 * DAY, window="seven_day_opus"), declared("block_1", NOW - 9 * HOUR),
    )  # fmt: skip
    return house


# -- shapes ------------------------------------------------------------------------------------------------------


def test_a_view_is_free_while_whoever_exports_it_reads(house: House) -> None:
    house.laptop().pushes(*(a_session(f"s{number}", use(NOW - number * MINUTE)) for number in range(450)))
    view, parts = house.view(), export(house.view(), "session", "jsonl").chunks
    assert next(parts)
    with ThreadPoolExecutor(1) as elsewhere:
        assert elsewhere.submit(view.lock._lock.acquire, timeout=10).result()
        elsewhere.submit(view.lock._lock.release).result()
        assert elsewhere.submit(next, parts, b"").result(), "any thread may make the next part"


@pytest.mark.parametrize("path", ANSWERS)
def test_every_answer_has_the_shape_that_is_described(house, path):
    route = ROUTES[path]
    answer = house.get(path.replace("{id}", "s1"))
    assert isinstance(answer, list) is route.many
    for item in answer if route.many else [answer]:
        described = route.answered()
        missing = {name for name, field in described.fields.items() if field.required} - set(item)
        assert not missing and not described.validate(item)


@pytest.mark.parametrize("path", LISTS)
def test_the_predecessors_lists_are_arrays(house, path):
    assert isinstance(house.get(path), list) and house.get(path)


def test_a_session_has_every_column_that_the_predecessor_showed(house):
    session = house.get("/sessions/s2")
    wanted = {"id", "session_type", "start_time", "end_time", "conversation_id", "models_used", "estimated_tokens", "is_active", "metadata",
              "total_messages", "duration_minutes", "process_id"}  # fmt: skip
    assert wanted <= set(session)
    assert session["models_used"] == ["claude-opus-5", "nimbus"] and session["metadata"] == {"description": "x"}
    assert session["duration_minutes"] == 60


@pytest.mark.parametrize("metadata", [None, "text", [1], 7])
def test_metadata_is_an_object_whatever_a_row_says(metadata):
    house = House()
    house.laptop().pushes(a_session("s1", metadata=metadata))
    assert house.get("/sessions/recent")[0]["metadata"] == house.get("/sessions/s1")["metadata"] == {}


def test_a_session_says_its_tokens_costs_and_context(house):
    session = house.get("/sessions/s1")
    assert session["tokens"] == {"input": 100, "output": 50, "cache_write_5m": 0, "cache_write_1h": 0, "cache_read": 0}
    assert (session["cost"], session["reported_cost"], session["unpriced"]) == (0.00175, 0.5, [])
    assert session["context"] == {"used": 50_000, "size": 200_000, "percent": 25.0}
    assert sum(session["activity"]) == 150 and len(session["activity"]) == 24
    assert session["machine"] == "mbp"


def test_an_unpriced_model_is_named_and_costs_nothing_known(house):
    session = house.get("/sessions/s2")
    assert session["unpriced"] == ["nimbus"] and session["cost"] == 0.00175
    assert {model["model"]: model["cost"] for model in session["models"]} == {"claude-opus-5": 0.00175, "nimbus": None}


def test_a_column_never_hides_a_field_of_ours():
    house = House()
    house.laptop().pushes(a_session("s1", columns={"id": "evil", "cost": -1, "tokens": 3, "own": 1}))
    session = house.get("/sessions/s1")
    assert (session["id"], session["cost"], session["own"]) == ("s1", 0.00175, 1)


def test_a_session_is_found_by_its_key_or_by_the_id_it_shows(house):
    assert house.get("/sessions/session_1")["key"] == house.get("/sessions/abcd1234:session_1")["key"] == "abcd1234:session_1"
    assert house.get("/sessions/session_1")["estimated_tokens"] == 999


def test_recent_sessions_come_newest_start_first(house):
    assert [session["key"] for session in house.get("/sessions/recent", limit=2)] == ["s1", "s2"]


def test_blocks_have_every_column_and_come_newest_first(house):
    found = house.get("/five-hour-blocks")
    wanted = {"id", "start_time", "end_time", "total_sessions", "total_tokens", "efficiency_score", "is_complete", "duration_minutes", "progress_percent"}
    assert all(wanted <= set(block) for block in found)
    assert [block["start_time"] for block in found] == sorted((block["start_time"] for block in found), reverse=True)
    assert {block["basis"] for block in found} == {"official", "declared"}
    assert len(house.get("/five-hour-blocks", limit=1)) == 1


def test_analytics_are_the_predecessors(house):
    found = house.get("/analytics/current")
    assert found["today"] == {"claude_code": {"sessions": 2, "tokens": 450, "avg_messages": 4.0, "active": 1}}
    assert found["weekly"] == {"claude_code": {"sessions": 2, "tokens": 450}, "codex": {"sessions": 1, "tokens": 150}}
    assert set(found["current_block"]) >= {"id", "elapsed_minutes", "remaining_minutes", "sessions", "tokens", "progress_percent"}
    assert (found["total_active_sessions"], found["last_updated"]) == (1, "2026-11-22T10:56:03.120Z")


def test_analytics_of_nothing_are_empty_not_missing():
    found = House().get("/analytics/current")
    assert (found["today"], found["weekly"], found["current_block"], found["total_active_sessions"]) == ({}, {}, None, 0)


def test_status_and_settings_have_the_members_of_both_predecessors(house):
    status = house.get("/status")
    assert status["status"] == "running" and status["has_localhost_connection"] and status["last_sync"] == "2026-11-22T10:56:03.120Z"
    assert set(status["cache_size"]) == {"active_sessions", "recent_sessions", "five_hour_blocks"}
    assert set(status["statistics"]) >= {"total_connections", "current_connections", "messages_sent", "errors"}
    assert {"real_time_enabled", "auto_refresh", "websocket_config", "dashboard_url", "localhost_port"} <= set(house.get("/dashboard-config"))
    assert House(role="relay").get("/dashboard-config")["localhost_fallback"] is True


def test_limits_say_where_an_even_pace_would_be_and_when_they_run_out(house):
    [five, week] = house.get("/limits")
    assert (five["percent"], five["label"], five["pace_percent"]) == (58, "Five hours", 58.7)
    assert (week["label"], week["pace_percent"], week["runs_out_at"] is not None) == ("Week, Opus", 57.1, True)


def test_machines_say_what_they_are_and_spent(house):
    [machine] = house.get("/machines")
    assert (machine["name"], machine["online"], machine["active"], machine["state"]) == ("mbp", True, 1, "ok")
    assert machine["today_cost"] == pytest.approx(0.0035)


def test_of_one_window_the_newest_reading_counts_whichever_machine_made_it():
    house = House()
    for source, percent, at in (("mbp-16", 30, NOW - MINUTE), ("desk", 40, NOW), ("tower", 35, NOW - 2 * MINUTE)):
        limit = {"tool": "claude_code", "account": "a", "window": "five_hour", "used_percent": percent, "resets_at": NOW + HOUR, "observed_at": at, "source": "statusline"}
        house.laptop(source).pushes(("limit", "claude_code/a/five_hour", limit))
    assert [limit["percent"] for limit in house.get("/limits")] == [40]


def test_an_amount_that_cannot_be_is_damage_and_no_sum():
    house = House()
    house.laptop().pushes(a_session("rich", use(NOW, reported=9_000_001.0)), a_session("fine", use(NOW, reported=0.5)))
    assert [session["key"] for session in house.get("/sessions")["sessions"]] == ["fine"]
    assert [stub["id"] for stub in house.get("/v1/feed")["summary"]["stubs"]] == ["rich"]


# -- what a session cost -----------------------------------------------------------------------------------------


def test_a_cost_is_explained_line_by_line_and_the_lines_add_up(house):
    found = house.get("/sessions/s1/cost")
    assert sum(line["amount"] for line in found["lines"]) == pytest.approx(found["cost"]) == 0.00175
    first = found["lines"][0]
    assert (first["kind"], first["tokens"], first["usd_per_million"], first["amount"]) == ("input", 100, 5.0, 0.0005)
    assert first["source"].startswith("http") and first["source_date"] == "2026-11-22"
    assert (found["reported_cost"], found["currency"], found["unpriced"]) == (0.5, "USD", [])


def test_an_unpriced_line_has_no_amount(house):
    found = house.get("/sessions/s2/cost")
    assert [line["amount"] for line in found["lines"] if line["model"] == "nimbus"] == [None, None]
    assert found["unpriced"] == ["nimbus"]


# -- finding -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ({}, ["s1", "s2", "abcd1234:session_1"]),
        ({"q": "webhooks"}, ["s1"]),
        ({"q": "TITLE s2"}, ["s2"]),
        ({"q": "title nothing"}, []),
        ({"project": "page"}, ["s2"]),
        ({"project": "pag"}, []),
        ({"model": "nimbus"}, ["s2"]),
        ({"machine": "studio"}, ["abcd1234:session_1"]),
        ({"machine": "mbp"}, ["s1", "s2"]),
        ({"machine": "mbp-16"}, ["s1", "s2"]),
        ({"session_type": "Claude-Code"}, ["s1", "s2"]),
        ({"session_type": "codex"}, ["abcd1234:session_1"]),
        ({"active": "true"}, ["s1"]),
        ({"active": "false"}, ["s2", "abcd1234:session_1"]),
        ({"since": "2026-11-22T00:00Z"}, ["s1", "s2"]),
        ({"since": "2026-11-22"}, ["s1", "s2"]),
        ({"since": "2026-11-22", "until": "2026-11-22T00:00:00Z"}, []),
        ({"until": "2026-11-22T00:00:00Z"}, ["abcd1234:session_1"]),
        ({"since": "2026-11-20", "until": "2026-11-22T10:00:00+01:00"}, ["s2"]),
        ({"sort": "last_activity"}, ["abcd1234:session_1", "s2", "s1"]),
        ({"sort": "-tokens"}, ["abcd1234:session_1", "s2", "s1"]),
        ({"sort": "-duration", "limit": 1}, ["s2"]),
        ({"sort": "start_time", "q": "title", "active": "true", "model": "claude-opus-5", "project": "relay"}, ["s1"]),
    ],
)
def test_sessions_are_found(house, query, keys):
    found = house.get("/sessions", **query)
    assert [session["key"] for session in found["sessions"]] == keys
    if "limit" not in query:
        assert (found["total"], found["next"]) == (len(keys), None)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=25), st.integers(1, 7),
    st.sampled_from(["-last_activity", "last_activity", "-start_time", "start_time", "-tokens", "tokens", "-cost", "cost", "-duration"]),
    st.lists(st.integers(0, 40), max_size=4),
)  # fmt: skip
def test_pages_show_every_session_that_stays_as_it_is_exactly_once(ages, size, sort, changes):
    """Whatever else changes in between; ties are broken by the key."""
    house = House()
    laptop = house.laptop()
    laptop.pushes(*[a_session(f"s{n}", use(NOW - age * HOUR, input=age)) for n, age in enumerate(ages)])
    changing = {f"s{n}" for n in changes}
    seen: list[str] = []
    cursor, turn = "", 0
    while True:
        page = house.get("/sessions", sort=sort, limit=size, cursor=cursor)
        seen += [session["key"] for session in page["sessions"]]
        cursor = page["next"]
        if cursor is None:
            break
        if turn < len(changes):
            laptop.pushes(a_session(f"s{changes[turn]}", use(NOW - turn * MINUTE, input=7 * turn)))
            turn += 1
    still = [f"s{n}" for n in range(len(ages)) if f"s{n}" not in changing]
    assert [key for key in seen if key in still] == sorted(still, key=seen.index)
    assert all(seen.count(key) == 1 for key in still)


# -- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "query", "parameter"),
    [
        ("/sessions", {"limit": "0"}, "limit"), ("/sessions", {"limit": "501"}, "limit"), ("/sessions", {"limit": "many"}, "limit"),
        ("/sessions", {"active": "perhaps"}, "active"), ("/sessions", {"since": "yesterday"}, "since"), ("/sessions", {"sort": "-fame"}, "sort"),
        ("/sessions", {"cursor": "%%%"}, "cursor"), ("/sessions", {"cursor": "WzFd"}, "cursor"), ("/sessions", {"q": "x" * 201}, "q"),
        ("/sessions/recent", {"limit": "-1"}, "limit"), ("/five-hour-blocks", {"limit": "1e3"}, "limit"), ("/export", {"format": "xml"}, "format"),
        ("/export", {"kind": "secrets"}, "kind"), ("/v1/feed", {"sessions": "-1"}, "sessions"), ("/machines", {"tz": "Mars/Olympus"}, "tz"),
        ("/analytics/current", {"tz": "../../etc/passwd"}, "tz"), ("/sessions", {"until": "9" * 400}, "until"), ("/sessions", {"since": "99999-01-01"}, "since"),
        ("/sessions", {"since": "2026-11-22", "until": "2026-11-21"}, "since"), ("/export", {"since": "2026-11-22", "until": "2026-11-21"}, "since"),
    ],
)  # fmt: skip
def test_a_bad_parameter_is_named(house, path, query, parameter):
    answer = house.answer(path, **query)
    problem = json.loads(answer.body)
    assert (answer.status, problem["type"], problem["parameter"]) == (400, "malformed", parameter)
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_page_that_does_not_know_its_zone_is_shown_the_machines(house):
    assert house.get("/v1/feed", tz="Etc/Nowhere")["summary"]["tz"] == "Europe/Berlin"


def test_a_cursor_of_another_order_is_refused(house):
    cursor = house.get("/sessions", sort="-tokens", limit=1)["next"]
    assert house.answer("/sessions", sort="-cost", cursor=cursor).status == 400


def test_unknown_and_empty_parameters_do_no_harm(house):
    assert house.answer("/sessions/recent", _="12345", limit="").status == 200


@pytest.mark.parametrize("path", ["/sessions/nobody", "/sessions/nobody/cost", "/nothing", "/", "/sessions/active/x", "/v1", "/v1/push"])
def test_what_is_not_there_is_404(house, path):
    assert house.answer(path).status == 404


@pytest.mark.parametrize("path", [*READS, "/export"])
def test_a_push_key_reads_nothing(house, path):
    assert house.answer(path, scope="push").status == 403


def test_a_caller_may_be_confined_to_some_paths(house):
    confined = Access("alice", "read", frozenset({"/status"}))
    assert house.reads.answer(confined, "GET", "/status", {}, {}).status == 200
    assert house.reads.answer(confined, "GET", "/sessions", {}, {}).status == 403


@pytest.mark.parametrize("method", ["POST", "DELETE", "PATCH"])
def test_only_get_is_answered(house, method):
    answer = house.reads.answer(Access("alice", "read"), method, "/status", {}, {})
    assert answer.status == 405 and "GET" in answer.headers["allow"]


# -- ETags ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [path for path in READS if path not in ("/status",)])
def test_an_unchanged_answer_is_304(house, path):
    first = house.answer(path)
    again = house.answer(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]


@pytest.mark.parametrize("path", ["/sessions", "/sessions/recent", "/v1/feed", "/analytics/current", "/five-hour-blocks"])
def test_a_changed_answer_has_another_etag(house, path):
    first = house.answer(path)
    house.laptop().pushes(a_session("s9", use(NOW - MINUTE)))
    assert house.answer(path, headers={"If-None-Match": first.headers["etag"]}).status == 200


def test_time_alone_does_not_change_a_feed_that_has_nothing_new(house):
    cursor = house.get("/v1/feed")["cursor"]
    first = house.answer("/v1/feed", cursor=cursor)
    house.clock.goes(5_000)
    assert house.answer("/v1/feed", cursor=cursor, headers={"if-none-match": f'W/{first.headers["etag"]}, "x"'}).status == 304


def test_head_is_get_without_a_body(house):
    get, head = house.answer("/sessions"), house.reads.answer(Access("alice", "read"), "HEAD", "/sessions", {}, {})
    assert (head.status, head.body, head.headers["etag"]) == (200, b"", get.headers["etag"])


# -- export --------------------------------------------------------------------------------------------------------


def exported(house, **query) -> bytes:
    return b"".join(house.answer("/export", **query).stream)


@pytest.mark.parametrize("kind", ["session", "usage", "block", "day"])
def test_an_export_says_the_same_in_every_format(house, kind):
    rows = list(csv.DictReader(io.StringIO(exported(house, kind=kind).decode())))
    lines = [json.loads(line) for line in exported(house, kind=kind, format="jsonl").splitlines()]
    assert lines == json.loads(exported(house, kind=kind, format="json"))
    assert len(rows) == len(lines)


def test_an_export_is_complete_and_in_range(house):
    assert [json.loads(line)["key"] for line in exported(house, format="jsonl").splitlines()] == ["abcd1234:session_1", "s2", "s1"]
    assert [json.loads(line)["key"] for line in exported(house, format="jsonl", since="2026-11-22").splitlines()] == ["s2", "s1"]
    assert len(exported(house, format="jsonl", until="2026-11-20").splitlines()) == 1


@pytest.mark.parametrize("asked", [{"project": "atlas"}, {"session_type": "Claude-Code"}, {"model": "no-such-model"}, {"machine": "no-such-machine"}, {"project": ""}])
def test_an_export_is_filtered_as_the_list_of_sessions_is(house, asked):
    listed = {session["key"] for session in house.get("/sessions", limit="500", **asked)["sessions"]}
    assert {json.loads(line)["key"] for line in exported(house, format="jsonl", **asked).splitlines()} == listed
    assert {json.loads(line)["session"] for line in exported(house, format="jsonl", kind="usage", **asked).splitlines()} <= listed


@pytest.mark.parametrize("kind", ["block", "day"])
def test_a_filter_that_a_kind_does_not_know_is_refused(house, kind):
    answer = house.answer("/export", kind=kind, project="atlas")
    assert answer.status == 400
    assert b"cannot be filtered" in answer.body


@pytest.mark.parametrize("format", ["csv", "jsonl", "json"])
def test_an_export_can_be_checked_by_its_checksum(house, format):
    line = house.answer("/export", format=format, checksum="true").body.decode()
    assert line == f"{hashlib.sha256(exported(house, format=format)).hexdigest()}  sessions.{format}\n"


@pytest.mark.parametrize("title", ["=HYPERLINK(1)", "+1", "-1+2", "@SUM(A1)", "\tx", "\rx", "\n=1", "  =1", "＝1"])
def test_no_cell_of_an_export_is_a_formula(title):
    house = House()
    house.laptop().pushes(a_session("s1", title=title, project=title))
    [row] = csv.DictReader(io.StringIO(exported(house).decode(), newline=""))
    assert row["title"] == "'" + title and row["project"][0] == "'"


def test_an_export_survives_quotes_commas_lines_and_odd_characters():
    house = House()
    title = 'a "b", c\nd; é 漢 \u2028'
    house.laptop().pushes(a_session("s1", title=title))
    [row] = csv.DictReader(io.StringIO(exported(house).decode(), newline=""))
    assert row["title"] == title


def test_an_export_comes_in_pieces():
    house = House()
    house.laptop().pushes(*[a_session(f"s{n:04}") for n in range(500)])
    pieces = list(house.answer("/export", format="json").stream)
    assert len(pieces) > 3 and len(json.loads(b"".join(pieces))) == 500


# -- the description -----------------------------------------------------------------------------------------------


def test_the_description_names_every_path_and_parameter(house):
    document = json.loads(house.answer("/openapi.json").body)
    assert document["openapi"].startswith("3.1") and set(document["paths"]) == {route.path for route in ALL}
    assert {entry["name"] for entry in document["paths"]["/sessions"]["get"]["parameters"]} == set(schemas.AskedSessions().fields)
    text = json.dumps(document)
    for name in re.findall(r'"#/components/schemas/(\w+)"', text):
        assert name in document["components"]["schemas"]


def test_what_is_described_is_what_there_is():
    assert set(ROUTES) == {*HANDLERS, *OPEN, "/export"}
    assert {path for path, route in ROUTES.items() if route.is_open} == OPEN


def test_the_page_of_the_description_loads_nothing_from_elsewhere(house):
    answer = house.reads.answer(None, "GET", "/docs", {}, {})
    text = answer.body.decode()
    assert answer.status == 200 and answer.headers["content-type"].startswith("text/html")
    assert "<script" not in text and "http://" not in text and "https://" not in text and " style=" not in text
    assert "default-src 'none'" in answer.headers["content-security-policy"] and "unsafe" not in answer.headers["content-security-policy"]
    assert all(route.path in text for route in ALL)


# -- Flask ---------------------------------------------------------------------------------------------------------


def mounted(house: House, who=lambda: Access("alice", "read"), **more):
    app = Flask("test")
    app.register_blueprint(read_api(house.reads, who, name="one", prefix="/api", **more))
    app.register_blueprint(read_api(house.reads, who, name="two", prefix="", **more))
    return app.test_client()


@pytest.mark.parametrize("prefix", ["", "/api"])
@pytest.mark.parametrize("path", [path for path in ANSWERS if path not in ("/status",)])
def test_flask_answers_the_very_bytes_of_the_handler(house, prefix, path):
    path = path.replace("{id}", "abcd1234:session_1")
    ours, theirs = house.answer(path), mounted(house).get(prefix + path)
    assert (theirs.status_code, theirs.data) == (ours.status, ours.body)
    assert {name: theirs.headers[name] for name in ours.headers} == ours.headers


def test_every_path_is_mounted_and_a_slash_at_the_end_is_forgiven(house):
    assert {path.replace("<path:id>", "{id}") for path in PATHS} | {"/sessions/{id}/cost"} == {route.path for route in ALL}
    assert mounted(house).get("/api/status/").status_code == 200


def refuse() -> Access:
    raise Problem(401, "unknown-key", "this key is not known here: make one with relay keys create")


def test_without_a_key_only_the_open_paths_answer(house):
    client = mounted(house, refuse)
    assert client.get("/api/sessions").status_code == 401
    ping = client.get("/api/v1/ping")
    assert ping.status_code == 200 and "tenant" not in ping.json and ping.json["home"] == "agent"
    assert client.get("/api/openapi.json").status_code == client.get("/api/docs").status_code == 200


def test_the_predecessors_doors_say_error(house):
    client = mounted(house, refuse, legacy_errors=True)
    assert client.get("/sessions/active").json == {"error": "this key is not known here: make one with relay keys create"}
    assert mounted(house, legacy_errors=True).get("/sessions/nobody").json == {"error": "there is no such session: /sessions lists them"}


def test_an_export_streams_through_flask(house):
    answer = mounted(house).get("/export?format=jsonl")
    assert len(answer.data.splitlines()) == 3 and "attachment" in answer.headers["content-disposition"]


def test_a_trackers_session_is_active_only_while_its_row_says_so():
    house = House()
    house.laptop().pushes(a_session("open", use(NOW), provenance="declared", is_active=True), a_session("closed", use(NOW), provenance="declared", is_active=False), a_session("seen", use(NOW)))
    assert {session["key"] for session in house.get("/sessions/active")} == {"open", "seen"}


@pytest.mark.parametrize("name", ["../../etc/passwd", "Mars/Olympus", ""])
def test_a_zone_that_there_is_not_is_utc_and_no_path(name):
    assert zone(name).name == "UTC" and zone(name).day(NOW) == "2026-11-22"


def test_the_description_says_which_paths_need_no_key(house):
    paths = house.get("/openapi.json")["paths"]
    assert {path for path, found in paths.items() if found["get"].get("security") == []} == {"/v1/ping", "/openapi.json", "/docs"}
