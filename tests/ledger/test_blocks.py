"""Five-hour blocks: the compared rule exactly, anchored where the tool said when it resets."""
from __future__ import annotations

from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.blocks import LENGTH, Blocks, Window, windows_of
from ledger.http.reads import Access
from ledger.times import iso
from tests.ledger.ledgerkit import ALICE, DAY, HOUR, MINUTE, NOW, QUARTER, House, a_session, ms, use

START = ms("2026-11-20T00:00Z")


def the_rule(requests: list[int]) -> list[tuple]:
    """The rule as it is written down, on single requests: (start, first, last, requests) and gaps as (start, end)."""
    made: list[list] = []
    found: list[tuple] = []
    for at in sorted(requests):
        block = made[-1] if made else None
        if block is None or at - block[0] > LENGTH or at - block[2] > LENGTH:
            if block is not None and at - block[2] > LENGTH:
                found.append(("gap", block[2] + LENGTH, at))
            block = [at - at % HOUR, at, at, 0]
            made.append(block)
            found.append(block)  # type: ignore[arg-type]
        block[2] = at
        block[3] += 1
    return [tuple(entry) for entry in found]


def rows_of(requests: list[int]) -> list[tuple[int, ...]]:
    """The rows that a reader makes of single requests: one for a quarter-hour, one for its exact beginning."""
    buckets: dict[tuple[int, bool], list[int]] = defaultdict(list)
    for at in requests:
        buckets[at - at % QUARTER, at % QUARTER == 0].append(at)
    return [(at, min(found), max(found), 0, 1, len(found), 0, 0, 0, 0, len(found), 0, -1) for (at, _), found in buckets.items()]


def seen(blocks: list[Window]) -> list[tuple]:
    return [("gap", b.start, b.end) if b.gap else (b.start, b.first, b.last, b.requests) for b in blocks]


# Times in quarter-hours and odd milliseconds, so that exact boundaries come up often.
instants = st.builds(lambda quarter, more: START + quarter * QUARTER + more, st.integers(0, 200), st.sampled_from([0, 0, 1, 7, 60_001, QUARTER - 1]))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(instants, min_size=1, max_size=12), max_size=8))
def test_blocks_of_rows_are_the_blocks_of_the_single_requests(sessions):
    rows = {f"s{number}": rows_of(requests) for number, requests in enumerate(sessions)}
    blocks = Blocks(lambda key: rows[key])
    for key, found in rows.items():
        blocks.change(key, found, came=True)
    assert seen(blocks.all()) == the_rule([at for requests in sessions for at in requests])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.lists(instants, max_size=8), st.booleans()), max_size=14))
def test_blocks_kept_up_to_date_are_the_blocks_worked_out_anew(history):
    """Whatever comes, changes and goes, and whenever somebody looks in between."""
    now: dict[str, list[int]] = {}
    rows: dict[str, list] = {}
    blocks = Blocks(lambda key: rows.get(key, ()))
    for number, requests, look in history:
        key = f"s{number}"
        blocks.change(key, rows.get(key, ()), came=False)
        now[key], rows[key] = requests, rows_of(requests)
        blocks.change(key, rows[key], came=True)
        if look:
            assert seen(blocks.all()) == the_rule([at for found in now.values() for at in found])
    assert seen(blocks.all()) == the_rule([at for found in now.values() for at in found])


@settings(max_examples=80, deadline=None)
@given(st.lists(instants, min_size=1, max_size=30), st.lists(st.integers(20, 200), max_size=2), st.lists(instants, min_size=1, max_size=5))
def test_anchors_that_come_later_give_the_same_blocks_as_anchors_known_before(requests, resets, more):
    resets = [START + quarter * QUARTER for quarter in resets]
    rows = {"a": rows_of(requests), "b": rows_of(more)}
    late, early = Blocks(rows.__getitem__), Blocks(rows.__getitem__)
    late.change("a", rows["a"], came=True)
    late.all()
    late.anchor(resets)
    late.all()
    late.change("b", rows["b"], came=True)
    early.anchor(resets)
    for key in rows:
        early.change(key, rows[key], came=True)
    assert seen(late.all()) == seen(early.all())
    assert [b.basis for b in late.all()] == [b.basis for b in early.all()]
    assert sum(b.requests for b in late.all()) == len(requests) + len(more)


