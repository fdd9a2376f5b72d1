"""`doctor` and `pair` with the real network and service manager: each is asked once, the answers are judged by doctor.py and pairing.py,
and only then something is remembered."""
from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ledger.clock import now_ms
from ledger.errors import LedgerError
from local_agent import service
from local_agent import settings as settings_of
from local_agent.commands import around, doctor, pairing
from local_agent.commands import status as status_of
from local_agent.commands.finding import Finding
from local_agent.commands.terminal import Ink, plain
from local_agent.delivery import Delivery
from local_agent.identity import Identity, adopt, open_identity
from local_agent.lock import who_runs
from local_agent.parts import VERSION
from local_agent.push.transport import HttpTransport, open_session
from local_agent.settings import Settings


class Nothing:
    """A mirror for a delivery that only proves a key."""

    def __getattr__(self, name: str) -> object:
        raise AttributeError(name)


def prover(url: str, aud: str, key_text: str, transport: HttpTransport) -> Delivery:
    key = pairing.read_key(key_text)
    return Delivery(Nothing(), transport, pairing.relay_of(url, aud, key), report=lambda *, whole=True: {"version": VERSION})  # type: ignore[arg-type]


def pair(settings: Settings, url: str, key_text: str) -> str:
    """Check the relay and the key, then remember both. Raises what is wrong, and then remembers nothing."""
    url = settings_of.relay_url(url)
    key = pairing.usable_key(key_text, now_ms())
    transport = HttpTransport(open_session(url))
    found = pairing.look(transport, url, now_ms())
    pairing.prove(prover(url, found.aud, key_text, transport), now_ms())
    known = doctor.known_identity(settings.home)
    if isinstance(known, Identity) and known.copied:
        adopt(settings.home)
    elif known is None:
        open_identity(settings.home)
    settings_of.keep_key(settings.home, key_text)
    settings_of.keep(settings.home, relay=url, aud=None if found.aud == url else found.aud)
    running = who_runs(settings.home)
    then = "; the running agent takes it over" if running else "; start it with  python -m local_agent run"
    return f"paired with {url} as {key.claims.source} of {key.claims.tenant}: relay and key are good{then}"


def run(settings: Settings) -> list[Finding]:
    """Everything that can be found wrong."""
    relay = _relay(settings)
    key_taken = _key(settings, relay)
    known = doctor.known_identity(settings.home)
    try:
        said = status_of.gather(settings, known if isinstance(known, Identity) else None, now_ms())
    except LedgerError as error:
        said = {"relay": {"detail": str(error)}}
    try:
        manager = service_manager()
        active, file = manager.status(), manager.file
    except LedgerError as error:
        active, file = (False, str(error)), Path()
    environ = settings_of.environment()
    seen = around.look(settings.transcripts, environ, file, environ.get("USER", ""))
    looked = doctor.look_around(settings, status=said, relay=relay, key_taken=key_taken, service=active, environ=environ, now_ms=now_ms(), around=seen)
    return doctor.examine(looked)


def _relay(settings: Settings) -> pairing.Found | pairing.NotPaired | None:
    if not settings.relay:
        return None
    try:
        return pairing.look(HttpTransport(open_session(settings.relay)), settings.relay, now_ms())
    except pairing.NotPaired as error:
        return error


def _key(settings: Settings, relay: pairing.Found | pairing.NotPaired | None) -> pairing.NotPaired | None:
    if not isinstance(relay, pairing.Found) or not settings.key:
        return None
    try:
        transport = HttpTransport(open_session(relay.url))
        pairing.prove(prover(relay.url, settings.aud or relay.url, settings.key, transport), now_ms())
    except pairing.NotPaired as error:
        return error
    except LedgerError:
        return None  # a key that cannot be read is told by a check of its own
    return None


def in_words(findings: Sequence[Finding], ink: Ink = plain) -> str:
    signs = {"ok": ink("ok", "good") + "  ", "note": ink("note", "warn"), "bad": ink("BAD", "bad") + " "}
    lines = []
    for finding in findings:
        lines.append(f"{signs[finding.level]}  {finding.what}")
        if finding.mend and finding.level != "ok":
            lines.append(f"      do: {ink(finding.mend, 'bold')}")
    bad = sum(finding.level == "bad" for finding in findings)
    return "\n".join([*lines, "", ink(f"{bad} to mend", "bad") if bad else ink("all is well", "good")])


def service_manager() -> service.Systemd | service.Launchd:
    user = Path.home()
    return service.manager(sys.platform, user, settings_of.config_home(user), os.getuid())
