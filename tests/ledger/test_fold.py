"""The sums of what is shown: step by step as anew, in every zone, for every history."""
from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.views import public
from tests.ledger.ledgerkit import DAY, HOUR, MINUTE, NOW, QUARTER, House, a_session, ms, use

ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Chatham",
    "Pacific/Apia", "America/St_Johns", "Pacific/Kiritimati", "Africa/Casablanca",
]  # fmt: skip
MODELS = ["claude-opus-5", "claude-haiku-4-5", "nimbus"]

# -- histories -------------------------------------------------------------------------------------------------

times = st.integers(0, 40 * 96).map(lambda quarter: NOW - quarter * QUARTER - 1)
rows = st.builds(
    lambda at, model, input, read, w1: use(at, model=model, input=input, read=read, w1=w1),
    times, st.sampled_from(MODELS), st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 50),
)  # fmt: skip
sources = st.sampled_from(["mbp", "studio"])
keys = st.sampled_from(["s1", "s2", "s3", "s4"])
step = st.one_of(
    st.tuples(st.just("put"), sources, keys, st.lists(rows, min_size=1, max_size=4), st.sampled_from([None, "relay", "page"])),
    st.tuples(st.just("part"), sources, keys, st.lists(rows, max_size=3)),
    st.tuples(st.just("more"), sources, keys, st.lists(rows, min_size=1, max_size=2)),
    st.tuples(st.just("gone"), sources, keys),
    st.tuples(st.just("day"), sources, st.sampled_from(["2025-01-05", "2026-11-20"]), st.integers(0, 900)),
    st.tuples(st.just("limit"), sources, st.integers(-8, 20)),
    st.tuples(st.just("lease"), sources, st.booleans()),
    st.tuples(st.just("commit"), sources),
    st.tuples(st.just("bad"), sources, keys),
    st.tuples(st.just("block"), sources),
    st.tuples(st.just("forget"), sources),
    st.tuples(st.just("look")),
)
histories = st.lists(step, max_size=18)


def happens(house: House, laptops: dict, what: tuple) -> None:
    """One step of a history."""
    if what[0] == "look":
        house.view()
        return
    laptop = laptops[what[1]]
    kind, given_ = what[0], what[2:]
    if kind == "put":
        laptop.pushes(a_session(given_[0], *given_[1], project=given_[2], account="a" if given_[2] else None), commit=laptop.done)
    elif kind == "part":
        laptop.pushes(("usage", f"{given_[0]}/1", {"session": given_[0], "usage": given_[1]}), commit=laptop.done)
    elif kind == "more":
        laptop.pushes(a_session(given_[0], *given_[1], more=1), commit=laptop.done)
    elif kind == "gone":
        laptop.pushes(gone=[("session", given_[0])], commit=laptop.done)
    elif kind == "day":
        row = ["claude_code", "claude-opus-5", "standard", "relay", given_[1], 1, 0, 0, 0, 1, None]
        laptop.pushes(("day", given_[0], {"date": given_[0], "tz": "UTC", "rows": [row]}), commit=laptop.done)
    elif kind == "limit":
        body = {"tool": "claude_code", "account": "", "window": "five_hour", "used_percent": 50, "resets_at": NOW + given_[0] * HOUR, "observed_at": NOW - given_[0]}
        laptop.pushes(("limit", "claude_code//five_hour", body), commit=laptop.done)
    elif kind == "lease":
        laptop.lease = f"{int(laptop.lease, 16) + 1:032x}"
        laptop.done = given_[0]
        laptop.pushes(commit=laptop.done)
    elif kind == "commit":
        laptop.done = True
        laptop.pushes()
    elif kind == "bad":
        laptop.pushes(("session", given_[0], '{"usage": 7}'), commit=laptop.done)
    elif kind == "block":
        laptop.pushes(("block", "b", {"id": "b", "start_time": NOW - HOUR}), commit=laptop.done)
    elif kind == "forget":
        house.store.forget("alice", laptop.source)
        laptop.lease = f"{int(laptop.lease, 16) + 1:032x}"  # a ledger that forgot a source mints it a lease never used before


