"""What is asked of a path: one definition in two forms that must agree, and no wait for the slow one."""
from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import Problem
from ledger.http import described, queries, schemas

FAST = [path for path in described.ROUTES if path not in queries.BY_THE_DEFINITION]
NAMES = ["tz", "limit", "gaps", "cursor", "sessions", "other"]
VALUES = st.one_of(
    st.text(max_size=4), st.integers(-3, 1200).map(str), st.sampled_from(["x" * 64, "x" * 65, "x" * 16384, "x" * 16385, "é" * 64, "é" * 65]),
    st.sampled_from(["Europe/Berlin", "UTC", "europe/berlin", "../etc", "Nowhere/At_All", "true", "false", "True", "FALSE", "on", "off", "yes", "t", "f", "1", "0", "null", "None"]),
    st.sampled_from([" 5", "5 ", "+5", "-0", "0_1", "1_0", "5.0", "0.0", "5.5", "1e2", "1E2", "0x10", "٣", "inf", "nan", "9" * 30, "007", "[]", "{}", '"5"']),
)  # fmt: skip


def by_definition(path: str, query: dict[str, str]) -> dict[str, object] | None:
    try:
        return schemas.load(described.asked_of(path), query)
    except Problem:
        return None


def by_types(path: str, query: dict[str, str]) -> dict[str, object] | None:
    try:
        return queries.compiled(path, {name: value for name, value in query.items() if value != ""})
    except msgspec.ValidationError:
        return None


@settings(max_examples=3000, deadline=None)
@given(st.sampled_from(FAST), st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4))
def test_whatever_the_types_take_the_definition_takes_for_the_same(path: str, query: dict[str, str]) -> None:
    fast, slow = by_types(path, query), by_definition(path, query)
    assert fast is None or (fast == slow and list(map(type, fast.values())) == [type(slow[name]) for name in fast])


@pytest.mark.parametrize("path", FAST)
def test_the_types_know_every_parameter_and_its_default(path: str) -> None:
    assert by_types(path, {}) == by_definition(path, {})
    usual = {"tz": "Europe/Berlin", "limit": "7", "gaps": "true", "cursor": "abc", "sessions": "50"}
    assert by_types(path, usual) == by_definition(path, usual) is not None


@pytest.mark.parametrize(("path", "query"), [("/v1/feed", {"sessions": "1001"}), ("/status", {"tz": "Nowhere"}), ("/sessions/recent", {"limit": "0"}), ("/sessions", {"sort": "size"})])
def test_a_refusal_has_the_words_of_the_definition(path: str, query: dict[str, str]) -> None:
    with pytest.raises(Problem) as ours:
        queries.checked(path, query)
    with pytest.raises(Problem) as theirs:
        schemas.load(described.asked_of(path), query)
    assert ours.value.document() == theirs.value.document()


def test_what_only_the_definition_takes_is_taken() -> None:
    assert queries.checked("/sessions/recent", {"limit": " 5"})["limit"] == 5
    assert queries.checked("/five-hour-blocks", {"gaps": "on"})["gaps"] is True


def test_the_questions_of_a_page_never_wait_for_the_definition() -> None:
    program = "import sys; from ledger.http import queries, reads; queries.checked('/v1/feed', {'tz': 'Europe/Berlin', 'sessions': '200'}); print('marshmallow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout.strip() == b"False"
