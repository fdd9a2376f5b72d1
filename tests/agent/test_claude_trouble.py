"""Damaged, huge, rewritten, unreadable, vanished: named and counted, and nothing else is stopped."""
from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ledger import bodies
from ledger.errors import Full
from ledger.strict import strict_json
from local_agent.archive import Archive
from local_agent.readers.claude import scan
from tests.agent.transcripts import NOW, Desk, Home, echo, line, raw, read_alone, usage
from tests.conftest import ROOT

SESSION = "11111111-1111-4111-8111-111111111111"
OTHER = "22222222-2222-4222-8222-222222222222"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "claude")


@pytest.fixture
def desk(home: Home, tmp_path: Path) -> Iterator[Desk]:
    with closing(Desk(tmp_path / "archive.db", home.folder)) as opened:
        yield opened


def outputs(desk: Desk) -> int:
    return sum(row[7] for row in desk.rows())


def snapshot(size: int) -> bytes:
    return b'{"type":"file-history-snapshot","snapshot":{"text":"' + b"x" * size + b'"}}'


# -- what is in a file


def test_lines_that_a_program_wrote_anew_with_spaces_count_like_any_other(home: Home, desk: Desk) -> None:
    home.write(line("msg_a", 1), json.dumps(line("msg_b", 2)).encode(), json.dumps(line("msg_c", 4), indent=1).replace("\n", "").encode())
    assert (outputs(desk) if desk.look().changed else 0, desk.look().skipped) == (7, {})


@pytest.mark.fault(41)
def test_a_line_that_is_longer_than_any_answer_is_passed_over_and_named(home: Home, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "BUFFER", 4096)
    monkeypatch.setattr(scan, "LONGEST", 16_384)
    long = raw(line("msg_long", content="x" * 40_000))[:-1]
    home.write(line("msg_a", 1), snapshot(50_000), line("msg_b", 2), long, line("msg_c", 4))
    report = desk.look()
    assert (outputs(desk), report.skipped) == (7, {"line too long": 2})


@pytest.mark.parametrize(
    ("told", "counted"),
    [(b'"gitBranch":"main","costUSD":1' + b"0" * 400, 5), (b'"gitBranch":"andr\xe9"', 7), (b'"sessionId":"\xed\xa0\x80"', 7), (b'"cwd":"/\xff"', 7), (b'"gitBranch":"main","deep":' + b"[" * 50_000 + b"]" * 50_000, 5)],
    ids=["a cost", "a branch", "a session", "a folder", "brackets"],
)
def test_what_no_reader_of_json_takes_costs_at_most_its_line(home: Home, desk: Desk, told: bytes, counted: int) -> None:
    name = told.partition(b":")[0]
    odd = re.sub(name + rb':"[^"]*"', lambda found: told, raw(line("msg_b", 2))[:-1])
    home.write(line("msg_a", 1), odd, line("msg_c", 4))
    report = desk.look()
    assert (report.state, outputs(desk)) == ("ok", counted)
    assert report.skipped == ({} if counted == 7 else {"no count" if b"cost" in told else "damaged line": 1})


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59.999Z", "1969-12-31T23:59:00.000Z", "9999-12-31T23:59:59+00:00", "2100-01-01T00:00:00.000Z"])
def test_a_time_that_cannot_be_costs_its_line_and_not_the_session(home: Home, desk: Desk, time: str) -> None:
    home.write(line("msg_a", 1), {**line("msg_b", 2), "timestamp": time}, line("msg_c", 4))
    assert (desk.look().skipped, outputs(desk)) == ({"no time": 1}, 5)
    assert isinstance(bodies.read("session", json.dumps(desk.bodies()[SESSION])), bodies.Session)


