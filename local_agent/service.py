"""The agent as a service of the logged-in user: a systemd user unit on Linux, a LaunchAgent on macOS.

Installing again is how one upgrades: the file is written anew and the service restarted. No secret stands in a unit or a
plist; the key stays in its own file. What is asked of the system here is asked of the user's own manager, never of root.
"""
from __future__ import annotations

import plistlib
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ledger.errors import LedgerError
from ledger.words import many

UNIT, LABEL = "session-relay-agent.service", "org.session-relay.agent"
GROWING_DELAY = 254
"""The first systemd that can lengthen the pause between restarts."""

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


class ServiceTrouble(LedgerError):
    """The manager did not do it; the text says what to run instead."""


@dataclass(frozen=True, slots=True)
class Program:
    """What is to be started: this Python, from this folder, with these words after `-m local_agent run`."""

    python: Path
    folder: Path
    words: tuple[str, ...]

    @property
    def command(self) -> list[str]:
        return [str(self.python), "-m", "local_agent", "run", *self.words]


def this_program(home: Path, words: Sequence[str] = ()) -> Program:
    return Program(Path(sys.executable), Path(__file__).resolve().parent.parent, ("--home", str(home), *words))


def unit_text(program: Program, *, systemd: int) -> str:
    """The unit. Only what works without privileges: a user's manager cannot mount or drop capabilities everywhere."""
    growing = "RestartSteps=8\nRestartMaxDelaySec=300\n" if systemd >= GROWING_DELAY else ""
    return f"""[Unit]
Description=Session Relay agent: reads this machine's coding-agent sessions and pushes them to the relay
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={" ".join(unit_word(word) for word in program.command)}
WorkingDirectory={str(program.folder).replace("%", "%%")}
Restart=always
RestartSec=5
{growing}RestartPreventExitStatus=2 78
TimeoutStartSec=120
TimeoutStopSec=10
WatchdogSec=120
Environment=PYTHONUNBUFFERED=1
UMask=0077
Nice=5
MemoryMax=150M
CPUQuota=25%
NoNewPrivileges=true
LockPersonality=true
MemoryDenyWriteExecute=true
RestrictRealtime=true
RestrictSUIDSGID=true
RestrictNamespaces=true
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=default.target
"""


def unit_word(word: str) -> str:
    """One word of a command line: % and $ mean something there, and so do quotes and backslashes."""
    if any(ord(letter) < 32 for letter in word):
        raise ServiceTrouble(f"a service cannot be started from a path with control characters: {word!r}")
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return escaped if escaped.replace("/", "").replace("-", "").replace(".", "").replace("_", "").isalnum() else f'"{escaped}"'


def plist_bytes(program: Program, logs: Path) -> bytes:
    return plistlib.dumps({
        "Label": LABEL,
        "ProgramArguments": program.command,
        "WorkingDirectory": str(program.folder),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 10,
        "ExitTimeOut": 10,
        "ProcessType": "Background",
        "LowPriorityIO": True,
        "Umask": 0o077,
        "StandardErrorPath": str(logs / "agent.log"),
        "StandardOutPath": str(logs / "agent.log"),
    })


def run_command(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:
        return subprocess.CompletedProcess(words, 127, "", f"{words[0]} is not on this machine")
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 124, "", f"{words[0]} did not answer")


class Systemd:
    """The user's own systemd."""

    def __init__(self, config: Path, *, run: Run = run_command) -> None:
        self.file, self._run = config / "systemd/user" / UNIT, run

    def version(self) -> int:
        words = self._run(["systemctl", "--version"]).stdout.split()
        return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0

    def install(self, program: Program) -> str:
        """Write the unit and start it, or restart it if it ran. Raises ServiceTrouble with what to do."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(unit_text(program, systemd=self.version()), "utf-8")
        self._must("daemon-reload")
        self._must("enable", UNIT)
        self._must("restart", UNIT)
        return f"installed and started ({self.file}); to run also while you are logged out: loginctl enable-linger"

    def remove(self) -> str:
        if not self.file.exists():
            return "there was no service"
        self._run(["systemctl", "--user", "disable", "--now", UNIT])
        self.file.unlink()
        self._run(["systemctl", "--user", "daemon-reload"])
        return f"stopped and removed ({self.file}); what was read is kept"

    def status(self) -> tuple[bool, str]:
        if not self.file.exists():
            return False, "not installed: python -m local_agent service install"
        done = self._run(["systemctl", "--user", "show", UNIT, "--property=ActiveState,SubState,NRestarts,MainPID"])
        found = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
        state = found.get("ActiveState", "")
        if not state:
            return False, f"installed, but systemd does not answer ({done.stderr.strip() or 'no user session'})"
        restarts = many(int(found.get("NRestarts") or 0), "restart")
        return state == "active", f"{state} ({found.get('SubState')}), process {found.get('MainPID')}, {restarts}"

    def _must(self, *words: str) -> None:
        done = self._run(["systemctl", "--user", *words])
        if done.returncode:
            reason = (done.stderr.strip() or f"systemctl {words[0]} failed").splitlines()[0]
            raise ServiceTrouble(f"the unit is written ({self.file}), but {reason}: log in as this user and run  systemctl --user enable --now {UNIT}")


class Launchd:
    """The user's own launchd."""

    def __init__(self, user: Path, uid: int, *, run: Run = run_command) -> None:
        self.file, self.logs = user / "Library/LaunchAgents" / f"{LABEL}.plist", user / "Library/Logs/session-relay"
        self._domain, self._run = f"gui/{uid}", run

    def install(self, program: Program) -> str:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)
        self._run(["launchctl", "bootout", f"{self._domain}/{LABEL}"])
        self.file.write_bytes(plist_bytes(program, self.logs))
        done = self._run(["launchctl", "bootstrap", self._domain, str(self.file)])
        if done.returncode:
            reason = (done.stderr.strip() or "launchctl failed").splitlines()[0]
            raise ServiceTrouble(f"the agent is described ({self.file}), but {reason}: log in on the screen and run  launchctl bootstrap {self._domain} {shlex.quote(str(self.file))}")
        return f"installed and started ({self.file})"

    def remove(self) -> str:
        if not self.file.exists():
            return "there was no service"
        self._run(["launchctl", "bootout", f"{self._domain}/{LABEL}"])
        self.file.unlink()
        return f"stopped and removed ({self.file}); what was read is kept"

    def status(self) -> tuple[bool, str]:
        if not self.file.exists():
            return False, "not installed: python -m local_agent service install"
        done = self._run(["launchctl", "print", f"{self._domain}/{LABEL}"])
        state = next((line.split("=")[1].strip() for line in done.stdout.splitlines() if line.strip().startswith("state =")), "")
        return state == "running", state or "installed, but not loaded"


def manager(platform: str, user: Path, config: Path, uid: int) -> Systemd | Launchd:
    """Who runs services here. Raises ServiceTrouble where there is nobody we know."""
    if platform == "darwin":
        return Launchd(user, uid)
    if platform.startswith("linux"):
        return Systemd(config)
    raise ServiceTrouble("services are known here for Linux (systemd) and macOS (launchd): start  python -m local_agent run  at log-in yourself")
