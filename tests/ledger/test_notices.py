"""What a person hears of, and how a pace is worked out."""
from __future__ import annotations

import threading
from dataclasses import replace
from zoneinfo import available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.bodies import Limit
from ledger.times import iso
from ledger.views.notices import notices
from ledger.views.pace import length_of, project, runs_out, spread
from ledger.views.public import limit as shown
from tests.ledger.ledgerkit import DAY, HOUR, MINUTE, NOW, QUARTER, House, a_session, ms, use
from tests.ledger.test_blocks import limit


def alerts(house: House) -> list[tuple[str, str]]:
    return [(alert["level"], alert["text"]) for alert in house.get("/v1/feed")["summary"]["alerts"]]


@pytest.mark.parametrize(
    ("percent", "expected"),
    [(74.9, []), (75, [("info", "Five hours: 75% used.")]), (90, [("warn", "Five hours: 90% used.")]), (105, [("bad", "Five hours: the limit is reached.")])],
)
def test_a_limit_is_told_at_three_quarters_at_nine_tenths_and_when_it_is_reached(percent, expected):
    house = House()
    house.laptop().pushes(limit(percent, ms("2026-11-22T11:00Z")))
    assert alerts(house) == expected


def test_a_block_that_runs_out_before_its_reset_is_told_with_the_time():
    house = House()
    rows = [use(ms("2026-11-22T08:00:01Z") + number * QUARTER, input=1000) for number in range(12)]
    house.laptop().pushes(a_session("a", *rows), limit(72, ms("2026-11-22T13:00Z")))
    [(level, text)] = alerts(house)
    assert level == "warn" and text.startswith("Heading to reach the limit") and text.endswith("before the block resets.")


@pytest.mark.parametrize(
    ("before", "said"),
    [(29 * MINUTE + 29_999, "29m"), (29 * MINUTE + 30_000, "30m"), (59 * MINUTE + 30_000, "1h 00m"), (200 * MINUTE - 30_000, "3h 20m"), (10 * HOUR - 1, "10 hours"), (1, "0m")],
)
def test_a_span_is_rounded_as_the_page_rounds_it(before, said):
    end = ms("2026-11-22T13:00Z")
    block = {"id": "b", "unit": "percent", "percent": 80, "end": iso(end), "projection": {"hit_at": iso(end - before)}}
    [notice] = notices(block, [], [], {}, NOW)
    assert notice["text"] == f"Heading to reach the limit {said} before the block resets."


def test_all_refused_records_are_counted_though_only_a_hundred_are_listed():
    house = House()
    house.laptop().pushes(*[("session", f"bad{n}", "{") for n in range(493)])
    summary = house.get("/v1/feed")["summary"]
    assert [alert["text"] for alert in summary["alerts"]] == ["493 records of mbp-16 could not be taken in."]
    assert len(summary["stubs"]) == 100


def test_a_week_ahead_of_its_pace_is_told_and_one_with_points_in_hand_is_not():
    house = House()
    house.laptop().pushes(limit(63, NOW + 3 * DAY + 12 * HOUR, window="seven_day_opus"), limit(41, NOW + 3 * DAY, window="seven_day"))
    assert alerts(house) == [("warn", "Week, Opus: ahead of its pace. At this rate it runs out 34 hours before it resets.")]


def test_a_machine_that_fell_silent_is_told_and_one_that_is_heard_is_not():
    house = House()
    house.laptop("mbp").pushes(a_session("a"), ("machine", "mbp", {"name": "Alice's laptop"}))
    house.clock.goes(149_000)
    assert alerts(house) == []
    house.clock.goes(1_000)
    assert alerts(house) == [("info", "Alice's laptop is silent.")]
    house.clock.goes(DAY)
    assert alerts(house) == []


def test_a_reader_that_cannot_read_is_told_with_its_reason():
    house = House()
    readers = {"tracker": {"state": "unreadable", "detail": "locked"}, "claude_code": {"state": "ok"}, "codex": {"state": "absent"}}
    house.laptop().pushes(("machine", "mbp-16", {"name": "mbp", "readers": readers}))
    assert alerts(house) == [("warn", "mbp: tracker cannot be read (locked).")]
    assert house.get("/machines")[0]["state"] == "attention"


def test_worse_comes_first_and_the_same_matter_keeps_its_id():
    house = House()
    house.laptop().pushes(limit(80, NOW + HOUR), limit(100, NOW + DAY, window="seven_day"))
    first = house.get("/v1/feed")["summary"]["alerts"]
    assert [alert["level"] for alert in first] == ["bad", "info"]
    house.laptop().pushes(limit(82, NOW + HOUR))
    assert [alert["id"] for alert in house.get("/v1/feed")["summary"]["alerts"]] == [alert["id"] for alert in first]


