from __future__ import annotations

import json
import shutil
import stat
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from local_agent import verify
from local_agent.cli import main as command
from local_agent.settings import Settings
from local_agent.verify import archived, rivals, transcript, units
from local_agent.verify.ccusage import NoCcusage, Prices, find
from local_agent.verify.compare import ACCOUNTS, ANCHOR, GONE, OUTSIDE, UNEXPLAINED
from local_agent.verify.units import Piece

SESSION = "6f9619ff-8b86-4011-b42d-00cf4fc964ff"

NAIVE = Path(__file__).with_name("naive_ccusage.py")


def answer(n: int, hour: int = 9, **usage: int) -> dict:
    counts = {"input_tokens": 10, "output_tokens": 20, "cache_creation_input_tokens": 30, "cache_read_input_tokens": 40} | usage
    return {
        "sessionId": SESSION, "version": "2.1.0", "timestamp": f"2026-11-18T{hour:02}:15:00.{n:03}Z", "requestId": f"req_{n}", "type": "assistant",
        "message": {"id": f"msg_{n}", "role": "assistant", "model": "claude-opus-4-7", "usage": counts},
    }


def home_of(tmp_path: Path, *lines: dict, name: str = SESSION) -> Path:
    place = tmp_path / "claude" / "projects" / "-home-ada-relay"
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{name}.jsonl").write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    return tmp_path / "claude"


@pytest.fixture
def ccusage(tmp_path):
    path = tmp_path / "ccusage"
    path.write_text(f"#!/bin/sh\nexec {sys.executable} -S {NAIVE} \"$@\"\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def settings_of(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", transcripts=(tmp_path / "claude",), no_defaults=True, tz="UTC")


def test_where_all_agrees_that_is_said_and_the_exit_is_0(tmp_path, ccusage, capsys):
    home_of(tmp_path, answer(1), answer(2), answer(3, hour=10))
    assert verify.main(settings_of(tmp_path), ccusage) == 0
    said = capsys.readouterr().out
    assert "days     1 equal, 0 explained, 0 unexplained" in said
    assert "sessions 1 equal" in said


def test_a_difference_without_a_reason_is_shown_and_the_exit_is_1(tmp_path, ccusage, capsys, monkeypatch):
    monkeypatch.setenv("NAIVE_EXTRA", "7")
    home_of(tmp_path, answer(1))
    assert verify.main(settings_of(tmp_path), ccusage, as_json=True) == 1
    found = json.loads(capsys.readouterr().out)
    assert {each["report"] for each in found["differences"]} == {"day", "session", "block"}
    assert all(each["rules"] == [UNEXPLAINED] and each["ccusage"]["output"] == 27 for each in found["differences"])


def test_what_was_kept_though_its_transcript_was_deleted_is_a_reason(tmp_path, ccusage, capsys):
    home_of(tmp_path, answer(1))
    other = "7f9619ff-8b86-4011-b42d-00cf4fc964ff"
    home = home_of(tmp_path, {**answer(2), "sessionId": other}, name=other)
    assert verify.main(settings_of(tmp_path), ccusage) == 0
    next(home.rglob(f"{other}.jsonl")).unlink()
    capsys.readouterr()
    assert verify.main(settings_of(tmp_path), ccusage) == 0
    said = capsys.readouterr().out
    assert "days     0 equal, 1 explained" in said and "3 x the transcript was deleted by its tool" in said


def everywhere(rule: str) -> dict[str, set[str]]:
    return {report: {rule} for report in ("day", "session", "block")}


def explained(tmp_path: Path, ccusage: str, capsys, *more: Path) -> dict[str, set[str]]:
    """The rules that the differences of each report have."""
    settings = replace(settings_of(tmp_path), transcripts=(tmp_path / "claude", *more))
    code = verify.main(settings, ccusage, as_json=True)
    found: dict[str, set[str]] = {}
    for each in json.loads(capsys.readouterr().out)["differences"]:
        found.setdefault(each["report"], set()).update(each["rules"])
    assert code == any(UNEXPLAINED in rules for rules in found.values())
    return found


