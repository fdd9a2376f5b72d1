from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ledger.errors import Misconfigured
from ledger.prices import PriceBook
from ledger.record import Ref
from ledger.views.tenants import Views
from local_agent import statusline
from local_agent import statusline_setup as setup
from local_agent.archive import LOCAL, Archive
from local_agent.readers.statusline import StatuslineReader, config_of
from tests.agent.trackers import NOW

HOUR = 3600 * 1000
SOON = NOW // 1000 + 2 * 3600
SCRIPT = Path(statusline.__file__)


def said(used: object = 37.5, resets_at: object = SOON, *, session: str = "s-1", config: str = "/home/ada/.claude", **more: object) -> bytes:
    window = {"used_percentage": used, "resets_at": resets_at}
    return json.dumps({
        "session_id": session, "transcript_path": f"{config}/projects/-home-ada/{session}.jsonl", "model": {"id": "x", "display_name": "Opus 4.7"},
        "context_window": {"used_percentage": 42}, "cost": {"total_cost_usd": 1.234}, "rate_limits": {"five_hour": window}, **more,
    }).encode()


def account_of(config: Path | None) -> str:
    return config.name if config else "default"


def poll(archive: Archive, home: Path, now: int = NOW) -> None:
    StatuslineReader(home, account_of).poll(archive, now)


def limit(archive: Archive, account: str = ".claude") -> dict | None:
    body = archive.get(Ref("limit", f"claude_code/{account}/five_hour"))
    return json.loads(body) if body else None


def test_the_line_is_short_and_names_model_context_windows_and_cost(tmp_path):
    line = statusline.run(said(), str(tmp_path), NOW).decode()
    assert line == "Opus 4.7 · context 42% · 5h 38% ↻2h00 · $1.23\n"


def test_a_window_that_is_nearly_used_up_is_red(tmp_path):
    assert "\x1b[31m5h 92%\x1b[0m" in statusline.run(said(91.7), str(tmp_path), NOW).decode()


def test_a_limit_reaches_the_ledger_with_its_account(archive, tmp_path):
    statusline.run(said(), str(tmp_path), NOW - 1000)
    poll(archive, tmp_path)
    found = limit(archive)
    assert (found["used_percent"], found["resets_at"], found["observed_at"], found["source"]) == (37.5, SOON * 1000, NOW - 1000, "statusline")