def test_a_machine_without_a_record_is_known_by_what_its_agent_said_when_it_pushed():
    house = House()
    laptop = house.laptop()
    laptop.pushes(a_session("a"))
    assert house.get("/machines")[0]["name"] == "mbp-16"
    for agent, name in (('{"name":"Alice","os":"macOS","version":"1.0.0","boot":"x"}', "Alice"), ("not json", "mbp-16"), ('{"name":7}', "mbp-16")):
        head = laptop.head()
        house.store.apply("alice", head, replace(head, agent=agent))
        assert house.get("/machines")[0]["name"] == name


def test_asking_for_every_zone_does_not_fill_the_memory():
    house = House()
    house.laptop().pushes(a_session("a"))
    for tz in sorted(available_timezones())[:60]:
        house.get("/v1/feed", tz=tz)
    assert len(house.view().kept) < 24 and len(house.view().zones) <= 6


# -- pace -----------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=20), st.integers(1, 5 * HOUR), st.integers(0, 5 * HOUR))
def test_a_projection_never_leads_below_what_is_used_and_its_range_holds_its_middle(samples, elapsed, left):
    found = project(samples, elapsed, left)
    used = sum(samples)
    assert used * (1 - 1e-9) <= found.low <= found.middle * (1 + 1e-9) and found.middle <= found.high * (1 + 1e-9)


def test_an_even_use_leads_to_an_even_end_without_doubt():
    found = project([10.0] * 12, 12 * QUARTER, 8 * QUARTER)
    assert (found.low, found.middle, found.high) == pytest.approx((200, 200, 200))
    assert found.reaches(160, 120, NOW, NOW + 8 * QUARTER) == NOW + 4 * QUARTER
    assert found.reaches(201, 120, NOW, NOW + 8 * QUARTER) is None


def test_a_projection_goes_on_half_as_the_whole_and_half_as_the_last_hour():
    found = project([0.0] * 8 + [10.0] * 4, 12 * QUARTER, 6 * QUARTER)
    assert found.middle == pytest.approx(40 + 6 * (40 / 12 + 10) / 2)


def test_nothing_used_leads_nowhere():
    assert project([], 0, HOUR).middle == 0 and project([], 0, HOUR).reaches(1, 0, NOW, NOW + HOUR) is None


@given(st.lists(st.tuples(st.integers(-HOUR, 2 * HOUR), st.integers(0, HOUR), st.integers(0, 10**6)), max_size=10), st.integers(1, 60))
def test_spreading_loses_no_token_of_what_lies_inside(uses, slots):
    rows = [(0, NOW + at, NOW + at + length, 0, 0, tokens, 0, 0, 0, 0, 1, 0, -1) for at, length, tokens in uses]
    found = spread(rows, NOW - HOUR, NOW + 4 * HOUR, slots)
    assert sum(found) == pytest.approx(sum(tokens for _, _, tokens in uses), abs=slots)


def test_the_length_of_a_window_is_known_by_its_name():
    assert length_of("five_hour") == 5 * HOUR and length_of("seven_day_opus") == 7 * DAY and length_of("lunar") is None


def test_running_out_is_told_only_before_the_end():
    assert runs_out(50, NOW - HOUR, NOW, NOW + 2 * HOUR) == NOW + HOUR
    assert runs_out(20, NOW - HOUR, NOW, NOW + 2 * HOUR) is None
    assert runs_out(101, NOW - HOUR, NOW, NOW + MINUTE) == NOW


# -- many at once ---------------------------------------------------------------------------------------------


def test_readers_and_a_writer_at_the_same_time_disturb_nobody():
    house = House()
    laptop = house.laptop()
    laptop.pushes(*[a_session(f"s{n}", use(NOW - n * HOUR)) for n in range(50)])
    failures: list[BaseException] = []

    def reads() -> None:
        try:
            for number in range(25):
                house.get("/v1/feed", tz=["UTC", "Asia/Tokyo"][number % 2])
                house.get("/sessions", q="title")
                b"".join(house.answer("/export").stream)
        except BaseException as failure:  # the thread would swallow it
            failures.append(failure)

    threads = [threading.Thread(target=reads) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(60):
        laptop.pushes(a_session(f"s{number % 7}", use(NOW - number * MINUTE, input=number)))
    for thread in threads:
        thread.join()
    assert not failures
    assert house.view().summary("UTC") == house.anew().summary("UTC")


def test_a_forecast_whose_moment_went_by_is_none_any_more():
    read = Limit(window="five_hour", used_percent=90, resets_at=NOW + 2 * HOUR, observed_at=NOW)
    assert shown("k", read, NOW)["runs_out_at"] is not None
    assert shown("k", read, NOW + HOUR)["runs_out_at"] is None
    assert shown("k", Limit(window="five_hour", used_percent=100, resets_at=NOW + 2 * HOUR, observed_at=NOW), NOW + HOUR)["runs_out_at"] is not None


def test_a_week_a_few_points_ahead_of_an_even_pace_is_no_news():
    house = House()
    reset = NOW + 3 * DAY
    even = 100 * 4 / 7
    for points, told in ((4, 0), (6, 1)):
        house.laptop().pushes(limit(even + points, reset, window="seven_day"))
        assert len([text for _, text in alerts(house) if "ahead of its pace" in text]) == told, points