def a_house() -> tuple[House, dict]:
    house = House()
    laptops = {name: house.laptop(name) for name in ("mbp", "studio")}
    for laptop in laptops.values():
        laptop.done = True
    return house, laptops


def everything(view, tz: str) -> dict:
    """All that is shown, but not how far it was read."""
    feed = view.feed(None, tz, 1000)
    return {"records": feed["records"], "summary": feed["summary"], "machines": feed["machines"]}


@settings(max_examples=120, deadline=None)
@given(histories)
def test_what_was_folded_step_by_step_is_what_is_folded_anew(history):
    house, laptops = a_house()
    for tz in ZONES[:2]:
        house.view().summary(tz)  # so that their days are kept up to date from the beginning
    for what in history:
        happens(house, laptops, what)
    for tz in ZONES[:2]:
        assert everything(house.view(), tz) == everything(house.anew(), tz)


@settings(max_examples=50, deadline=None)
@given(histories)
def test_totals_are_the_sum_of_the_rows_that_are_shown_in_every_zone(history):
    house, laptops = a_house()
    for what in history:
        happens(house, laptops, what)
    view = house.view()
    shown = house.get("/sessions", limit=500)["sessions"]
    days = [row for source in view.sources.values() for _, day in source.of_kind("day") for row in day.rows]
    tokens = sum(session["estimated_tokens"] for session in shown) + sum(sum(row[4:9]) for row in days)
    for tz in ZONES:
        whole = view.summary(tz)["totals"]["all"]
        assert (whole["tokens"], whole["sessions"]) == (tokens, len(shown))
        kept = view.days(tz).days
        assert sum(day.tokens for day in kept.values()) == tokens
        assert sum(day.cost for day in kept.values()) == view.tally.cost
        for day in kept.values():
            for cells in (day.models, day.projects, day.machines, day.tools):
                assert sum(cell[0] for cell in cells.values()) == day.tokens
            assert sum(day.hours.values()) == day.cost


# -- the feed: any cursor leads to the same -------------------------------------------------------------------


class Reader:
    """A page: keeps what it has, and takes in one feed after another."""

    def __init__(self) -> None:
        self.cursor: str | None = None
        self.records: dict[str, dict] = {}
        self.summary: dict = {}
        self.machines: list = []

    def takes(self, feed: dict) -> None:
        feed = json.loads(json.dumps(feed))
        if feed["full"]:
            self.records, self.summary = {}, {}
        else:
            assert feed["since"] == self.cursor
        for record in feed["removed"]:
            self.records.pop(record["key"], None)
        self.records |= {record["key"]: record["value"] for record in feed["records"]}
        changed = feed["summary"].pop("days_changed", [])
        self.summary |= feed["summary"]
        days = {day["date"]: day for day in [*self.summary["days"], *changed]}
        self.summary["days"] = [days[date] for date in sorted(days)]
        self.machines = feed.get("machines", self.machines)
        self.cursor = feed["cursor"]

    @property
    def state(self) -> tuple:
        # How long an active session has lasted, and its last hours, are as of when it was sent.
        ages = {"activity": None, "duration_minutes": None}
        return {key: {**value, **ages} for key, value in self.records.items()}, self.summary, self.machines


@settings(max_examples=120, deadline=None)
@given(histories, st.lists(st.integers(0, 18), max_size=6), st.booleans(), st.sampled_from([0, 3 * MINUTE, 3 * HOUR]))
def test_feeds_from_any_cursor_lead_to_what_a_full_feed_shows(history, moments, other_process, pause):
    house, laptops = a_house()
    page = Reader()
    for number, what in enumerate(history):
        if number in moments:
            page.takes((house.anew() if other_process else house.view()).feed(page.cursor, "Asia/Kolkata", 200))
            house.clock.goes(pause)
        happens(house, laptops, what)
    page.takes((house.anew() if other_process else house.view()).feed(page.cursor, "Asia/Kolkata", 200))
    fresh = Reader()
    fresh.takes(house.anew().feed(None, "Asia/Kolkata", 200))
    assert page.state == fresh.state
    assert page.cursor == fresh.cursor, "who has the same stands at the same place"


