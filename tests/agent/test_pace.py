from __future__ import annotations

from local_agent.push.pace import Pace, Slumber


def test_nothing_changed_means_nothing_due() -> None:
    assert Pace().due_at() is None


def test_the_first_change_is_pushed_after_half_a_second_of_quiet() -> None:
    pace = Pace()
    pace.changed(100.0)
    assert pace.due_at() == 100.5


def test_a_burst_that_does_not_end_is_pushed_after_two_seconds() -> None:
    pace = Pace()
    for tenth in range(40):
        pace.changed(100 + tenth / 10)
    assert pace.due_at() == 102


def test_two_pushes_are_two_seconds_apart() -> None:
    pace = Pace()
    pace.pushed(100.0)
    pace.changed(100.1)
    assert pace.due_at() == 102


def test_an_old_push_delays_nothing() -> None:
    pace = Pace()
    pace.pushed(100.0)
    pace.changed(200.0)
    assert pace.due_at() == 200.5


def test_no_change_ever_waits_more_than_two_seconds_after_it() -> None:
    pace = Pace()
    pace.pushed(100.0)
    for change in (100.0, 100.9, 101.7):
        pace.changed(change)
    assert pace.due_at() == 102.0


def test_a_person_who_asks_waits_for_nothing() -> None:
    pace = Pace()
    pace.pushed(100.0)
    pace.hurry(100.1)
    assert pace.due_at() is not None and pace.due_at() <= 100.1


def test_a_sleep_is_noticed_once() -> None:
    clock = {"awake": 10.0, "always": 50.0}
    slumber = Slumber(lambda: clock["awake"], lambda: clock["always"])
    clock["awake"] += 30
    clock["always"] += 30
    assert not slumber.slept()
    clock["always"] += 3600
    assert slumber.slept()
    assert not slumber.slept()


def test_a_relay_that_pays_for_every_push_is_asked_less_often() -> None:
    pace = Pace()
    pace.apart_s = 30
    pace.pushed(100.0)
    pace.changed(101.0)
    assert pace.due_at() == 130.0
