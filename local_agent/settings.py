"""What the agent was told: options, then the environment, then its settings file, then honest defaults.

The only module of the agent that looks at the environment. The key is a secret: it lives in a file of its
own (0600 in a 0700 folder), is never printed, and a file that others could read or have swapped is refused.
"""
from __future__ import annotations

import json
import os
import platform
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ledger.errors import Misconfigured, Misuse
from local_agent.identity import make_private, write_durably

PRIVACIES = ("names", "aliases", "sealed", "none")
N = TypeVar("N", int, float)
SETTINGS_FILE, KEY_FILE, SEAL_FILE = "settings.json", "key", "seal"

NAMES = {
    "home": "AGENT_HOME", "relay": "RELAY_URL", "aud": "RELAY_AUD", "key": "RELAY_KEY", "trackers": "TRACKER_DB", "tracker_tz": "TRACKER_TZ",
    "transcripts": "CLAUDE_CONFIG_DIR", "codex": "CODEX_HOME", "gemini": "GEMINI_DIR", "opencode": "OPENCODE_DIR", "no_defaults": "AGENT_NO_DEFAULTS",
    "port": "AGENT_PORT", "interval": "SYNC_INTERVAL", "privacy": "AGENT_PRIVACY", "tz": "AGENT_TZ", "sample": "AGENT_SAMPLE", "origins": "AGENT_ORIGINS",
    "name": "AGENT_NAME", "log_format": "LOG_FORMAT", "notify": "NOTIFY_SOCKET",
}
"""Every setting and its name in the environment."""


@dataclass(frozen=True, slots=True)
class Settings:
    """*relay* is None while unpaired. *interval* is the seconds between scans that nothing asked for."""

    home: Path
    relay: str | None = None
    aud: str | None = None
    key: str | None = field(default=None, repr=False)
    trackers: tuple[Path, ...] = ()
    tracker_tz: str | None = None
    transcripts: tuple[Path, ...] = ()
    transcripts_named: bool = False
    """A person named them: one that is not there is a mistake."""
    codex: Path | None = None
    gemini: Path | None = None
    opencode: Path | None = None
    no_defaults: bool = False
    port: int = 3001
    interval: float = 30.0
    privacy: str = "names"
    tz: str = "UTC"
    sample: bool = False
    origins: tuple[str, ...] = ()
    name: str = ""
    log_format: str = "text"
    notify: str | None = None
    mark: tuple[int, ...] = ()
    """What mark() said before these were read."""

    @property
    def archive(self) -> Path:
        return self.home / "archive.db"


def load(options: Mapping[str, object] | None = None, *, environ: Mapping[str, str] | None = None, user: Path | None = None) -> Settings:
    """Everything as it is in force. Raises Misuse for a value that cannot be, Misconfigured for an unsafe key file."""
    given = Given(options or {}, os.environ if environ is None else environ, {})
    user = user or Path.home()
    home = Path(given.text("home") or default_home(given.environ, user)).expanduser().absolute()
    before = mark(home)
    given = Given(given.options, given.environ, read_settings_file(home))
    defaults = not given.flag("no_defaults")
    relay = given.text("relay")
    return Settings(
        home=home,
        relay=relay_url(relay) if relay else None,
        aud=given.text("aud"),
        key=given.text("key", file=False) or read_key(home) or service_credential(given.environ),
        trackers=paths(given.texts("trackers")) or (default_trackers(user) if defaults else ()),
        tracker_tz=zone(given.text("tracker_tz"), "--tracker-tz"),
        transcripts=transcript_homes(given, user, defaults),
        transcripts_named=bool(named_transcripts(given, defaults)),
        codex=folder(given, "codex", user / ".codex", defaults),
        gemini=folder(given, "gemini", user / ".gemini", defaults),
        opencode=folder(given, "opencode", data_home(given.environ, user) / "opencode", defaults),
        no_defaults=not defaults,
        port=given.number("port", 3001, int, 0, 65535),
        interval=given.number("interval", 30.0, float, 1.0, 86400.0),
        privacy=given.choice("privacy", PRIVACIES),
        tz=zone(given.text("tz"), "--tz") or machine_zone(given.environ),
        sample=given.flag("sample"),
        origins=tuple(given.texts("origins", ",")),
        name=given.text("name") or platform.node().partition(".")[0] or "this computer",
        log_format=given.choice("log_format", ("text", "json")),
        notify=given.environ.get("NOTIFY_SOCKET"),
        mark=before,
    )


