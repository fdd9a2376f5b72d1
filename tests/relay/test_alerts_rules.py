"""What is told, by rule, over a real store and view."""
from __future__ import annotations

import json
from typing import Any

import pytest

from ledger.keytext import KeyText
from ledger.times import iso
from tests.relay.alertkit import BOB, DAY, HOUR, MINUTE, NOW, Bell, a_limit, a_session, ms, use

RESET = ms("2026-11-22T13:00Z")
WEEK = ms("2026-11-26T08:00Z")


@pytest.fixture
def bell() -> Bell:
    house = Bell()
    house.wants(tz="UTC")
    return house


def states(bell: Bell) -> dict[str, str]:
    return {machine["source"]: machine["state"] for machine in bell.alerts.watch.shown("alice")["machines"]}


@pytest.mark.parametrize(
    ("percent", "window", "said"),
    [
        (74, "five_hour", []), (76, "five_hour", ["Five hours: 76% used; it resets at 13:00."]), (100, "five_hour", ["Five hours: the limit is reached; it resets at 13:00."]),
        (93, "seven_day_opus", ["Week, Opus: 93% used; it resets at 13:00."]),
    ],
)  # fmt: skip
def test_a_share_of_the_block_or_the_week_is_told(bell: Bell, percent: float, window: str, said: list[str]) -> None:
    bell.wants(rules={"ahead": {"on": False}})
    bell.laptop().pushes(a_limit(percent, RESET, window=window))
    assert bell.round() == said
    assert bell.round(MINUTE) == []


def test_the_steps_are_the_persons_own(bell: Bell) -> None:
    bell.wants(rules={"block": {"steps": [50]}, "week": {"on": False}, "ahead": {"on": False}})
    bell.laptop().pushes(a_limit(60, RESET), a_limit(99, WEEK, window="seven_day"))
    assert bell.round() == ["Five hours: 60% used; it resets at 13:00."]


def test_heading_to_run_out_is_told_with_the_time(bell: Bell) -> None:
    rows = [use(ms("2026-11-22T08:00:01Z") + number * 15 * MINUTE, input=1000) for number in range(12)]
    bell.laptop().pushes(a_session("a", *rows), a_limit(72, RESET))
    assert bell.round() == ["The block: at this rate it runs out at 12:05, 55m before it resets."]
    assert bell.round(MINUTE) == []


def test_a_week_ahead_of_its_pace_is_told_with_the_time(bell: Bell) -> None:
    bell.laptop().pushes(a_limit(70, WEEK, window="seven_day"))
    [text] = bell.round()
    assert text == "Week, all models: at this rate it runs out at Mon 19:02, 60 hours before it resets."


def test_a_week_that_is_hardly_ahead_of_its_pace_is_not_told(bell: Bell) -> None:
    bell.wants(rules={"week": {"on": False}})
    passed = 100 * (NOW - (WEEK - 7 * DAY)) / (7 * DAY)
    bell.laptop().pushes(a_limit(round(passed) + 3, WEEK, window="seven_day"))
    assert bell.round() == []


def test_a_reset_of_a_window_that_was_nearly_used_up_is_told_while_the_laptop_sleeps(bell: Bell) -> None:
    bell.laptop().pushes(a_limit(80, RESET), a_limit(20, WEEK, window="seven_day"))
    bell.round()
    assert bell.round(RESET - bell.clock() - 1) == []
    assert bell.round(1) == ["Five hours: reset at 13:00; 80% had been used."]
    assert bell.round(5 * MINUTE) == []


def test_a_new_window_is_armed_afresh_though_nobody_looked_in_between(bell: Bell) -> None:
    bell.wants(rules={"reset": {"on": False}, "ahead": {"on": False}})
    laptop = bell.laptop()
    laptop.pushes(a_limit(80, RESET))
    bell.round()
    bell.clock.now = RESET + HOUR
    laptop.pushes(a_limit(78, RESET + 5 * HOUR, observed_at=RESET + HOUR))
    assert bell.round() == ["Five hours: 78% used; it resets at 18:00."]


