"""Sends one message through apprise, in a process of its own, which reads it from standard input.

Apart from the relay, because apprise knows a hundred services, and some of them would read files, ask the network of the house
or wait for ever. This process has none of the relay's secrets, connects to public addresses only, wherever a name or a
redirect leads, and is ended when its time is over.
"""
from __future__ import annotations

import json
import logging
import re
import socket
import subprocess
import sys
import threading
from importlib.util import find_spec
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from ledger.errors import Problem
from relay.alerts.webhook import Refused, is_public, names_inside

SCHEMAS = frozenset({
    "bark", "barks", "discord", "gchat", "gotify", "gotifys", "hassio", "hassios", "mailgun", "mailto", "mailtos", "matrix",
    "matrixs", "mmost", "mmosts", "ntfy", "ntfys", "opsgenie", "pagerduty", "pbul", "pover", "prowl", "rocket", "rockets",
    "sendgrid", "signal", "signals", "slack", "spush", "tgram", "twilio", "webex", "workflow", "workflows", "wxteams", "zulip",
})  # fmt: skip
"""The services that may be named; those that run programs, read files or speak raw to any address are not among them."""
WITH_HOST = frozenset({"gotify", "gotifys", "hassio", "hassios", "matrix", "matrixs", "mmost", "mmosts", "ntfy", "ntfys", "rocket", "rockets", "signal", "signals"})
OPTIONS = frozenset({
    "api-version", "auth", "bcc", "cc", "channel", "channels", "e2ee", "email", "footer", "format", "from", "group", "id",
    "image", "key", "mode", "name", "ping", "preview", "priority", "region", "reply", "retry", "route", "routeid", "sid", "sig",
    "silent", "smtp", "sound", "status", "tags", "team", "thread", "to", "token", "topic", "tts", "ver", "verify", "version",
    "xtags",
})  # fmt: skip
"""The options that may stand behind "?": none of them names a file, and none fetches something."""
TIME_S = 25.0
AT_ONCE, TURN_S = 3, 60.0
_turns = threading.BoundedSemaphore(AT_ONCE)
"""Each process takes some 40 MB for a second or two; more than these wait their turn."""
TYPES = {"info": "info", "warn": "warning", "bad": "failure"}


def is_available() -> bool:
    """Is the library here? A function goes without it: it is larger than all the rest together."""
    return find_spec("apprise") is not None


def checked(url: str, *, private: bool) -> str:
    """*url* if it may be used. Raises Problem 400 with what may."""
    if not is_available():
        raise Problem(400, "malformed", "this relay has no apprise (on AWS it does not fit): use a webhook, whose address begins with https://")
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMAS or not rest or any(ord(sign) < 32 for sign in url):
        raise Problem(400, "malformed", f"an apprise address begins with one of {', '.join(sorted(SCHEMAS))}, then ://")
    try:
        parts = urlsplit(url)
        host, options = parts.hostname or "", dict(parse_qsl(parts.query, keep_blank_values=True))
    except ValueError:
        raise Problem(400, "malformed", "this is no address that apprise understands") from None
    if unknown := sorted(name for name in options if name.lstrip("+-:") not in OPTIONS or name[:1] in "+-:"):
        raise Problem(400, "malformed", f"the option {unknown[0][:40]} is not allowed in an alert's address")
    if options.get("verify", "yes").lower() not in ("yes", "true", "1") and not private:
        raise Problem(400, "malformed", "certificates are verified: leave out the option verify")
    named = [options["smtp"]] if "smtp" in options else []
    if not private and any(_leads_inside(name, scheme) for name in [host, *named]):
        raise Problem(400, "malformed", "this address is not on the open internet: a relay for yourself alone may allow it with RELAY_ALERTS_PRIVATE=yes")
    return url


def _leads_inside(host: str, scheme: str) -> bool:
    """Most services have their host, and a number or word of the person's stands where one would be; the rest is seen when connecting."""
    looks_like_one = "." in host or ":" in host or (scheme in WITH_HOST and (host.isdigit() or host.startswith("0x")))
    return host == "localhost" or (looks_like_one and names_inside(host))