def blocks_of(*requests: int, resets: list[int] | None = None) -> list[Window]:
    rows = rows_of(list(requests))
    blocks = Blocks(lambda key: rows)
    blocks.change("s", rows, came=True)
    blocks.anchor(resets or [])
    return blocks.all()


def test_a_use_exactly_five_hours_after_the_start_stays_in_the_block():
    start = ms("2026-11-20T08:00Z")
    assert len(blocks_of(start, start + 2 * HOUR, start + 5 * HOUR)) == 1
    assert len(blocks_of(start, start + 2 * HOUR, start + 5 * HOUR + 1)) == 2


def test_a_block_starts_at_the_full_hour_of_utc():
    assert blocks_of(ms("2026-11-20T08:47:12Z"))[0].start == ms("2026-11-20T08:00Z")


def test_a_pause_of_more_than_five_hours_is_a_gap():
    first = ms("2026-11-20T08:30Z")
    _, gap, _ = blocks_of(first, first + 6 * HOUR)
    assert (gap.gap, gap.start, gap.end) == (True, first + LENGTH, first + 6 * HOUR)


def test_a_reported_reset_anchors_the_block():
    reset = ms("2026-11-20T13:20Z")
    before, official, after = blocks_of(ms("2026-11-20T08:10Z"), ms("2026-11-20T08:30Z"), ms("2026-11-20T13:25Z"), resets=[reset])
    assert (before.basis, before.start, before.end) == ("derived", ms("2026-11-20T08:00Z"), ms("2026-11-20T08:20Z"))
    assert (official.basis, official.start, official.end) == ("official", reset - LENGTH, reset)
    assert (after.basis, after.start) == ("derived", reset)


def test_two_reports_of_one_reset_that_differ_by_seconds_are_one_window():
    reset = ms("2026-11-20T13:00Z")
    assert windows_of([reset, reset + 1_000, reset + 30_000]) == [(reset - LENGTH, reset + 30_000)]


def test_windows_never_overlap():
    reset = ms("2026-11-20T13:00Z")
    assert windows_of([reset, reset + HOUR]) == [(reset - LENGTH, reset), (reset, reset + HOUR)]


def limit(percent: float, resets: int, *, account: str = "default", window: str = "five_hour", observed: int = NOW - MINUTE) -> tuple:
    body = {"tool": "claude_code", "account": account, "window": window, "used_percent": percent, "resets_at": resets, "observed_at": observed, "source": "statusline"}
    return "limit", f"claude_code/{account}/{window}", body


def test_machines_of_one_account_share_their_block():
    house = House()
    house.laptop("mbp").pushes(a_session("a", use(NOW - 2 * HOUR)))
    house.laptop("studio").pushes(a_session("b", use(NOW - HOUR)))
    block = house.get("/v1/feed")["summary"]["block"]
    assert (block["sessions"], block["basis"], block["start"]) == (2, "derived", "2026-11-22T08:00:00.000Z")


def test_accounts_have_blocks_of_their_own():
    house = House()
    house.laptop().pushes(a_session("a", use(NOW - 2 * HOUR), account="work"), a_session("b", use(NOW - HOUR), account="home"))
    found = house.get("/five-hour-blocks")
    assert [(block["account"], block["total_sessions"]) for block in found] == [("home", 1), ("work", 1)]


def test_the_newest_reading_of_a_limit_wins_whichever_machine_made_it():
    house = House()
    reset = ms("2026-11-22T13:00Z")
    house.laptop("mbp").pushes(limit(58, reset, observed=NOW - MINUTE))
    house.laptop("studio").pushes(limit(41, reset, observed=NOW - HOUR))
    assert [entry["percent"] for entry in house.get("/limits")] == [58]


