"""The unit and the plist, checked by the real checkers, and what is asked of the managers."""
from __future__ import annotations

import os
import plistlib
import shutil
import socket
import subprocess
import sys
import xml.dom.minidom
from collections.abc import Sequence
from pathlib import Path

import pytest

from local_agent.notify import Notifier
from local_agent.service import (
    LABEL,
    UNIT,
    Launchd,
    Program,
    ServiceTrouble,
    Systemd,
    manager,
    plist_bytes,
    this_program,
    unit_text,
    unit_word,
)

ODD = 'a folder with "quotes", 100% and $HOME'


def a_program(folder: Path, *words: str) -> Program:
    return Program(Path(sys.executable), folder, ("--home", str(folder / "home"), *words))


class Commands:
    """Remembers what was asked of the manager, and answers as told."""

    def __init__(self, **answers: subprocess.CompletedProcess[str]) -> None:
        self.asked: list[str] = []
        self._answers = answers

    def __call__(self, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        self.asked.append(" ".join(words))
        for name, answer in self._answers.items():
            if name.replace("_", "-") in words:
                return answer
        return subprocess.CompletedProcess(words, 0, "systemd 252 (252.1)\n", "")


def failing(reason: str) -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess([], 1, "", reason)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
@pytest.mark.parametrize("folder", ["plain", ODD])
def test_systemd_itself_finds_nothing_wrong_with_the_unit(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    version = Systemd(tmp_path).version()
    unit = tmp_path / UNIT
    unit.write_text(unit_text(a_program(tmp_path / folder, "--tracker", str(tmp_path / ODD)), systemd=version))
    checked = subprocess.run(["systemd-analyze", "verify", "--user", "--man=no", str(unit)], capture_output=True, text=True, check=False,
                             env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)})  # fmt: skip
    about_us = [line for line in checked.stderr.splitlines() if UNIT in line]
    assert (checked.returncode, about_us) == (0, [])


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_the_unit_is_well_guarded_for_one_without_privileges(tmp_path: Path) -> None:
    unit = tmp_path / UNIT
    unit.write_text(unit_text(a_program(tmp_path), systemd=252))
    report = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)], capture_output=True, text=True, check=False)
    for guard in ("NoNewPrivileges", "MemoryDenyWriteExecute", "LockPersonality", "SystemCallArchitectures", "RestrictSUIDSGID", "RestrictRealtime"):
        assert any(f" {guard}=" in line and "✓" in line for line in report.stdout.splitlines()), report.stdout + report.stderr


def test_no_secret_stands_in_a_unit_or_plist(tmp_path: Path) -> None:
    program = this_program(tmp_path)
    assert "sr_" not in unit_text(program, systemd=255) + plist_bytes(program, tmp_path).decode()


def test_the_pause_between_restarts_grows_where_systemd_can_do_it(tmp_path: Path) -> None:
    assert "RestartMaxDelaySec=300" in unit_text(a_program(tmp_path), systemd=254)
    assert "RestartMaxDelaySec" not in unit_text(a_program(tmp_path), systemd=252)


def test_the_plist_is_what_launchd_reads(tmp_path: Path) -> None:
    content = plist_bytes(a_program(tmp_path / ODD), tmp_path)
    xml.dom.minidom.parseString(content)
    read = plistlib.loads(content)
    assert read["ProgramArguments"][1:4] == ["-m", "local_agent", "run"]
    assert read["ProgramArguments"][-1] == str(tmp_path / ODD / "home")
    assert (read["KeepAlive"], read["ThrottleInterval"], read["ExitTimeOut"], read["Umask"]) == ({"SuccessfulExit": False}, 10, 10, 0o077)


def test_installing_writes_the_unit_and_starts_it(tmp_path: Path) -> None:
    asked = Commands()
    Systemd(tmp_path, run=asked).install(a_program(tmp_path))
    assert (tmp_path / "systemd/user" / UNIT).is_file()
    assert asked.asked[-3:] == ["systemctl --user daemon-reload", f"systemctl --user enable {UNIT}", f"systemctl --user restart {UNIT}"]


def test_installing_again_is_an_upgrade(tmp_path: Path) -> None:
    systemd = Systemd(tmp_path, run=Commands())
    systemd.install(a_program(tmp_path / "old"))
    systemd.install(a_program(tmp_path / "new"))
    assert str(tmp_path / "new") in systemd.file.read_text()
    assert str(tmp_path / "old") not in systemd.file.read_text()


def test_removing_leaves_nothing_and_twice_is_fine(tmp_path: Path) -> None:
    systemd = Systemd(tmp_path, run=Commands())
    systemd.install(a_program(tmp_path))
    assert "stopped and removed" in systemd.remove()
    assert not systemd.file.exists()
    assert systemd.remove() == "there was no service"


def test_a_machine_without_a_user_session_is_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ServiceTrouble, match="systemctl --user enable --now"):
        Systemd(tmp_path, run=Commands(daemon_reload=failing("Failed to connect to bus: No medium found"))).install(a_program(tmp_path))


def test_status_tells_what_the_manager_says(tmp_path: Path) -> None:
    shown = subprocess.CompletedProcess([], 0, "ActiveState=active\nSubState=running\nNRestarts=2\nMainPID=77\n", "")
    systemd = Systemd(tmp_path, run=Commands(show=shown))
    assert systemd.status() == (False, "not installed: python -m local_agent service install")
    systemd.install(a_program(tmp_path))
    assert systemd.status() == (True, "active (running), process 77, 2 restarts")


def test_launchd_is_asked_in_its_own_words(tmp_path: Path) -> None:
    asked = Commands()
    launchd = Launchd(tmp_path, 501, run=asked)
    launchd.install(a_program(tmp_path))
    assert asked.asked == [f"launchctl bootout gui/501/{LABEL}", f"launchctl bootstrap gui/501 {launchd.file}"]
    assert "stopped and removed" in launchd.remove()
    assert not launchd.file.exists()


def test_an_unknown_system_is_told_how_to_start_it_by_hand(tmp_path: Path) -> None:
    with pytest.raises(ServiceTrouble, match="local_agent run"):
        manager("win32", tmp_path, tmp_path, 0)


def test_the_manager_hears_that_we_are_ready(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(5)
        Notifier(str(tmp_path / "notify")).say("READY=1")
        assert listening.recv(100) == b"READY=1"


def test_nobody_listening_is_no_reason_to_stop(tmp_path: Path) -> None:
    Notifier(str(tmp_path / "nobody")).say("READY=1")
    Notifier(None).say("READY=1")


def test_a_path_with_a_line_break_is_refused_before_it_becomes_a_line_of_the_unit() -> None:
    with pytest.raises(ServiceTrouble, match="control characters"):
        unit_word("/home/ada\nExecStart=/bin/sh")