@dataclass(frozen=True, slots=True)
class Given:
    """The three places a setting can come from, nearest first."""

    options: Mapping[str, object]
    environ: Mapping[str, str]
    kept: Mapping[str, object]

    def text(self, name: str, *, file: bool = True) -> str | None:
        for value in (self.options.get(name), self.environ.get(NAMES[name]), self.kept.get(name) if file else None):
            if value not in (None, "", [], ()):
                return str(value).strip()
        return None

    def texts(self, name: str, separators: str = os.pathsep) -> list[str]:
        """A list: a repeated option, or an environment name with separators in it."""
        for value in (self.options.get(name), self.environ.get(NAMES[name]), self.kept.get(name)):
            if value in (None, "", [], ()):
                continue
            items = re.split(f"[{separators}]", value) if isinstance(value, str) else value
            return [str(item).strip() for item in items if str(item).strip()]  # type: ignore[attr-defined]
        return []

    def flag(self, name: str) -> bool:
        return (self.text(name) or "").lower() in ("1", "true", "yes", "on")

    def number(self, name: str, otherwise: N, kind: Callable[[str], N], least: N, most: N) -> N:
        text = self.text(name)
        if text is None:
            return otherwise
        try:
            value = kind(text)
        except ValueError:
            raise Misuse(f"{name} must be a number, not {text!r} (--{name} or {NAMES[name]})") from None
        if not least <= value <= most:
            raise Misuse(f"{name} must be between {least} and {most}, not {text} (--{name} or {NAMES[name]})")
        return value

    def choice(self, name: str, choices: Sequence[str]) -> str:
        text = self.text(name) or choices[0]
        if text not in choices:
            raise Misuse(f"{name.replace('_', '-')} must be one of {', '.join(choices)}, not {text!r}")
        return text


def relay_url(text: str) -> str:
    """The relay's address without a trailing slash. Plain http is for this computer only."""
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        fits = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not (parts.username or parts.query or parts.fragment)
    except ValueError:
        fits = None
    if not fits or not re.fullmatch(r"[!-~]+", text):
        raise Misuse(f"{text!r} is not a relay's address: it looks like https://relay.example.org")
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise Misuse(f"{text} is not encrypted: use https:// (plain http is only for a relay on this computer)")
    return parts._replace(path=parts.path.rstrip("/")).geturl()


def zone(name: str | None, option: str) -> str | None:
    if name is None:
        return None
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise Misuse(f"{name!r} is not a time zone: use a name such as Europe/Berlin ({option})") from None
    return name


def machine_zone(environ: Mapping[str, str], localtime: Path = Path("/etc/localtime")) -> str:
    """This computer's zone by its IANA name; UTC where it cannot be told."""
    linked = str(localtime.resolve()).partition("zoneinfo/")[2] if localtime.is_symlink() else ""
    for name in (environ.get("TZ", "").lstrip(":"), linked.removeprefix("posix/"), _first_line(localtime.with_name("timezone"))):
        try:
            if name and zone(name, ""):
                return name
        except Misuse:
            continue
    return "UTC"


def _first_line(path: Path) -> str:
    try:
        return path.read_text("ascii").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError):
        return ""


def paths(texts: Sequence[str]) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(Path(text).expanduser().absolute() for text in texts))


def folder(given: Given, name: str, usual: Path, defaults: bool) -> Path | None:
    """What was named; else the tool's usual folder, unless only named ones are wanted."""
    if not defaults:
        named = given.options.get(name) or given.kept.get(name)
        return Path(str(named)).expanduser().absolute() if named else None
    return Path(given.text(name) or usual).expanduser().absolute()


def transcript_homes(given: Given, user: Path, defaults: bool) -> tuple[Path, ...]:
    """Claude Code's own variable moves its folder, so it stands for the usual places; with --no-defaults it counts for nothing."""
    usual = (user / ".claude", Path(given.environ.get("XDG_CONFIG_HOME") or user / ".config") / "claude")
    return named_transcripts(given, defaults) or (usual if defaults else ())


def named_transcripts(given: Given, defaults: bool) -> tuple[Path, ...]:
    if defaults or given.options.get("transcripts"):
        return paths(given.texts("transcripts", f",{os.pathsep}"))
    return paths([str(item) for item in given.kept.get("transcripts") or ()])  # type: ignore[attr-defined]


def default_trackers(user: Path) -> tuple[Path, ...]:
    """Where the predecessor's tracker keeps its database; only those that are there."""
    places = [user / ".local/share/claude-session-tracker/sessions.db", user / ".claude/session_tracker.db", user / ".session-tracker/sessions.db",
              user / ".claude-session-tracker/sessions.db"]
    return tuple(place for place in places if place.is_file())


