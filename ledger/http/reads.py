"""Every question the read API answers, as pure handlers: who asks, what, and bytes back.

Flask, the shell's own routes and the function's handler all call Reads.answer, so that they cannot differ.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from ledger.errors import Problem
from ledger.http import answers, queries
from ledger.http.team import team
from ledger.times import iso, iso_or_none
from ledger.views.share import owner_of
from ledger.views.tenants import Views
from ledger.views.view import View

if TYPE_CHECKING:
    from ledger.http.docs import Page
    from ledger.http.openapi import Call

_encode = msgspec.json.Encoder().encode
READERS = frozenset({"read", "admin", "local", "share"})
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Access:
    """Who asks: the tenant, with what scope; *allow* are the only paths it may read (None: all).

    *tenant* is "tenant|share" for those who are shown a part only (scope share): *shows* names it. *expires* in milliseconds, 0 never.
    """

    tenant: str
    scope: str
    allow: frozenset[str] | None = None
    role: str = "member"
    shows: tuple[str, ...] | None = None
    expires: int = 0


@dataclass(frozen=True, slots=True)
class Home:
    """Which home of the ledger this is, and what only it knows.

    *status* (of a tenant) and *config* give members that are laid over the answers of /status and /dashboard-config.
    """

    role: str
    version: str
    url: str | None = None
    tz_default: str | None = None
    sample: bool = False
    status: Callable[[str], Mapping[str, Any]] | None = None
    config: Callable[[], Mapping[str, Any]] | None = None
    owners: Callable[[str], Mapping[str, str]] | None = None
    """Of a tenant, whose each machine is."""
    calls: Callable[[], Iterable[Call]] = tuple
    """What the description names beside the read API; asked when somebody reads the description."""


@dataclass(frozen=True, slots=True)
class Answer:
    """*stream* instead of *body* for what is too long to hold."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    stream: Iterator[bytes] | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """One question, as the handlers see it."""

    view: View
    args: Mapping[str, Any]
    home: Home
    now: int
    id: str = ""

    @property
    def tz(self) -> str:
        return self.view.zone_name(self.args.get("tz") or self.home.tz_default)


Handler = Callable[[Asked], Any]
HANDLERS: dict[str, Handler] = {
    "/status": answers.status, "/sessions/active": answers.active, "/sessions/recent": answers.recent, "/sessions": answers.sessions,
    "/sessions/{id}": answers.one_session, "/sessions/{id}/cost": answers.cost, "/analytics/current": answers.analytics, "/five-hour-blocks": answers.blocks,
    "/limits": answers.limits, "/machines": answers.machines, "/team": team, "/dashboard-config": answers.config, "/v1/feed": answers.feed,
}  # fmt: skip
PING, EXPORT, OPENAPI, DOCS = "/v1/ping", "/export", "/openapi.json", "/docs"
OPEN = frozenset({PING, OPENAPI, DOCS})
"""Paths that are answered without a key."""


class Reads:
    """The read API of one home. Safe to share between threads."""

    def __init__(self, views: Views, *, home: Home, clock: Callable[[], int]) -> None:
        self._views, self.home, self._clock = views, home, clock

    # Made when somebody asks: a start need not wait for what is hardly ever read.

    @cached_property
    def _document(self) -> bytes:
        from ledger.http.described import ALL
        from ledger.http.openapi import document

        return _encode(document(ALL, self.home.version, self.home.calls()))

    @cached_property
    def _docs(self) -> Page:
        from ledger.http.described import ALL
        from ledger.http.docs import page

        return page(ALL, self.home.version, self.home.calls())

    def is_open(self, path: str) -> bool:
        """Is this path answered without a key?"""
        return _clean(path) in OPEN

    def answer(self, access: Access | None, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
        """The answer to a GET or HEAD; *path* is decoded and without the mount's prefix. Never raises a Problem: it becomes the answer.

        *access* is None for a caller who has shown no key: only open paths answer then.
        """
        try:
            found = self._answer(access, method, _clean(path), query)
        except Problem as problem:
            return refusal(problem)
        given = {name.lower(): value for name, value in headers.items()}
        etag = found.headers.get("etag")
        if etag and matches(given.get("if-none-match", ""), etag):
            kept = {name: value for name, value in found.headers.items() if name in ("etag", "cache-control", "vary")}
            return Answer(304, kept)
        if method == "HEAD":
            length = {} if found.stream is not None else {"content-length": str(len(found.body))}
            return replace(found, body=b"", stream=None, headers={**found.headers, **length})
        return found

    def _answer(self, access: Access | None, method: str, path: str, query: Mapping[str, str]) -> Answer:
        if method not in ("GET", "HEAD"):
            raise Problem(405, "method-not-allowed", "only GET is answered here", headers={"allow": "GET, HEAD, OPTIONS"})
        if path == OPENAPI:
            return _ok(self._document, "public, max-age=300")
        if path == DOCS:
            return _ok(self._docs.body, "public, max-age=300", {"content-type": "text/html; charset=utf-8", "content-security-policy": self._docs.csp})
        if path == PING:
            return self._ping(access)
        if path == EXPORT:
            args = queries.checked(path, query)
            return self._export(self._allowed(access, path), args)
        name, id = _match(path)
        handler = HANDLERS[name]
        view = self._views.view(self._allowed(access, path).tenant)
        args = queries.checked(name, query)
        asked = Asked(view, args, self.home, self._clock(), id)
        view.must_show(name)
        with view.lock:
            value = view.present(name, handler(asked))
            if name == "/v1/feed":
                return _feed(value)
        return _ok(_encode(value))

    def _ping(self, access: Access | None) -> Answer:
        value: dict[str, Any] = {"home": self.home.role, "version": self.home.version, "server_time": iso(self._clock()), "url": self.home.url, "sample": self.home.sample}
        if access is not None:
            value |= {"tenant": owner_of(access.tenant), "role": access.role, "shows": access.shows, "expires": iso_or_none(access.expires or None),
                      "scope": "read" if access.scope == "share" else access.scope}  # fmt: skip
        return Answer(200, {"content-type": JSON, "cache-control": "no-store"}, _encode(value))

    def _allowed(self, access: Access | None, path: str) -> Access:
        if access is None:
            raise Problem(401, "unknown-key", "a read key is needed: send Authorization: Bearer sr_read_…", headers={"www-authenticate": "Bearer"})
        if access.scope not in READERS or (access.allow is not None and path not in access.allow):
            raise Problem(403, "scope", "this key may not read this: make one with --scope read")
        return access

    def _export(self, access: Access, args: Mapping[str, Any]) -> Answer:
        from ledger.export import checksum, export

        view = self._views.view(access.tenant)
        view.must_show(f"/export/{args['kind']}")
        made = export(view, args["kind"], args["format"], args.get("since"), args.get("until"), args)
        if args["checksum"]:
            return Answer(200, {"content-type": "text/plain; charset=utf-8", "cache-control": "no-store"}, checksum(made).encode())
        headers = {"content-type": made.content_type, "content-disposition": f'attachment; filename="{made.name}"', "cache-control": "private, no-cache"}
        return Answer(200, headers, stream=made.chunks)


def _clean(path: str) -> str:
    return "/" + path.strip("/")


def _match(path: str) -> tuple[str, str]:
    """The route's path and the id in it. Raises Problem for a path that is not ours."""
    if path in HANDLERS and "{" not in path:
        return path, ""
    if path.startswith("/sessions/"):
        id = path.removeprefix("/sessions/")
        if id.endswith("/cost") and id != "/cost":
            return "/sessions/{id}/cost", id.removesuffix("/cost")
        return "/sessions/{id}", id
    raise Problem(404, "not-found", "there is nothing at this path: see /docs")


def _ok(body: bytes, cache: str = "private, no-cache", more: Mapping[str, str] | None = None) -> Answer:
    return Answer(200, {"content-type": JSON, "etag": etag_of(body), "cache-control": cache, **(more or {})}, body)


def _feed(value: dict[str, Any]) -> Answer:
    """Two feeds that differ in the time alone are the same feed."""
    same = _encode({name: part for name, part in value.items() if name != "server_time"})
    answer = _ok(_encode(value))
    return replace(answer, headers={**answer.headers, "etag": etag_of(same)})


def etag_of(body: bytes) -> str:
    return f'"{sha256(body).hexdigest()[:24]}"'


def matches(given: str, etag: str) -> bool:
    """If-None-Match, by the weak comparison of RFC 9110."""
    return any(one.strip().removeprefix("W/") in (etag, "*") for one in given.split(",")) if given else False


def refusal(problem: Problem) -> Answer:
    return Answer(problem.status, {"content-type": "application/problem+json", "cache-control": "no-store", **problem.headers}, problem.document())
