from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import untidy
from local_agent.readers import tracker_rows as rows
from local_agent.readers.tracker_dialects import SESSION_COLUMNS, Table
from tests.agent.trackers import NOW, a_row, anything, local_spellings

BERLIN = ZoneInfo("Europe/Berlin")
TABLE = Table("sessions", tuple(sorted(SESSION_COLUMNS)), frozenset(("last_token_update", "created_at", "updated_at")))
HOUR = 3600 * 1000


def read(**changes: object) -> rows.Session | str:
    return rows.session_of(a_row(1, **changes), TABLE, BERLIN, "default")


def facts(**changes: object) -> dict:
    found = read(**changes)
    assert isinstance(found, rows.Session)
    return found.facts


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Chatham", "UTC"])
def test_the_three_spellings_of_a_time_mean_the_same_instant(zone):
    for text, meant in local_spellings(datetime(2026, 7, 3, 21, 37, 4, 742000, tzinfo=UTC), ZoneInfo(zone)):
        assert untidy.moment(text, ZoneInfo(zone)) == meant


def test_the_hour_that_autumn_repeats_is_taken_the_first_time():
    assert untidy.moment("2026-10-25T02:30:00", BERLIN) == untidy.moment("2026-10-25T00:30:00Z")


@pytest.mark.parametrize("begun", ["2026-10-25T00:30:15Z", "2026-10-25T01:30:15Z"])
def test_of_the_hour_that_autumn_repeats_the_time_that_sqlite_filled_in_says_which_was_meant(begun):
    filled = begun.replace("T", " ").removesuffix("Z")
    assert facts(start_time="2026-10-25 02:30:15.500", end_time=None, created_at=filled)["start_time"] == untidy.moment(begun) + 500


def test_a_session_does_not_end_before_it_began_in_the_hour_that_autumn_repeats():
    found = facts(start_time="2026-10-25T00:50:00Z", end_time="2026-10-25T02:10:00", created_at=None)
    assert found["end_time"] == untidy.moment("2026-10-25T01:10:00Z")


def test_a_block_that_ends_in_the_hour_that_autumn_repeats_lasts_five_hours():
    table = Table("five_hour_blocks", ("id", "start_time", "end_time"), frozenset())
    for start, end in (("2026-10-24T20:10:00Z", "2026-10-25T01:10:00Z"), ("2026-10-24T19:10:00Z", "2026-10-25T00:10:00Z")):
        block = rows.block_of({"id": "b", "start_time": start, "end_time": "2026-10-25 02:10:00"}, table, BERLIN)
        assert isinstance(block, rows.Block)
        assert block.facts["end_time"] == untidy.moment(end)


def test_an_hour_that_spring_skips_is_still_a_time():
    assert untidy.moment("2026-03-29 02:30:00", BERLIN) == untidy.moment("2026-03-29T01:30:00Z")


def test_what_sqlite_filled_in_is_utc_and_what_a_script_wrote_there_is_local():
    by_sqlite = facts(start_time="", created_at="2026-08-12 20:58:38")
    by_script = facts(start_time="", created_at=None, last_token_update="2026-08-12T20:58:38")
    assert by_sqlite["start_time"] == untidy.moment("2026-08-12T20:58:38Z")
    assert by_script["start_time"] == untidy.moment("2026-08-12T18:58:38Z")


def test_a_row_without_a_start_takes_the_next_best_time():
    times = {"created_at": "2026-08-01 10:00:00", "last_token_update": "2026-08-02 10:00:00", "updated_at": "2026-08-03 10:00:00"}
    for name in list(times):
        assert facts(start_time=None, end_time=None, **times)["start_time"] == untidy.moment(times.pop(name) + "Z")
    assert read(start_time=None, end_time=None) == rows.NO_TIME


def test_a_row_without_an_id_is_skipped_and_named():
    assert read(id="") == read(id=None) == read(id="  ") == rows.NO_ID


@pytest.mark.parametrize(("spelled", "meant"), [
    ('["a", "b", "a"]', ["a", "b"]), ("claude-sonnet-4", ["claude-sonnet-4"]), ("a,b , c", ["a", "b", "c"]),
    ("", []), (None, []), ("[]", []), ('"a"', ["a"]), ("[1, null]", []), ("[broken", ["[broken"]),
])
def test_models_are_read_in_every_spelling(spelled, meant):
    assert facts(models_used=spelled).get("models_used", []) == meant