def test_a_day_over_its_budget_is_told_once_a_day(bell: Bell) -> None:
    bell.wants(rules={"day": {"usd": 5}, "runaway": {"on": False}, "silent": {"on": False}})
    laptop = bell.laptop()
    laptop.pushes(a_session("a", use(NOW - MINUTE, output=100_000)))
    assert bell.round() == []
    laptop.pushes(a_session("b", use(NOW - MINUTE, output=200_000)))
    [text] = bell.round()
    assert text.startswith("Today cost $") and "more than the $5.00" in text
    assert bell.round(DAY) == [], "a new day"


def test_a_session_far_above_what_is_usual_here_is_told(bell: Bell) -> None:
    usual = [a_session(f"u{day}-{hour}", use(NOW - day * DAY + hour * HOUR, output=10_000)) for day in range(2, 9) for hour in range(4)]
    laptop = bell.laptop()
    laptop.pushes(*usual, a_session("calm", use(NOW - MINUTE, output=12_000)))
    assert bell.round() == []
    laptop.pushes(a_session("wild", use(NOW - 20 * MINUTE, output=300_000), use(NOW - MINUTE, output=300_000), title="Refactor"))
    [text] = bell.round()
    assert text.startswith("“Refactor” on mbp-16 runs away: $") and "a busy hour here is $0." in text
    assert bell.told[-1][2]["level"] == "bad"


def test_a_tenant_that_always_burns_much_is_not_told_of_its_usual(bell: Bell) -> None:
    usual = [a_session(f"u{day}-{hour}", use(NOW - day * DAY + hour * HOUR, output=600_000)) for day in range(2, 9) for hour in range(4)]
    bell.laptop().pushes(*usual, a_session("same", use(NOW - MINUTE, output=700_000)))
    assert bell.round() == []


def test_what_one_busy_hour_in_ten_uses_is_usual_here(bell: Bell) -> None:
    hours = [(day, hour) for day in range(2, 9) for hour in range(4)]
    usual = [a_session(f"u{day}-{hour}", use(NOW - day * DAY + hour * HOUR, output=600_000 if (day, hour) in hours[:3] else 10_000)) for day, hour in hours]
    bell.laptop().pushes(*usual, a_session("same", use(NOW - MINUTE, output=700_000)))
    assert bell.round() == []


def test_a_machine_that_falls_silent_in_the_middle_of_work_is_told_once_and_again_after_it_came_back(bell: Bell) -> None:
    laptop = bell.laptop()
    laptop.pushes(a_session("a"))
    assert (bell.round(), states(bell)) == ([], {"mbp-16": "working"})
    assert bell.round(29 * MINUTE) == []
    assert bell.round(2 * MINUTE) == ["mbp-16 fell silent at 10:56 in the middle of work, without a goodbye: asleep, offline, or its agent died."]
    assert states(bell) == {"mbp-16": "lost"}
    assert bell.round(12 * HOUR) == []
    laptop.pushes(a_session("b", use(bell.clock())))
    assert bell.round() == []
    assert bell.round(11 * MINUTE) == []
    assert len(bell.round(25 * MINUTE)) == 1


def test_a_silence_that_nobody_looked_at_within_a_day_is_not_told_any_more(bell: Bell) -> None:
    bell.laptop().pushes(a_session("a", use(NOW - MINUTE), is_active=True))
    assert bell.round(25 * HOUR) == []
    assert states(bell) == {"mbp-16": "lost"}


def test_a_machine_that_said_goodbye_or_had_nothing_to_do_is_off_and_nobody_is_told(bell: Bell) -> None:
    sender = bell.sender(source="polite")
    sender.start()
    sender.push({"s1": json.dumps({"id": "s1", "session_type": "claude_code", "start_time": NOW, "last_activity": NOW})}, commit=True)
    bell.clock.goes(1000)
    assert sender.send(sender.message("bye")).status == 200
    bell.laptop("bored").pushes(a_session("old", use(NOW - 5 * HOUR)))
    assert bell.round(40 * MINUTE) == []
    assert states(bell) == {"polite": "off", "bored": "off"}


