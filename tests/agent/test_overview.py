"""The status in terminals of every width: nothing is cut, nothing is too wide, times are those of the wall."""
from __future__ import annotations

import copy
import re
from typing import Any

import pytest

from local_agent.commands import overview, terminal
from local_agent.commands.overview import ago, paint, short, when
from local_agent.commands.terminal import breadth, coloured, folded, plain, writable

NOW = 1_795_380_420_000  # 2026-11-22T20:47:00Z
SAID: dict[str, Any] = {
    "version": "1.0.0", "home": "/home/alice/.local/state/session-relay", "running": True, "pid": 4711, "url": "http://localhost:3001", "name": "laptop", "sample": False,
    "source": "abc", "copied": False, "time": "2026-11-22T20:47:00.000Z", "disk": "ok",
    "relay": {"url": "https://relay.a-rather-long-name.example.org", "state": "ok", "detail": "", "last_success": "2026-11-22T20:46:48.000Z", "behind": 0, "stubs": []},
    "readers": {
        "claude_code": {"state": "ok", "counted": {"files": 4100, "sessions": 2670}, "skipped": {"damaged line": 3}},
        "tracker": {"state": "unreadable", "detail": "sessions.db: locked by its writer; it will be tried again; what was known of it stays"}, "codex": {"state": "absent"},
    },
    "sessions": {"total": 2670, "active": 3},
    "block": {"percent": 42.0, "end": "2026-11-22T23:00:00.000Z", "projection": {"percent": 80.4}, "cost": 12.5, "tokens": {"total": 13_403_119}},
    "limits": [
        {"label": "Five hours", "window": "five_hour", "percent": 42, "resets_at": "2026-11-22T23:00:00.000Z", "runs_out_at": None},
        {"label": "Week, all models", "window": "seven_day", "percent": 93.4, "resets_at": "2026-11-26T08:00:00.000Z", "runs_out_at": "2026-11-23T12:30:00.000Z"},
        {"label": "Week, Opus", "window": "seven_day_opus", "percent": 78, "resets_at": None, "runs_out_at": None},
    ],
    "totals": {name: {"tokens": tokens, "cost": 4.2, "sessions": 3} for name, tokens in (("today", 1_234), ("week", 13_403_119), ("month", 999_700_000))},
    "alerts": [{"level": "warn", "text": "the week runs out tomorrow at half past one if this goes on"}],
}  # fmt: skip
ESCAPE = re.compile(r"\x1b\[\d+m")


@pytest.mark.parametrize("width", [24, 40, 72, 80, 120, 200])
@pytest.mark.parametrize("ink", [plain, coloured])
def test_no_line_is_wider_than_the_terminal_and_no_label_is_cut(width: int, ink: Any) -> None:
    text = paint(SAID, ink, width, "Europe/Berlin")
    bare = ESCAPE.sub("", text)
    assert max(map(breadth, bare.splitlines())) <= width
    if width >= 40:
        for label in ("Current block", "Five hours", "Week, all models", "Week, Opus", "Today", "Month"):
            assert label in bare
    assert "codex" not in bare


@pytest.mark.parametrize("width", [72, 80, 120])
def test_in_a_usual_terminal_a_limit_is_one_line_with_its_bar(width: int) -> None:
    line = next(line for line in paint(SAID, plain, width, "Europe/Berlin").splitlines() if line.startswith("Five hours"))
    assert re.fullmatch(r"Five hours +[█░]+  42\.0 %  .*", line)


def test_wide_enough_everything_of_a_limit_stands_on_its_line() -> None:
    text = paint(SAID, plain, 120, "Europe/Berlin")
    assert re.search(r"^Current block +█+░+  42\.0 %  ends tomorrow 00:00 \(in 2 h 13 min\), heading for 80 %, \$12\.50$", text, re.MULTILINE)
    assert re.search(r"resets Thu 26 Nov 09:00, runs out tomorrow 13:30 \(in 15 h 43 min\)$", text, re.MULTILINE)
    assert "agreed 12 s ago" in text


def test_in_a_usual_terminal_a_limit_that_runs_out_today_is_one_line() -> None:
    said = SAID | {"limits": [SAID["limits"][0] | {"resets_at": "2026-11-22T22:30:00.000Z", "runs_out_at": "2026-11-22T21:30:00.000Z"}, SAID["limits"][1]]}
    assert re.search(r"^Five hours +█+░+  42\.0 %  resets 22:30, runs out 21:30 \(in 43 min\)$", paint(said, plain, 80), re.MULTILINE)


