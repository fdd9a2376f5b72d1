"""The commands as a person at a prompt meets them: what they print, what they exit with, and never a traceback."""
from __future__ import annotations

import hashlib
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ledger.keytext import Claims, KeyText, id_of
from local_agent import cli, settings
from local_agent.commands.once import in_words, push, why_not
from local_agent.commands.overview import left, paint
from local_agent.commands.status import gather
from local_agent.commands.terminal import bar, plain
from local_agent.delivery import Outcome
from local_agent.lock import HomeLock
from tests.agent.trackers import Tracker

Ran = tuple[int, str, str]
Run = Callable[..., Ran]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command on a home of its own that reads only what is named."""
    for name in settings.NAMES.values():
        monkeypatch.delenv(name, raising=False)

    def ran(*words: str, stdin: str = "") -> Ran:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        try:
            code = cli.main([words[0], "--home", str(tmp_path / "home"), "--no-defaults", *words[1:]])
        except SystemExit as left:
            code = int(left.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return ran


@pytest.fixture
def tracker(tmp_path: Path) -> Path:
    made = Tracker(tmp_path / "sessions.db", "v1")
    made.write(id="session_1", session_type="claude_code", start_time="2026-11-20T10:00:00.000Z", estimated_tokens=1234, is_active=0)
    made.close()
    return made.path


def a_key(scope: str = "push", expires: int = 0) -> str:
    claims = Claims(scope, "alice", "laptop" if scope == "push" else "", 1_700_000_000, expires)
    return KeyText(scope, id_of(claims), b"s" * 32).text()


def one_line(text: str) -> bool:
    return text.count("\n") == 1 and "Traceback" not in text


def test_once_without_a_relay_reads_and_says_what_is_missing(run: Run, tracker: Path) -> None:
    code, out, err = run("once", "--tracker", str(tracker))
    assert code == 1 and "1 session" in out
    assert one_line(err) and "pair URL KEY" in err


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_once_that_did_not_reach_the_relay_says_why_in_one_line_and_what_to_do(run: Run, tracker: Path, more: tuple[str, ...]) -> None:
    code, _, err = run("once", *more, "--tracker", str(tracker), "--relay", "http://127.0.0.1:1", "--key", a_key())
    assert code == 1 and one_line(err) and "not in sync: no answer" in err and "doctor" in err


def test_once_reports_as_json_for_scripts(run: Run, tracker: Path) -> None:
    code, out, _ = run("once", "--json", "--tracker", str(tracker))
    report = json.loads(out)
    assert (code, report["in_sync"], report["state"]) == (1, False, "unpaired")
    assert report["records"]["session"] == 1
    assert report["readers"]["tracker"]["counted"]


def test_status_works_before_anything_was_read_and_after(run: Run, tracker: Path) -> None:
    assert run("status")[0] == 0
    run("once", "--tracker", str(tracker))
    code, out, _ = run("status")
    assert code == 0
    assert "not running" in out and "not paired" in out and "1 sessions" in out
    said = json.loads(run("status", "--json")[1])
    assert (said["sessions"]["total"], said["running"], said["relay"]["state"]) == (1, False, "unpaired")


def test_doctor_names_what_to_do_and_fails_while_something_is_wrong(run: Run) -> None:
    code, out, _ = run("doctor", "--port", "1")
    assert code == 1
    assert "service install" in out
    assert {finding["level"] for finding in json.loads(run("doctor", "--json", "--port", "1")[1])} >= {"bad", "note"}


@pytest.mark.parametrize("format", ["csv", "jsonl", "json"])
def test_export_writes_what_the_archive_holds(run: Run, tracker: Path, format: str, tmp_path: Path) -> None:
    run("once", "--tracker", str(tracker))
    file = tmp_path / "out"
    assert run("export", "--format", format, "--output", str(file))[0] == 0
    assert "session_1" in file.read_text()


def test_an_export_that_cannot_be_written_says_where_in_one_line(run: Run, tracker: Path, tmp_path: Path) -> None:
    run("once", "--tracker", str(tracker))
    code, _, err = run("export", "--output", str(tmp_path / "no/folder/x.csv"))
    assert (code, err) == (1, f"local_agent: cannot write {tmp_path}/no/folder/x.csv: No such file or directory\n")


def test_an_export_to_a_file_leaves_its_checksum_beside_it(run: Run, tracker: Path, tmp_path: Path) -> None:
    run("once", "--tracker", str(tracker))
    code, out, _ = run("export", "--output", str(tmp_path / "sessions.csv"))
    assert code == 0
    assert "sha256sum -c sessions.csv.sha256" in out
    digest, name = (tmp_path / "sessions.csv.sha256").read_text().split()
    assert (digest, name) == (hashlib.sha256((tmp_path / "sessions.csv").read_bytes()).hexdigest(), "sessions.csv")
    assert sorted(path.name for path in tmp_path.glob("sessions.csv*")) == ["sessions.csv", "sessions.csv.sha256"]


@pytest.mark.parametrize(("words", "found"), [(("--session-type", "claude_code"), True), (("--session-type", "codex"), False), (("--since", "2026-11-21"), False), (("--until", "2026-11-21"), True)])
def test_an_export_can_be_filtered(run: Run, tracker: Path, tmp_path: Path, words: tuple[str, ...], found: bool) -> None:
    run("once", "--tracker", str(tracker))
    run("export", "--format", "jsonl", *words, "--output", str(tmp_path / "out"))
    assert ("session_1" in (tmp_path / "out").read_text()) is found


@pytest.mark.parametrize("words", [("--since", "yesterday"), ("--until", "2026-13-01"), ("--kind", "day", "--project", "x")])
def test_an_export_that_makes_no_sense_leaves_no_file(run: Run, tracker: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    run("once", "--tracker", str(tracker))
    code, _, err = run("export", *words, "--output", str(tmp_path / "out"))
    assert (code, one_line(err)) == (2, True)
    assert not list(tmp_path.glob("out*"))


def test_export_of_nothing_says_how_to_read_first(run: Run) -> None:
    code, _, err = run("export")
    assert code == 1 and one_line(err) and "local_agent once" in err


def test_export_of_an_unknown_kind_names_the_known_ones(run: Run, tracker: Path) -> None:
    run("once", "--tracker", str(tracker))
    code, _, err = run("export", "--kind", "dragon")
    assert code == 2 and one_line(err) and "session" in err


def test_a_forgotten_session_stays_forgotten(run: Run, tracker: Path) -> None:
    run("once", "--tracker", str(tracker))
    assert json.loads(run("status", "--json")[1])["sessions"]["total"] == 1
    [name] = keys_of(run)
    assert run("forget", name)[0] == 0
    run("once", "--tracker", str(tracker))
    assert json.loads(run("status", "--json")[1])["sessions"]["total"] == 0
    assert run("forget", name)[0] == 1


def test_forgetting_what_is_not_there_did_not_work(run: Run, tracker: Path) -> None:
    run("once", "--tracker", str(tracker))
    code, out, err = run("forget", "nosuch")
    assert (code, out) == (1, "") and one_line(err) and "nosuch" in err


def keys_of(run: Run) -> list[str]:
    from ledger.stores.sqlite import SqliteStore
    from local_agent.archive import LOCAL

    home = Path(json.loads(run("status", "--json")[1])["home"])
    store = SqliteStore(home / "archive.db", synchronous="NORMAL")
    try:
        source = json.loads((home / "identity.json").read_text())["source"]
        return [row.ref.id for row in store.rows(LOCAL, source, kind="session")]
    finally:
        store.close()


@pytest.mark.parametrize(
    ("key", "why"),
    [("nonsense", "sr_push_…"), ("", "the key is missing"), ("  ", "the key is missing"), (a_key()[:-1] + "0", "mistyped"), (a_key("read"), "read key"), (a_key(expires=1_700_000_001), "expired")],
)
def test_pairing_refuses_a_key_that_cannot_be_before_asking_anybody(run: Run, tmp_path: Path, key: str, why: str) -> None:
    code, _, err = run("pair", "https://relay.example.org", "-", stdin=key + "\n")
    assert code == 2 and one_line(err) and why in err
    assert not (tmp_path / "home" / "key").exists()


def test_pairing_with_nothing_on_stdin_says_that_the_key_is_missing(run: Run) -> None:
    code, _, err = run("pair", "https://relay.example.org", stdin="")
    assert code == 2 and one_line(err) and "the key is missing" in err


@pytest.mark.parametrize("url", ["http://relay.example.org", "ftp://x", "https://", "nonsense url", "https://x:port", "https://[::1", "https://x\n"])
def test_pairing_refuses_an_address_that_cannot_be(run: Run, url: str) -> None:
    code, _, err = run("pair", url, "-", stdin=a_key())
    assert code == 2 and one_line(err)


def test_pairing_with_nobody_says_so_and_remembers_nothing(run: Run, tmp_path: Path) -> None:
    code, _, err = run("pair", "http://127.0.0.1:1", "-", stdin=a_key())
    assert code == 1 and one_line(err) and "does not answer" in err
    assert not (tmp_path / "home" / "key").exists()


@pytest.mark.parametrize("words", [(), ("dance",), ("service", "dance"), ("export", "--format", "xml"), ("run", "--no-such-option")])
def test_wrong_use_is_2(run: Run, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = cli.main(list(words))
    except SystemExit as left:
        code = int(left.code or 0)
    assert code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_value_that_cannot_be_is_2_and_one_line(run: Run) -> None:
    code, _, err = run("once", "--interval", "often")
    assert code == 2 and one_line(err)


def test_a_key_file_that_others_can_read_is_78(run: Run, tmp_path: Path) -> None:
    settings.keep_key(tmp_path / "home", a_key())
    (tmp_path / "home/key").chmod(0o644)
    code, _, err = run("once")
    assert code == 78 and one_line(err) and "chmod 600" in err


def test_a_damaged_identity_is_78(run: Run, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o700)
    (tmp_path / "home/identity.json").write_text("{")
    for command in ("once", "run", "status"):
        code, _, err = run(command)
        assert code == 78 and one_line(err)


def test_a_home_that_cannot_be_written_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    code, _, err = run("once")
    assert code in (1, 78) and one_line(err)


def test_a_mistake_of_ours_is_one_line_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*words: object) -> int:
        raise ZeroDivisionError("ours")

    monkeypatch.setitem(cli.COMMANDS, "status", broken)
    code, _, err = run("status")
    assert code == 1 and one_line(err) and "please report" in err


def test_a_second_agent_on_one_home_leaves_with_0_and_a_word(run: Run, tmp_path: Path) -> None:
    with HomeLock(tmp_path / "home"):
        code, _, err = run("run")
    assert code == 0 and one_line(err) and "already" in err


@pytest.mark.parametrize(("running", "text"), [(True, "active (running)"), (False, "not installed: python -m local_agent service install")])
def test_a_service_that_does_not_run_is_an_error_and_said_as_one(run: Run, monkeypatch: pytest.MonkeyPatch, running: bool, text: str) -> None:
    monkeypatch.setattr("local_agent.commands.checkup.service_manager", lambda: type("Manager", (), {"status": lambda self: (running, text)})())
    assert run("service", "status") == ((0, f"{text}\n", "") if running else (1, "", f"{text}\n"))


def test_the_key_is_never_among_the_options_of_a_service() -> None:
    options = cli.parser().parse_args(["service", "install", "--key", "sr_push_secret", "--tracker", "x.db", "--interval", "10", "--no-defaults"])
    words = cli.said_again(options)
    assert "sr_push_secret" not in words
    assert words == ["--tracker", os.path.abspath("x.db"), "--no-defaults", "--interval", "10"]


def test_the_status_line_starts_without_the_other_commands() -> None:
    code = "import sys; import local_agent.__main__; import local_agent.statusline; sys.exit(any(m in sys.modules for m in ('argparse','flask','requests','msgspec','sqlite3')))"
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", code]) == 0


def test_a_bar_is_full_at_a_hundred_and_never_longer() -> None:
    assert bar(0, plain).startswith("░" * 24)
    assert bar(250, plain).startswith("█" * 24 + " ")
    assert "50.0 %" in bar(50, plain)


@pytest.mark.parametrize(("until", "text"), [("2026-11-22T22:00:00.000Z", "1 h 13 min"), ("2026-11-22T20:50:00Z", "3 min"), ("2026-11-26T03:46:00Z", "3 d 6 h"), ("2020-01-01T00:00:00Z", "0 min"), (None, "an unknown time")])
def test_what_is_left_is_told_in_two_units(until: str | None, text: str) -> None:
    assert left(until, 1_795_380_420_000) == text


def test_nothing_from_outside_colours_the_terminal(tmp_path: Path) -> None:
    said: dict[str, Any] = gather(settings.Settings(home=tmp_path), None, 1_795_000_000_000)
    said["readers"] = {"tracker": {"state": "unreadable", "detail": "\x1b[31mred\x1b[0m\nsecond line"}}
    assert "\x1b" not in paint(said, plain)
    assert "second line" in next(line for line in paint(said, plain).splitlines() if "tracker" in line)


class Steps:
    """A delivery that answers as told."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)

    def push_once(self, now: int, *, ask: bool) -> Outcome:
        return self.outcomes.pop(0)


