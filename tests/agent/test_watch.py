"""Changes are told at once where the kernel tells them, and looked for where it does not."""
from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from local_agent.watch import Follower, Inotify, NoWatch

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="inotify is Linux's")


class Listener:
    """A reader that only remembers what it was told."""

    watched = False

    def __init__(self, *folders: Path) -> None:
        self.folders = list(folders)
        self.heard: list[str] = []

    def watch_paths(self) -> list[Path]:
        return self.folders

    def touched(self, path: str) -> None:
        self.heard.append(Path(path).name)


@pytest.fixture
def inotify() -> Iterator[Inotify]:
    watch = Inotify()
    yield watch
    watch.close()


@linux
def test_what_is_written_made_moved_and_removed_is_told(inotify: Inotify, tmp_path: Path) -> None:
    inotify.watch([str(tmp_path)])
    (tmp_path / "a.jsonl").write_bytes(b"x")
    (tmp_path / "a.jsonl").rename(tmp_path / "b.jsonl")
    (tmp_path / "b.jsonl").unlink()
    assert {Path(path).name for path in inotify.wait(1)} == {"a.jsonl", "b.jsonl"}


@linux
def test_nothing_is_told_of_a_folder_that_is_watched_no_more(inotify: Inotify, tmp_path: Path) -> None:
    inotify.watch([str(tmp_path)])
    inotify.watch([])
    inotify.wait(0)
    (tmp_path / "a.jsonl").write_bytes(b"x")
    assert inotify.wait(0) == set()


@linux
def test_a_folder_that_goes_and_comes_back_is_watched_again(inotify: Inotify, tmp_path: Path) -> None:
    folder = tmp_path / "projects"
    for _ in range(2):
        folder.mkdir()
        inotify.watch([str(folder)])
        (folder / "a.jsonl").write_bytes(b"x")
        assert str(folder / "a.jsonl") in inotify.wait(1)
        (folder / "a.jsonl").unlink()
        folder.rmdir()
        inotify.wait(1)
        assert inotify.folders_changed


@linux
def test_when_the_kernel_lost_count_every_folder_is_looked_at(inotify: Inotify, tmp_path: Path) -> None:
    inotify.watch([str(tmp_path)])
    lost = (-1).to_bytes(4, "little", signed=True) + (0x4000).to_bytes(4, "little") + bytes(8)
    assert inotify._changed(lost) == {str(tmp_path)}


def quiet(follower: Follower, reader: Listener, looks: list[int]) -> None:
    """Let the looks that follow a beginning pass."""
    for _ in range(4):
        follower.once(0)
    reader.heard.clear()
    looks.clear()


@linux
def test_what_was_written_before_there_was_a_watch_is_read_at_once(tmp_path: Path) -> None:
    reader, looks = Listener(tmp_path), []
    follower = Follower([reader], lambda: looks.append(1))
    follower.once(0)
    assert (reader.heard, looks) == ([tmp_path.name], [1])
    quiet(follower, reader, looks)
    reader.folders.append(tmp_path / "new")
    (tmp_path / "new").mkdir()
    follower.once(0)
    reader.heard.clear()
    follower.once(0)
    assert reader.heard == ["new"], "a folder that is watched from now on may hold what nobody told of"
    follower.close()


@linux
def test_a_reader_hears_of_its_file_and_a_look_is_made(tmp_path: Path) -> None:
    reader, looks = Listener(tmp_path), list[int]()
    follower = Follower([reader], lambda: looks.append(1), ignore=lambda path: path.endswith(".db"))
    quiet(follower, reader, looks)
    assert reader.watched
    (tmp_path / "archive.db").write_bytes(b"ours")
    assert follower.once(0)
    assert (reader.heard, looks) == ([], [])
    (tmp_path / "a.jsonl").write_bytes(b"x")
    assert follower.once(1)
    assert (set(reader.heard), looks) == ({"a.jsonl"}, [1])
    follower.close()


@linux
def test_what_changed_is_looked_at_again_when_it_is_quiet_because_a_database_tells_before_it_commits(tmp_path: Path) -> None:
    reader, looks = Listener(tmp_path), list[int]()
    follower = Follower([reader], lambda: looks.append(1))
    quiet(follower, reader, looks)
    (tmp_path / "tracker.db-wal").write_bytes(b"x")
    assert follower.once(1) and len(looks) == 1
    for expected in (2, 3, 3):
        follower.once(0)
        assert len(looks) == expected
    follower.close()


@linux
def test_a_new_folder_gets_a_watch_of_its_own(tmp_path: Path) -> None:
    reader = Listener(tmp_path)
    follower = Follower([reader], lambda: None)
    quiet(follower, reader, [])
    (tmp_path / "new").mkdir()
    follower.once(1)
    reader.folders.append(tmp_path / "new")
    quiet(follower, reader, [])
    (tmp_path / "new" / "a.jsonl").write_bytes(b"x")
    follower.once(1)
    assert "a.jsonl" in reader.heard
    follower.close()


class Minute:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_without_the_kernels_help_every_round_is_a_look_and_help_is_asked_for_again_after_a_minute() -> None:
    reader, looks, asked, clock = Listener(), [], [], Minute()

    def no_watch() -> Inotify:
        asked.append(clock.now)
        raise NoWatch("the system's watches have run out")

    follower = Follower([reader], lambda: looks.append(1), open_watch=no_watch, monotonic=clock)
    for clock.now in (0.0, 1.0, 59.0, 60.0):
        assert not follower.once()
    assert (len(looks), asked, reader.watched) == (4, [0.0, 60.0], False)
    assert "run out" in follower.trouble


def test_following_goes_on_after_a_reader_failed() -> None:
    stop, tries = threading.Event(), []

    class Failing(Listener):
        def watch_paths(self) -> list[Path]:
            tries.append(1)
            if len(tries) > 1:
                stop.set()
            raise RuntimeError

    follower = Follower([Failing()], lambda: None)
    stop.wait = lambda seconds=None: stop.is_set()  # type: ignore[method-assign]
    follower.run(stop)
    assert (len(tries), follower.trouble) == (2, "RuntimeError while following changes")


def test_following_ends_when_it_is_told_to() -> None:
    stop = threading.Event()
    follower = Follower([Listener()], stop.set, open_watch=lambda: (_ for _ in ()).throw(NoWatch("no")))
    follower.run(stop)
    assert stop.is_set()
