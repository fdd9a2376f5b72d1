"""Each episode is told exactly once and armed again after recovery, whatever the readings."""
from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ledger.stores.memory import MemoryStore
from relay.alerts import memory
from relay.alerts.episodes import REARM_MS, Finding, follow
from relay.alerts.facts import Facts, Window
from relay.alerts.rules import BACK, findings, follow_windows
from relay.alerts.wishes import Quiet, Rules, Share, Wishes

MINUTE = 60_000
START, RESET = 1_790_000_000_000, 1_790_000_000_000 + 300 * MINUTE
WAYS = {"chat": "info"}


def noticed(kept: Any, found: list[Finding], now: int, wishes: Wishes | None = None) -> list[str]:
    """The texts that were written down to be told."""
    before = len(kept["waiting"])
    memory.notice(kept, found, wishes or Wishes(), ways=WAYS, tz="UTC", now=now)
    return [one["message"]["text"] for one in kept["waiting"][before:]]


def a_finding(id: str = "a", **more: Any) -> Finding:
    return Finding(id, "rule", more.pop("level", "warn"), f"text of {id}", **more)


def test_what_is_remembered_stays_small_and_the_oldest_that_is_over_makes_room() -> None:
    store = MemoryStore()
    ended = [{"id": str(number), "text": "x" * 10_000} for number in range(memory.MOST_PAST)]
    memory.change(store, "alice", START, lambda kept: kept.update(past=ended))
    kept, _ = memory.read(store, "alice", START)
    assert len(json.dumps(kept)) <= memory.LARGEST
    assert kept["past"] == ended[: len(kept["past"])] and len(kept["past"]) > 15


@given(st.lists(st.tuples(st.integers(0, 110), st.integers(1, 5)), max_size=40))
def test_for_any_readings_each_step_is_told_once_and_armed_again_only_below_it(readings: list[tuple[int, int]]) -> None:
    kept, now, armed = memory.fresh(), START, {75: True, 90: True, 100: True}
    rules = Rules(block=Share(steps=(75, 90, 100)))
    for percent, minutes in readings:
        now += minutes * 1000
        facts = Facts(now, "UTC", (Window("k", "Five hours", "five_hour", percent, RESET, None, None),))
        kept["windows"], ended = follow_windows(kept["windows"], facts.windows, now)
        kept["waiting"].clear()
        told = noticed(kept, findings(rules, facts, kept["windows"], ended), now)
        crossed = [step for step in armed if percent >= step and armed[step]]
        highest = max((step for step in armed if percent >= step), default=0)
        assert len(told) == (1 if highest in crossed else 0), (percent, crossed)
        for step in armed:
            armed[step] = percent <= step - BACK or (armed[step] and percent < step)


@given(st.lists(st.tuples(st.sampled_from(["firm", "near", "absent"]), st.integers(1, 12)), max_size=60))
def test_for_any_course_an_episode_is_told_once_and_again_only_after_it_was_over(course: list[tuple[str, int]]) -> None:
    kept, now = memory.fresh(), START
    is_open, gone = False, None
    for state, minutes in course:
        now += minutes * MINUTE
        if state == "absent":
            gone = gone if gone is not None else now
            if now - gone >= REARM_MS:
                is_open = False
        else:
            gone = None
        tell = state == "firm" and not is_open
        is_open = is_open or state == "firm"
        kept["waiting"].clear()
        found = [] if state == "absent" else [a_finding(firm=state == "firm")]
        assert len(noticed(kept, found, now)) == int(tell)
        gone = gone if is_open else None


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 90)), max_size=60))
def test_for_any_course_through_quiet_hours_what_is_held_back_is_told_once_afterwards(course: list[tuple[bool, int]]) -> None:
    kept, now = memory.fresh(), START
    wishes = Wishes(quiet=Quiet(start="22:00", end="07:00", urgent=False))
    said = episodes = 0
    was = False
    for number, (on, minutes) in enumerate(course):
        now += minutes * MINUTE
        kept["waiting"].clear()
        episodes += on and not was
        found = [a_finding(f"n{episodes}", rearm=0)] if on else []
        was = on
        told = noticed(kept, found, now, wishes)
        said += sum(text.count("text of") for text in told)
        assert said + len(kept["held"]) == episodes, number


def test_what_must_last_is_told_only_when_it_lasted() -> None:
    kept = memory.fresh()
    assert noticed(kept, [a_finding(wait=10 * MINUTE)], START) == []
    assert noticed(kept, [a_finding(wait=10 * MINUTE)], START + 9 * MINUTE) == []
    assert noticed(kept, [], START + 9 * MINUTE + 1) == [], "it passed"
    assert noticed(kept, [a_finding(wait=10 * MINUTE)], START + 11 * MINUTE) == [], "and begins anew"
    assert noticed(kept, [a_finding(wait=10 * MINUTE)], START + 21 * MINUTE) == ["text of a"]


def test_much_news_at_once_is_one_message() -> None:
    kept = memory.fresh()
    [text] = noticed(kept, [a_finding(str(number)) for number in range(30)], START)
    assert text.startswith("30 alerts:\ntext of 0") and text.endswith("and 10 more")


def test_a_flood_stays_bounded() -> None:
    episodes, due, _ = follow({}, [a_finding(str(number)) for number in range(1000)], START)
    assert len(episodes) == len(due) == 100
    kept = memory.fresh()
    for number in range(1000):
        memory.notice(kept, [a_finding(f"{number}")], Wishes(), ways={"a": "info", "b": "info"}, tz="UTC", now=START + number * REARM_MS * 2)
    assert len(kept["waiting"]) <= memory.MOST_WAITING and len(kept["past"]) <= 50


def test_a_window_whose_reset_is_read_a_second_off_is_the_same_window() -> None:
    seen, _ = follow_windows({}, [Window("k", "Five hours", "five_hour", 80, RESET, None, None)], START)
    again, _ = follow_windows(seen, [Window("k", "Five hours", "five_hour", 81, RESET + 1000, None, None)], START + 1)
    other, _ = follow_windows(again, [Window("k", "Five hours", "five_hour", 2, RESET + 300 * MINUTE, None, None)], RESET + 1)
    assert seen["k"]["id"] == again["k"]["id"] != other["k"]["id"]
