"""What an answer of the relay means: a total function, so that no answer in the world leaves the agent undecided.

An answer counts only if it carries the relay's signature over its bytes. Captive portals, proxies and relays
of strangers answer 200 and 409 too; without the signature such words never move the mirror. Unsigned answers
may only make us wait, and a refusal of the key may only make us wait longer, since a relay that does not know
a key cannot sign with it.
"""
from __future__ import annotations

import errno
import socket
import ssl
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    TAKEN = "taken"
    """200, signed: the relay names what it holds."""
    LEASE = "lease"
    """409, signed: begin again under the lease it minted."""
    STATE = "state"
    """409, signed: the relay is somewhere else; adopt it if it is ours, else begin again."""
    BUG = "bug"
    """422, signed: our arithmetic and the relay's differ; begin again and count it."""
    SPLIT = "split"
    """413, signed: too large; halve, and set one record that is too large by itself aside."""
    SMALLER = "smaller"
    """413 from something on the way: send less at once, but condemn no record on its word."""
    BISECT = "bisect"
    """400, signed: something in it is wrong; halve until the culprit stands alone."""
    SKEW = "skew"
    """401 clock-skew, signed: our clock is wrong; correct by the relay's, once."""
    HALT = "halt"
    """The key is refused: keep everything, say it loudly, ask again in a quarter of an hour."""
    UPGRADE = "upgrade"
    """426, signed: this agent is too old for the relay."""
    THROTTLED = "throttled"
    """The relay wants a pause and may name its length."""
    PORTAL = "portal"
    """Somebody else answered: a captive portal, a proxy, a login page."""
    OFFLINE = "offline"
    """There is no network: a state, not a failure."""
    AGAIN = "again"
    """Anything else: wait and send the same bytes again."""


@dataclass(frozen=True, slots=True)
class Meaning:
    verdict: Verdict
    detail: str


MOVES = {Verdict.TAKEN, Verdict.LEASE, Verdict.STATE, Verdict.BUG, Verdict.SPLIT, Verdict.BISECT, Verdict.SKEW, Verdict.UPGRADE}
"""What may change the mirror, a record's fate or the clock: never decided on an unsigned answer."""

KEY_PROBLEMS = {"unknown-key": "the relay does not know this key", "key-expired": "the key has expired", "key-revoked": "the key was revoked",
                "bad-signature": "the relay does not accept this key's signature", "scope": "this key may not push",
                "source-mismatch": "this key belongs to another machine", "duplicate-source": "another agent pushes as this machine",
                "wrong-audience": "the relay has another public address than the one paired"}


def meaning_of(status: int, content_type: str, signed: bool, problem: str = "") -> Meaning:
    """What an answer of *status* means; *problem* is the stable type of its problem document, if it had one."""
    media = content_type.partition(";")[0].strip().lower()
    if signed:
        return _signed(status, problem)
    return _unsigned(status, media, problem)


def _signed(status: int, problem: str) -> Meaning:
    if status == 200:
        return Meaning(Verdict.TAKEN, "")
    if status == 409:
        return _conflict(problem)
    if status == 401 and problem == "clock-skew":
        return Meaning(Verdict.SKEW, "this computer's clock is wrong")
    if status == 400 and problem == "wrong-audience":
        return Meaning(Verdict.HALT, KEY_PROBLEMS["wrong-audience"])
    fixed = {422: Verdict.BUG, 413: Verdict.SPLIT, 400: Verdict.BISECT, 426: Verdict.UPGRADE}.get(status)
    if fixed:
        return Meaning(fixed, problem or f"status {status}")
    return _waiting(status, problem)


def _conflict(problem: str) -> Meaning:
    if problem == "lease":
        return Meaning(Verdict.LEASE, "")
    if problem == "duplicate-source":
        return Meaning(Verdict.HALT, KEY_PROBLEMS[problem])
    return Meaning(Verdict.STATE, "")


def _unsigned(status: int, media: str, problem: str) -> Meaning:
    if status == 413:
        return Meaning(Verdict.SMALLER, "something on the way refuses requests of this size")
    if status in (401, 403) and media == "application/problem+json" and problem != "clock-skew":
        return _waiting(status, problem)
    if status in (429, 503, 507):
        return _waiting(status, problem)
    if 500 <= status <= 599 and status != 511:
        return Meaning(Verdict.AGAIN, f"the relay's side failed (status {status})")
    if status in (407, 511) or 200 <= status <= 399 or media in ("text/html", "application/xhtml+xml"):
        return Meaning(Verdict.PORTAL, f"something other than the relay answered (status {status})")
    return Meaning(Verdict.AGAIN, f"an answer without the relay's signature (status {status})")


def _waiting(status: int, problem: str) -> Meaning:
    if status in (401, 403):
        return Meaning(Verdict.HALT, KEY_PROBLEMS.get(problem, f"the relay refuses the key ({problem or status})"))
    if status in (429, 503, 507):
        return Meaning(Verdict.THROTTLED, problem or f"the relay asks for a pause (status {status})")
    return Meaning(Verdict.AGAIN, problem or f"status {status}")


NO_NETWORK = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL}


def meaning_of_failure(error: BaseException) -> Meaning:
    """What it means that there was no answer at all."""
    causes = list(_causes(error))
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return Meaning(Verdict.PORTAL, "the relay's address answers with a certificate that is not the relay's")
    if any(_no_network(cause) for cause in causes):
        return Meaning(Verdict.OFFLINE, "no network")
    return Meaning(Verdict.AGAIN, f"no answer from the relay ({_short(causes[-1])})")


def _no_network(cause: BaseException) -> bool:
    if isinstance(cause, socket.gaierror):
        return True
    return (isinstance(cause, OSError) and cause.errno in NO_NETWORK) or type(cause).__name__ == "NameResolutionError"


def _causes(error: BaseException) -> list[BaseException]:
    """The error and everything it wraps; libraries hide the reason in causes and in arguments."""
    seen: list[BaseException] = []
    queue: list[object] = [error]
    while queue and len(seen) < 50:
        item = queue.pop(0)
        if isinstance(item, BaseException) and not any(item is other for other in seen):
            seen.append(item)
            queue += [item.__cause__, item.__context__, getattr(item, "reason", None), *item.args]
    return seen


def _short(cause: BaseException) -> str:
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror.lower()
    return type(cause).__name__