def test_amounts_that_lack_a_price_say_so() -> None:
    assert "no price" not in paint(SAID | {"unpriced": []}, plain)
    assert "no price is known for claude-nimbus-9, unknown: the amounts are without them" in paint(SAID | {"unpriced": ["claude-nimbus-9", "unknown"]}, plain, 100)


def test_colours_change_nothing_but_colours() -> None:
    assert ESCAPE.sub("", paint(SAID, coloured, 80)) == paint(SAID, plain, 80)
    assert "\x1b" in paint(SAID, coloured, 80)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (1_000, "1 k"), (1_234, "1.23 k"), (12_345, "12.3 k"), (999_700, "1 M"), (13_403_119, "13.4 M"), (8_597_022_517, "8.6 G"), (1.5e12, "1.5 T"), (1e16, "10,000 T")],
)
def test_amounts_are_short(number: float, text: str) -> None:
    assert short(number) == text


def test_moments_are_told_as_the_wall_shows_them() -> None:
    berlin = overview.ZoneInfo("Europe/Berlin")
    assert when("2026-11-22T22:30:00Z", NOW, berlin) == "23:30 (in 1 h 43 min)"
    assert when("2026-11-22T23:30:00Z", NOW, berlin) == "tomorrow 00:30 (in 2 h 43 min)"
    assert when(None, NOW, berlin) == "at an unknown time"
    assert [ago(at, NOW) for at in ("2026-11-22T20:46:58Z", "2026-11-22T20:46:00Z", "2026-11-22T18:40:00Z", "2026-11-23T20:46:00Z")] == ["just now", "60 s ago", "2 h 07 min ago", "just now"]


@pytest.mark.parametrize("text", ["a word", "https://" + "x" * 300, "日本語のタイトル" * 9, "e\u0301" * 50, "", " ", "a " * 99])
def test_any_text_is_folded_without_losing_a_letter(text: str) -> None:
    lines = folded([("●", "good"), (f" {text}", "name")], 40, 4, plain)
    assert all(breadth(line) <= 40 for line in lines)
    assert "".join("".join(lines).split()) == "".join(f"●{text}".split())


def test_a_terminal_without_such_signs_gets_plainer_ones() -> None:
    assert writable("● ██░", "utf-8") == "● ██░"
    assert writable("● ██░ 日", "latin-1") == "* ##- ?"
    assert writable("●", None) == "*"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"running": False}, "not running: python -m local_agent service install"), ({"running": False, "elsewhere": "http://localhost:3001"}, "not running with this home; one that answers at http://localhost:3001 has another"), ({"disk": "full"}, "make room"), ({"sample": True}, "this is sample data"),
        ({"relay": {"url": None, "state": "unpaired", "detail": "python -m local_agent pair URL KEY"}}, "not paired: python -m local_agent pair URL KEY"),
        ({"relay": {"url": "https://r", "state": "halted", "detail": "the key was revoked", "behind": 3, "stubs": [1, 2]}}, "2 records cannot be shown there"),
        ({"relay": {"url": "https://r", "state": "ok", "detail": "", "behind": 1, "stubs": []}}, "1 change to send"),
        ({"relay": {"url": "https://r", "state": "ok", "detail": "", "behind": 0, "stubs": [1]}}, "1 record cannot be shown there"),
        ({"sessions": {**SAID["sessions"], "total": 1}}, "1 session, "),
        ({"block": None, "limits": [], "totals": {}}, "2,670 sessions, 3 active"), ({"block": {**SAID["block"], "percent": None}}, "13.4 M tokens"),
    ],
    ids=range(11),
)  # fmt: skip
def test_what_is_unusual_is_said(change: dict[str, Any], words: str) -> None:
    said = copy.deepcopy(SAID) | change
    assert words in paint(said, plain, 100)


def test_a_bar_is_as_long_as_asked() -> None:
    assert terminal.bar(50, plain, 10).startswith("█████░░░░░ ")


@pytest.mark.parametrize(("percent", "style"), [(0, "good"), (74.9, "good"), (75, "warn"), (89.9, "warn"), (90, "bad"), (120, "bad")])
def test_a_bar_is_yellow_from_three_quarters_and_red_from_nine_tenths_on(percent: float, style: str) -> None:
    assert terminal.style_of(percent) == style
