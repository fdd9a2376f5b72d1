"""The page on hosting: its unit is what systemd takes for a well guarded service, and its settings are ones that the relay reads."""
from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from relay import settings
from tests.processes import ROOT

PAGE = (ROOT / "docs" / "self-host.md").read_text(encoding="utf-8")
MOST_EXPOSED = 2.5
needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")


def block(language: str, word: str) -> str:
    """The page's only block of this language that holds the word."""
    [found] = [text for text in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if word in text]
    return str(found)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    path = tmp_path / "session-relay.service"
    path.write_text(block("ini", "[Unit]").replace("/opt/session-relay/.venv/bin/python", sys.executable), "utf-8")
    return path


@needs_systemd
def test_systemd_finds_nothing_wrong_with_the_unit(unit: Path) -> None:
    checked = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    assert [line for line in checked.stderr.splitlines() if unit.name in line] == [] and checked.returncode == 0


@needs_systemd
def test_the_unit_is_hardly_exposed(unit: Path) -> None:
    report = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)], capture_output=True, text=True, check=False).stdout
    found = re.search(r"Overall exposure level for .*: ([\d.]+)", report)
    assert found and float(found[1]) <= MOST_EXPOSED, report


def test_the_units_settings_are_those_of_a_relay(tmp_path: Path) -> None:
    """The same lines are read by systemd, which knows no comment behind a value, and by a shell."""
    text = block("sh", "RELAY_SECRET=…").replace("RELAY_SECRET=…", "RELAY_SECRET=0123456789abcdef0123456789abcdef")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Z_]+=\S+", line) for line in lines)
    told = dict(line.split("=", 1) for line in lines)
    found = settings.read(told)
    assert (found.url, found.store, found.proxies) == ("https://relay.example.org", "sqlite:////var/lib/session-relay/relay.db", "127.0.0.1")
    assert "EnvironmentFile=/etc/session-relay.env" in PAGE and ". /etc/session-relay.env" in PAGE


def test_the_way_to_a_first_key_beside_the_service_works_as_printed(tmp_path: Path) -> None:
    """The same shell words, with this project's folder and a settings file of ours."""
    env_file = tmp_path / "session-relay.env"
    env_file.write_text(f"RELAY_SECRET=0123456789abcdef0123456789abcdef\nRELAY_STORE=sqlite:///{tmp_path}/relay.db\n", "utf-8")
    typed = block("sh", "set -a").replace("/opt/session-relay", str(ROOT)).replace("/etc/session-relay.env", str(env_file)).replace(".venv/bin/python", sys.executable)
    done = subprocess.run(["sh", "-e", "-c", typed], capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)})
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("sr_push_")
    assert (tmp_path / "relay.db").exists()
