"""`python -m relay alerts` as a person types it."""
from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from relay.cli import main
from tests.relay.alertkit import receiver

Said = tuple[int, str, str]
Type = Callable[..., Said]


@pytest.fixture
def alerts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Type:
    """Runs `relay alerts …` in this process, over a store that is there; answers (code, stdout, stderr)."""
    for name, value in (("RELAY_SECRET", "correct horse battery staple"), ("RELAY_STORE", f"sqlite:///{tmp_path / 'relay.db'}"), ("RELAY_ALERTS_PRIVATE", "yes")):
        monkeypatch.setenv(name, value)
    main(["keys", "create", "--scope", "read"])
    capsys.readouterr()

    def run(*words: str) -> Said:
        code = main(["alerts", *words])
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


def test_rules_are_set_word_by_word_and_shown_in_the_words_that_set_them(alerts: Type) -> None:
    code, out, _ = alerts("set", "day.usd=40", "block.steps=80,95", "silent.on=no", "quiet=22:00-07:00", "urgent=no", "tz=Europe/Berlin")
    assert code == 0
    for said in ("day.usd=40", "block.on=yes block.steps=80,95", "silent.on=no", "quiet=22:00-07:00 urgent=no tz=Europe/Berlin"):
        assert said in out
    assert alerts("set")[1] == out, "without words it shows what is kept"


def test_a_budget_quiet_hours_and_a_zone_are_taken_back_with_none(alerts: Type) -> None:
    alerts("set", "day.usd=40", "quiet=22:00-07:00", "tz=Europe/Berlin")
    _, out, _ = alerts("set", "day.usd=none", "quiet=none", "tz=none")
    assert "day.usd=none" in out and "quiet=none tz=none" in out


@pytest.mark.parametrize(
    ("word", "named"),
    [("day.usd", "not NAME=VALUE"), ("day.usd=much", "a number"), ("block.steps=a,b", "whole numbers"), ("quiet=late", "22:00-07:00"), ("urgent=yes", "behind quiet"),
     ("colour=red", "no setting colour"), ("day.eur=4", "eur")],
)  # fmt: skip
def test_a_word_that_makes_no_sense_is_wrong_use_and_says_what_would(alerts: Type, word: str, named: str) -> None:
    before = alerts("set")[1]
    code, _, err = alerts("set", word)
    assert code == 2 and named in err and err.count("\n") == 1
    assert alerts("set")[1] == before


def test_an_address_can_come_on_standard_input_so_that_no_history_keeps_it(alerts: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver() as ops:
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{ops.url}/secret-path\n"))
        code, out, err = alerts("channels", "add", "ops", "-")
        assert code == 0 and out.startswith("whsec_") and "shown this once" in err
        _, listed, _ = alerts("channels")
        assert "ops  webhook" in listed and "secret-path" not in listed
        assert alerts("test", "ops")[0] == 0 and len(ops.heard) == 1
    assert alerts("channels", "remove", "ops")[0] == 0
    code, _, err = alerts("channels", "remove", "ops")
    assert code == 2 and "no channel ops" in err


def test_a_memory_store_is_not_looked_for_in_this_process(alerts: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_STORE", "memory:")
    code, _, err = alerts("set", "day.usd=40")
    assert code == 1 and "PUT /v1/alerts/settings" in err
