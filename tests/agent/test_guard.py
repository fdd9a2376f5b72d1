"""Web pages of the world against the agent on localhost."""
from __future__ import annotations

import pytest

from ledger.errors import Problem
from ledger.http.request import Request
from local_agent.guard import Guard

FOREIGN, EVIL = "https://relay.example.org", "https://evil.example"


@pytest.fixture
def guard() -> Guard:
    return Guard(lambda: 3001, origins=lambda: frozenset({FOREIGN}))


def asked(method: str = "GET", path: str = "/api/sessions", host: str = "localhost:3001", **headers: str) -> Request:
    return Request(method, path, "", {"host": host, **{name.replace("_", "-"): value for name, value in headers.items()}}, "")


def verdict(guard: Guard, request: Request) -> int:
    try:
        guard.check(request)
    except Problem as problem:
        return problem.status
    return 200


@pytest.mark.parametrize("host", ["localhost:3001", "127.0.0.1:3001", "[::1]:3001", "LOCALHOST:3001"])
def test_the_agents_own_names_are_answered(guard: Guard, host: str) -> None:
    assert verdict(guard, asked(host=host)) == 200


@pytest.mark.parametrize(
    "host",
    ["", "localhost", "localhost.:3001", "localhost:3002", "localhost:03001", "localhost:3001.", "localhost:3001@evil.example", "evil.example:3001", "evil.example",
     "127.0.0.1", "127.0.0.2:3001", "127.1:3001", "2130706433:3001", "0x7f000001:3001", "0.0.0.0:3001", "[::]:3001", "[::1]", "::1:3001", "[0:0:0:0:0:0:0:1]:3001",
     "[::ffff:127.0.0.1]:3001", "localhost:3001,evil.example", "localhost:3001 evil", " localhost:3001", "localhost:3001\t", "foo.localhost:3001", "localhost.evil.example:3001",
     "localhost%00:3001", "http://localhost:3001", "http://localhost:3001/", "user@localhost:3001", "localhost:3001#", "localhost:3001/", "xn--localhost:3001", "locaihost:3001",
     "ⓛocalhost:3001", "localhost:３００１", "127.0.0.1:3001:3001", "127.0.0.1.nip.io:3001", "-localhost:3001", "*"],
)  # fmt: skip
def test_a_name_that_was_pointed_at_this_computer_is_refused(guard: Guard, host: str) -> None:
    assert verdict(guard, asked(host=host)) == 403


@pytest.mark.parametrize("origin", ["http://localhost:3001", "http://127.0.0.1:3001", "http://[::1]:3001"])
def test_the_agents_own_page_may_ask(guard: Guard, origin: str) -> None:
    assert verdict(guard, asked(origin=origin, sec_fetch_site="same-origin")) == 200
    assert verdict(guard, asked("POST", origin=origin)) == 200


@pytest.mark.parametrize(
    "origin", [EVIL, "null", "", "http://localhost", "https://localhost:3001", "http://localhost:3000", "http://localhost:3001/", "file://", "http://evil.localhost:3001",
               "https://relay.example.org.evil.example", "https://relay.example.org:8443", "http://relay.example.org", "HTTPS://RELAY.EXAMPLE.ORG"]
)  # fmt: skip
def test_other_pages_may_not(guard: Guard, origin: str) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        assert verdict(guard, asked(method, origin=origin)) == 403
    assert "access-control-allow-origin" not in guard.cors(origin)


def test_an_allowed_page_may_read_and_nothing_else(guard: Guard) -> None:
    assert verdict(guard, asked(origin=FOREIGN, sec_fetch_site="cross-site")) == 200
    assert verdict(guard, asked("OPTIONS", origin=FOREIGN)) == 200
    assert verdict(guard, asked("POST", "/api/netlify-sync", origin=FOREIGN)) == 403


def test_curl_and_old_scripts_need_nothing(guard: Guard) -> None:
    assert verdict(guard, asked()) == 200
    assert verdict(guard, asked("POST", "/api/session-update")) == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site", "Cross-Site"])
@pytest.mark.parametrize(("mode", "dest"), [("no-cors", "image"), ("no-cors", "script"), ("navigate", "iframe"), ("navigate", "document"), ("cors", "empty")])
def test_data_is_not_given_to_a_browser_that_comes_from_elsewhere(guard: Guard, site: str, mode: str, dest: str) -> None:
    assert verdict(guard, asked(sec_fetch_site=site, sec_fetch_mode=mode, sec_fetch_dest=dest)) == 403


def test_a_link_may_open_the_page(guard: Guard) -> None:
    link = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
    assert verdict(guard, asked(path="/", **link)) == 200
    assert verdict(guard, asked("POST", path="/", **link)) == 403


def test_no_page_is_ever_granted_everything(guard: Guard) -> None:
    for origin in (None, EVIL, FOREIGN, "null", "*", "http://localhost:3001"):
        assert guard.cors(origin).get("access-control-allow-origin") != "*" or origin == "*"
        assert guard.preflight(origin).get("access-control-allow-origin") in (None, origin)
    assert "access-control-allow-origin" not in guard.cors("*")
