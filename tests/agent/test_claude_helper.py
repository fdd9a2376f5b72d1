"""A second process that helps to read: it changes how long a first reading takes, and nothing else."""
from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ledger.errors import Full
from local_agent import days
from local_agent.archive import Archive
from local_agent.readers.claude import helper, scan
from local_agent.readers.claude.ahead import Ahead
from tests.agent.transcripts import NOW, Desk, Home, counted, line, raw, read_alone

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no helper on this system")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Sessions that share answers, over several files, with damage, a line without an end and one that is too long."""
    made = Home(tmp_path / "claude")
    rng = random.Random(5)
    for n in range(12):
        session = f"{n % 5:08}-1111-4111-8111-111111111111"
        lines = [line(f"msg_{rng.randint(0, 60)}", rng.randint(1, 9), session=session, at=NOW - rng.randint(0, 10**8)) for _ in range(40)]
        made.write(*lines, b'{"message":{"usage":{"input_tok\x00', b'{"type":"summary","summary":"told %d","leafUuid":"x"}' % n, name=f"{n:036}.jsonl")
    made.write(line("msg_long", content="x" * 30_000), name="long.jsonl")
    with made.write(line("msg_end", 3), name="loose.jsonl").open("ab") as file:
        file.write(raw(line("msg_loose", 7))[:-1])
    return made


@pytest.fixture
def alone(home: Home, tmp_path: Path) -> Any:
    """What one process makes of that home."""
    return read_alone(tmp_path / "alone.db", home.folder)