def test_a_part_of_a_session_that_was_deleted_or_written_away_is_a_reason_too(tmp_path, ccusage, capsys):
    home = home_of(tmp_path, answer(1), answer(2))
    helper = home / "projects" / "-home-ada-relay" / SESSION / "subagents" / "agent-1.jsonl"
    helper.parent.mkdir(parents=True)
    helper.write_text(json.dumps({**answer(3), "isSidechain": True}, separators=(",", ":")) + "\n")
    assert explained(tmp_path, ccusage, capsys) == {}
    helper.unlink()
    assert explained(tmp_path, ccusage, capsys) == everywhere(GONE)
    home_of(tmp_path, answer(2), answer(4))
    assert explained(tmp_path, ccusage, capsys) == everywhere(GONE)


def test_what_the_archive_has_without_such_a_reason_is_not_explained(tmp_path, ccusage, capsys, monkeypatch):
    home_of(tmp_path, answer(1))
    held = archived.sessions
    monkeypatch.setattr(archived, "sessions", lambda archive: held(archive) * (1 if archive.source == "verify" else 2))
    assert explained(tmp_path, ccusage, capsys) == everywhere(UNEXPLAINED)


def test_blocks_are_compared_as_they_are_shown(tmp_path, ccusage, capsys):
    reset = int(datetime(2026, 11, 18, 13, 0, tzinfo=UTC).timestamp())
    told = answer(9, hour=10)
    told["message"] |= {"model": "<synthetic>", "content": [{"type": "text", "text": f"Claude AI usage limit reached|{reset}"}]}
    told["message"]["usage"] = dict.fromkeys(told["message"]["usage"], 0)
    home_of(tmp_path, answer(1), answer(2, hour=12), answer(3, hour=13), {**told, "isApiErrorMessage": True})
    assert explained(tmp_path, ccusage, capsys) == {"block": {ANCHOR}}


def test_each_account_has_blocks_of_its_own(tmp_path, ccusage, capsys):
    home_of(tmp_path, answer(1))
    other = home_of(tmp_path / "second", {**answer(2), "sessionId": "other"}, name="other")
    for home, account in ((tmp_path / "claude", "ada"), (other, "bob")):
        (home / ".claude.json").write_text(json.dumps({"oauthAccount": {"accountUuid": account}}))
    assert explained(tmp_path, ccusage, capsys, other) == {"block": {ACCOUNTS}}


def test_what_lies_where_ccusage_does_not_look_is_a_reason(tmp_path, ccusage, capsys):
    home_of(tmp_path, answer(1))
    other = home_of(tmp_path / "second", {**answer(2), "sessionId": "other"}, name="other")
    assert explained(tmp_path, ccusage, capsys, other) == {}
    assert explained(tmp_path, ccusage, capsys) == everywhere(OUTSIDE)


def test_without_ccusage_one_line_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoCcusage, match="npm install -g ccusage@"):
        find(None)
    home_of(tmp_path, answer(1))
    words = ["verify", "--home", str(tmp_path / "home"), "--no-defaults", "--transcripts", str(tmp_path / "claude")]
    assert command(words) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_without_transcripts_that_is_said(tmp_path, ccusage):
    with pytest.raises(NoCcusage, match="--transcripts"):
        verify.main(Settings(home=tmp_path / "home", no_defaults=True), ccusage)


def test_what_is_no_ccusage_is_named(tmp_path):
    home_of(tmp_path, answer(1))
    for program in ("/bin/false", "/bin/echo"):
        with pytest.raises(NoCcusage, match=program):
            verify.main(settings_of(tmp_path), program)


# -- the two sets of rules ----------------------------------------------------------


def seen(*entries: dict) -> list[transcript.Seen]:
    lines = (json.dumps(each, separators=(",", ":")).encode() for each in entries)
    return [each for n, line in enumerate(lines) if (each := transcript.understand(line, n, "own"))]


def outputs(lines: list[transcript.Seen]) -> list[int]:
    return sorted(line.counts[1] for line in lines)


def test_of_the_lines_of_one_answer_the_fullest_counts_for_both():
    lines = seen(answer(1, output_tokens=1), answer(1, output_tokens=90), answer(1, output_tokens=5))
    assert outputs(rivals.ours(lines)) == outputs(rivals.theirs(lines, rivals.DAILY)) == outputs(rivals.theirs(lines, rivals.SESSION)) == [90]


