"""What `make bench` writes."""
from __future__ import annotations

import pytest

from bench.table import BEGIN, END, FRONT, Figure, front, missing, number, page, replaced


def test_only_rows_of_the_front_stand_in_the_readme_each_once() -> None:
    rows = [Figure(FRONT[0], 0.4123, "of ccusage's", "≤ 0.40"), Figure(FRONT[0] + " again", 9, "s"), Figure("something else", 1, "s")]
    assert front(rows).splitlines()[2:] == [f"| {FRONT[0]} | 0.412 of ccusage's | ≤ 0.40 |  |"]


def test_the_readme_begins_with_what_a_person_with_a_laptop_asks_first() -> None:
    backwards = [Figure(name, 1, "s") for name in reversed(FRONT)]
    assert [row.split(" | ")[0].removeprefix("| ") for row in front(backwards).splitlines()[2:]] == list(FRONT)


def test_everything_stands_on_the_page_by_its_part() -> None:
    text = page({"agent": [Figure("start", 2345.6, "ms")], "page": [Figure("bytes", 1, "kB", "80", "x")]}, "here")
    assert [line for line in text.splitlines() if line.startswith(("##", "| start", "| bytes"))] == [
        "## Agent", "| start | 2,346 ms |  |  |", "## Page", "| bytes | 1 kB | 80 | x |",
    ]  # fmt: skip


def test_a_table_replaces_the_one_before_and_nothing_else() -> None:
    once = replaced(f"before\n{BEGIN}\nold\n{END}\nafter", "new")
    assert once == f"before\n{BEGIN}\nnew\n{END}\nafter"
    assert replaced(once, "new") == once


@pytest.mark.parametrize(("value", "text"), [(0.00123, "0.00123"), (12.34, "12.3"), (1234.5, "1,234"), (0, "0")])
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_what_belongs_to_the_front_and_was_not_measured_is_named() -> None:
    assert missing([Figure(f"{name}, more", 1, "s") for name in FRONT[1:]]) == [FRONT[0]]