def default_home(environ: Mapping[str, str], user: Path) -> Path:
    if platform.system() == "Darwin":
        return user / "Library/Application Support/session-relay"
    return Path(environ.get("XDG_STATE_HOME") or user / ".local/state") / "session-relay"


def data_home(environ: Mapping[str, str], user: Path) -> Path:
    return Path(environ.get("XDG_DATA_HOME") or user / ".local/share")


def read_settings_file(home: Path) -> dict[str, object]:
    """The settings kept in the home; none is as good as empty. Raises Misconfigured if it is not readable JSON."""
    path = home / SETTINGS_FILE
    try:
        kept = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise Misconfigured(f"{path} cannot be read ({error.__class__.__name__}): correct it or remove it") from None
    if not isinstance(kept, dict) or "key" in kept:
        raise Misconfigured(f"{path} must be a JSON object without a key in it: keys live in {home / KEY_FILE}")
    return kept


def keep(home: Path, **changes: object) -> None:
    """Remember settings; None forgets one."""
    kept = read_settings_file(home) | changes
    text = json.dumps({name: value for name, value in kept.items() if value is not None}, indent=2)
    write_durably(home / SETTINGS_FILE, text.encode() + b"\n")


def mark(home: Path) -> tuple[int, ...]:
    """Differs after whatever is kept in the home was changed: a pairing, a setting."""
    found = []
    for name in (SETTINGS_FILE, KEY_FILE, SEAL_FILE):
        try:
            found.append((home / name).stat().st_mtime_ns)
        except OSError:
            found.append(0)
    return tuple(found)


def read_key(home: Path) -> str | None:
    """The key's text, or None if there is none. Raises Misconfigured if others could read it or have put it there."""
    return read_secret(home / KEY_FILE)


def keep_key(home: Path, text: str) -> None:
    make_private(home)
    write_durably(home / KEY_FILE, text.strip().encode() + b"\n")


def read_secret(path: Path, *, again: str = "pair again") -> str | None:
    """A secret that only this person could have put there and can read; None if there is none. *again*: how to get another."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        return None
    except OSError:
        raise Misconfigured(f"{path} cannot be opened safely (is it a link?): remove it, then {again}") from None
    found = os.fstat(descriptor)
    if stat.S_ISDIR(found.st_mode):
        os.close(descriptor)
        raise Misconfigured(f"{path} is not a file of yours: remove it, then {again}")
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
            raise Misconfigured(f"{path} is not a file of yours: remove it, then {again}")
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise Misconfigured(f"{path} can be read by others: run  chmod 600 {path}  (and think of making a new key)")
        if stat.S_IMODE(os.stat(path.parent).st_mode) & 0o022:
            raise Misconfigured(f"{path.parent} can be written by others: run  chmod 700 {path.parent}")
        return file.read(4096).decode("utf-8", "replace").strip() or None


def service_credential(environ: Mapping[str, str]) -> str | None:
    """The key as systemd hands it over (LoadCredential=relay-key), where it does."""
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return None
    try:
        return (Path(folder) / "relay-key").read_text("utf-8").strip() or None
    except OSError:
        return None


LISTS = {"trackers": os.pathsep, "transcripts": f"{os.pathsep},", "origins": ","}
FLAGS = ("no_defaults", "sample")


def of_environment(environ: Mapping[str, str] | None = None, *, no_defaults: bool = False) -> dict[str, Any]:
    """The settings that only this shell's environment says, as options say them: a service is started without it. Never the key."""
    given = Given({}, os.environ if environ is None else environ, {})
    found: dict[str, Any] = {}
    for name in NAMES:
        if name in ("home", "key", "aud", "notify") or not given.text(name):
            continue
        value = given.texts(name, LISTS[name]) if name in LISTS else given.flag(name) if name in FLAGS else given.text(name)
        if value:
            found[name] = value
    if no_defaults or found.get("no_defaults"):  # then the tools' own names for their folders name nothing
        found = {name: value for name, value in found.items() if name not in ("transcripts", "codex", "gemini", "opencode")}
    return found


def environment() -> Mapping[str, str]:
    """The environment, for the doctor, who looks for names that should not be there."""
    return dict(os.environ)


def wants_colour() -> bool:
    """Whether a terminal is to be painted (see no-color.org)."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def config_home(user: Path) -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or user / ".config")
