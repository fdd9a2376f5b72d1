"""What lies around the agent and can be wrong: the tool's own settings, its telemetry, the service's file, the system's limits."""
from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from local_agent.commands.finding import Finding

FEW_DAYS, FEW_WATCHES = 3, 8192


@dataclass(frozen=True, slots=True)
class Around:
    """*cleanup_days*: after how many days Claude Code deletes transcripts (None: it does not say). *gone*: the program that the service's file starts, if it is
    not there. *lingers*: whether services go on after log-out (None: unknown). *watches*: how many folders a user may watch."""

    cleanup_days: float | None = None
    settings_trouble: str = ""
    gone: str = ""
    lingers: bool | None = None
    watches: int | None = None
    telemetry: Mapping[str, str] | None = None


def look(claude_homes: tuple[Path, ...], environ: Mapping[str, str], service_file: Path, user: str, root: Path = Path("/")) -> Around:
    """Everything that can be seen without asking anybody."""
    kept, trouble = _claude_settings(claude_homes)
    days, told = kept.get("cleanupPeriodDays"), kept.get("env")
    telemetry = {name: str(value) for name, value in ({**told} if isinstance(told, dict) else {}).items()} | dict(environ)
    return Around(
        cleanup_days=float(days) if isinstance(days, (int, float)) and not isinstance(days, bool) else None, settings_trouble=trouble, gone=_gone(service_file),
        lingers=_lingers(root, user), watches=_number(root / "proc/sys/fs/inotify/max_user_watches"), telemetry=telemetry,
    )  # fmt: skip


def _claude_settings(homes: tuple[Path, ...]) -> tuple[dict[str, object], str]:
    for home in homes:
        path = home / "settings.json"
        try:
            found = json.loads(path.read_text("utf-8"))
        except OSError:
            continue
        except (ValueError, RecursionError):
            return {}, f"{path} is not JSON, so Claude Code ignores it"
        if isinstance(found, dict):
            return found, ""
    return {}, ""


def _gone(service_file: Path) -> str:
    """The program that a unit or a plist starts, if it is there no more."""
    try:
        text = service_file.read_text("utf-8")
        line = next((line for line in text.splitlines() if line.startswith("ExecStart=")), "")
        words = shlex.split(line.removeprefix("ExecStart=").replace("%%", "%").replace("$$", "$"))
    except (OSError, ValueError):
        return ""
    return words[0] if words and not Path(words[0]).exists() else ""


def _lingers(root: Path, user: str) -> bool | None:
    folder = root / "var/lib/systemd/linger"
    return (folder / user).exists() if (root / "run/systemd/system").is_dir() else None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text("ascii"))
    except (OSError, ValueError):
        return None


def judge(around: Around, *, serves: bool, relay: str | None, port: int) -> Iterator[Finding]:
    """What of it is wrong. *serves*: the agent is installed as a service."""
    if around.settings_trouble:
        yield Finding("bad", around.settings_trouble, "correct it: python -m json.tool FILE  shows where")
    if around.cleanup_days is not None and around.cleanup_days < FEW_DAYS:
        yield Finding("bad", f"Claude Code deletes its transcripts after {around.cleanup_days:g} days: what the agent did not see until then is lost",
                      'set "cleanupPeriodDays": 30 in ~/.claude/settings.json')  # fmt: skip
    if around.gone:
        yield Finding("bad", f"the service starts {around.gone}, which is not there any more", "python -m local_agent service install   (from where the program is now)")
    if serves and around.lingers is False:
        yield Finding("note", "the service ends when you log out", "loginctl enable-linger")
    if around.watches is not None and around.watches < FEW_WATCHES:
        yield Finding("note", f"the system lets a user watch only {around.watches} folders; the agent looks by the clock at the others",
                      "echo fs.inotify.max_user_watches=524288 | sudo tee /etc/sysctl.d/40-watches.conf && sudo sysctl --system")  # fmt: skip
    yield from _telemetry(around.telemetry or {}, relay, port)


def _telemetry(told: Mapping[str, str], relay: str | None, port: int) -> Iterator[Finding]:
    """Claude Code sends its telemetry here, but so that nothing arrives."""
    ours = {(urlsplit(relay).hostname, urlsplit(relay).port)} if relay else set()
    try:
        place = urlsplit(told.get("OTEL_EXPORTER_OTLP_ENDPOINT", ""))
        if (place.hostname, place.port) not in ours | {(name, port) for name in ("localhost", "127.0.0.1")}:
            return
    except ValueError:
        return
    if told.get("CLAUDE_CODE_ENABLE_TELEMETRY") not in ("1", "true"):
        yield Finding("note", "telemetry has an address but is not switched on", "export CLAUDE_CODE_ENABLE_TELEMETRY=1")
    if told.get("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc") not in ("http/protobuf", "http/json"):
        yield Finding("bad", "telemetry is sent by gRPC, which is not understood here", "export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf")
    if "otlp" not in {told.get("OTEL_METRICS_EXPORTER"), told.get("OTEL_LOGS_EXPORTER")}:
        yield Finding("bad", "telemetry is switched on, but nothing is exported", "export OTEL_LOGS_EXPORTER=otlp")
    if relay and place.hostname == urlsplit(relay).hostname and place.port == urlsplit(relay).port and "bearer" not in told.get("OTEL_EXPORTER_OTLP_HEADERS", "").lower():
        yield Finding("bad", "telemetry goes to the relay without a key", 'export OTEL_EXPORTER_OTLP_HEADERS="Authorization=Bearer sr_push_…"')
