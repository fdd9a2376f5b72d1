"""Every status, with every content type, signed or not, and every way of getting no answer, has exactly one meaning."""
from __future__ import annotations

import errno
import http.client
import socket
import ssl

import pytest
import requests
import urllib3

from local_agent.push.classify import MOVES, Verdict, meaning_of, meaning_of_failure
from tests.long import counted

STATUSES = range(100, 600)
TYPES = ["application/json", "application/problem+json", "text/html; charset=utf-8", "text/plain", "", "\x00nonsense/;;"]
PROBLEMS = ["", "lease", "state", "clock-skew", "unknown-key", "key-revoked", "wrong-audience", "quota", "something-new"]


def test_every_answer_has_a_meaning() -> None:
    answers = [(status, media, signed, problem) for status in STATUSES for media in TYPES for signed in (True, False) for problem in PROBLEMS]
    with counted("answers", len(answers)):
        assert all(isinstance(meaning_of(*answer).verdict, Verdict) for answer in answers)


def test_an_answer_without_the_relays_signature_moves_nothing() -> None:
    moved = {meaning_of(s, m, False, p).verdict for s in STATUSES for m in TYPES for p in PROBLEMS} & MOVES
    assert moved == set()


def test_the_content_type_of_a_signed_answer_is_no_matter() -> None:
    for status in STATUSES:
        assert len({meaning_of(status, media, True, "").verdict for media in TYPES}) == 1


@pytest.mark.parametrize(
    ("status", "problem", "verdict"),
    [
        (200, "", Verdict.TAKEN), (409, "lease", Verdict.LEASE), (409, "state", Verdict.STATE), (409, "duplicate-source", Verdict.HALT),
        (422, "digest-mismatch", Verdict.BUG), (413, "too-large", Verdict.SPLIT), (400, "malformed", Verdict.BISECT), (400, "wrong-audience", Verdict.HALT),
        (401, "clock-skew", Verdict.SKEW), (401, "key-revoked", Verdict.HALT), (403, "scope", Verdict.HALT), (426, "upgrade-required", Verdict.UPGRADE),
        (429, "rate-limited", Verdict.THROTTLED), (503, "store-unavailable", Verdict.THROTTLED), (507, "quota", Verdict.THROTTLED),
        (302, "", Verdict.AGAIN), (500, "", Verdict.AGAIN), (204, "", Verdict.AGAIN), (404, "", Verdict.AGAIN),
    ],
)  # fmt: skip
def test_what_the_relay_itself_says_is_obeyed(status: int, problem: str, verdict: Verdict) -> None:
    assert meaning_of(status, "application/problem+json", True, problem).verdict is verdict


@pytest.mark.parametrize(
    ("status", "media", "problem", "verdict"),
    [
        (200, "text/html", "", Verdict.PORTAL), (200, "application/json", "", Verdict.PORTAL), (302, "text/html", "", Verdict.PORTAL), (511, "text/html", "", Verdict.PORTAL),
        (407, "text/html", "", Verdict.PORTAL), (407, "text/plain", "", Verdict.PORTAL), (511, "", "", Verdict.PORTAL), (401, "text/html", "", Verdict.PORTAL), (401, "application/problem+json", "unknown-key", Verdict.HALT),
        (401, "application/problem+json", "clock-skew", Verdict.AGAIN), (403, "application/problem+json", "scope", Verdict.HALT), (413, "text/html", "", Verdict.SMALLER),
        (409, "application/problem+json", "lease", Verdict.AGAIN), (429, "text/plain", "", Verdict.THROTTLED), (503, "text/html", "", Verdict.THROTTLED),
        (502, "text/html", "", Verdict.AGAIN), (504, "", "", Verdict.AGAIN), (400, "application/problem+json", "malformed", Verdict.AGAIN),
    ],
)  # fmt: skip
def test_what_anybody_could_have_said_only_makes_us_wait(status: int, media: str, problem: str, verdict: Verdict) -> None:
    assert meaning_of(status, media, False, problem).verdict is verdict


def wrapped(inner: BaseException) -> requests.ConnectionError:
    """As requests hides a reason: inside a retry error, inside its own."""
    pool = urllib3.connectionpool.HTTPSConnectionPool("relay.example.org")
    return requests.ConnectionError(urllib3.exceptions.MaxRetryError(pool, "/v1/push", inner if isinstance(inner, Exception) else None))


FAILURES = [
    (wrapped(OSError(errno.ENETUNREACH, "Network is unreachable")), Verdict.OFFLINE),
    (wrapped(socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")), Verdict.OFFLINE),
    (wrapped(urllib3.exceptions.NameResolutionError("relay", urllib3.connection.HTTPConnection("relay"), socket.gaierror(-2, "unknown"))), Verdict.OFFLINE),
    (OSError(errno.ENETDOWN, "down"), Verdict.OFFLINE),
    (OSError(errno.EHOSTUNREACH, "no route"), Verdict.OFFLINE),
    (socket.gaierror(-3, "later"), Verdict.OFFLINE),
    (requests.exceptions.SSLError(urllib3.exceptions.SSLError(ssl.SSLCertVerificationError("hostname mismatch"))), Verdict.PORTAL),
    (ssl.SSLCertVerificationError("self-signed"), Verdict.PORTAL),
    (requests.exceptions.SSLError(ssl.SSLError("wrong version number")), Verdict.AGAIN),
    (wrapped(ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")), Verdict.AGAIN),
    (ConnectionResetError(errno.ECONNRESET, "reset"), Verdict.AGAIN),
    (BrokenPipeError(errno.EPIPE, "pipe"), Verdict.AGAIN),
    (requests.exceptions.ConnectTimeout("slow"), Verdict.AGAIN),
    (requests.exceptions.ReadTimeout("slow"), Verdict.AGAIN),
    (requests.exceptions.ChunkedEncodingError("cut"), Verdict.AGAIN),
    (requests.exceptions.ContentDecodingError("long"), Verdict.AGAIN),
    (requests.exceptions.ProxyError("no"), Verdict.AGAIN),
    (requests.exceptions.InvalidURL("?"), Verdict.AGAIN),
    (urllib3.exceptions.ProtocolError("cut", ConnectionResetError()), Verdict.AGAIN),
    (urllib3.exceptions.IncompleteRead(3, 5), Verdict.AGAIN),
    (http.client.BadStatusLine("x"), Verdict.AGAIN),
    (TimeoutError("slow"), Verdict.AGAIN),
    (ValueError("nonsense"), Verdict.AGAIN),
    (MemoryError(), Verdict.AGAIN),
    (RuntimeError(), Verdict.AGAIN),
]


@pytest.mark.parametrize(("error", "verdict"), FAILURES, ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value))
def test_every_way_of_getting_no_answer_has_a_meaning(error: BaseException, verdict: Verdict) -> None:
    meaning = meaning_of_failure(error)
    assert meaning.verdict is verdict
    assert meaning.detail


def test_an_error_that_is_its_own_cause_is_understood_too() -> None:
    error = ValueError("round")
    error.args = (error,)
    assert meaning_of_failure(error).verdict is Verdict.AGAIN