def test_a_machine_whose_key_was_only_tried_has_sent_nothing_yet(bell: Bell) -> None:
    sender = bell.sender(source="new")
    sender.send(sender.message("beat"))
    bell.clock.goes(DAY)
    [machine] = bell.alerts.watch.shown("alice")["machines"]
    assert (machine["state"], machine["why"]) == ("off", "it has not sent anything yet")


def test_a_machine_that_is_heard_but_not_used_is_idle(bell: Bell) -> None:
    bell.laptop().pushes(a_session("old", use(NOW - 5 * HOUR)))
    assert states(bell) == {"mbp-16": "idle"}


def test_a_machine_that_is_shut_at_its_usual_hour_is_off(bell: Bell) -> None:
    days = [a_session(f"d{day}-{hour}", use(NOW - day * DAY - hour * HOUR)) for day in range(1, 15) for hour in range(8)]
    bell.laptop().pushes(*days, a_session("last"))
    bell.clock.goes(40 * MINUTE)
    assert bell.round() == []
    assert states(bell) == {"mbp-16": "off"}
    assert "seldom used" in bell.alerts.watch.shown("alice")["machines"][0]["why"]


def test_an_agent_that_cannot_read_its_data_is_told_after_a_while(bell: Bell) -> None:
    def machine(state: str) -> Any:
        return "machine", "mbp-16", {"name": "Alice's laptop", "readers": {"claude_code": {"state": state, "detail": "permission denied"}}}

    laptop = bell.laptop()
    laptop.pushes(machine("unreadable"))
    assert (bell.round(), states(bell)) == ([], {"mbp-16": "unreadable"})
    bell.clock.goes(11 * MINUTE)
    laptop.beats()
    [text] = bell.round()
    assert text.startswith("Alice's laptop: claude_code cannot be read (permission denied).")
    laptop.pushes(machine("ok"))
    bell.round()
    bell.clock.goes(11 * MINUTE)
    laptop.beats()
    assert bell.round() == []
    assert [one["rule"] for one in bell.alerts.watch.shown("alice")["past"]] == ["unreadable"]


def test_records_that_could_not_be_taken_in_are_told(bell: Bell) -> None:
    laptop = bell.laptop()
    laptop.pushes(("session", "bad", "{"))
    bell.round()
    bell.clock.goes(10 * MINUTE)
    laptop.beats()
    assert bell.round() == ["mbp-16: 1 record could not be taken in."]


def test_a_push_key_that_ends_soon_is_told_unless_another_takes_its_place(bell: Bell) -> None:
    for source in ("studio", "mbp-16"):
        bell.key("push", "alice", source, expires=(NOW + 5 * DAY) // 1000)
    bell.key("push", "alice", "mbp-16", expires=(NOW + 90 * DAY) // 1000)
    [text] = bell.round(MINUTE)
    assert text.startswith(f"The push key of studio expires {iso(NOW + 5 * DAY)[:10]}") and "--source studio" in text
    assert len(bell.round(4 * DAY + 2 * HOUR)) == 1, "and once more on its last day"


def test_the_end_of_a_key_that_was_revoked_is_no_news(bell: Bell) -> None:
    ended = KeyText.parse(bell.key("push", "alice", "studio", expires=(NOW + 5 * DAY) // 1000))
    bell.relay.ring.revoke(ended.id)
    assert bell.round(MINUTE) == []


def test_another_tenant_hears_nothing(bell: Bell) -> None:
    bell.wants(BOB)
    bell.laptop().pushes(a_limit(100, RESET), a_session("wild", use(NOW - MINUTE, output=3_000_000)))
    assert len(bell.round()) == 2
    assert {tenant for tenant, _, _ in bell.told} == {"alice"}


def test_a_limit_of_another_account_is_named() -> None:
    bell = Bell()
    bell.wants(tz="Asia/Tokyo")
    bell.laptop().pushes(a_limit(80, RESET, account="work"))
    assert bell.round()[0] == "Five hours · work: 80% used; it resets at 22:00."