@pytest.mark.parametrize(("used", "resets_at"), [
    (SOON, SOON), (-1, SOON), (None, SOON), ("many", SOON), (True, SOON), (float("nan"), SOON), (37, None), (37, 0), (37, NOW // 1000 - 1),
    (37, SOON + 90 * 86400), (37, NOW // 1000 + 6 * 3600), (37, NOW // 1000 + 6 * 86400), ("1" * 99, SOON), ([], SOON), ({}, {}),
])
def test_what_cannot_be_true_is_not_believed(archive, tmp_path, used, resets_at):
    statusline.run(said(used, resets_at), str(tmp_path), NOW)
    poll(archive, tmp_path)
    assert limit(archive) is None


@pytest.mark.parametrize(("used", "resets_at"), [("37.5", str(SOON)), (105, SOON), (0, SOON), (37, SOON * 1000)])
def test_numbers_as_text_more_than_a_hundred_and_milliseconds_are_believed(archive, tmp_path, used, resets_at):
    statusline.run(said(used, resets_at), str(tmp_path), NOW)
    poll(archive, tmp_path)
    assert limit(archive)["used_percent"] == float(used)
    assert limit(archive)["resets_at"] == SOON * 1000


@pytest.mark.parametrize("words", [["bogus"], ["--hoem", "x"], ["--home"], ["--home", "x", "instal"], ["--chain=x", "bogus"], [""], ["instal\x1b[2J\n"]])
def test_a_word_that_is_not_known_is_wrong_use_and_waits_for_no_input(words):
    done = subprocess.run([sys.executable, "-I", "-S", str(SCRIPT), *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "install|remove" in done.stderr and "\x1b" not in done.stderr


@pytest.mark.parametrize("words", [["--home", "H"], ["--home=H"], ["--home", "H", "--chain", "echo mine"], ["--chain=echo mine", "--home=H"]])
def test_the_tools_own_call_is_never_refused(tmp_path, words):
    words = [word.replace("H", str(tmp_path)) for word in words]
    done = subprocess.run([sys.executable, "-I", "-S", str(SCRIPT), *words], input=said(), capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, b"") and done.stdout


@pytest.mark.parametrize("garbage", [b"", b"not json", b"[]", b"3", b'{"rate_limits": 7, "model": [], "cost": null}', b"[" * 99_999, b'{"rate_limits":{"five_hour":null}}'])
def test_whatever_arrives_there_is_a_line_and_no_error(tmp_path, garbage):
    assert statusline.run(garbage, str(tmp_path), NOW).endswith(b"\n")
    assert not (tmp_path / "statusline").exists()


def test_of_two_sessions_of_one_account_the_newer_reading_wins(archive, tmp_path):
    statusline.run(said(50, session="new"), str(tmp_path), NOW - 1000)
    statusline.run(said(20, session="old"), str(tmp_path), NOW - 9000)
    poll(archive, tmp_path)
    assert limit(archive)["used_percent"] == 50


def test_an_idle_session_that_repeats_old_news_does_not_make_it_new(archive, tmp_path):
    statusline.run(said(20, session="idle"), str(tmp_path), NOW - 9000)
    statusline.run(said(50, session="busy"), str(tmp_path), NOW - 5000)
    statusline.run(said(20, session="idle"), str(tmp_path), NOW - 1000)
    poll(archive, tmp_path)
    assert limit(archive)["used_percent"] == 50


def test_windows_are_kept_by_account(archive, tmp_path):
    statusline.run(said(20, session="a"), str(tmp_path), NOW)
    statusline.run(said(70, session="b", config="/home/ada/work-claude"), str(tmp_path), NOW)
    poll(archive, tmp_path)
    assert (limit(archive)["used_percent"], limit(archive, "work-claude")["used_percent"]) == (20, 70)


def test_a_window_is_gone_after_its_reset(archive, tmp_path):
    statusline.run(said(), str(tmp_path), NOW)
    poll(archive, tmp_path)
    for now, expected in ((SOON * 1000 - 1, 1), (SOON * 1000, 0)):
        view = Views(archive.store, PriceBook.load(), lambda now=now: now).view(LOCAL)
        assert len(view.limits()) == expected


def test_the_resets_of_earlier_windows_are_remembered(archive, tmp_path):
    for n, used in enumerate((30, 60, 5)):
        later = NOW + (6 * HOUR if used == 5 else n * 1000)
        statusline.run(said(used, SOON + n + (5 * 3600 if used == 5 else 0)), str(tmp_path), later)
        poll(archive, tmp_path)
    assert limit(archive)["used_percent"] == 5
    assert limit(archive)["earlier"] == [(SOON + 1) * 1000]
    assert limit(archive)["earlier_used"] == [[(SOON + 1) * 1000, 60]], "what was used of a window is known when it is past"


def test_looking_again_changes_nothing(archive, tmp_path):
    statusline.run(said(), str(tmp_path), NOW)
    reader = StatuslineReader(tmp_path, account_of)
    assert reader.poll(archive, NOW).changed == 1
    before = archive.store.head(LOCAL, "laptop")
    assert reader.poll(archive, NOW).changed == 0
    assert archive.store.head(LOCAL, "laptop") == before


def test_a_damaged_note_is_counted_and_an_old_one_is_swept(archive, tmp_path):
    folder = tmp_path / "statusline"
    folder.mkdir()
    (folder / "a.json").write_text('{"windows": 3}')
    (folder / "b.json").write_text("{}")
    os.utime(folder / "b.json", (NOW / 1000 - 30 * 86400,) * 2)
    os.utime(folder / "a.json", (NOW / 1000,) * 2)
    assert StatuslineReader(tmp_path, account_of).poll(archive, NOW).skipped == {"damaged note": 1}
    assert not (folder / "b.json").exists()


def test_the_status_line_that_was_there_before_has_the_say(tmp_path):
    assert statusline.run(said(), str(tmp_path), NOW, "wc -c") == f"{len(said())}\n".encode()
    assert statusline.run(said(), str(tmp_path), NOW, "exit 3").startswith(b"Opus")
    assert (tmp_path / "statusline" / "s-1.json").exists()


def test_a_name_that_would_steer_the_terminal_is_harmless(tmp_path):
    line = statusline.run(said(model={"display_name": "\x1b]0;pwned\x07Opus\n"}), str(tmp_path), NOW)
    assert b"\x1b" not in line and line.count(b"\n") == 1


def test_a_session_id_cannot_choose_where_the_note_lies(tmp_path):
    statusline.run(said(session="../../../etc/passwd"), str(tmp_path / "home"), NOW)
    assert [path.name for path in (tmp_path / "home" / "statusline").iterdir()] == ["etcpasswd.json"]


def test_the_configuration_folder_is_what_stands_before_projects():
    assert config_of("/home/ada/.claude/projects/-home-ada-projects/s.jsonl") == Path("/home/ada/.claude")
    assert config_of("/home/ada/projects/x/.claude/projects/-a/s.jsonl") == Path("/home/ada/projects/x/.claude")
    assert config_of("") is None


@pytest.mark.parametrize("given", [said(), b"rubbish"])
def test_the_command_always_ends_well(tmp_path, given):
    for words in ([str(SCRIPT)], ["-I", "-S", str(SCRIPT)], ["-m", "local_agent.statusline"]):
        done = subprocess.run([sys.executable, *words, "--home", str(tmp_path)], input=given, capture_output=True, cwd=SCRIPT.parent.parent, check=False)
        assert done.returncode == 0 and done.stdout.strip() and not done.stderr


def test_the_command_loads_nothing_that_takes_long(tmp_path):
    words = [sys.executable, "-I", "-S", "-X", "importtime", str(SCRIPT), "--home", str(tmp_path)]
    done = subprocess.run(words, input=said(), capture_output=True, check=True)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.decode().splitlines()}
    assert "json" in loaded
    assert not loaded & {"sqlite3", "dataclasses", "typing", "pathlib", "argparse", "subprocess", "msgspec", "local_agent.settings", "local_agent.readers"}


# -- putting it in and taking it out ------------------------------------------------


@pytest.fixture
def place(tmp_path):
    (tmp_path / "claude").mkdir()
    return setup.Place(tmp_path / "claude" / "settings.json", tmp_path / "home")


OWN = '{\n\t"model": "opus",   "statusLine": {"type": "command", "command": "~/my line.sh", "padding": 0},\n "ünïcode": true}'


def test_installing_and_removing_leaves_the_very_bytes(place):
    place.settings.write_text(OWN, "utf-8")
    setup.install(place)
    member = json.loads(place.settings.read_text("utf-8"))["statusLine"]
    assert member["padding"] == 0 and "--chain" in member["command"] and "my line.sh" in member["command"]
    assert place.backup.read_text("utf-8") == OWN
    setup.remove(place)
    assert place.settings.read_text("utf-8") == OWN
    assert not place.backup.exists()


def test_a_backup_that_is_not_what_was_there_is_not_put_back_and_our_line_goes_all_the_same(place):
    place.settings.write_text(OWN, "utf-8")
    setup.install(place)
    place.backup.write_text('{"model": "somebody else\'s"}', "utf-8")
    setup.remove(place)
    found = json.loads(place.settings.read_text("utf-8"))
    assert found == json.loads(OWN)


def test_it_is_put_where_claude_codes_own_variable_says(tmp_path, monkeypatch, capsys):
    homes = [tmp_path / name for name in ("user", "one", "two")]
    for home in homes:
        home.mkdir()
    monkeypatch.setenv("HOME", str(homes[0]))
    for named, expected in ((None, [homes[0] / ".claude"]), (f"{homes[1]},{homes[2]}/projects", homes[1:])):
        if named:
            monkeypatch.setenv("CLAUDE_CONFIG_DIR", named)
        else:
            monkeypatch.delenv("CLAUDE_CONFIG_DIR", raising=False)
        assert statusline.main(["install"], str(tmp_path / "agent")) == 0
        assert sorted(tmp_path.rglob("settings.json")) == [folder / "settings.json" for folder in expected]
        assert statusline.main(["remove"], str(tmp_path / "agent")) == 0
        assert not list(tmp_path.rglob("settings.json"))


def test_where_there_were_no_settings_there_are_none_afterwards(place):
    setup.install(place)
    assert "statusline.py" in place.settings.read_text()
    setup.remove(place)
    assert not place.settings.exists()


def test_installing_twice_is_installing_once(place):
    place.settings.write_text(OWN, "utf-8")
    setup.install(place)
    first = place.settings.read_bytes()
    setup.install(place)
    assert place.settings.read_bytes() == first
    setup.remove(place)
    assert place.settings.read_text("utf-8") == OWN


def test_settings_that_were_changed_since_keep_the_change(place):
    place.settings.write_text(OWN, "utf-8")
    setup.install(place)
    changed = json.loads(place.settings.read_text("utf-8")) | {"model": "haiku"}
    place.settings.write_text(json.dumps(changed))
    setup.remove(place)
    assert json.loads(place.settings.read_text("utf-8")) == json.loads(OWN) | {"model": "haiku"}


def test_another_status_line_that_came_since_is_left_alone(place):
    setup.install(place)
    place.settings.write_text('{"statusLine": {"type": "command", "command": "other"}}')
    setup.remove(place)
    assert json.loads(place.settings.read_text())["statusLine"]["command"] == "other"


@pytest.mark.parametrize("content", ["{ // a comment\n}", "[]", "nonsense"])
def test_settings_that_are_not_json_are_left_alone(place, content, capsys):
    place.settings.write_text(content)
    with pytest.raises(Misconfigured):
        setup.install(place)
    assert place.settings.read_text() == content
    assert setup.main(["install", "--config", str(place.settings.parent)], str(place.home)) == 1
    assert "correct it" in capsys.readouterr().err


def test_a_link_to_the_settings_stays_a_link(tmp_path):
    real = tmp_path / "dotfiles.json"
    real.write_text(OWN, "utf-8")
    config = tmp_path / "claude"
    config.mkdir()
    (config / "settings.json").symlink_to(real)
    words = ["--config", str(config)]
    assert statusline.main(["install", *words], str(tmp_path / "home")) == 0
    assert (config / "settings.json").is_symlink() and "statusline.py" in real.read_text("utf-8")
    assert statusline.main(["remove", *words], str(tmp_path / "home")) == 0
    assert real.read_text("utf-8") == OWN


def test_the_installed_command_works_as_claude_code_runs_it(place, tmp_path):
    place.settings.write_text('{"statusLine": {"type": "command", "command": "echo \\"it\'s mine\\""}}')
    setup.install(place)
    command = json.loads(place.settings.read_text())["statusLine"]["command"]
    fresh = json.loads(said()) | {"rate_limits": {"five_hour": {"used_percentage": 1, "resets_at": int(time.time()) + 900}}}
    done = subprocess.run(command, shell=True, input=json.dumps(fresh).encode(), capture_output=True, cwd="/", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"it's mine\n", b"")
    assert (place.home / "statusline" / "s-1.json").exists()
