"""Finds what is wrong and names the command that mends it.

Each check is a small function over what was found; the network and the machine are asked once, at the edge. A check that cannot
be made says so instead of guessing.
"""
from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ledger.errors import LedgerError
from ledger.keytext import BadKey, KeyText
from ledger.words import many
from local_agent.commands.around import Around
from local_agent.commands.around import judge as judge_around
from local_agent.commands.finding import Finding
from local_agent.commands.pairing import SKEW_S, Found, NotPaired
from local_agent.identity import FILE as IDENTITY_FILE
from local_agent.identity import Identity, open_identity
from local_agent.lock import Taken, who_runs
from local_agent.settings import KEY_FILE, Settings, read_secret

LEAST_FREE = 200 << 20
NEW_KEY = "python -m relay keys create --scope push --source NAME   (on the relay), then  python -m local_agent pair URL KEY"


@dataclass(frozen=True, slots=True)
class Looked:
    """What was found out before anything is judged. *relay* is an answer, a reason why there is none, or None if there is no relay."""

    settings: Settings
    running: Taken | None
    identity: Identity | LedgerError | None
    status: Mapping[str, Any]
    relay: Found | NotPaired | None
    key_taken: NotPaired | None
    port_holder: str
    service: tuple[bool, str]
    environ: Mapping[str, str] = field(default_factory=dict)
    now_ms: int = 0
    around: Around = field(default_factory=Around)


Check = Callable[[Looked], Iterator[Finding]]


def examine(looked: Looked) -> list[Finding]:
    return [finding for check in CHECKS for finding in check(looked)]


def home(looked: Looked) -> Iterator[Finding]:
    place = looked.settings.home
    if not place.exists():
        yield Finding("note", f"{place} is not there yet: nothing was read so far", "python -m local_agent once")
        return
    found = place.stat()
    if stat.S_IMODE(found.st_mode) & 0o077:
        yield Finding("bad", f"{place} can be looked into by others", f"chmod 700 {place}")
    if found.st_uid != os.getuid():
        yield Finding("bad", f"{place} belongs to another user", f"sudo chown -R $(id -un) {place}")
    elif not os.access(place, os.W_OK):
        yield Finding("bad", f"{place} cannot be written", f"chmod u+rwx {place}")
    if looked.status.get("disk") == "full":
        yield Finding("bad", f"the disk of {place} is full: the agent goes on in memory", "make room: it writes everything down within a minute")
    elif shutil.disk_usage(place).free < LEAST_FREE:
        yield Finding("bad", f"the disk of {place} is nearly full", "make room: the agent keeps trying and loses nothing")


def identity(looked: Looked) -> Iterator[Finding]:
    if isinstance(looked.identity, LedgerError):
        yield Finding("bad", str(looked.identity), f"restore {looked.settings.home / IDENTITY_FILE} from a backup, or remove it")
    elif looked.identity and looked.identity.copied:
        yield Finding("bad", "this home was copied from another computer: two machines would push as one, so nothing is pushed", NEW_KEY)
    elif looked.identity:
        yield Finding("ok", f"this machine is {looked.identity.source}")


def archive(looked: Looked) -> Iterator[Finding]:
    path = looked.settings.archive
    if not path.exists():
        return
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5) as sql:
            verdict = str(sql.execute("PRAGMA quick_check").fetchone()[0])
    except sqlite3.Error as error:
        verdict = str(error)
    if verdict == "ok":
        yield Finding("ok", f"the archive is sound ({path.stat().st_size / 1e6:.1f} MB)")
    else:
        yield Finding("bad", f"the archive is damaged ({verdict[:100]})", "python -m local_agent once   (sets the damaged file aside and saves what can be read)")


def key(looked: Looked) -> Iterator[Finding]:
    settings = looked.settings
    if not settings.relay:
        yield Finding("note", "not paired with a relay: everything stays on this computer", "python -m local_agent pair URL KEY")
        return
    try:
        kept = read_secret(settings.home / KEY_FILE)
        parsed = KeyText.parse(settings.key, wanted="push") if settings.key else None
    except (LedgerError, BadKey) as error:
        yield Finding("bad", str(error), NEW_KEY)
        return
    if parsed is None:
        yield Finding("bad", "there is a relay but no key for it", NEW_KEY)
        return
    if parsed.scope != "push":
        yield Finding("bad", f"the key is a {parsed.scope} key, which may not push", NEW_KEY)
    if parsed.claims.expired(looked.now_ms):
        yield Finding("bad", "the key has expired", NEW_KEY)
    elif parsed.claims.expires and parsed.claims.expires * 1000 - looked.now_ms < 7 * 86_400_000:
        yield Finding("note", "the key expires within a week", NEW_KEY)
    if "RELAY_KEY" in looked.environ and not kept:
        yield Finding("note", "the key stands in the environment, where other programs can read it", f"python -m local_agent pair {settings.relay} -")


def relay(looked: Looked) -> Iterator[Finding]:
    if looked.relay is None:
        return
    if isinstance(looked.relay, NotPaired):
        yield Finding("bad", str(looked.relay), f"curl -sS {looked.settings.relay}/v1/ping   (shows what answers there)")
        return
    found = looked.relay
    yield Finding("ok", f"{found.url} is a relay (version {found.version or 'unknown'})")
    expected = looked.settings.aud or looked.settings.relay
    if found.aud != expected:
        yield Finding("bad", f"the relay calls itself {found.aud}, but was paired as {expected}", f"python -m local_agent pair {found.aud} KEY, or set RELAY_URL on the relay")
    elif looked.key_taken:  # under another name no key is good, and a new one would not help
        yield Finding("bad", str(looked.key_taken), NEW_KEY)
    if found.skew_s is not None and abs(found.skew_s) > SKEW_S:
        yield Finding("bad", f"this computer's clock is {found.skew_s:+.0f} s off by the relay's", "timedatectl set-ntp true   (macOS: sudo sntp -sS time.apple.com)")