def test_whatever_a_line_names_its_session_is_one_that_every_ledger_takes(home: Home, desk: Desk) -> None:
    odd = line("msg_b", 2, model="claude\0", cwd="/home/a\0b")
    home.write(
        line("msg_a", 1), {**odd, "gitBranch": "main\0"}, line("msg_c", 4, model="x" * 5_000), line("msg_d", used=usage(o=1 << 50)),
        b'{"type":"summary","summary":"a\\u0000b\\u001b[2J"}',
    )
    assert (desk.look().skipped, outputs(desk)) == ({"no count": 1}, 7)
    body = json.dumps(desk.bodies()[SESSION])
    assert isinstance(bodies.read("session", body), bodies.Session)
    assert set(strict_json(body.encode())["models_used"]) == {"claude-opus-4-7", "claude", "x" * 200}


def test_a_long_line_that_fits_is_counted_and_the_buffer_shrinks_again(home: Home, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "BUFFER", 4096)
    monkeypatch.setattr(scan, "LONGEST", 65_536)
    home.write(line("msg_a", 1), line("msg_b", 2, content="x" * 20_000), line("msg_c", 4))
    desk.look()
    assert outputs(desk) == 7
    assert desk.reader._intake is not None and len(desk.reader._intake.scanner.buffer) == 4096


def test_a_line_too_long_that_is_still_being_written_stays_unread_until_it_ends(home: Home, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "BUFFER", 4096)
    monkeypatch.setattr(scan, "LONGEST", 8192)
    path = home.write(line("msg_a", 1))
    desk.look()
    for text in (b'{"x":"' + b"x" * 20_000, b"x" * 20_000, b'"}\n' + raw(line("msg_b", 2))):
        with path.open("ab") as file:
            file.write(text)
        desk.look()
    assert (outputs(desk), desk.look().skipped) == (3, {"line too long": 1})


