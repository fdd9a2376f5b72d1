"""Importing what other programs wrote down: counted once, marked, undone at will, and never an error nobody understands."""
from __future__ import annotations

import io
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ledger.prices import PriceBook
from ledger.views.tenants import Views
from local_agent import cli, settings
from local_agent.archive import LOCAL, Archive
from local_agent.imports import stream
from local_agent.imports.reader import ImportReader
from local_agent.lock import HomeLock
from local_agent.readers.claude_code import ClaudeReader
from local_agent.readers.tracker import TrackerReader
from tests.agent.trackers import DIALECTS, NOW, Tracker
from tests.agent.transcripts import Home, iso, line

Run = Callable[..., tuple[int, str, str]]
HOUR, DAY = 3_600_000, 86_400_000
MODEL = "claude-sonnet-4-5-20250929"
ID = "11111111-1111-4111-8111-111111111111"


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in settings.NAMES.values():
        monkeypatch.delenv(name, raising=False)

    def ran(*words: str) -> tuple[int, str, str]:
        try:
            code = cli.main(["import", "--home", str(tmp_path / "home"), "--no-defaults", "--tz", "UTC", *words])
        except SystemExit as left:
            code = int(left.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return ran


class Archived:
    """The archive that the commands wrote, opened by the agent."""

    def __init__(self, folder: Path) -> None:
        source = json.loads((folder / "home/identity.json").read_text())["source"]
        self.archive = Archive(folder / "home/archive.db", source=source, clock=lambda: NOW)

    def __enter__(self) -> Archived:
        return self

    def __exit__(self, *_: object) -> None:
        self.archive.close()

    def tokens(self) -> int:
        totals = Views(self.archive.store, PriceBook.load(), lambda: NOW).view(LOCAL).summary("UTC")["totals"]
        return int(totals["all"]["tokens"]) if totals else 0

    def kinds(self) -> dict[str, int]:
        return dict(self.archive.store.connection().execute("SELECT kind, count(*) FROM ledger_rows GROUP BY 1").fetchall())

    def bodies(self, kind: str) -> list[dict[str, Any]]:
        return [json.loads(row.body) for row in self.archive.store.rows(LOCAL, self.archive.source, kind=kind)]

    def read(self, home: Home) -> None:
        ClaudeReader([home.folder]).poll(self.archive, NOW)
        ImportReader().poll(self.archive, NOW)


def part(tokens: int, model: str = MODEL) -> dict[str, Any]:
    return {"modelName": model, "inputTokens": tokens, "outputTokens": 1, "cacheCreationTokens": 2, "cacheReadTokens": 3, "cost": 0.5}


def day(at: int, tokens: int = 100, **more: Any) -> dict[str, Any]:
    return {"date": iso(at)[:10], "modelBreakdowns": [part(tokens)], "modelsUsed": [MODEL], **more}


def session(id: str, first: int, last: int, tokens: int = 100) -> dict[str, Any]:
    return {"sessionId": id, "projectPath": "-home-alice-code-secret", "firstActivity": iso(first), "lastActivity": iso(last), "modelBreakdowns": [part(tokens)]}


def block(start: int, tokens: int = 100, **more: Any) -> dict[str, Any]:
    return {"id": iso(start), "startTime": iso(start), "endTime": iso(start + 5 * HOUR), "actualEndTime": iso(start + HOUR), "isGap": False, "isActive": False,
            "models": [MODEL], "costUSD": 0.5, "totalTokens": tokens, "tokenCounts": {"inputTokens": tokens}, **more}


def write(folder: Path, document: object, name: str = "report.json") -> str:
    path = folder / name
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return str(path)


LONG_AGO = NOW - 40 * DAY


def test_days_are_counted_and_say_where_they_come_from(tmp_path: Path, run: Run) -> None:
    code, out, _ = run(write(tmp_path, {"daily": [day(LONG_AGO), day(LONG_AGO - DAY)], "totals": {}}))
    assert code == 0
    assert "2 days count (2 new)" in out
    with Archived(tmp_path) as found:
        assert found.tokens() == 212
        assert {body["origin"] for body in found.bodies("day")} == {"imported from ccusage"}


def test_importing_again_changes_nothing(tmp_path: Path, run: Run) -> None:
    file = write(tmp_path, {"daily": [day(LONG_AGO)]})
    run(file)
    with Archived(tmp_path) as found:
        before = found.archive.head().digest
    assert "(0 new)" in run(file)[1]
    with Archived(tmp_path) as found:
        assert found.archive.head().digest == before


def test_a_newer_report_of_the_same_day_replaces_the_older_one(tmp_path: Path, run: Run) -> None:
    run(write(tmp_path, {"daily": [day(LONG_AGO, 100)]}))
    run(write(tmp_path, {"daily": [day(LONG_AGO, 900)]}, "later.json"))
    with Archived(tmp_path) as found:
        assert found.tokens() == 906


def test_days_and_sessions_of_the_same_time_are_counted_once(tmp_path: Path, run: Run) -> None:
    run(write(tmp_path, {"daily": [day(LONG_AGO), day(LONG_AGO - 9 * DAY)]}, "days.json"))
    run(write(tmp_path, {"sessions": [session(ID, LONG_AGO, LONG_AGO + HOUR)]}, "sessions.json"))
    with Archived(tmp_path) as found:
        assert found.tokens() == 212
        assert found.kinds() == {"session": 1, "day": 1}


def test_a_removed_import_lets_count_what_only_it_kept_from_counting(tmp_path: Path, run: Run) -> None:
    run(write(tmp_path, {"daily": [day(LONG_AGO, 70)]}, "days.json"))
    run(write(tmp_path, {"sessions": [session(ID, LONG_AGO, LONG_AGO + HOUR, 100)]}, "sessions.json"))
    code, out, _ = run("sessions.json", "--remove")
    assert (code, out) == (0, "removed 1 imported item; the relay forgets it with the next push\n")
    with Archived(tmp_path) as found:
        assert found.kinds() == {"day": 1}
        assert found.tokens() == 76
    assert run("all", "--remove")[0] == 0
    with Archived(tmp_path) as found:
        assert not found.kinds()
    assert run("--list")[1] == "nothing was imported\n"


def test_what_transcripts_tell_wins_whichever_came_first(tmp_path: Path, run: Run) -> None:
    home = Home(tmp_path / "claude")
    home.write(line("msg_1", at=LONG_AGO))
    document = {"sessions": [session(ID, LONG_AGO, LONG_AGO), session("22222222-2222-4222-8222-222222222222", LONG_AGO - HOUR, LONG_AGO + HOUR)]}
    run(write(tmp_path, document, "sessions.json"))
    run(write(tmp_path, {"daily": [day(LONG_AGO), day(LONG_AGO - 3 * DAY)]}, "days.json"))
    run(write(tmp_path, {"blocks": [block(LONG_AGO - HOUR), block(LONG_AGO - 9 * DAY)]}, "blocks.json"))
    with Archived(tmp_path) as found:
        found.read(home)
        assert found.tokens() == 100 + 106, "one answer, and the day of which nothing else is known"
        assert found.kinds() == {"session": 1, "day": 1, "block": 1}
    for name in ("sessions.json", "days.json", "blocks.json"):
        run(str(tmp_path / name))
    with Archived(tmp_path) as found:
        assert found.kinds() == {"session": 1, "day": 1, "block": 1}
        [told] = found.bodies("session")
        assert told["provenance"] == "observed"
    listed = run("--list")[1]
    assert "something was observed at that time" in listed
    assert "sessions of that day are known" in listed


def test_a_project_s_folded_path_is_not_kept(tmp_path: Path, run: Run) -> None:
    run(write(tmp_path, {"projects": {"-home-alice-code-secret": [day(LONG_AGO, 5)], "-home-alice-other": [day(LONG_AGO, 6)]}}))
    run(write(tmp_path, {"sessions": [session(ID, LONG_AGO - 9 * DAY, LONG_AGO - 9 * DAY)]}, "sessions.json"))
    with Archived(tmp_path) as found:
        assert found.tokens() == 11 + 12 + 106
        assert found.kinds() == {"day": 1, "session": 1}
        assert "secret" not in json.dumps([*found.bodies("day"), *found.bodies("session")])


def test_reports_of_all_tools_are_told_apart(tmp_path: Path, run: Run) -> None:
    both = day(LONG_AGO) | {"modelBreakdowns": [part(10), part(20, "gpt-5-codex")], "agent": "all", "metadata": {"agents": ["claude", "codex"]}}
    both["period"] = both.pop("date")
    run(write(tmp_path, {"daily": [both]}))
    with Archived(tmp_path) as found:
        assert sorted(body["rows"][0][0] for body in found.bodies("day")) == ["claude_code", "codex"]


def test_a_running_agent_takes_over_what_a_command_imports(tmp_path: Path, run: Run) -> None:
    file = write(tmp_path, {"daily": [day(LONG_AGO)]})
    run(file)
    run("all", "--remove")
    with HomeLock(tmp_path / "home"), Archived(tmp_path) as found:
        code, out, err = run(file)
        assert (code, err) == (0, "")
        assert "1 day count" in out
        assert not found.kinds(), "only the agent itself makes records"
        ImportReader().poll(found.archive, NOW)
        assert found.tokens() == 106


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_of_trackers_can_be_imported_once(tmp_path: Path, run: Run, dialect: str) -> None:
    tracker = Tracker(tmp_path / "sessions.db", dialect)
    tracker.write(id="session_1", session_type="claude_code", start_time=iso(LONG_AGO), estimated_tokens=1234, is_active=1)
    tracker.write(id="", start_time=iso(LONG_AGO))
    tracker.write_block(id="block_1", start_time=iso(LONG_AGO), end_time=iso(LONG_AGO + 5 * HOUR), total_tokens=1234)
    tracker.close()
    code, out, err = run(str(tracker.path))
    assert code == 0, err
    assert "1 block, 1 session count" in out
    assert "cannot be taken, 1 ×: a row with no id" in out
    with Archived(tmp_path) as found:
        [told] = found.bodies("session")
        assert (told["provenance"], told["origin"], told.get("is_active")) == ("declared", "imported from a tracker", False)


def test_a_tracker_that_is_followed_later_is_counted_once(tmp_path: Path, run: Run) -> None:
    tracker = Tracker(tmp_path / "sessions.db", "v1")
    tracker.write(id="session_1", session_type="claude_code", start_time=iso(LONG_AGO), estimated_tokens=1234)
    tracker.close()
    elsewhere = tmp_path / "copy.db"
    shutil.copy(tracker.path, elsewhere)
    run(str(elsewhere))
    run(str(tracker.path))
    with Archived(tmp_path) as found:
        assert found.kinds() == {"session": 1}, "two copies of one database"
        TrackerReader(tracker.path).poll(found.archive, NOW)
        ImportReader().poll(found.archive, NOW)
        assert [told["estimated_tokens"] for told in found.bodies("session")] == [1234]


BAD = {
    "nothing": "", "not JSON": "# hello", "an array": "[]", "an empty object": "{}", "another document": '{"version": 1}', "weeks": '{"weekly": [{}]}', "torn": '{"daily": [{"date": "2026-',
    "followed by more": '{"daily": []} x', "an endless nest": '{"daily": ' + "[" * 20_000, "no numbers": '{"daily": [{"date": NaN}]}', "nothing of use": '{"daily": [1, null, {"date": "x"}]}',
    "a strange date": '{"daily": [{"date": "9999-12-31", "inputTokens": 1}]}', "no comma": '{"daily": [{} {}]}',
}  # fmt: skip


@pytest.mark.parametrize("document", BAD.values(), ids=BAD)
def test_a_file_that_is_none_is_refused_in_one_line_and_nothing_is_kept(tmp_path: Path, run: Run, document: str) -> None:
    code, out, err = run(write(tmp_path, document))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "Traceback" not in err
    assert "our fault" not in err
    assert run("--list")[1] == "nothing was imported\n"


def test_half_a_report_is_not_taken(tmp_path: Path, run: Run) -> None:
    whole = json.dumps({"daily": [day(LONG_AGO - n * DAY) for n in range(30)]})
    assert run(write(tmp_path, whole[:-40]))[0] == 2
    with Archived(tmp_path) as found:
        assert not found.kinds()


@pytest.mark.parametrize("words", [(), ("a", "--list"), ("missing.json",), ("/",), ("nobody", "--remove")])
def test_wrong_use_is_told_in_one_line(run: Run, words: tuple[str, ...]) -> None:
    code, _, err = run(*words)
    assert code == 2
    assert err.count("\n") == 1


def test_a_report_can_come_through_a_pipe(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(json.dumps({"daily": [day(LONG_AGO)]}).encode())))
    assert "stdin: 1 day count" in run("-")[1]