def test_a_feed_that_has_nothing_new_is_small_and_stays_at_its_cursor():
    house = House()
    house.laptop().pushes(a_session())
    full = house.get("/v1/feed")
    again = house.get("/v1/feed", cursor=full["cursor"])
    assert again["cursor"] == full["cursor"] and not again["full"]
    assert (again["records"], again["removed"], again["summary"], again.get("machines")) == ([], [], {}, None)


def test_one_changed_session_is_one_record_and_the_parts_that_changed():
    house, laptop = House(), None
    laptop = house.laptop()
    laptop.pushes(*[a_session(f"s{n}", use(NOW - n * DAY)) for n in range(30)])
    cursor = house.get("/v1/feed")["cursor"]
    laptop.pushes(a_session("s0", use(NOW - MINUTE, input=900)))
    feed = house.get("/v1/feed", cursor=cursor)
    assert [record["key"] for record in feed["records"]] == ["s0"]
    assert [day["date"] for day in feed["summary"]["days_changed"]] == ["2026-11-22"] and "days" not in feed["summary"]
    assert "projects" not in feed["summary"] and "recent_blocks" in feed["summary"]
    assert len(json.dumps(feed)) < 16_000


def test_a_deleted_session_is_named_as_removed():
    house, laptop = House(), None
    laptop = house.laptop()
    laptop.pushes(a_session("s1"), a_session("s2"))
    cursor = house.get("/v1/feed")["cursor"]
    laptop.pushes(gone=[("session", "s1")])
    assert [record["key"] for record in house.get("/v1/feed", cursor=cursor)["removed"]] == ["s1"]


def test_a_session_that_falls_idle_by_time_alone_is_told():
    house = House()
    house.laptop().pushes(a_session("s1"))
    feed = house.get("/v1/feed")
    assert feed["records"][0]["value"]["is_active"]
    house.laptop().beats()
    house.clock.goes(5 * MINUTE)
    house.laptop().beats()
    after = house.get("/v1/feed", cursor=feed["cursor"])
    assert [record["value"]["is_active"] for record in after["records"]] == [False]
    assert after["summary"]["active"] == 0


@pytest.mark.parametrize("cursor", ["x", "AAAA", "....", "lK1F" * 50, "a" * 16_000])
def test_a_cursor_that_is_not_ours_brings_everything(cursor):
    house = House()
    house.laptop().pushes(a_session("s1"))
    feed = house.get("/v1/feed", cursor=cursor)
    assert feed["full"] and len(feed["records"]) == 1


def test_a_new_lease_names_its_source_as_reset():
    house = House()
    laptop = house.laptop()
    laptop.pushes(a_session("s1"))
    cursor = house.get("/v1/feed")["cursor"]
    laptop.lease = "2" * 32
    laptop.pushes(a_session("s2"))
    feed = house.get("/v1/feed", cursor=cursor)
    assert feed["reset"] == ["mbp-16"] and feed["full"]
    assert [record["key"] for record in feed["records"]] == ["s2"]


def test_a_viewer_who_was_away_longer_than_deletions_are_kept_gets_everything():
    house = House()
    laptop = house.laptop()
    laptop.pushes(a_session("s1"), a_session("s2"))
    cursor = house.get("/v1/feed")["cursor"]
    laptop.pushes(gone=[("session", "s1")])
    house.clock.goes(2 * DAY)
    house.store.sweep("alice", "mbp-16", now=house.clock())
    feed = house.get("/v1/feed", cursor=cursor)
    assert feed["full"] and [record["key"] for record in feed["records"]] == ["s2"]


# -- one session, several places -----------------------------------------------------------------------------


