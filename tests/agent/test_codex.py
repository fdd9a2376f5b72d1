from __future__ import annotations

import json
import os
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ledger.record import Ref
from local_agent.archive import LOCAL, Archive
from local_agent.readers import limits
from local_agent.readers.codex import Codex
from local_agent.readers.tool import ToolReader
from local_agent.readers.usage import Answer, price_class
from tests.agent.trackers import NOW

ALICE, FORK = "019a97b0-85be-7e60-9c60-9726baf026a0", "019a97c1-0000-7e60-9c60-9726baf026a1"
START = datetime(2026, 11, 18, 9, 0, tzinfo=UTC)


class Rollout:
    """A rollout file as Codex writes it, line by line."""

    def __init__(self, id: str = ALICE, *, folder: str = "sessions/2026/11/18", at: datetime = START, **meta: object) -> None:
        self.id, self.folder, self.at, self.lines = id, folder, at, []
        self.total = [0, 0, 0]
        self.say("session_meta", {"id": id, "cwd": "/home/ada/relay", "cli_version": "0.98.0", "git": {"branch": "main"}, **meta})
        self.say("turn_context", {"model": "gpt-5.1-codex", "cwd": "/home/ada/relay"})

    def say(self, type: str, payload: dict, seconds: float = 10) -> dict:
        self.at += timedelta(seconds=seconds)
        self.lines.append({"timestamp": self.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"), "type": type, "payload": payload})
        return self.lines[-1]

    def answer(self, reading: int, cached: int, writing: int, *, again: bool = False, seconds: float = 10, **payload: object) -> None:
        if not again:
            self.total = [had + more for had, more in zip(self.total, (reading, cached, writing), strict=True)]
        info = {"total_token_usage": usage(*self.total), "last_token_usage": usage(reading, cached, writing), "model_context_window": 272000}
        self.say("event_msg", {"type": "token_count", "info": info, **payload}, seconds)

    def copy_of(self, other: Rollout, *, metas: bool = True) -> None:
        """The other's history with new times, all at once."""
        for line in other.lines:
            if metas or line["type"] != "session_meta":
                self.say(line["type"], line["payload"], seconds=0.001)
        self.total = list(other.total)

    def text(self) -> str:
        return "".join(json.dumps(line) + "\n" for line in self.lines)

    def path(self, home: Path) -> Path:
        path = home / self.folder / f"rollout-2026-11-18T10-00-00-{self.id}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write(self, home: Path) -> Path:
        path = self.path(home)
        path.write_text(self.text(), "utf-8")
        return path


def usage(reading: int, cached: int, writing: int) -> dict:
    return {"input_tokens": reading, "cached_input_tokens": cached, "output_tokens": writing, "reasoning_output_tokens": writing // 2,
            "total_tokens": reading + writing}


def read(archive: Archive, home: Path, now: int = NOW):
    return ToolReader(Codex(home)).poll(archive, now)


def body(archive: Archive, id: str = ALICE) -> dict:
    return json.loads(archive.get(Ref("session", id)) or "{}")


def bodies(archive: Archive) -> dict[str, dict]:
    return {row.ref.id: json.loads(row.body) for row in archive.store.rows(LOCAL, "laptop", kind="session")}


def used(found: dict) -> tuple[int, int, int, int]:
    """(input, output, cache read, requests)"""
    return tuple(sum(row[n] for row in found["usage"]) for n in (5, 6, 9, 10))  # type: ignore[return-value]


def test_a_session_is_the_sum_of_its_answers(archive, tmp_path):
    rollout = Rollout()
    rollout.say("event_msg", {"type": "user_message", "message": "a secret prompt"})
    rollout.answer(1000, 200, 50)
    rollout.answer(3000, 2500, 70)
    rollout.write(tmp_path)
    report = read(archive, tmp_path)
    assert report.state == "ok" and report.counted == {"files": 1, "sessions": 1}
    found = body(archive)
    assert used(found) == (800 + 500, 120, 2700, 2)
    assert (found["session_type"], found["project"], found["git_branch"], found["models_used"]) == ("codex", "relay", "main", ["gpt-5.1-codex"])
    assert found["estimated_tokens"] == 4120 and found["context"] == {"used": 3000, "size": 272000}
    assert "secret" not in json.dumps(found) and "/home" not in json.dumps(found)


def test_a_usage_that_is_written_again_is_not_counted_again(archive, tmp_path):
    rollout = Rollout()
    rollout.answer(1000, 200, 50)
    rollout.answer(1000, 200, 50, again=True)
    rollout.write(tmp_path)
    read(archive, tmp_path)
    assert used(body(archive)) == (800, 50, 200, 1)


def test_totals_that_begin_anew_are_not_negative(archive, tmp_path):
    rollout = Rollout()
    rollout.answer(9000, 0, 900)
    rollout.total = [0, 0, 0]
    rollout.answer(100, 10, 5)
    rollout.write(tmp_path)
    read(archive, tmp_path)
    assert used(body(archive)) == (9090, 905, 10, 2)


def test_a_fork_counts_only_what_came_after_it(archive, tmp_path):
    parent = Rollout()
    parent.answer(1000, 200, 50)
    parent.answer(3000, 2500, 70)
    parent.write(tmp_path)
    fork = Rollout(FORK, forked_from_id=ALICE, at=START + timedelta(hours=1))
    fork.copy_of(parent)
    fork.answer(500, 100, 9)
    fork.write(tmp_path)
    read(archive, tmp_path)
    assert used(body(archive, FORK)) == (400, 9, 100, 1)


@pytest.mark.parametrize("meta", [
    {"forked_from_id": ALICE}, {"parent_thread_id": ALICE}, {"source": {"subagent": {"thread_spawn": {"parent_thread_id": ALICE}}}},
])
def test_a_fork_whose_parent_is_gone_drops_what_was_written_in_one_go(archive, tmp_path, meta):
    parent = Rollout()
    parent.answer(1000, 200, 50)
    fork = Rollout(FORK, at=START + timedelta(hours=1), **meta)
    fork.at = START + timedelta(hours=1, seconds=10)
    fork.copy_of(parent, metas=False)
    fork.answer(500, 100, 9)
    fork.write(tmp_path)
    read(archive, tmp_path)
    assert used(body(archive, FORK)) == (400, 9, 100, 1)


def test_a_subagent_with_a_history_of_its_own_counts_whole(archive, tmp_path):
    parent = Rollout()
    parent.answer(1000, 200, 50)
    parent.write(tmp_path)
    child = Rollout(FORK, parent_thread_id=ALICE)
    child.answer(700, 0, 7)
    child.write(tmp_path)
    read(archive, tmp_path)
    assert used(body(archive, FORK)) == (700, 7, 0, 1)


def test_a_child_that_goes_on_from_its_parents_total_starts_there(archive, tmp_path):
    parent = Rollout()
    parent.answer(1000, 200, 50)
    parent.write(tmp_path)
    child = Rollout(FORK, forked_from_id=ALICE)
    child.total = list(parent.total)
    child.answer(300, 0, 3)
    child.write(tmp_path)
    read(archive, tmp_path)
    assert used(body(archive, FORK)) == (300, 3, 0, 1)


def test_the_order_in_which_parent_and_child_are_read_does_not_matter(tmp_path):
    parent, fork = Rollout(), Rollout(FORK, forked_from_id=ALICE, at=START + timedelta(hours=1))
    parent.answer(1000, 200, 50)
    fork.copy_of(parent)
    fork.answer(500, 100, 9)
    found = []
    for n, order in enumerate(((parent, fork), (fork, parent))):
        archive = Archive(tmp_path / f"{n}.db", source="laptop", clock=lambda: NOW)
        for rollout in order:
            rollout.write(tmp_path / f"home{n}")
            read(archive, tmp_path / f"home{n}")
        found.append(bodies(archive))
        archive.close()
    assert found[0] == found[1]


def test_reading_on_in_any_pieces_equals_reading_once(tmp_path):
    for seed in range(15):
        rng = random.Random(seed)
        rollout = Rollout()
        for _ in range(30):
            rollout.answer(rng.randrange(5000), rng.randrange(50), rng.randrange(900), again=rng.random() < 0.2, seconds=rng.randrange(1, 900))
        whole = rollout.text().encode()
        pieces = Archive(tmp_path / f"pieces{seed}.db", source="laptop", clock=lambda: NOW)
        reader, path, end = ToolReader(Codex(tmp_path / f"h{seed}")), rollout.path(tmp_path / f"h{seed}"), 0
        while end < len(whole):
            end += rng.randrange(1, 4000)
            path.write_bytes(whole[:end])
            (reader if rng.random() < 0.5 else ToolReader(Codex(tmp_path / f"h{seed}"))).poll(pieces, NOW)
        once = Archive(tmp_path / f"once{seed}.db", source="laptop", clock=lambda: NOW)
        read(once, tmp_path / f"h{seed}")
        assert bodies(pieces) == bodies(once)
        pieces.close()
        once.close()


def test_a_file_that_was_written_anew_replaces_what_it_said(archive, tmp_path):
    rollout = Rollout()
    rollout.answer(1000, 0, 50)
    path = rollout.write(tmp_path)
    reader = ToolReader(Codex(tmp_path))
    reader.poll(archive, NOW)
    other = Rollout(at=START + timedelta(minutes=1))
    other.answer(7, 0, 1)
    other.answer(7, 0, 1)
    other.answer(7, 0, 1)
    path.write_text(other.text())
    reader.poll(archive, NOW)
    assert used(body(archive)) == (21, 3, 0, 3)


def test_an_archived_copy_is_not_counted_twice_and_the_active_one_is_right(archive, tmp_path):
    rollout = Rollout()
    rollout.answer(1000, 0, 50)
    archived = Rollout(folder="archived_sessions")
    archived.answer(1000, 0, 50)
    archived.write(tmp_path)
    read(archive, tmp_path)
    rollout.answer(2000, 0, 1)
    rollout.write(tmp_path)
    read(archive, tmp_path)
    assert used(body(archive)) == (3000, 51, 0, 2)


def test_a_session_whose_file_is_gone_stays(archive, tmp_path):
    rollout = Rollout()
    rollout.answer(1000, 0, 50)
    path = rollout.write(tmp_path)
    read(archive, tmp_path)
    path.unlink()
    assert read(archive, tmp_path).state == "ok"
    assert used(body(archive)) == (1000, 50, 0, 1)


def test_while_somebody_watches_the_folders_are_listed_only_when_something_happened(archive, tmp_path):
    rollout = Rollout()
    rollout.answer(1000, 0, 50)
    path = rollout.write(tmp_path)
    reader = ToolReader(Codex(tmp_path))
    reader.poll(archive, NOW)
    assert path.parent in reader.watch_paths() and tmp_path / "sessions" in reader.watch_paths()
    reader.watched = True
    rollout.answer(10, 0, 5)
    rollout.write(tmp_path)
    assert reader.poll(archive, NOW + 1000).changed == 0
    reader.touched("/somewhere/else.jsonl")
    assert reader.poll(archive, NOW + 1000).changed == 0
    reader.touched(str(path))
    assert reader.poll(archive, NOW + 1000).changed == 1
    rollout.answer(10, 0, 5)
    rollout.write(tmp_path)
    assert reader.poll(archive, NOW + 30_000).changed == 1


def test_a_folder_that_cannot_be_listed_is_named(archive, tmp_path, monkeypatch):
    rollout = Rollout()
    rollout.answer(1000, 0, 50)
    rollout.write(tmp_path)
    closed, scandir = str(tmp_path / "archived_sessions"), os.scandir
    (tmp_path / "archived_sessions").mkdir()

    def refuse(path):
        if str(path) == closed:
            raise PermissionError(13, "no", closed)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    report = read(archive, tmp_path)
    assert report.skipped == {"folder without permission": 1} and "archived_sessions" in report.detail
    assert used(body(archive)) == (1000, 50, 0, 1)


def test_a_machine_without_codex_is_no_problem(archive, tmp_path):
    assert read(archive, tmp_path / "nothing").state == "absent"


def test_damaged_lines_are_counted_and_stop_nothing(archive, tmp_path):
    rollout = Rollout()
    rollout.answer(1000, 0, 50)
    path = rollout.write(tmp_path)
    with path.open("ab") as file:
        file.write(b'{"type":"event_msg","payload":{"type":"token_count"\n\xff\xfe\n[]\n{"type":"token_count","payload":3}\n')
        file.write(b'{"timestamp":"x","type":"event_msg","payload":{"type":"token_count","info":null}}\n')
    with path.open("a") as file:
        rollout.lines.clear()
        rollout.answer(10, 0, 5)
        file.write(rollout.text())
    report = read(archive, tmp_path)
    assert report.skipped == {"damaged line": 1}
    assert used(body(archive)) == (1010, 55, 0, 2)


def test_the_newest_reading_of_the_accounts_windows_is_kept(archive, tmp_path):
    rollout = Rollout()
    resets = int(START.timestamp()) + 3600
    rollout.answer(1, 0, 1, rate_limits={"primary": {"used_percent": 7.5, "window_minutes": 299, "resets_at": resets},
                                         "secondary": {"used_percent": 1763606387, "window_minutes": 10080, "resets_at": resets}})
    rollout.answer(1, 0, 1, rate_limits={"primary": {"used_percent": 9.0, "window_minutes": 300, "resets_in_seconds": 3580}, "secondary": None})
    rollout.write(tmp_path)
    reader, now = ToolReader(Codex(tmp_path)), int(START.timestamp()) * 1000 + 60_000
    reader.poll(archive, now)
    limit = json.loads(archive.get(Ref("limit", "codex/default/five_hour")))
    assert limit["used_percent"] == 9.0 and limit["source"] == "rollout"
    assert archive.get(Ref("limit", "codex/default/seven_day")) is None


def test_what_a_copied_history_says_of_the_windows_is_old(archive, tmp_path):
    parent, resets = Rollout(), int(START.timestamp()) + 3600
    parent.answer(1, 0, 1, rate_limits={"primary": {"used_percent": 7.5, "window_minutes": 300, "resets_at": resets}})
    other = Rollout("019a97c2-0000-7e60-9c60-9726baf026a2", at=START + timedelta(minutes=10))
    other.answer(1, 0, 1, rate_limits={"primary": {"used_percent": 40.0, "window_minutes": 300, "resets_at": resets}})
    child = Rollout(FORK, at=START + timedelta(minutes=20), forked_from_id=ALICE)
    child.at = START + timedelta(minutes=20, seconds=10)
    child.copy_of(parent)
    for rollout in (parent, other, child):
        rollout.write(tmp_path)
    read(archive, tmp_path, int(START.timestamp()) * 1000 + 30 * 60_000)
    assert json.loads(archive.get(Ref("limit", "codex/default/five_hour")))["used_percent"] == 40.0


class LongAbove:
    def long_threshold(self, model: str, at_ms: int) -> int | None:
        return 272_000 if model.startswith("gpt-5") else None


def test_the_price_class_is_chosen_for_each_answer_by_its_whole_prompt(archive, tmp_path):
    rollout = Rollout()
    rollout.answer(200_000, 150_000, 5)
    rollout.answer(272_001, 260_000, 5)
    rollout.write(tmp_path)
    ToolReader(Codex(tmp_path), book=LongAbove()).poll(archive, NOW)
    assert {row[4]: row[10] for row in body(archive)["usage"]} == {"standard": 1, "long:272": 1}


@pytest.mark.parametrize(("minutes", "name"), [
    (300, "five_hour"), (299, "five_hour"), (306, "five_hour"), (307, "307_minutes"), (10_080, "seven_day"), (10_079, "seven_day"), (60, "60_minutes"), (None, "primary"), ("soon", "primary"),
])  # fmt: skip
def test_a_window_is_named_by_its_length_give_or_take_a_fiftieth(minutes: object, name: str) -> None:
    assert limits.window_name(minutes, "primary") == name


def test_a_prompt_of_exactly_the_threshold_is_no_long_one() -> None:
    class Book:
        def long_threshold(self, model: str, at_ms: int, /) -> int:
            return 200_000

    def classed(prompt: int) -> str:
        return price_class(Answer(NOW, "m", input=prompt), Book())

    assert [classed(prompt) for prompt in (200_000, 200_001)] == ["standard", "long:200"]
