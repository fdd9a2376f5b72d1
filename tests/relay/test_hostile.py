"""Whatever is asked, in whatever form: a clear refusal, never a fault of ours."""
from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.relay.house import SHARED, RelayHouse

OLD = "/.netlify/functions/session-sync"
PATHS = [
    "/", "/status", "/sessions", "/sessions/active", "/sessions/recent", "/sessions/x", "/sessions/x/cost", "/analytics/current", "/five-hour-blocks", "/limits", "/machines",
    "/dashboard-config", "/export", "/v1/feed", "/v1/ping", "/v1/push", "/v1/live-tickets", "/v1/live", "/ws", "/openapi.json", "/docs", "/healthz", "/metrics", OLD, f"{OLD}/status",
    "/api/status", "/api/v1/push", "/api/sessions/x", "/api", "/index.html", "/js/main.js", "/css", "/tools/vendor.py", "/../relay/keys.py", "/%2e%2e/relay/keys.py", "/.env",
    "/js/../../relay/keys.py", "//", "/\\..\\x", "/x" * 500, "/%00", "/sessions/%00", "/sessions/%ff%fe", "/sessions/" + "x" * 3000,
]  # fmt: skip
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "X-ODD"]
BODIES = [b"", b"{", b"null", b"[]", b"\x00\xff", b'{"a":1}', b"a=b&c=d", b"x" * 70_000]


@pytest.fixture(scope="module")
def house():
    house = RelayHouse()
    house.post(active_sessions=[{"id": "x", "session_type": "x"}])
    return house


def is_fine(answer) -> bool:
    """An answer, or a refusal that says why in JSON."""
    if answer.status_code < 400 or not answer.data:
        return answer.status_code < 500
    told = json.loads(answer.data)
    return answer.status_code < 500 and bool(told.get("error") or (told["type"] and told["status"] == answer.status_code))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_on_every_path_is_answered_or_refused(house, method):
    for path in PATHS:
        for key in (None, house.key()):
            answer = house.ask(path, key, method=method, body=b"{}" if method in ("POST", "PUT", "PATCH") else None)
            assert is_fine(answer), (method, path, answer.status_code, answer.data[:200])
            if method not in ("GET", "HEAD", "POST", "OPTIONS"):
                assert answer.status_code in (401, 404, 405, 429, 308), (method, path, answer.status_code)


@pytest.mark.parametrize("path", ["/", OLD, "/v1/push", "/v1/live-tickets", "/status", "/v1/feed"])
def test_odd_bodies_are_refused(house, path):
    for body in BODIES:
        for kind in ("application/json", "text/plain", "multipart/form-data", "application/x-www-form-urlencoded", "é/é", ""):
            for key in (None, SHARED):
                headers = {"Content_Type": kind.encode().decode("latin-1")} | ({"X_API_Key": key} if key else {})
                assert is_fine(house.ask(path, method="POST", body=body, **headers))


def test_nothing_but_the_page_is_served_from_the_page_s_folder(house):
    for path in PATHS:
        answer = house.ask(path)
        assert b"KeyRing" not in answer.data and b"vendor.lock" not in answer.data


QUERIES = st.dictionaries(
    st.sampled_from(["limit", "cursor", "q", "tz", "since", "until", "sort", "active", "format", "kind", "sessions", "project", "model", "machine", "session_type", "x"]),
    st.text(max_size=40) | st.sampled_from(["-1", "0", "99999999999999999999", "1e9", "NaN", "../../etc/passwd", "\0", "Europe/Rome", "[]", "'; DROP", "2026-13-45", "-cost", "true", "9" * 400]),
    max_size=5,
)
GETS = [path for path in PATHS if path.startswith(("/s", "/a", "/f", "/l", "/m", "/d", "/e", "/v1/feed"))]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(GETS), QUERIES)
def test_any_query_is_answered_or_refused(path, query):
    house = HOUSE
    answer = house.client.get(path, query_string=query, headers={"Authorization": f"Bearer {KEY}"})
    assert is_fine(answer), (path, query, answer.status_code, answer.data[:300])


HEADERS = st.dictionaries(
    st.sampled_from(["Authorization", "X-API-Key", "If-None-Match", "Origin", "Host", "Accept-Encoding", "Content-Encoding", "Range", "If-Modified-Since", "Cookie", "X-Forwarded-For",
                     "webhook-id", "webhook-timestamp", "webhook-signature", "relay-key", "Content-Length", "Forwarded", "Upgrade", "Accept", "Expect"]),
    st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=60) | st.sampled_from(["Bearer ", "Bearer sr_read_a_b_c", "v1,", "v1,a", "nocomma", "gzip", "bytes=0-", "bytes=9-1", "*", 'W/"x', "null"]),
    max_size=6,
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(PATHS), st.sampled_from(["GET", "POST", "OPTIONS", "HEAD"]), HEADERS, st.binary(max_size=60))
def test_any_headers_are_answered_or_refused(path, method, headers, body):
    answer = HOUSE.client.open(path, method=method, headers=headers, data=body if method == "POST" and "Content-Length" not in headers else None)
    assert is_fine(answer), (path, method, headers, answer.status_code, answer.data[:300])


HOUSE = RelayHouse()
KEY = HOUSE.key()


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60) | st.from_regex(r"[A-Za-z0-9_-]{4,80}", fullmatch=True))
def test_any_cursor_is_answered_or_refused(cursor):
    for path in ("/v1/feed", "/sessions"):
        assert is_fine(HOUSE.client.get(path, query_string={"cursor": cursor}, headers={"Authorization": f"Bearer {KEY}"}))