def test_a_single_run_waits_out_short_failures_only() -> None:
    slept: list[float] = []
    steps = Steps(Outcome("behind", changes=9, wire=90), Outcome("waiting", wait_s=2.0, wire=1), Outcome("synced", agreed=True, wire=5))
    outcome, sent = push(steps, sleep=slept.append, monotonic=lambda: 0.0)  # type: ignore[arg-type]
    assert outcome.agreed and slept == [0.0, 2.0] and sent == {"messages": 3, "changes": 9, "bytes": 96}
    for hopeless in (Outcome("halted", "the key was revoked", wait_s=900), Outcome("waiting", wait_s=60.0), Outcome("offline", wait_s=15.0)):
        assert push(Steps(hopeless), sleep=slept.append)[0] is hopeless  # type: ignore[arg-type]


def test_a_report_in_words_names_what_was_left_out() -> None:
    report = {"in_sync": False, "detail": "no network", "state": "offline", "records": {"limit": 1, "session": 2}, "readers": {"t": {"state": "ok", "skipped": {"no id": 3}}}}
    assert "read     1 limit, 2 sessions\n" in in_words(report) and "no id" in in_words(report)
    assert why_not(report).startswith("not in sync: no network; python -m local_agent doctor")


def test_what_the_shell_says_is_said_to_the_service_which_is_started_without_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Claude Code's own CLAUDE_CONFIG_DIR stands in many a .bashrc; the service would look elsewhere."""
    for name, value in {
        "CLAUDE_CONFIG_DIR": f"{tmp_path}/a,{tmp_path}/b", "TRACKER_DB": f"{tmp_path}/t.db", "AGENT_NO_DEFAULTS": "no", "AGENT_SAMPLE": "no", "AGENT_PORT": "3005",
        "RELAY_KEY": "sr_push_secret", "RELAY_URL": "https://relay.example.org", "AGENT_HOME": str(tmp_path), "SYNC_INTERVAL": "60",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    words = cli.said_again(cli.parser().parse_args(["service", "install", "--interval", "10"]))
    assert words == [
        "--relay", "https://relay.example.org", "--tracker", f"{tmp_path}/t.db", "--transcripts", f"{tmp_path}/a", "--transcripts", f"{tmp_path}/b",
        "--port", "3005", "--interval", "10",
    ]  # fmt: skip
    only_named = cli.said_again(cli.parser().parse_args(["service", "install", "--no-defaults"]))
    assert "--transcripts" not in only_named and "--tracker" in only_named
    cli.parser().parse_args(["run", *words])