def test_a_replay_after_its_parent_is_counted_by_their_session_report_only():
    lines = seen(answer(1, output_tokens=7), {**answer(1, output_tokens=50), "requestId": "req_replay", "isSidechain": True})
    assert outputs(rivals.ours(lines)) == outputs(rivals.theirs(lines, rivals.DAILY)) == [7]
    assert outputs(rivals.theirs(lines, rivals.SESSION)) == [7, 50]
    assert rivals.contested(lines) == {"msg_1"}


def test_an_echo_counts_for_us_only_where_nothing_else_tells_of_the_answer():
    def echo(n: int, out: int) -> dict:
        inner = answer(n, output_tokens=out)
        message = {name: inner[name] for name in ("timestamp", "requestId", "message")}
        return {"type": "progress", "timestamp": inner["timestamp"], "data": {"type": "agent_progress", "message": message}}

    lines = seen({**answer(1, output_tokens=60), "isSidechain": True}, echo(1, 3), echo(2, 4))
    assert outputs(rivals.ours(lines)) == [4, 60]
    assert outputs(rivals.theirs(lines, rivals.SESSION)) == [60]
    assert outputs(rivals.theirs(lines, rivals.DAILY)) == [3, 4]


@pytest.mark.parametrize(("changed", "quirk"), [
    (('"role":"assistant"', '"content":[{"input":{"id":null}}],"role":"assistant"'), "null"),
    (('"role":"assistant"', '"content":"cut \\ud83d here","role":"assistant"'), "text"),
    (('"type":"assistant"', '"type":"x","type":"assistant"'), "twice"),
    (('"role":"assistant"', '"content":"whole \\ud83d\\ude00, \\"id\\":null in words, \\\\ud83d","role":"assistant"'), None),
])
def test_lines_that_ccusage_drops_are_told_apart(changed, quirk):
    raw = json.dumps(answer(1), separators=(",", ":")).replace(*changed).encode()
    line = transcript.understand(raw, 0, "own")
    assert line and line.quirks == ({quirk} if quirk else set())
    assert len(rivals.theirs([line], rivals.SESSION)) == (quirk is None)


def test_a_session_is_named_by_where_its_file_lies_as_ccusage_does():
    projects = Path("/p")
    names = {"slug/a.jsonl": "a", "slug/a/chat.jsonl": "a", "slug/a/subagents/agent-1.jsonl": "a", "slug/a/deep/er/agent-2.jsonl": "er"}
    assert {name: transcript.path_session(projects, projects / name) for name in names} == names


def test_long_requests_are_priced_whole_by_us_and_by_their_excess_by_ccusage():
    prices = Prices({("m", False): ((1.0,) * 5, (2.0,) * 5)})
    counts = (250_000, 10, 0, 0, 0)
    assert prices.theirs("m", False, counts) == 200_000 + 2 * 50_000 + 10
    assert prices.plain("m", False, counts, long=True) == 2 * 250_010


def test_blocks_open_at_the_full_hour_and_stay_open_for_exactly_five():
    hour = units.HOUR
    uses = [Piece(at, at, "s", (1, 0, 0, 0, 0), 0.0) for at in (hour // 2, 5 * hour, 5 * hour + 1, 11 * hour)]
    found = units.blocks(uses)
    assert {name[11:16]: total.tokens[0] for name, total in found.items() if not name.startswith("gap")} == {"00:00": 2, "05:00": 1, "11:00": 1}
    assert [name for name in found if name.startswith("gap")] == ["gap 1970-01-01T10:00:00.001Z to 1970-01-01T11:00:00.000Z"]


@pytest.mark.skipif(not shutil.which("ccusage"), reason="ccusage is not installed (npm install -g ccusage@20.0.24)")
@pytest.mark.parametrize("edges", [[], ["--no-edge"]])
def test_every_difference_to_the_real_ccusage_is_explained(tmp_path, generate, edges):
    generate("gen_transcripts.py", 21, "6MB", tmp_path / "claude", *edges)
    result = verify.compare(settings_of(tmp_path), verify.Ccusage(find(None), [tmp_path / "claude"]))
    assert len(result.reports["session"]) > 5
    assert [each for each in result.differences if UNEXPLAINED in each.rules] == []
