from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_agent.backoff import asked_seconds, wait_after_failure, wait_when_asked

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC).timestamp()


def unlucky() -> float:
    return 1.0


def lucky() -> float:
    return 0.0


def test_the_wait_doubles_up_to_five_minutes() -> None:
    assert [wait_after_failure(n, roll=unlucky) for n in (1, 2, 3, 8, 9, 1000)] == [2, 4, 8, 256, 300, 300]


def test_a_failing_agent_asks_no_less_often_than_a_healthy_one() -> None:
    assert wait_after_failure(9, beat_s=60, roll=unlucky) == 60


def test_a_lucky_agent_tries_again_at_once() -> None:
    assert wait_after_failure(9, roll=lucky) == 0


def test_a_throttled_agent_always_waits_at_least_half() -> None:
    assert wait_when_asked(9, 0, roll=lucky) == 150


def test_a_relay_that_names_a_time_is_believed_up_to_an_hour() -> None:
    assert wait_when_asked(1, 120, roll=unlucky) == 120
    assert wait_when_asked(1, 1e9, roll=unlucky) == 3600


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("17", 17), ("0", 0), (" 5 ", 5), ("1000000000", 3600), ("9" * 400, 3600),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30), ("Sun, 01 Mar 2026 11:00:00 GMT", 0), ("Sun, 01 Mar 2099 11:00:00 GMT", 3600),
        ("-5", 0), ("1.5", 0), ("soon", 0), ("", 0), (None, 0), ("٣", 0), ("NaN", 0), ("1e9", 0),
    ],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date_and_nonsense_asks_for_nothing(header: str | None, seconds: float) -> None:
    assert asked_seconds(header, NOW) == seconds


@given(st.one_of(st.none(), st.text(max_size=60), st.from_regex(r"[A-Z][a-z]{2}, \d{1,4} [A-Z][a-z]{2} \d{1,6} \d\d:\d\d:\d\d [A-Z]{1,4}", fullmatch=True)))
def test_no_header_in_the_world_breaks_it(header: str | None) -> None:
    assert 0 <= asked_seconds(header, NOW) <= 3600
