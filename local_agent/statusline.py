"""The status line: takes the official limits from what Claude Code hands to its status line, and prints one line.

It runs after every message, so it imports next to nothing, opens no database and always ends well: the
limits go into a small file that the agent picks up. A status line that was there before still has the say
over what is shown.
"""
from __future__ import annotations

import json
import os
import sys
import time

if __package__ in (None, ""):  # started as a file, which is quicker than as a module
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from local_agent.limit_reading import believed

LARGEST = 1 << 20
CHAIN_S = 5
Told = dict[str, object]
FOLDER = "statusline"
OPTIONS = ("--home", "--chain")
USAGE = "python -m local_agent statusline [install|remove] [--home DIR] [--chain COMMAND], with the tool's JSON on stdin where nothing is installed or removed"
WINDOWS = (("five_hour", "5h"), ("seven_day", "7d"))


def main(words: list[str], home: str | None = None) -> int:
    """`statusline [--home DIR] [--chain COMMAND]` is quick and always 0; `statusline install` and `remove` are not, and other words are wrong use."""
    if words and words[0] in ("install", "remove"):
        from local_agent import statusline_setup

        return statusline_setup.main(words, home)
    unknown = _unknown(words)
    if unknown in ("-h", "--help"):
        sys.stdout.write(f"{USAGE}\n")
        return 0
    if unknown is not None:
        sys.stderr.write(f"statusline: {_printable(unknown)} is not known: {USAGE}\n")
        return 2
    try:
        said = sys.stdin.buffer.read(LARGEST)
        line = run(said, _option(words, "--home") or home or _usual_home(), time.time_ns() // 1_000_000, _option(words, "--chain"))
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
    except Exception:
        return 0  # nothing that goes wrong here may show in somebody's editor
    return 0


def run(said: bytes, home: str, now: int, chain: str | None = None) -> bytes:
    """Keep the limits in *said* and answer with the line to show."""
    try:
        told = json.loads(said)
    except (ValueError, RecursionError):
        told = None
    told = told if isinstance(told, dict) else {}
    try:
        keep(told, home, now)
    except OSError:
        pass  # a full disk or a home of somebody else: there is still a line to show
    shown = chained(chain, said) if chain else b""
    return shown or (line_of(told, now) + "\n").encode("utf-8", "replace")


def keep(told: Told, home: str, now: int) -> bool:
    """Leave this session's reading for the agent. One that did not change keeps its time: old news must not look new."""
    windows = {name: list(found) for name, found in windows_of(told, now).items()}
    if not windows:
        return False
    folder = os.path.join(home, FOLDER)
    session = "".join(each for each in str(told.get("session_id"))[:64] if each.isascii() and (each.isalnum() or each == "-"))
    path = os.path.join(folder, f"{session or 'unknown'}.json")
    try:
        with open(path, "rb") as file:
            if json.loads(file.read(LARGEST)).get("windows") == windows:
                return False
    except (OSError, ValueError, AttributeError):
        pass
    os.makedirs(folder, mode=0o700, exist_ok=True)
    text = json.dumps({"windows": windows, "observed_at": now, "transcript": str(told.get("transcript_path") or "")[:4096]})
    aside = f"{path}.{os.getpid()}"
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0), 0o600)
    with open(descriptor, "wb") as file:
        file.write(text.encode())
    os.replace(aside, path)
    return True


def windows_of(told: Told, now: int) -> dict[str, tuple[float, int]]:
    """The windows that can be believed, by name: (percent, reset in milliseconds)."""
    limits = told.get("rate_limits")
    found = {}
    for name, window in limits.items() if isinstance(limits, dict) else ():
        reading = believed(window.get("used_percentage"), window.get("resets_at"), now, name) if isinstance(window, dict) else None
        if reading and name.isidentifier() and len(name) <= 40:
            found[name] = reading
    return found


def line_of(told: Told, now: int) -> str:
    """One short line: model, context, the two windows, cost."""
    windows = windows_of(told, now)
    parts = [_text(told, "model", "display_name"), _percent("context", _of(told, "context_window", "used_percentage"))]
    for name, label in WINDOWS:
        if name in windows:
            used, resets_at = windows[name]
            parts.append(f"{_percent(label, used)} \u21bb{_duration(resets_at - now)}")
    cost = _of(told, "cost", "total_cost_usd")
    if isinstance(cost, (int, float)) and 0 < cost < 1e6:
        parts.append(f"${cost:.2f}")
    return " \u00b7 ".join(filter(None, parts)) or "Session Relay"


def chained(command: str, said: bytes) -> bytes:
    """What the status line that was there before shows; nothing if it fails or takes too long."""
    import subprocess

    try:
        done = subprocess.run(command, shell=True, input=said, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=CHAIN_S, check=False)
    except (OSError, subprocess.SubprocessError):
        return b""
    return done.stdout


def _percent(label: str, value: object) -> str:
    """A percentage, yellow from three quarters and red from nine tenths on."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 200:
        return ""
    text = f"{label} {value:.0f}%"
    colour = 31 if value >= 90 else 33 if value >= 75 else 0
    return f"\x1b[{colour}m{text}\x1b[0m" if colour else text


def _duration(ms: int) -> str:
    minutes = max(0, ms) // 60_000
    hours, days = minutes // 60, minutes // 1440
    return f"{days}d{hours % 24}h" if days else f"{hours}h{minutes % 60:02}" if hours else f"{minutes}m"


def _of(told: Told, *path: str) -> object:
    found: object = told
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _text(told: Told, *path: str) -> str:
    """A name without anything that a terminal would obey."""
    found = _of(told, *path)
    return _printable(found) if isinstance(found, str) else ""


def _printable(text: str) -> str:
    return "".join(each for each in text if each.isprintable())[:40]


def _unknown(words: list[str]) -> str | None:
    """The first word that is no option of ours, nor the value of one."""
    rest = iter(words)
    for word in rest:
        if word in OPTIONS:
            if next(rest, None) is None:
                return word
        elif not word.startswith(tuple(f"{name}=" for name in OPTIONS)):
            return word
    return None


def _option(words: list[str], name: str) -> str | None:
    for n, word in enumerate(words):
        if word == name and n + 1 < len(words):
            return words[n + 1]
        if word.startswith(f"{name}="):
            return word[len(name) + 1 :]
    return None


def _usual_home() -> str:
    from local_agent import settings

    return str(settings.load({}).home)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