def test_a_limit_is_gone_after_its_reset():
    house = House()
    house.laptop().pushes(limit(58, NOW + HOUR))
    house.clock.goes(HOUR)
    assert house.get("/limits") == [] and house.get("/v1/feed")["summary"]["block"] is None


def test_an_official_block_says_its_percent_and_where_it_leads():
    house = House()
    reset = ms("2026-11-22T13:00Z")
    rows = [use(ms("2026-11-22T08:00:01Z") + number * QUARTER, input=1000) for number in range(12)]
    house.laptop().pushes(a_session("a", *rows), limit(60, reset))
    block = house.get("/v1/feed")["summary"]["block"]
    assert (block["basis"], block["percent"], block["unit"], block["limit"]) == ("official", 60, "percent", 100)
    projection = block["projection"]
    assert 60 < projection["low"] <= projection["percent"] <= projection["high"]
    assert 95 < projection["percent"] < 110, "an even pace of 60 % in 3 hours leads to about 100 % in 5"
    assert block["curve"][-1][1] == 60 and len(block["burn"]["series"]) == 60


def test_an_uneven_pace_widens_the_range_but_not_below_what_is_used():
    house = House()
    burst = [use(ms("2026-11-22T08:00:01Z"), input=50_000), use(NOW - MINUTE, input=10)]
    house.laptop().pushes(a_session("a", *burst), limit(60, ms("2026-11-22T13:00Z")))
    projection = house.get("/v1/feed")["summary"]["block"]["projection"]
    assert projection["low"] >= 60 and projection["high"] - projection["low"] > 10


def test_without_an_official_limit_the_largest_earlier_block_is_the_measure():
    house = House()
    house.laptop().pushes(a_session("a", use(NOW - 3 * DAY, input=950), use(NOW - HOUR, input=450)))
    block = house.get("/v1/feed")["summary"]["block"]
    assert (block["percent"], block["percent_basis"], block["unit"], block["limit"]) == (50, "largest earlier block", "tokens", 1000)


def test_the_first_block_ever_has_no_percent():
    house = House()
    house.laptop().pushes(a_session("a", use(NOW - HOUR)))
    block = house.get("/v1/feed")["summary"]["block"]
    assert block["percent"] is None and block["projection"]["percent"] is None and block["projection"]["tokens"] > 0


def test_a_past_window_keeps_what_the_tool_said_of_it_and_no_other_has_reached_a_limit():
    house, ends = House(), [NOW - 30 * HOUR, NOW - 20 * HOUR]
    rows = [use(NOW - 50 * HOUR, input=950)] + [use(end - HOUR, input=450) for end in ends] + [use(NOW - HOUR, input=450)]
    body = limit(60, NOW + 2 * HOUR)[2] | {"earlier": ends, "earlier_used": [[ends[0], 100.0], [ends[1], 40.0]]}
    house.laptop().pushes(a_session("a", *rows), (*limit(60, NOW + 2 * HOUR)[:2], body))
    found = house.get("/v1/feed")["summary"]["recent_blocks"]
    assert [(each["percent_basis"], each["percent"], each["reached"]) for each in found] == [("largest earlier block", 100.0, False), ("official", 100.0, True), ("official", 40.0, False), ("official", 60.0, False)]


def test_burn_is_by_the_time_between_first_and_last_use():
    house = House()
    house.laptop().pushes(a_session("a", use(NOW - 2 * HOUR, input=550), use(NOW - HOUR, input=550)))
    burn = house.get("/v1/feed")["summary"]["block"]["burn"]
    assert burn["tokens_per_minute"] == 20
    assert burn["cost_per_hour"] == house.get("/v1/feed")["summary"]["block"]["cost"]