def test_the_same_session_from_two_machines_is_shown_and_counted_once():
    house = House()
    house.laptop("mbp").pushes(a_session("s1", use(NOW - HOUR, input=100)))
    house.laptop("studio").pushes(a_session("s1", use(NOW - HOUR, input=100), use(NOW - MINUTE, input=100)))
    [session] = house.get("/sessions")["sessions"]
    assert (session["source"], session["estimated_tokens"]) == ("studio", 300)
    assert house.get("/sessions/s1")["sources"] == ["mbp", "studio"]
    assert house.view().summary("UTC")["totals"]["all"] == {"tokens": 300, "cost": session["cost"], "sessions": 1}


def test_when_the_machine_that_read_further_is_forgotten_the_other_ones_copy_is_shown():
    house = House()
    house.laptop("mbp").pushes(a_session("s1", use(NOW - HOUR)))
    house.laptop("studio").pushes(a_session("s1", use(NOW - MINUTE)))
    cursor = house.get("/v1/feed")["cursor"]
    house.laptop("studio").pushes(gone=[("session", "s1")])
    feed = house.get("/v1/feed", cursor=cursor)
    assert [(record["source"], record["key"]) for record in feed["records"]] == [("mbp", "s1")] and not feed["removed"]


def test_a_second_tenant_sees_nothing_of_the_first_by_any_path():
    house = House()
    house.laptop().pushes(a_session("s1", use(NOW - MINUTE), project="secret-project", title="secret title"))
    house.laptop("bobs", tenant="bob").pushes(a_session("b1", project="b"))
    for path in ("/status", "/sessions/active", "/sessions/recent", "/sessions", "/analytics/current", "/five-hour-blocks", "/limits", "/machines",
                 "/dashboard-config", "/v1/feed", "/v1/ping"):  # fmt: skip
        for tenant in ("bob", "charlie"):
            body = house.answer(path, tenant=tenant).body
            assert b"secret" not in body and b"s1" not in body and b"mbp" not in body, path
    assert house.answer("/sessions/s1", tenant="bob").status == 404
    assert house.answer("/sessions/s1/cost", tenant="bob").status == 404
    cursor = house.get("/v1/feed")["cursor"]
    assert b"secret" not in house.answer("/v1/feed", tenant="bob", cursor=cursor).body
    for kind in ("session", "usage", "block", "day"):
        assert b"secret" not in b"".join(house.answer("/export", tenant="bob", kind=kind).stream)


# -- long sessions, old sessions, bad records ---------------------------------------------------------------


def test_a_session_of_forty_days_is_one_session_with_all_its_usage():
    house = House()
    old = [use(NOW - day * DAY, input=10, output=0) for day in range(40, 3, -1)]
    new = [use(NOW - day * DAY, input=10, output=0) for day in range(3, 0, -1)]
    house.laptop().pushes(
        ("usage", "s1/1", {"session": "s1", "usage": old[:20]}), ("usage", "s1/2", {"session": "s1", "usage": old[20:]}),
        a_session("s1", *new, more=2, start_time=old[0][1]),
    )  # fmt: skip
    assert house.get("/sessions/s1")["estimated_tokens"] == 400
    assert len(house.get("/v1/feed")["summary"]["days"]) == 40
    assert len(house.get("/sessions/s1")["usage"]) == 40


def test_a_part_that_comes_before_its_session_counts_it_is_not_added_twice():
    house = House()
    laptop = house.laptop()
    laptop.pushes(a_session("s1", use(NOW - 2 * DAY, input=50), use(NOW - MINUTE, input=50)))
    laptop.pushes(("usage", "s1/1", {"session": "s1", "usage": [use(NOW - 2 * DAY, input=50)]}))
    assert house.get("/sessions/s1")["estimated_tokens"] == 200
    laptop.pushes(a_session("s1", use(NOW - MINUTE, input=50), more=1))
    assert house.get("/sessions/s1")["estimated_tokens"] == 200


