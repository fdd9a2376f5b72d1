"""Put our status line into Claude Code's settings, and take it out again as if it had never been there.

The file is backed up before it is touched. On removal the very bytes come back if nobody changed the file
since; otherwise only the status line is put back. A file that is not JSON is left alone.
"""
from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import sys
from argparse import ArgumentParser
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ledger.errors import LedgerError, Misconfigured
from local_agent import statusline
from local_agent.identity import write_durably

STATE = "statusline.json"
BACKUP = ".before-session-relay"
MEMBER = "statusLine"


@dataclass(frozen=True, slots=True)
class Place:
    """One settings file of Claude Code, and where we remember what it held."""

    settings: Path
    home: Path

    @property
    def backup(self) -> Path:
        return self.settings.with_name(self.settings.name + BACKUP)


def main(words: list[str], home: str | None) -> int:
    parser = ArgumentParser(prog="python -m local_agent statusline", description="Keep the official limits that Claude Code tells its status line.")
    parser.add_argument("act", choices=("install", "remove"))
    parser.add_argument("--home", default=home, help="the agent's own folder")
    parser.add_argument("--config", metavar="DIR", help="Claude Code's configuration folder (default: those that CLAUDE_CONFIG_DIR names, else ~/.claude)")
    parser.add_argument("--chain", metavar="COMMAND", help="a status line to go on showing (default: the one that is there)")
    given = parser.parse_args(words)
    try:
        folders = [Path(given.config).expanduser()] if given.config else _configured()
        places = [Place(Path(os.path.realpath(folder / "settings.json")), _home(given.home)) for folder in folders]
        said = "\n".join(install(place, given.chain) if given.act == "install" else remove(place) for place in places)
    except (LedgerError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{said}\n")
    return 0


def install(place: Place, chain: str | None = None) -> str:
    """Make ours the status line, showing the one before it. Raises Misconfigured and changes nothing if the settings are not JSON."""
    before = _read(place.settings)
    settings = _parsed(place.settings, before)
    kept = _kept(place)
    previous = settings.get(MEMBER)
    if kept and _is_ours(previous):
        previous = kept.get("previous")
        original = kept.get("existed"), kept.get("original")
    else:
        if before is not None:
            _write(place.backup, before, place.settings)
        original = before is not None, _hash(before or b"")
    chain = chain or _command(previous)
    settings[MEMBER] = {**_look(previous), "type": "command", "command": command(place.home, chain)}
    after = json.dumps(settings, indent=2, ensure_ascii=False).encode() + b"\n"
    # What to put back is remembered before anything changes: a crash in between leaves the old file and a note.
    _keep(place, {"previous": previous, "existed": original[0], "original": original[1], "written": _hash(after)})
    _write(place.settings, after, place.settings)
    return f"The status line is in {place.settings}" + (", and goes on showing the one that was there." if chain else ".")


def remove(place: Place) -> str:
    """Put back what was there before."""
    kept = _kept(place)
    now = _read(place.settings)
    if kept is None:
        return f"There is no status line of ours in {place.settings}."
    settings = _parsed(place.settings, now)
    if now is not None and _hash(now) == kept.get("written") and _restored(place, kept):
        said = f"{place.settings} is as it was before."
    elif _is_ours(settings.get(MEMBER)):
        if kept.get("previous") is None:
            del settings[MEMBER]
        else:
            settings[MEMBER] = kept["previous"]
        _write(place.settings, json.dumps(settings, indent=2, ensure_ascii=False).encode() + b"\n", place.settings)
        said = f"The status line is out of {place.settings}; everything else in it stays as you have changed it."
    else:
        said = f"{place.settings} has another status line by now; it was left alone."
    _keep(place, None)
    place.backup.unlink(missing_ok=True)
    return said


def command(home: Path, chain: str | None) -> str:
    """What Claude Code is to run: this very Python, isolated, so that it starts at once wherever it is called from."""
    words = [sys.executable, "-I", "-S", str(Path(statusline.__file__).resolve()), "--home", str(home), *(["--chain", chain] if chain else [])]
    return shlex.join(words)


def _restored(place: Place, kept: Mapping[str, object]) -> bool:
    """Put the very bytes back; False if the backup is not what was there."""
    if not kept.get("existed"):
        place.settings.unlink(missing_ok=True)
        return True
    original = _read(place.backup)
    if original is None or _hash(original) != kept.get("original"):
        return False
    _write(place.settings, original, place.settings)
    return True


def _is_ours(member: object) -> bool:
    with contextlib.suppress(ValueError):
        return str(Path(statusline.__file__).resolve()) in shlex.split(_command(member) or "")
    return False


def _command(member: object) -> str | None:
    found = member.get("command") if isinstance(member, dict) else None
    return found if isinstance(found, str) and found.strip() else None


def _look(member: object) -> dict[str, object]:
    """How the line before was set (padding and the like) holds for ours, too."""
    return {name: value for name, value in member.items() if name not in ("type", "command")} if isinstance(member, dict) else {}


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _parsed(path: Path, content: bytes | None) -> dict[str, object]:
    if content is None or not content.strip():
        return {}
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Misconfigured(f"{path} is not a JSON object, so it was left alone: correct it and try again")
    return found


def _write(path: Path, content: bytes, like: Path) -> None:
    """Old or new, never half; with the mode that *like* has."""
    mode = like.stat().st_mode & 0o777 if like.exists() else 0o600
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(aside, mode)
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def _hash(content: bytes) -> str:
    return sha256(content).hexdigest()


def _states(place: Place) -> dict[str, object]:
    content = _read(place.home / STATE)
    return _parsed(place.home / STATE, content)


def _kept(place: Place) -> Mapping[str, object] | None:
    found = _states(place).get(str(place.settings))
    return found if isinstance(found, dict) else None


def _keep(place: Place, state: Mapping[str, object] | None) -> None:
    states = _states(place)
    states.pop(str(place.settings), None)
    if state is not None:
        states[str(place.settings)] = state
    write_durably(place.home / STATE, json.dumps(states, indent=2).encode())


def _configured() -> list[Path]:
    """The folders that Claude Code is configured in: it moves there where its own variable says so."""
    from local_agent import settings

    found = settings.load({})
    if not found.transcripts_named:
        return [Path.home() / ".claude"]
    return [folder.parent if folder.name == "projects" else folder for folder in found.transcripts]


def _home(given: str | None) -> Path:
    if given:
        return Path(given).expanduser().absolute()
    from local_agent import settings

    return settings.load({}).home
