"""The sum for a month: it follows from its prices, and says what it assumed."""
from __future__ import annotations

from dataclasses import replace

import pytest

from bench import costs
from bench.costs import PRICES, Usage, lines, month, report


def test_a_user_costs_a_few_cents() -> None:
    assert 0 < month(Usage()) <= 0.06


def test_a_thousand_users_cost_a_thousand_times_as_much() -> None:
    assert f"{1000 * month(Usage()):.2f}" in report(Usage())


def test_nobody_who_does_nothing_pays_more_than_a_cent_for_the_night_the_look_at_alerts_and_what_is_kept() -> None:
    assert month(replace(Usage(), days=0)) < 0.01


@pytest.mark.parametrize("more", ["busy_hours", "watched_hours", "page_loads", "writes_per_push", "push_cpu_ms", "sessions", "days"])
def test_more_of_anything_costs_more(more: str) -> None:
    assert month(replace(Usage(), **{more: 1.5 * getattr(Usage(), more)})) > month(Usage())


def test_pushing_less_often_costs_less() -> None:
    assert month(replace(Usage(), push_every_s=60)) < month(Usage())


def test_every_line_names_a_price_and_every_price_is_used() -> None:
    assert {price for _, _, price in lines(Usage())} == set(PRICES)


def test_the_command_takes_every_assumption_and_says_when_the_prices_were_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert costs.main(["--busy-hours", "1", "--sessions", "20000"]) == 0
    assert costs.PRICED in capsys.readouterr().out