@pytest.mark.parametrize("metadata", [None, "", "not json {", "[1]", "3", b"\xff"])
def test_metadata_that_is_no_object_is_none(metadata):
    assert "metadata" not in facts(metadata=metadata)


def test_metadata_is_kept_small_well_formed_and_without_talk_or_paths():
    kept = facts(metadata='{"efficiency": 87, "prompt": "my secret", "cwd": "/home/ada/relay", "cut": "\\ud83d", "no": NaN, "all": "%s"}' % ("x" * 9000))
    assert kept["metadata"] == {"efficiency": 87, "cwd": "relay", "cut": "?", "all": "x" * 1000}
    many = facts(metadata=json.dumps({"small": 1} | {f"m{n}": "y" * 900 for n in range(20)}))["metadata"]
    assert many["small"] == 1 and len(json.dumps(many)) < 4200


def test_session_types_have_one_spelling():
    spellings = ("claude-code", "Claude-Code", "claude_code", "", None)
    assert [facts(session_type=each)["session_type"] for each in spellings] == ["claude_code"] * 3 + ["unknown"] * 2


def test_tokens_and_cost_are_the_first_positive_of_their_columns():
    assert facts(real_total_tokens=0, tokens_used=-3, estimated_tokens=None, billable_tokens=7)["estimated_tokens"] == 7
    assert facts(real_total_tokens=5, estimated_tokens=9)["estimated_tokens"] == 5
    assert facts(real_cost=0.0, cost_estimate=0.5, estimated_cost=2)["usage"][0][-1] == 0.5


def test_the_project_is_the_last_part_of_any_systems_path_and_else_in_the_metadata():
    assert facts(project_path="/Users/ada/Org & Co/a'b\"c")["project"] == "a'b\"c"
    assert facts(project_path="C:\\Users\\ada\\src\\relay\\")["project"] == "relay"
    assert facts(project_path="")["project"] == "relay"
    assert "/Users" not in str(facts(project_path="/Users/ada/relay"))


def test_every_column_of_the_row_is_kept_and_of_a_path_only_its_end():
    kept = facts(process_id=7, project_path="/Users/ada/relay", five_hour_block_id=None, created_at="2026-08-12 20:58:38")["columns"]
    assert kept == {"process_id": 7, "project_path": "relay", "five_hour_block_id": None, "created_at": "2026-08-12T20:58:38.000Z"}


def test_a_claim_to_be_active_is_believed_for_a_day_after_the_last_sign_of_life():
    session = read(is_active="TRUE", end_time=None, last_token_update=None)
    assert isinstance(session, rows.Session)
    lively, stale = session.body(session.sign + 24 * HOUR - 1), session.body(session.sign + 24 * HOUR)
    assert lively["is_active"] and "stale" not in lively
    assert not stale["is_active"] and stale["stale"]


def test_a_row_that_does_not_claim_to_be_active_is_neither_active_nor_stale():
    for claim in (0, "FALSE", None, ""):
        body = read(is_active=claim).body(NOW)
        assert not body["is_active"] and "stale" not in body


def test_ids_are_qualified_by_their_tracker_unless_they_are_uuids():
    assert rows.key_of("0123abcd", "session_1") == "0123abcd:session_1"
    assert rows.key_of("0123abcd", "6F9619FF-8B86-D011-B42D-00CF4FC964FF") == "6f9619ff-8b86-d011-b42d-00cf4fc964ff"


def test_several_models_are_not_guessed_apart():
    assert facts(models_used="a,b")["usage"][0][3] == "unknown"


@given(st.integers(0, 1 << 32))
def test_no_row_however_damaged_raises_or_leaves_the_bounds(seed):
    rng = random.Random(seed)
    damaged = {name: anything(rng) for name in SESSION_COLUMNS}
    found = rows.session_of(damaged, TABLE, BERLIN, "default")
    if isinstance(found, rows.Session):
        assert 0 < len(rows.key_of("0123abcd", found.id)) <= 128
        assert found.id.isprintable()
        assert all(0 <= n < untidy.MOST for n in found.facts["usage"][0][5:11])