def pushing(looked: Looked) -> Iterator[Finding]:
    state = looked.status.get("relay") or {}
    if state.get("durable") is False:
        yield Finding("note", "the relay keeps everything in memory only; it is refilled after each of its restarts", "set RELAY_STORE=sqlite:///path on the relay")
    if state.get("stubs"):
        codes = sorted({stub["code"] for stub in state["stubs"]})
        yield Finding("note", f"{many(len(state['stubs']), 'record')} cannot be shown on the relay ({', '.join(codes)})", "python -m local_agent status --json   (names them)")
    if "duplicate-source" in state.get("notices", ()):
        yield Finding("bad", "another agent pushes with this machine's key: the two keep replacing each other's copy", NEW_KEY)
    if state.get("bugs"):
        yield Finding("note", f"agent and relay disagreed about arithmetic {many(state['bugs'], 'time')} and began anew", "please report this, with both versions")
    if state.get("state") in ("halted", "upgrade", "portal"):
        yield Finding("bad", f"pushing has stopped: {state.get('detail')}", NEW_KEY if state["state"] == "halted" else "see the line above")


def service(looked: Looked) -> Iterator[Finding]:
    active, text = looked.service
    if looked.running:
        yield Finding("ok", f"the agent runs (process {looked.running.pid}, port {looked.running.port or 'not known yet'})")
    elif active:
        yield Finding("bad", f"the service says it is {text}, but no agent holds this home", "python -m local_agent service install   (writes it anew)")
    else:
        yield Finding("bad", "the agent does not run", "python -m local_agent service install   (or: python -m local_agent run)")


def port(looked: Looked) -> Iterator[Finding]:
    ours = looked.running and looked.running.port == looked.settings.port
    if looked.port_holder in ("", "agent") or ours:
        return
    what = "an agent of another home" if looked.port_holder == "other-agent" else "another program"
    yield Finding("bad", f"port {looked.settings.port} is held by {what}", f"stop it, or choose another: --port {looked.settings.port + 1} (AGENT_PORT)")


def readers(looked: Looked) -> Iterator[Finding]:
    reports = looked.status.get("readers") or {}
    for name, report in sorted(reports.items()):
        if report.get("state") == "unreadable":
            yield Finding("bad", f"{name} cannot be read: {report.get('detail')}", "check that the file is there and yours; what was known of it stays")
    if reports and not any(report.get("state") == "ok" for report in reports.values()):
        yield Finding("note", "no tool was found to read from", "name one: --transcripts DIR, --tracker FILE, --codex DIR")
    for path in (*looked.settings.trackers, *looked.settings.transcripts):
        if not path.exists() and (looked.settings.no_defaults or (looked.settings.transcripts_named and path in looked.settings.transcripts)):
            yield Finding("bad", f"{path} was named but is not there", "correct --tracker or --transcripts")


def old_names(looked: Looked) -> Iterator[Finding]:
    """People come from the predecessor with its environment still set."""
    if "NETLIFY_FUNCTION_URL" in looked.environ and not looked.settings.relay:
        yield Finding("note", "NETLIFY_FUNCTION_URL names the old function, which agents do not push to any more", "python -m local_agent pair URL KEY")
    if {"NETLIFY_API_SECRET", "API_SECRET"} & set(looked.environ):
        yield Finding("note", "the old shared secret is set; an agent needs a key of its own instead", NEW_KEY)
    if "development-secret" in looked.environ.values():
        yield Finding("bad", "the old default secret is in use, which everybody knows", "unset NETLIFY_API_SECRET API_SECRET")


def surroundings(looked: Looked) -> Iterator[Finding]:
    yield from judge_around(looked.around, serves=looked.service[0], relay=looked.settings.relay, port=looked.settings.port)


CHECKS: tuple[Check, ...] = (home, identity, archive, key, relay, pushing, service, port, readers, old_names, surroundings)


# -- looking


def who_holds(port: int, running: Taken | None) -> str:
    """Who answers on our port: "agent" (of this home), "other-agent", "other", or nobody."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/ping", timeout=2) as answer:
            is_agent = json.load(answer).get("home") == "agent"
    except urllib.error.HTTPError:
        return "other"
    except (OSError, ValueError, AttributeError) as error:
        refused = isinstance(getattr(error, "reason", error), ConnectionRefusedError)
        return "" if refused else "other"
    if not is_agent:
        return "other"
    return "agent" if running and running.port == port else "other-agent"


def known_identity(home: Path) -> Identity | LedgerError | None:
    """The identity without making one."""
    if not (home / IDENTITY_FILE).exists():
        return None
    try:
        return open_identity(home)
    except LedgerError as error:
        return error


def look_around(
    settings: Settings, *, status: Mapping[str, Any], relay: Found | NotPaired | None, key_taken: NotPaired | None, service: tuple[bool, str],
    environ: Mapping[str, str], now_ms: int, around: Around,
) -> Looked:  # fmt: skip
    running = who_runs(settings.home)
    return Looked(
        settings, running, known_identity(settings.home), status, relay, key_taken, who_holds(settings.port, running), service, environ, now_ms, around,
    )
