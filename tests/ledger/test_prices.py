"""Prices: by date, by class of request, with their source; and no row changes silently."""
from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from importlib.resources import files

import pytest

from ledger.errors import Misuse
from ledger.price_update import update_book
from ledger.prices import PER_MILLION, PICO, PriceBook, spellings
from tools import update_prices

PINNED = "a1602ee318878fb81492f13f8f294a1f6d66e5cf0dec21887b084552e1bbc702"
"""Change this only together with the reason in the row's source."""


def at(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000)


def usd(book: PriceBook, model: str, price_class: str, at_ms: int, *counts: int) -> float | None:
    """What input, output, writes of five minutes and of an hour, and reads cost; None is unpriced."""
    pico = book.pico(model, price_class, at_ms, counts)
    return None if pico is None else pico / PICO


@pytest.fixture
def book() -> PriceBook:
    return PriceBook.load()


def document() -> dict:
    return json.loads(files("ledger").joinpath("price_book.json").read_text(encoding="utf-8"))


def test_no_row_of_the_shipped_book_changes_silently():
    rows = json.dumps(document()["rows"], sort_keys=True)
    assert hashlib.sha256(rows.encode()).hexdigest() == PINNED


def test_every_row_says_where_it_was_read_and_when():
    assert all(row["source"] and row["date"] for row in document()["rows"])


def test_a_cache_write_for_an_hour_costs_more_than_one_for_five_minutes(book):
    now = at("2026-11-01")
    assert usd(book, "claude-opus-5-5", "standard", now, 0, 0, 1_000_000, 0, 0) == 5.0
    assert usd(book, "claude-opus-5-5", "standard", now, 0, 0, 0, 1_000_000, 0) == 8.0


def test_a_long_request_is_priced_up_whole(book):
    """The example of 1k in, 4k out, 20k written and 230k read at Sonnet 4 prices."""
    then = at("2025-09-01")
    assert book.long_threshold("claude-sonnet-4-20250514", then) == 200_000
    assert usd(book, "claude-sonnet-4-20250514", "standard", then, 1_000, 4_000, 20_000, 0, 230_000) == pytest.approx(0.207)
    assert usd(book, "claude-sonnet-4-20250514", "long:200", then, 1_000, 4_000, 20_000, 0, 230_000) == pytest.approx(0.384)


def test_a_price_that_was_asked_for_before_is_the_same_asked_in_any_order():
    rows = [{"model": "m", "from": day, "input": price, "output": 0, "write_5m": 0, "write_1h": 0, "read": 0, "source": "s", "date": "2026-01-01"}
            for day, price in ((None, 1), ("2026-02-01", 2), ("2026-03-01", 3))]  # fmt: skip
    book = PriceBook({"date": "2026-01-01", "rows": rows})
    days = ["2026-02-15", "2025-01-01", "2026-03-01", "2026-02-01", "2026-01-31", "2026-02-28", "2027-01-01", "2026-01-15"]
    assert [usd(book, "m", "standard", at(day), 1_000_000, 0, 0, 0, 0) for day in days * 2] == [2, 1, 3, 2, 1, 2, 3, 1] * 2
    dated = PriceBook({"date": "2026-01-01", "rows": rows[1:]})
    assert [usd(dated, "m", "standard", at(day), 1_000_000, 0, 0, 0, 0) for day in ("2025-01-01", "2026-03-01", "2026-02-01")] == [2, 3, 2], "before the first row it holds, too"


def test_a_price_holds_from_its_date_on(book):
    assert book.long_threshold("claude-opus-4-6", at("2026-03-12")) == 200_000
    assert book.long_threshold("claude-opus-4-6", at("2026-03-13")) is None
    assert book.long_threshold("claude-sonnet-4", at("2025-08-11")) is None


def test_haiku_has_its_threshold_at_a_hundred_thousand(book):
    now = at("2026-11-01")
    assert book.long_threshold("claude-haiku-5-5", now) == 100_000
    assert usd(book, "claude-haiku-5-5", "long:100", now, 1_000_000, 1_000_000, 0, 0, 0) == 3.0


def test_flags_multiply(book):
    now = at("2026-11-01")
    plain = usd(book, "claude-opus-5", "standard", now, 1_000_000, 0, 0, 0, 0)
    assert plain == 5.0
    assert usd(book, "claude-opus-5", "fast+us", now, 1_000_000, 0, 0, 0, 0) == pytest.approx(11.0)
    assert usd(book, "claude-opus-5", "batch", now, 1_000_000, 0, 0, 0, 0) == 2.5
    assert usd(book, "claude-opus-4-6", "fast", at("2026-03-01"), 1_000_000, 0, 0, 0, 0) == 30.0


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
        ("claude-sonnet-4-5[1m]", "claude-sonnet-4-5"),
        ("anthropic/claude-opus-4.6", "claude-opus-4-6"),
        ("openrouter/anthropic/claude-sonnet-4.5", "claude-sonnet-4-5"),
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", "us.anthropic.claude-sonnet-4-20250514-v1:0"),
        ("apac.anthropic.claude-haiku-4-5-20251001-v1:0", "anthropic.claude-haiku-4-5-20251001-v1:0"),
        ("claude-4-sonnet", "claude-sonnet-4"),
        ("claude-opus-4-20250514", "claude-opus-4"),
        ("claude-3-7-sonnet-latest", "claude-3-7-sonnet"),
        ("claude-3-5-haiku-20241022", "claude-3-5-haiku"),
        ("gpt-5-2025-08-07", "gpt-5"),
        ("openai/gpt-5-codex", "gpt-5-codex"),
        ("gemini-2.5-pro", "gemini-2.5-pro"),
    ],
)
def test_providers_prefixes_and_dates_are_taken_off(book, spelling, name):
    assert book.name(spelling) == name