@pytest.fixture
def helped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A helper is worth while for anything, and portions are small."""
    monkeypatch.setattr(helper, "may_help", lambda: True)
    monkeypatch.setattr(helper, "WORTH_BYTES", 0)
    monkeypatch.setattr(helper, "LEAST", 1)


def children() -> int:
    """How many processes of ours have not been waited for."""
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return 0
    return 1


@pytest.mark.usefixtures("alone", "helped")
def test_with_help_everything_is_as_one_process_would_have_read_it(home: Home, alone: Any, tmp_path: Path) -> None:
    assert read_alone(tmp_path / "helped.db", home.folder) == alone
    assert children() == 0


@pytest.mark.usefixtures("alone", "helped")
def test_files_that_come_in_several_pieces_are_whole_in_the_end(home: Home, alone: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "BATCH", 4096)
    monkeypatch.setattr(helper, "MOST_PIECES", 2)
    monkeypatch.setattr("local_agent.readers.claude_code.STEP_LINES", 30)
    assert read_alone(tmp_path / "helped.db", home.folder) == alone


@pytest.mark.usefixtures("alone", "helped")
@pytest.mark.parametrize("pieces", [0, 1, 5])
def test_what_a_helper_that_dies_did_not_hand_over_is_read_here(
    home: Home, alone: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pieces: int
) -> None:
    parent, read, left = os.getpid(), helper._read, [pieces]

    def dying(path: str, scanner: scan.Scanner) -> Iterator[tuple[Any, ...]]:
        for piece in read(path, scanner):
            if os.getpid() != parent:
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            yield piece

    monkeypatch.setattr(helper, "_read", dying)
    monkeypatch.setattr(helper, "MOST_PIECES", 1)
    assert read_alone(tmp_path / "helped.db", home.folder) == alone
    assert children() == 0


@pytest.mark.usefixtures("helped")
def test_a_file_that_the_helper_cannot_read_is_named(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = scan.scanned

    def broken(scanner: scan.Scanner, file: int, place: int, size: int, path: str) -> Iterator[Any]:
        if path.endswith("long.jsonl"):
            raise PermissionError(13, "no")
        return opened(scanner, file, place, size, path)

    monkeypatch.setattr(helper, "scanned", broken)
    monkeypatch.setattr("local_agent.readers.claude.intake.scanned", broken)
    with closing(Desk(tmp_path / "archive.db", home.folder)) as desk:
        report = desk.look()
        assert "long.jsonl" in report.detail and report.skipped["no permission"] == 1


@pytest.mark.usefixtures("alone", "helped")
def test_a_step_that_fails_ends_the_helper_and_the_next_look_reads_everything(home: Home, alone: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local_agent.readers.claude_code.STEP_LINES", 30)
    write, calls, now = Archive._write, iter(range(1000)), [NOW]

    def full(self: Archive, *words: Any) -> int:
        if next(calls) == 2:
            raise Full("no room")
        return write(self, *words)

    monkeypatch.setattr(Archive, "_write", full)
    with closing(Desk(tmp_path / "archive.db", home.folder)) as desk:
        desk.archive.clock = lambda: now[0]
        desk.look()
        assert children() == 0
        now[0] += 61_000
        desk.look()
        assert desk.state() == alone


def test_a_computer_that_is_busy_gets_no_second_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("threading.active_count", lambda: 1)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1}, raising=False)
    for running, expected in ((1, True), (2, False), (9, False)):
        monkeypatch.setattr(helper, "_running", lambda running=running: running)
        assert helper.may_help() is expected


def test_no_process_is_copied_while_another_thread_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helper, "_running", lambda: 0)
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        assert not helper.may_help()
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("sizes", [[], [1], [5 << 20, 1, 0], list(range(0, 3 << 20, 9_999)), [0] * 20_000, [1 << 40] * 3])
def test_portions_hold_every_file_once_in_order_and_fit_into_a_pipe(sizes: list[int]) -> None:
    found = helper.portions([(f"{n}", size) for n, size in enumerate(sizes)])
    assert [int(path) for portion in found for path in portion] == list(range(len(sizes)))
    assert len(found) * helper.TICKET <= 1 << 16


@pytest.mark.usefixtures("helped")
def test_a_report_of_days_is_the_same_from_nothing_from_what_is_known_and_after_more_was_written(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def report(archive: str) -> dict[tuple[Any, ...], tuple[int, ...]]:
        assert days.main([str(tmp_path / archive), str(home.folder)]) == 0
        lines = [text.split("\t") for text in capsys.readouterr().out.splitlines()]
        return {(day, model): tuple(map(int, amounts)) for day, model, *amounts in lines}

    first = report("report.db")
    assert first == report("report.db")
    with closing(Desk(tmp_path / "desk.db", home.folder)) as desk:
        desk.look()
        assert counted(desk.archive.store.connection()) == first
    home.write(line("msg_more", 5), name="more.jsonl")
    assert report("report.db") == report("anew.db") != first


@pytest.mark.usefixtures("helped")
def test_a_look_ahead_counts_only_where_nothing_was_read_before(home: Home, alone: Any, tmp_path: Path) -> None:
    with closing(Desk(tmp_path / "archive.db", home.folder)) as desk:
        desk.look()
    ahead = Ahead([str(home.folder)])
    with closing(Desk(tmp_path / "archive.db", home.folder, ahead=ahead)) as desk:
        assert desk.look().changed == 0
        assert desk.state() == alone
    assert children() == 0


def test_a_report_goes_on_from_what_a_look_shows_and_finds_new_folders_files_that_grew_and_files_that_went(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def report(archive: str) -> str:
        assert days.main([str(tmp_path / archive), str(home.folder)]) == 0
        return capsys.readouterr().out

    looks = []
    monkeypatch.setattr(days, "_look", lambda archive, folders, look=days._look: looks.append(look(archive, folders)) or looks[-1])
    report("report.db")
    home.write(line("msg_grown", 5), name=f"{3:036}.jsonl")
    home.write(line("msg_new", 7), name="11111111-1111-4111-8111-111111111111/subagents/agent-9.jsonl")
    grown = report("report.db")
    assert [look is not None and not look.shows_nothing() for look in looks] == [True]
    assert grown == report("anew.db")
    home.path("long.jsonl").unlink()
    assert (report("report.db"), looks[-1]) == (grown, None)