def test_what_is_left_of_old_sessions_counts_on_its_date_in_every_zone():
    house = House()
    row = ["codex", "gpt-5", "standard", "relay", 1_000_000, 0, 0, 0, 0, 3, None]
    house.laptop().pushes(("day", "2026-03-01", {"date": "2026-03-01", "tz": "Asia/Tokyo", "rows": [row]}))
    for tz in ZONES:
        [day] = house.view().summary(tz)["days"]
        assert (day["date"], day["tokens"], day["cost"], day["sessions"]) == ("2026-03-01", 1_000_000, 1.25, 0)
        assert (day["tools"], day["projects"], day["machines"]) == ({"codex": [1e6, 1.25]}, {"relay": [1e6, 1.25]}, {"mbp-16": [1e6, 1.25]})


@pytest.mark.parametrize("body", ["", "{", "[]", "null", '{"usage":[[1]]}', '{"start_time":"now"}', '{"usage":[[0,0,0,"m","s",-1,0,0,0,0,0,null]]}', '{"title":7}', "[" * 9000])
def test_a_record_that_cannot_be_read_is_a_stub_with_its_reason_and_stops_nothing(body):
    house = House()
    house.laptop().pushes(("session", "bad", body), a_session("good"))
    summary = house.get("/v1/feed")["summary"]
    assert [(stub["kind"], stub["id"]) for stub in summary["stubs"]] == [("session", "bad")] and summary["stubs"][0]["code"]
    assert summary["sessions_total"] == 1
    assert any("could not be taken in" in alert["text"] for alert in summary["alerts"])


def test_a_stub_is_gone_when_a_good_record_takes_its_place():
    house = House()
    laptop = house.laptop()
    laptop.pushes(("session", "s1", "{"))
    house.view()
    laptop.pushes(a_session("s1"))
    assert house.get("/v1/feed")["summary"]["stubs"] == []


def test_records_of_a_kind_nobody_knows_are_left_alone():
    house = House()
    house.laptop().pushes(("novelty", "n1", {"x": 1}), a_session("s1"))
    assert house.get("/v1/feed")["summary"]["sessions_total"] == 1


# -- days ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tz", ZONES)
@pytest.mark.parametrize("around", ["2026-03-29", "2026-10-25", "2026-04-05", "2026-10-04", "2026-03-08", "2026-11-01", "2026-12-31"])
def test_days_are_cut_at_local_midnight_on_both_sides_of_a_clock_change(tz, around):
    instants = [ms(f"{around}T00:00Z") - DAY + number * QUARTER + 1 for number in range(3 * 96)]
    expected: dict[str, int] = defaultdict(int)
    for at in instants:
        expected[datetime.fromtimestamp(at / 1000, UTC).astimezone(ZoneInfo(tz)).date().isoformat()] += 1
    house = House()
    house.clock.now = ms("2027-01-02T12:00Z")
    house.laptop().pushes(a_session("s1", *[use(at, input=1, output=0) for at in instants]))
    assert {day["date"]: day["tokens"] for day in house.view().summary(tz)["days"]} == expected


def test_hours_are_local_hours():
    house = House()
    house.laptop().pushes(a_session("s1", use(ms("2026-11-22T10:20Z"))))
    assert [hour for hour, cost in enumerate(house.view().summary("Asia/Kathmandu")["hours"]) if cost] == [16]


def test_the_zone_is_the_viewers_else_the_newest_machines_else_utc():
    house = House()
    house.laptop().pushes(a_session("s1"))
    assert house.view().summary(None)["tz"] == "UTC"
    house.laptop().pushes(("machine", "mbp-16", {"name": "mbp", "tz": "Asia/Tokyo"}))
    assert house.view().summary(None)["tz"] == "Asia/Tokyo"
    assert house.view().summary("Europe/Berlin")["tz"] == "Europe/Berlin"
    assert house.view().summary("../../etc/passwd")["tz"] == "Asia/Tokyo"