def test_one_single_use_has_no_burn():
    house = House()
    house.laptop().pushes(a_session("a", use(NOW - HOUR)))
    assert house.get("/v1/feed")["summary"]["block"]["burn"]["tokens_per_minute"] is None


def test_a_block_five_hours_after_the_last_use_is_no_longer_open():
    house = House()
    house.laptop().pushes(a_session("a", use(ms("2026-11-22T06:30Z"))))
    assert house.get("/v1/feed")["summary"]["block"]["end"] == "2026-11-22T11:00:00.000Z"
    house.clock.now = ms("2026-11-22T11:00Z")
    assert house.get("/v1/feed")["summary"]["block"] is None
    assert len(house.get("/v1/feed")["summary"]["recent_blocks"]) == 1


def declared(id: str, start: int, **more) -> tuple:
    body = {"id": id, "start_time": start, "end_time": start + 5 * HOUR, "total_sessions": 2, "total_tokens": 900, "is_complete": False, **more}
    return "block", f"abcd1234:{id}", body


def test_a_trackers_block_is_declared_and_its_sessions_open_no_other():
    house = House()
    tracked = a_session("t", use(NOW - HOUR), provenance="declared")
    house.laptop().pushes(tracked, declared("block_1", NOW - 2 * HOUR, efficiency_score=0.5, columns={"total_cost": 1.5}))
    [block] = house.get("/five-hour-blocks")
    assert (block["id"], block["basis"], block["total_tokens"], block["total_cost"]) == ("block_1", "declared", 900, 1.5)
    shown = house.get("/v1/feed")["summary"]["block"]
    assert (shown["basis"], shown["tokens"]["total"]) == ("declared", 900)
    assert house.get("/analytics/current")["current_block"]["id"] == "block_1"


def test_a_tracker_without_blocks_has_them_derived_until_it_declares_one():
    house, laptop = House(), None
    laptop = house.laptop()
    laptop.pushes(a_session("t", use(NOW - HOUR), provenance="declared"))
    assert [block["basis"] for block in house.get("/five-hour-blocks")] == ["derived"]
    laptop.pushes(declared("block_1", NOW - 2 * HOUR))
    assert [block["basis"] for block in house.get("/five-hour-blocks")] == ["declared"]
    laptop.pushes(gone=[("block", "abcd1234:block_1")])
    assert [block["basis"] for block in house.get("/five-hour-blocks")] == ["derived"]


def test_gaps_are_shown_when_asked_for():
    house = House()
    house.laptop().pushes(a_session("a", use(NOW - 2 * DAY), use(NOW - HOUR)))
    assert [block["gap"] for block in house.get("/five-hour-blocks")] == [False, False]
    assert [block["gap"] for block in house.get("/five-hour-blocks", gaps="true")] == [False, True, False]


def test_a_trackers_open_block_has_no_end_yet_and_runs_for_five_hours():
    house = House()
    house.laptop().pushes(declared("open", NOW - 2 * HOUR, end_time=None))
    current = house.get("/analytics/current")["current_block"]
    assert (current["id"], current["elapsed_minutes"], current["remaining_minutes"], current["tokens"]) == ("open", 120, 180, 900)
    assert house.get("/v1/feed")["summary"]["block"]["end"] == iso(NOW + 3 * HOUR)
    assert house.get("/five-hour-blocks")[0]["end_time"] is None  # as the row says
    exported = house.reads.answer(Access(ALICE, "read"), "GET", "/export", {"kind": "block", "format": "jsonl", "since": iso(NOW - HOUR)}, {})
    assert b'"open"' in b"".join(exported.stream)


def test_a_declared_block_without_a_start_is_never_the_current_one():
    house = House()
    house.laptop().pushes(declared("odd", NOW, start_time=None, end_time=NOW + HOUR))
    assert house.get("/analytics/current")["current_block"] is None
    assert [block["is_active"] for block in house.get("/five-hour-blocks")] == [False]