def carry(url: str, *, title: str, text: str, level: str, private: bool, time_s: float = TIME_S) -> None:
    """Send it, by a process that lives no longer than *time_s*. Raises Refused with the reason."""
    if not _turns.acquire(timeout=TURN_S):
        raise Refused("too many messages at once")
    try:
        _carry(url, title, text, level, private, time_s)
    finally:
        _turns.release()


def _carry(url: str, title: str, text: str, level: str, private: bool, time_s: float) -> None:
    told = json.dumps({"url": url, "title": title, "text": text, "level": level, "private": private})
    try:
        # No environment: neither our secrets nor a proxy that would connect for us.
        done = subprocess.run([sys.executable, "-I", "-c", _START, *sys.path], input=told, capture_output=True, text=True, timeout=time_s, env={"PATH": "/usr/bin:/bin"}, check=False)
        said = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise Refused(f"no answer within {time_s:.0f} s") from None
    except (OSError, ValueError):
        raise Refused("apprise did not run") from None
    if not said["ok"]:
        raise Refused(said["why"])


_START = "import sys; sys.path[:] = [path for path in sys.argv[1:] if path] or sys.path; from relay.alerts.carry import main; main()"


def main() -> None:
    """The process: one message in, one line out."""
    asked = json.loads(sys.stdin.read())
    out, sys.stdout = sys.stdout, sys.stderr
    said = _notify(asked)
    out.write(json.dumps(said))
    out.flush()


def _notify(asked: dict[str, Any]) -> dict[str, Any]:
    if not asked["private"]:
        only_public()
    heard = _Heard()
    logging.getLogger("apprise").addHandler(heard)
    import apprise

    asset = apprise.AppriseAsset(app_id="Session Relay", app_desc="Alerts of your relay", async_mode=False, plugin_paths=[])
    carrier = apprise.Apprise(asset=asset)
    if not carrier.add(asked["url"]):
        return {"ok": False, "why": "apprise does not understand this address"}
    try:
        ok = carrier.notify(body=asked["text"], title=asked["title"], notify_type=TYPES[asked["level"]])
    except Exception as error:  # whatever a service's code meets; its text may hold the address
        return {"ok": False, "why": f"the service could not be used ({type(error).__name__})"}
    return {"ok": bool(ok), "why": "" if ok else hushed(heard.last or "the service did not take it", asked["url"])}


def only_public() -> None:
    """From now on this process connects to public addresses alone."""
    connect, connect_ex, sendto = socket.socket.connect, socket.socket.connect_ex, socket.socket.sendto

    def must_be_public(sock: socket.socket, address: Any) -> None:
        if sock.family not in (socket.AF_INET, socket.AF_INET6) or not is_public(str(address[0])):
            raise PermissionError("not on the open internet")

    def checked_connect(sock: socket.socket, address: Any) -> None:
        must_be_public(sock, address)
        connect(sock, address)

    def checked_connect_ex(sock: socket.socket, address: Any) -> int:
        must_be_public(sock, address)
        return connect_ex(sock, address)

    def checked_sendto(sock: socket.socket, data: Any, *words: Any) -> int:
        must_be_public(sock, words[-1])
        return sendto(sock, data, *words)

    socket.socket.connect = checked_connect  # type: ignore[method-assign, assignment]
    socket.socket.connect_ex = checked_connect_ex  # type: ignore[method-assign, assignment]
    socket.socket.sendto = checked_sendto  # type: ignore[method-assign, assignment]


class _Heard(logging.Handler):
    """The last complaint of apprise."""

    last = ""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            self.last = record.getMessage()


def hushed(text: str, url: str) -> str:
    """*text* in one line, without whatever in *url* may be a secret."""
    pieces = re.split(r"[/:@?&=]+", url.partition("://")[2])
    for piece in sorted({*pieces, *map(unquote, pieces)}, key=len, reverse=True):
        if len(piece) >= 4:
            text = text.replace(piece, "•••")
    return " ".join(text.split())[:160]