@pytest.mark.parametrize("model", ["claude-nimbus-9-20270101", "claude-sonnet", "sonnet", "glm-4.6", "unknown", "", "gpt-5-giant"])
def test_an_unknown_model_is_unpriced_never_guessed(book, model):
    assert book.name(model) is None
    assert usd(book, model, "standard", at("2026-11-01"), 1, 1, 0, 0, 0) is None
    assert book.long_threshold(model, at("2026-11-01")) is None


def test_no_tokens_cost_nothing_whatever_the_model(book):
    assert usd(book, "unknown", "standard", 0, 0, 0, 0, 0, 0) == 0


def test_an_explanation_names_the_row(book):
    rates = book.rates("claude-opus-4-6", "standard", at("2026-10-01"))
    assert rates is not None
    assert [rate / PER_MILLION for rate in (rates.input, rates.output, rates.write_5m, rates.write_1h, rates.read)] == [5.0, 25.0, 6.25, 10.0, 0.5]
    assert rates.source and rates.date == "2026-11-22" and rates.since == "2026-03-13"


def test_spellings_begin_with_the_exact_name():
    assert next(iter(spellings("Claude-X", {}))) == "Claude-X"


# -- the update -------------------------------------------------------------------------------------------


def entry(input: float = 3.0, output: float = 15.0, **extra) -> dict:
    return {"litellm_provider": "anthropic", "input_cost_per_token": input / 1e6, "output_cost_per_token": output / 1e6, **extra}


def small_book(*models: str) -> dict:
    table = {model: entry() for model in models}
    return update_book({"rows": []}, table, today="2026-01-01", source="test")[0]


def test_a_changed_price_becomes_a_new_dated_row_and_the_old_one_stays():
    book, report = update_book(small_book("claude-x"), {"claude-x": entry(2.0, 10.0)}, today="2026-06-01", source="test")
    assert report.changed == ["claude-x"]
    prices = PriceBook(book)
    assert usd(prices, "claude-x", "standard", at("2026-05-31"), 1_000_000, 0, 0, 0, 0) == 3.0
    assert usd(prices, "claude-x", "standard", at("2026-06-01"), 1_000_000, 0, 0, 0, 0) == 2.0


def test_an_unchanged_table_changes_nothing():
    book = small_book("claude-x", "claude-y")
    again, report = update_book(book, {m: entry() for m in ("claude-x", "claude-y")}, today="2026-06-01", source="test")
    assert again["rows"] == book["rows"] and report.same == 2


@pytest.mark.parametrize(
    "bad",
    [
        entry(input=5000.0),
        entry(input=-1.0),
        entry(output=0.1),
        entry(input=0.0, output=0.0),
        entry(input=0.001, output=0.005),
        entry(cache_read_input_token_cost=1.0),
        entry(cache_read_input_token_cost="cheap"),
        {"litellm_provider": "anthropic", "input_cost_per_token": 1e-6},
        entry(provider_specific_entry={"fast": 60}),
    ],
)
def test_one_bad_row_is_refused_and_named_and_the_rest_is_taken(bad):
    names = [f"claude-{n}" for n in range(40)]
    table = {**{name: entry() for name in names}, "claude-0": bad, "claude-new": entry()}
    book, report = update_book(small_book(*names), table, today="2026-06-01", source="test")
    assert list(report.refused) == ["claude-0"] and report.added == ["claude-new"]
    assert usd(PriceBook(book), "claude-0", "standard", at("2026-07-01"), 1_000_000, 0, 0, 0, 0) == 3.0


def test_a_table_that_lost_too_many_models_is_refused_whole():
    names = [f"claude-{n}" for n in range(20)]
    with pytest.raises(Misuse, match="keep the present book"):
        update_book(small_book(*names), {name: entry() for name in names[:18]}, today="2026-06-01", source="test")


def test_thresholds_are_read_from_the_table_whatever_their_size():
    table = {"claude-x": entry(input_cost_per_token_above_37k_tokens=9e-6, output_cost_per_token_above_37k_tokens=45e-6)}
    prices = PriceBook(update_book({"rows": []}, table, today="2026-06-01", source="test")[0])
    assert prices.long_threshold("claude-x", 0) == 37_000
    assert usd(prices, "claude-x", "long:37", 0, 1_000_000, 0, 0, 0, 0) == 9.0


# -- the command ---------------------------------------------------------------------------------------------


def test_the_command_says_what_would_change_and_leaves_the_book_alone(tmp_path, capsys):
    rows = document()["rows"]
    newest = {row["model"]: row for row in rows}
    table = {name: entry(row["input"], row["output"]) for name, row in newest.items()}
    (tmp_path / "table.json").write_text(json.dumps(table))
    assert update_prices.main([str(tmp_path / "table.json"), "--dry-run", "--date", "2027-01-01"]) == 0
    assert "changed  claude-opus-5 from 2027-01-01 on" in capsys.readouterr().out
    assert document()["rows"] == rows


def test_the_shipped_book_is_written_as_the_command_writes_it():
    assert files("ledger").joinpath("price_book.json").read_text(encoding="utf-8") == update_prices.written(document())


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", '{"claude-x": 1}'])
def test_a_table_that_is_none_is_refused_in_one_line(tmp_path, capsys, text):
    (tmp_path / "table.json").write_text(text)
    assert update_prices.main([str(tmp_path / "table.json")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert update_prices.main([str(tmp_path / "absent.json")]) == 1