@pytest.mark.parametrize("buffer", [700, 1024, 1500, 4096])
def test_the_size_of_the_buffer_does_not_matter(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, buffer: int) -> None:
    rng = random.Random(buffer)
    home.write(*(line(f"msg_{rng.randint(0, 9)}", rng.randint(1, 99), content="y" * rng.randint(0, 300)) for _ in range(60)), snapshot(5000))
    expected = read_alone(tmp_path / "large.db", home.folder)
    monkeypatch.setattr(scan, "BUFFER", buffer)
    assert read_alone(tmp_path / "small.db", home.folder) == expected


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux for the peak")
def test_memory_stays_bounded_whatever_a_file_holds(home: Home, tmp_path: Path) -> None:
    """A file of snapshots and one line that is as large as the limit allows many times over."""
    path = home.write(line("msg_a", 1))
    with path.open("ab") as file:
        for _ in range(40):
            file.write(snapshot(1_000_000) + b"\n")
        file.write(snapshot(60_000_000) + b"\n" + raw(line("msg_b", 2)))
    program = (
        "import sys; from tests.agent.transcripts import Desk; from pathlib import Path\n"
        "desk = Desk(Path(sys.argv[1]), Path(sys.argv[2])); report = desk.look()\n"
        "print(sum(row[7] for row in desk.rows()), report.skipped)\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    words = [sys.executable, "-c", program, str(tmp_path / "archive.db"), str(home.folder)]
    said = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    counted, peak = said.splitlines()
    assert counted == "3 {'line too long': 1}"
    assert int(peak) <= 64 * 1024


def test_a_system_without_the_faster_call_reads_the_same(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.write(*(line(f"msg_{n}", n, content="y" * 5000) for n in range(200)))
    expected = read_alone(tmp_path / "fast.db", home.folder)
    monkeypatch.setattr(scan, "read", scan._read_at)
    monkeypatch.setattr(scan, "BATCH", 100_000)
    assert read_alone(tmp_path / "slow.db", home.folder) == expected


def test_the_title_is_the_summary_and_never_a_prompt(home: Home, desk: Desk) -> None:
    home.write(b'{"type":"summary","summary":"Mend the relay","leafUuid":"x"}', line("msg_a"), {"type": "user", "message": {"role": "user", "content": "my prompt"}})
    desk.look()
    assert desk.bodies()[SESSION]["title"] == "Mend the relay"
    assert "my prompt" not in str(desk.bodies())


def test_a_session_says_where_it_worked_and_how_full_its_window_is(home: Home, desk: Desk) -> None:
    home.write(line("msg_a", at=NOW - 9000), line("msg_b", at=NOW - 5000, gitBranch="topic", used=usage(i=5, w=1000, r=230_000)), line("msg_s", at=NOW, side=True))
    desk.look()
    body = desk.bodies()[SESSION]
    assert (body["project"], body["git_branch"], body["total_messages"]) == ("relay", "main", 3)
    assert body["context"] == {"used": 231_005, "size": 1_000_000}
    assert "/home/alice" not in str(body)


def test_an_echo_that_is_replaced_in_the_same_reading_leaves_no_time_behind(home: Home, desk: Desk) -> None:
    told = line("msg_b", at=NOW, costUSD=0.25)
    home.write(line("msg_c", at=NOW - 1), echo({name: value for name, value in told.items() if name != "costUSD"}), told)
    desk.look()
    assert [(row[2], row[3], row[11], row[12]) for row in desk.rows()] == [(NOW - 1, NOW - 1, 1, None), (NOW, NOW, 1, 0.25)]


def test_many_quarter_hours_stand_in_records_of_their_own(home: Home, desk: Desk) -> None:
    home.write(*(line(f"msg_{n}", 1, at=NOW - n * 900_000 + 1) for n in range(400)))
    desk.look()
    body, older = desk.bodies()[SESSION], desk.bodies("usage")
    assert (body["more"], len(body["usage"]), sorted(older)) == (2, 100, [f"{SESSION}/1", f"{SESSION}/2"])
    assert (outputs(desk), older[f"{SESSION}/1"]["session"]) == (400, SESSION)
    assert body["start_time"] == NOW - 399 * 900_000 + 1


class Book:
    def long_threshold(self, model: str, at_ms: int) -> int | None:
        return 200_000


def test_a_request_is_priced_by_its_whole_prompt(home: Home, tmp_path: Path) -> None:
    home.write(line("msg_a", used=usage(i=1, w=100_000, r=100_000)), line("msg_b", used=usage(i=0, w=100_000, r=100_000, speed="fast", inference_geo="us")))
    with closing(Desk(tmp_path / "archive.db", home.folder, book=Book())) as desk:
        desk.look()
        assert sorted(row[5] for row in desk.rows()) == ["fast+us", "long:200"]


def test_a_used_up_limit_becomes_a_limit_with_the_instant_it_names(home: Home, desk: Desk) -> None:
    text = [{"type": "text", "text": f"Claude AI usage limit reached|{NOW // 1000 + 3600}"}]
    told = line("x", model="<synthetic>", used=usage(0, 0, 0, 0), at=NOW, isApiErrorMessage=True)
    told["message"]["content"] = text
    home.write(line("msg_a"), told)
    desk.look()
    limit = desk.bodies("limit")["claude_code/default/five_hour"]
    assert (limit["used_percent"], limit["resets_at"], limit["observed_at"]) == (100.0, (NOW // 1000 + 3600) * 1000, NOW)
    assert desk.bodies()[SESSION]["total_messages"] == 1


def test_a_reset_too_far_away_for_five_hours_is_another_windows(home: Home, desk: Desk) -> None:
    told = line("x", model="<synthetic>", used=usage(0, 0, 0, 0), at=NOW, isApiErrorMessage=True)
    told["message"]["content"] = [{"type": "text", "text": f"Claude AI usage limit reached|{NOW // 1000 + 3 * 86_400}"}]
    home.write(line("msg_a"), told)
    desk.look()
    assert desk.bodies("limit") == {}


# -- what happens to files


@pytest.mark.fault(41)
def test_a_file_that_its_tool_removed_leaves_its_session_and_says_that_it_is_gone(home: Home, desk: Desk) -> None:
    path = home.write(line("msg_a"))
    desk.look()
    before = desk.rows()
    path.unlink()
    assert desk.look().changed == 1
    assert (desk.rows(), desk.bodies()[SESSION]["origin"]) == (before, "gone")


def test_a_file_that_went_while_nobody_looked_is_gone_too(home: Home, desk: Desk) -> None:
    path = home.write(line("msg_a"))
    desk.look()
    path.unlink()
    path.parent.rmdir()
    again = desk.again()
    again.look()
    assert again.bodies()[SESSION]["origin"] == "gone"
    desk.archive = again.archive


def test_a_file_that_comes_back_is_there_again(home: Home, desk: Desk) -> None:
    path = home.write(line("msg_a"))
    desk.look()
    path.unlink()
    desk.look()
    home.write(line("msg_a"))
    desk.look()
    assert ("origin" in desk.bodies()[SESSION], outputs(desk)) == (False, 20)


def test_a_home_that_is_not_there_is_absent_and_one_that_went_away_keeps_its_sessions(home: Home, desk: Desk, tmp_path: Path) -> None:
    with closing(Desk(tmp_path / "other.db", tmp_path / "nowhere")) as nobody:
        assert nobody.look().state == "absent"
    home.write(line("msg_a"))
    desk.look()
    home.folder.rename(tmp_path / "unmounted")
    report = desk.look()
    assert (report.state, outputs(desk), "origin" in desk.bodies()[SESSION]) == ("unreadable", 20, False)


@pytest.mark.parametrize("again", [False, True], ids=["while somebody looked", "while nobody looked"])
def test_a_file_that_was_given_another_name_counts_once_and_is_read_on(home: Home, desk: Desk, tmp_path: Path, again: bool) -> None:
    path = home.write(line("msg_a", 1), line(None, 2), line(None, 4), name="b.jsonl")
    home.write(line("msg_a", 1, session=OTHER), name="c.jsonl")
    desk.look()
    assert [row[0] for row in desk.rows()] == [SESSION]
    desk = desk.again() if again else desk
    path.rename(path.with_name("z.jsonl"))
    home.write(line(None, 8), name="z.jsonl")
    home.write(line(None, 16), name="b.jsonl")  # and what has its name now is another file
    with closing(desk):
        desk.look()
        assert outputs(desk) == 31
        assert desk.state() == read_alone(tmp_path / "anew.db", home.folder)
        path.parent.rename(home.folder / "projects" / "-moved")
        desk.look()
        assert desk.state() == read_alone(tmp_path / "moved.db", home.folder)


def test_a_line_that_has_no_end_yet_moves_with_its_file(home: Home, desk: Desk, tmp_path: Path) -> None:
    path = home.write(line("msg_a", 1), raw(line(None, 2))[:-1])
    path.write_bytes(path.read_bytes().rstrip())
    desk.look()
    path.rename(path.with_name("moved.jsonl"))
    home.write(b"", line("msg_b", 4), name="moved.jsonl")
    desk.look()
    assert outputs(desk) == 7
    assert desk.state() == read_alone(tmp_path / "anew.db", home.folder)


def test_a_second_name_for_a_file_that_keeps_its_first_is_no_move(home: Home, desk: Desk) -> None:
    path = home.write(line("msg_a", 1))
    desk.look()
    os.link(path, path.with_name("second.jsonl"))
    desk.look()
    assert (outputs(desk), desk.look().counted["files"]) == (1, 2)


def test_a_home_that_comes_later_is_read_without_a_new_start(tmp_path: Path) -> None:
    with closing(Desk(tmp_path / "archive.db", tmp_path / "claude")) as desk:
        assert desk.look().state == "absent"
        home = Home(tmp_path / "claude")
        home.write(line("msg_a", 1))
        desk.look()
        assert outputs(desk) == 1
        shutil.rmtree(home.folder / "projects")
        desk.look()
        Home(tmp_path / "claude").write(line("msg_b", 2))
        desk.look()
        assert outputs(desk) == 3
        assert "origin" not in desk.bodies()[SESSION]


def test_a_folder_that_may_be_read_from_now_on_is_read(home: Home, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, real = home.write(line("msg_a", 1)).parent, os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: _refused() if path == str(folder) else real(path))
    assert (desk.look().skipped, outputs(desk)) == ({"no permission": 1}, 0)
    monkeypatch.setattr(os, "scandir", real)
    assert (desk.look().skipped, outputs(desk)) == ({}, 1)


def _refused() -> Any:
    raise PermissionError(13, "no")


@pytest.mark.fault(41)
def test_a_rewritten_file_is_read_anew_and_nothing_counts_twice(home: Home, desk: Desk) -> None:
    path = home.write(line("msg_a", 1), line("msg_b", 2), line(None, 4))
    desk.look()
    path.write_bytes(raw(line("msg_0", 8), line("msg_b", 2), line(None, 4)))
    desk.look()
    assert outputs(desk) == 15


def test_a_file_that_only_changed_its_time_is_not_read_again(home: Home, desk: Desk) -> None:
    path = home.write(line("msg_a"))
    desk.look()
    os.utime(path, ns=(NOW * 10**6, NOW * 10**6))
    assert desk.look().changed == 0


def test_a_place_that_holds_other_bytes_is_noticed_though_the_file_grew(home: Home, desk: Desk) -> None:
    path = home.write(line("msg_a", 1), line("msg_b", 2))
    desk.look()
    path.write_bytes(raw(line("msg_c", 4), line("msg_d", 8), line("msg_e", 16)))
    desk.look()
    assert outputs(desk) == 31


@pytest.mark.fault(41)
def test_the_answer_in_a_line_without_an_end_counts_once_when_it_ends(home: Home, desk: Desk) -> None:
    path = home.write(line("msg_a", 1))
    with path.open("ab") as file:
        file.write(raw(line("msg_b", 2))[:-1])
    desk.look()
    assert outputs(desk) == 3
    with path.open("ab") as file:
        file.write(b"\n" + raw(line("msg_b", 5)))
    desk.look()
    assert outputs(desk) == 6


# -- what cannot be read


def test_a_folder_without_permission_is_named_and_the_others_are_read(home: Home, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    home.write(line("msg_a", 1))
    home.write(line("msg_b", 2), name=f"{SESSION}/subagents/agent-1.jsonl")
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: (_ for _ in ()).throw(PermissionError(13, "no")) if str(path).endswith("subagents") else scandir(path))
    report = desk.look()
    assert (outputs(desk), report.state, report.skipped) == (1, "ok", {"no permission": 1})
    assert "subagents" in report.detail
    monkeypatch.setattr(os, "scandir", scandir)
    again = desk.again()
    again.look()
    assert outputs(again) == 3
    desk.archive = again.archive


def test_a_file_without_permission_is_named_and_read_when_it_may_be(home: Home, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    home.write(line("msg_a", 1))
    home.write(line("msg_b", 2), name=f"{OTHER}.jsonl")
    real = os.open

    def closed(path: Any, *rest: Any, **more: Any) -> int:
        if OTHER in str(path):
            raise PermissionError(13, "no")
        return real(path, *rest, **more)

    monkeypatch.setattr(os, "open", closed)
    report = desk.look()
    assert (outputs(desk), report.skipped) == (1, {"no permission": 1})
    monkeypatch.setattr(os, "open", real)
    desk.reader.touched(str(home.path(f"{OTHER}.jsonl")))
    assert (desk.look().skipped, outputs(desk)) == ({}, 3)


def test_a_loop_of_links_is_not_walked(home: Home, desk: Desk) -> None:
    home.write(line("msg_a", 1))
    (home.path().parent / "loop").symlink_to(home.folder, target_is_directory=True)
    assert desk.look().skipped == {"link not followed": 1}
    assert outputs(desk) == 1


def test_a_link_to_itself_closes_nothing_but_itself(home: Home, desk: Desk) -> None:
    home.write(line("msg_a", 1))
    (home.path().parent / "self").symlink_to("self")
    (home.path().parent / "there").symlink_to("back")
    (home.path().parent / "back").symlink_to("there")
    report = desk.look()
    assert (outputs(desk), report.skipped, report.detail) == (1, {"link not followed": 3}, "")


def test_a_name_that_is_no_text_is_the_name_of_a_file_all_the_same(home: Home, desk: Desk) -> None:
    home.write(line("msg_a", 1))
    home.write(line("msg_b", 2, session=OTHER), name=os.fsdecode(b"\xe9t\xe9.jsonl"))
    home.write({**line("msg_c", 4), "sessionId": None}, name=os.fsdecode(b"\xff/own.jsonl"))
    assert (desk.look().skipped, outputs(desk)) == ({}, 7)
    desk = desk.again()
    with closing(desk):
        assert desk.look().changed == 0
        home.write(line("msg_d", 8, session=OTHER), name=os.fsdecode(b"\xe9t\xe9.jsonl"))
        desk.reader.touched(str(home.path(os.fsdecode(b"\xe9t\xe9.jsonl"))))
        desk.look()
        assert outputs(desk) == 15


def test_what_cannot_be_read_is_named_by_what_of_its_name_is_text(home: Home, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = home.write(line("msg_a", 1), name=os.fsdecode(b"\xe9t\xe9.jsonl")), os.open

    def closed(opened: Any, *rest: Any) -> int:
        if opened == str(path):
            raise PermissionError(13, "no")
        return real(opened, *rest)

    monkeypatch.setattr(os, "open", closed)
    assert desk.look().detail.startswith("cannot read ?t?.jsonl: ")


@pytest.mark.parametrize("bound", ["STEP_LINES", "STEP_FILES"])
def test_thousands_of_files_are_read_in_steps_of_bounded_size(home: Home, desk: Desk, monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    monkeypatch.setattr(f"local_agent.readers.claude_code.{bound}", 100)
    for n in range(1500):
        home.write(line(f"msg_{n}", 1, session=f"{n:08}-1111-4111-8111-111111111111"), name=f"{n:08}-1111-4111-8111-111111111111.jsonl")
    seq = desk.archive.head().seq
    report = desk.look()
    assert (outputs(desk), report.counted) == (1500, {"files": 1500, "sessions": 1500})
    assert desk.archive.head().seq == seq + 15


def test_homes_of_several_accounts_are_told_apart(tmp_path: Path) -> None:
    homes = [Home(tmp_path / name) for name in ("work", "private")]
    homes[0].write(line("msg_a", 1))
    homes[1].write(line("msg_b", 2, session=OTHER), name=f"{OTHER}.jsonl")
    with closing(Desk(tmp_path / "archive.db", *(home.folder for home in homes), account_of=lambda config: config.name)) as desk:
        desk.look()
        assert {key: body["account"] for key, body in desk.bodies().items()} == {SESSION: "work", OTHER: "private"}


def test_a_folder_that_was_named_and_is_not_there_is_missed(home: Home, tmp_path: Path) -> None:
    home.write(line("msg_a", 1))
    lost = tmp_path / "typo"
    with closing(Desk(tmp_path / "one.db", home.folder, lost, named=(home.folder, lost))) as desk:
        report = desk.look()
        assert (report.state, report.skipped, outputs(desk)) == ("ok", {"named folder not there": 1}, 1)
        assert "in typo, which was named" in report.detail
        Home(lost).write(line("msg_b", 2))
        assert (desk.look().detail, outputs(desk)) == ("", 3)
    with closing(Desk(tmp_path / "none.db", tmp_path / "nowhere", named=(tmp_path / "nowhere",))) as desk:
        assert desk.look().state == "unreadable"
    with closing(Desk(tmp_path / "usual.db", home.folder, tmp_path / "nowhere")) as desk:
        assert (desk.look().state, desk.look().detail) == ("ok", "")


def test_a_home_may_be_named_by_its_folder_of_projects_and_is_read_once(home: Home, tmp_path: Path) -> None:
    home.write(line("msg_a", 1))
    with closing(Desk(tmp_path / "archive.db", home.folder, home.folder / "projects")) as desk:
        desk.look()
        assert (outputs(desk), desk.look().counted["files"]) == (1, 1)


def test_the_desktop_programs_own_sessions_are_found(tmp_path: Path) -> None:
    home = Home(tmp_path / "local-agent-mode-sessions" / "a" / "b" / "local_1" / ".claude")
    home.write(line("msg_a", 1))
    with closing(Desk(tmp_path / "archive.db", tmp_path / "local-agent-mode-sessions")) as desk:
        desk.look()
        assert outputs(desk) == 1
        later = Home(tmp_path / "local-agent-mode-sessions" / "a" / "c" / "local_2" / ".claude")
        later.write(line("msg_b", 2))
        desk.reader.poll(desk.archive, NOW + 10_000)
        assert outputs(desk) == 3


# -- what happens to us


def several(home: Home) -> None:
    rng = random.Random(5)
    for n in range(12):
        session = f"{n % 5:08}-1111-4111-8111-111111111111"
        home.write(*(line(f"msg_{rng.randint(0, 40)}", rng.randint(1, 9), session=session, at=NOW - rng.randint(0, 10**8)) for _ in range(30)), name=f"{n:036}.jsonl")


@pytest.mark.parametrize("failing", range(6))
def test_a_step_that_fails_is_made_again_and_nothing_counts_twice(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int) -> None:
    several(home)
    expected = read_alone(tmp_path / "anew.db", home.folder)
    monkeypatch.setattr("local_agent.readers.claude_code.STEP_LINES", 60)
    write, calls = Archive._write, iter(range(1000))

    def full(self: Archive, *words: Any) -> int:
        if next(calls) == failing:
            raise Full("no room")
        return write(self, *words)

    monkeypatch.setattr(Archive, "_write", full)
    now = [NOW]
    with closing(Desk(tmp_path / "archive.db", home.folder)) as desk:
        desk.archive.clock = lambda: now[0]
        assert "room" in desk.look().detail or failing >= 5
        assert "room" not in desk.look().detail
        now[0] += 61_000
        desk.archive.mend()
        assert desk.archive.disk == "ok"
        assert desk.state() == expected


KILLED = """
import os, signal, sys
from pathlib import Path
from local_agent.archive import Archive
from local_agent.readers import claude_code
from tests.agent.transcripts import Desk
claude_code.STEP_LINES = 40
left = [int(sys.argv[3])]
def trace(text):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
desk = Desk(Path(sys.argv[1]), Path(sys.argv[2]))
desk.archive.store.connection().set_trace_callback(trace)
desk.look()
print("done", left[0])
"""


def test_a_kill_at_any_statement_costs_a_second_reading_and_nothing_else(home: Home, tmp_path: Path) -> None:
    several(home)
    expected = read_alone(tmp_path / "anew.db", home.folder)
    rng = random.Random(1)
    for statement in [1, 5, *(rng.randint(6, 400) for _ in range(8))]:
        words = [sys.executable, "-c", KILLED, str(tmp_path / "archive.db"), str(home.folder), str(statement)]
        assert subprocess.run(words, cwd=ROOT, capture_output=True).returncode in (0, -signal.SIGKILL)
    with closing(Desk(tmp_path / "archive.db", home.folder)) as desk:
        desk.look()
        assert desk.state() == expected


def test_an_archive_of_an_earlier_version_that_kept_no_keys_is_read_on(home: Home, tmp_path: Path) -> None:
    several(home)
    desk = Desk(tmp_path / "archive.db", home.folder)
    desk.look()
    with desk.archive.step() as step:
        step.sql.execute("DROP TABLE claude_keys")
        step.sql.execute("DROP TABLE claude_rivals")
    several(home)
    home.write(*(line(f"msg_{n}", 50 + n, at=NOW - n) for n in range(50)), name="more.jsonl")
    with closing(desk.again()) as again:
        again.look()
        assert again.state() == read_alone(tmp_path / "anew.db", home.folder)


def test_the_keys_of_many_small_steps_become_one_row_and_stay_what_they_were(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local_agent.readers.claude.keys.MANY_ROWS", 3)
    desk = Desk(tmp_path / "archive.db", home.folder)
    for n in range(6):
        home.write(line(f"msg_{n}", 1), line(f"msg_{n // 2}", n + 2, request="other"), name=f"{n:036}.jsonl")
        desk.look()
        desk = desk.again()
    with closing(desk):
        assert desk.state() == read_alone(tmp_path / "anew.db", home.folder)
        assert desk.archive.store.connection().execute("SELECT count(*) <= 4 FROM claude_keys").fetchone() == (1,)
