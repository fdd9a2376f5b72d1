from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ledger.errors import Misconfigured
from local_agent.identity import adopt, machine_fingerprint, open_identity, write_durably


def test_a_machine_keeps_its_id(tmp_path: Path) -> None:
    assert open_identity(tmp_path / "home").source == open_identity(tmp_path / "home").source


def test_two_homes_are_two_machines(tmp_path: Path) -> None:
    assert open_identity(tmp_path / "a").source != open_identity(tmp_path / "b").source


def test_a_home_that_was_copied_to_another_computer_is_noticed(tmp_path: Path) -> None:
    made = open_identity(tmp_path, fingerprint="this one")
    assert not made.copied
    assert open_identity(tmp_path, fingerprint="another").copied


def test_a_copied_home_becomes_a_machine_of_its_own_when_told(tmp_path: Path) -> None:
    first = open_identity(tmp_path, fingerprint="this one")
    second = adopt(tmp_path, fingerprint="another")
    assert second.source != first.source
    assert not open_identity(tmp_path, fingerprint="another").copied


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"null", b'{"source": "x"}', b"\xff\xfe"])
def test_a_damaged_identity_is_never_silently_made_anew(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "identity.json").write_bytes(damage)
    with pytest.raises(Misconfigured, match="put it back from a backup"):
        open_identity(tmp_path)
    assert (tmp_path / "identity.json").read_bytes() == damage


def test_the_home_is_private(tmp_path: Path) -> None:
    open_identity(tmp_path / "home")
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "home/identity.json").stat().st_mode) == 0o600


def test_a_home_that_others_could_look_into_is_closed(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o755)
    open_identity(tmp_path / "home")
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_durably(tmp_path / "file", b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_durably(tmp_path / "file", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"old")]


def test_what_is_written_is_on_the_disk_and_so_is_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Renamed but not synced, a power loss may leave the folder without the file, and the machine would be another one."""
    write_durably(tmp_path / "file", b"old")
    synced: list[tuple[str, bytes]] = []
    sync = os.fsync

    def watched(descriptor: int) -> None:
        sync(descriptor)
        synced.append(("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file", (tmp_path / "file").read_bytes()))

    monkeypatch.setattr(os, "fsync", watched)
    write_durably(tmp_path / "file", b"new")
    assert synced == [("file", b"old"), ("folder", b"new")], "the content before it gets its name, the name afterwards"


def test_the_fingerprint_is_steady_and_tells_nothing() -> None:
    assert machine_fingerprint() == machine_fingerprint()
    assert len(machine_fingerprint()) == 32