# -- who is active -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "age", "beat_age", "expected"),
    [
        ({}, 4 * MINUTE, 0, True),
        ({}, 5 * MINUTE, 0, False),
        ({"is_active": True}, 3 * HOUR, 0, True),
        ({"is_active": True, "stale": True}, 3 * HOUR, 0, False),
        ({}, 1 * MINUTE, 149_999, True),
        ({}, 1 * MINUTE, 150_000, False),
        ({"is_active": True}, 3 * HOUR, 150_000, False),
    ],
)
def test_a_session_is_active_if_its_machine_is_heard_and_it_says_so_or_was_used_just_now(more, age, beat_age, expected):
    house = House()
    house.laptop().pushes(a_session("s1", use(NOW + beat_age - age), **more))
    house.clock.goes(beat_age)
    assert bool(house.get("/sessions/active")) is expected


def test_a_store_that_fails_while_it_is_read_leaves_nothing_half_taken_in():
    house = House()
    laptop = house.laptop()
    laptop.pushes(*[a_session(f"s{n}") for n in range(5)])
    view, whole = house.view(), house.store.rows

    def broken(tenant, source, *, kind=None):
        for number, row in enumerate(whole(tenant, source, kind=kind)):
            if number == 2:
                raise OSError("the disk is gone")
            yield row

    laptop.lease = "2" * 32
    laptop.pushes(a_session("s7"))
    house.store.rows = broken
    laptop.pushes(a_session("s8"), a_session("s9"))
    with pytest.raises(OSError, match="disk"):
        house.view()
    house.store.rows = whole
    assert everything(house.view(), "UTC") == everything(house.anew(), "UTC")
    assert view is house.view()


def test_a_declared_total_without_its_kinds_counts_in_every_total_has_no_price_and_leaves_again():
    house = House()
    laptop = house.laptop()
    declared = a_session(
        "d1", use(NOW - MINUTE, price_class="undivided", input=23_700, output=0), provenance="declared", estimated_tokens=23_700, session_type="claude_desktop"
    )
    laptop.pushes(declared, a_session("s1", use(NOW - MINUTE, input=100, output=50)))
    summary = house.view().summary("UTC")
    assert (summary["totals"]["today"]["tokens"], summary["totals"]["all"]["tokens"]) == (23_850, 23_850)
    assert summary["days"][-1]["tools"]["claude_desktop"] == [23_700, 0]
    assert summary["unpriced"] == []
    assert sum(house.view().tally.kinds) == 150
    shown = public.detail(house.view(), house.view().session("d1"), NOW)
    assert (shown["cost"], shown["unpriced"], sum(shown["tokens"].values()), shown["estimated_tokens"]) == (None, [], 0, 23_700)
    assert (shown["usage"][0]["input"], shown["usage"][0]["undivided"]) == (0, 23_700)
    laptop.pushes(gone=[("session", "d1")])
    assert house.view().summary("UTC")["totals"]["all"]["tokens"] == 150


def test_a_part_that_came_before_its_session_counts_it_is_not_added_yet():
    house = House()
    laptop = house.laptop()
    parts = [("usage", f"s1/{number}", {"session": "s1", "usage": [use(NOW - number * HOUR, input=10**number, output=0)]}) for number in (1, 2)]
    laptop.pushes(a_session("s1", use(NOW, input=1, output=0), more=1), *parts)
    assert house.view().session("s1").tokens == 11
    laptop.pushes(a_session("s1", use(NOW, input=1, output=0), more=2))
    assert house.view().session("s1").tokens == 111


def test_hundreds_of_sessions_that_change_at_once_stand_where_each_alone_would():
    """They are merged into the order, not put in one by one."""
    house = House()
    laptop, ids = house.laptop(), [f"s{n}" for n in range(700)]
    laptop.pushes(*(a_session(id, use(NOW - (n * 37 % 700 + 1) * MINUTE)) for n, id in enumerate(ids)))
    house.view()
    moved = [a_session(id, use(NOW - (n * 53 % 900 + 1) * MINUTE)) for n, id in enumerate(ids) if n % 5]
    laptop.pushes(*moved, gone=[("session", id) for n, id in enumerate(ids) if n % 35 == 0])
    view = house.view()
    shown = view.winners.items()
    assert len(shown) == 680
    assert view.order == sorted((held.last, key, held) for key, held in shown)
    assert view.starts == sorted((held.start, key, held) for key, held in shown)