def test_a_report_is_read_piece_by_piece() -> None:
    class Slow(io.BytesIO):
        most = 0

        def read(self, size: int | None = -1) -> bytes:
            self.most = max(self.most, self.tell())
            return super().read(7)

    document = json.dumps({"totals": {"a": [1]}, "daily": [{"n": n, "t": "é\\\""} for n in range(50)], "projects": {"p": [1, 2.5]}}).encode()
    found = list(stream.items(Slow(document)))
    assert [value for names, value in found if names == ("daily", "[]")] == [{"n": n, "t": "é\\\""} for n in range(50)]
    assert [value for names, value in found if names[0] == "projects"] == [1, 2.5]


@pytest.mark.skipif(not shutil.which("ccusage"), reason="ccusage is not installed")
def test_the_real_ccusage_s_reports_bring_exactly_what_the_transcripts_hold(tmp_path: Path, run: Run) -> None:
    home = Home(tmp_path / "claude")
    for n in range(6):
        home.write(*(line(f"msg_{n}_{m}", 20 + m, session=f"{n}1111111-1111-4111-8111-111111111111", at=LONG_AGO + (n * 30 + m) * HOUR) for m in range(3)), name=f"{n}1111111-1111-4111-8111-111111111111.jsonl")
    for report in ("daily", "session", "blocks"):
        words = ["ccusage", "claude", report, "--json", "--offline", "--timezone", "UTC"]
        made = subprocess.run(words, env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path), "CLAUDE_CONFIG_DIR": str(home.folder)}, capture_output=True, text=True, check=True)
        assert run(write(tmp_path, made.stdout, f"{report}.json"))[0] == 0
        if report == "daily":
            with Archived(tmp_path) as found:
                by_days = found.tokens()
    with Archived(tmp_path) as found:
        by_sessions = found.tokens()
        found.read(home)
        assert found.tokens() == by_days == by_sessions == sum(100 + m for m in range(3)) * 6
