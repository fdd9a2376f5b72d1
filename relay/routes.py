"""The relay's own endpoints, beside the read API: the push, tickets, the earlier system's post, health, metrics and the page."""
from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from ledger.errors import Busy, Full, LedgerError, Problem
from ledger.http import page
from ledger.http.gauges import CONTENT_TYPE
from ledger.http.reads import Access
from ledger.keytext import claims_of
from ledger.otlp import PATHS
from ledger.prices import PriceBook
from relay import metrics
from relay.access import ANY
from relay.limits import address_of
from relay.live import tickets
from relay.live.tickets import Ticket

if TYPE_CHECKING:
    from relay.app import Relay

OLD = "/.netlify/functions/session-sync"
MOUNTS = ("", "/api", OLD)
"""Where the read API is mounted."""
LARGEST_POST = 1 << 20
ALWAYS = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Strict-Transport-Security", "max-age=31536000"),
)
"""Headers of every answer. The last one means nothing over plain http, so it may stand everywhere."""
log = logging.getLogger("relay")


def lower_headers() -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers.items()}


def address() -> str:
    """Who counts as one caller."""
    return address_of(request.environ.get("REMOTE_ADDR"))


def from_here() -> bool:
    """Does a program on this machine ask, and for itself?"""
    headers = lower_headers()
    return request.environ.get("REMOTE_ADDR") in ("127.0.0.1", "::1") and "x-forwarded-for" not in headers and "forwarded" not in headers


def caller_of(relay: Relay, *scopes: str) -> Access:
    """Who reads; without *scopes* only those who may see everything. Raises Problem."""
    entered = relay.door.enter(lower_headers(), address(), **({"scopes": scopes} if scopes else {}))
    g.quota = entered.quota
    note = request.environ.get("relay.note")
    if note is not None:
        note.update(tenant=entered.access.tenant, key=entered.key_id[-12:] or "shared")
    g.entered = entered
    return entered.access


def add_routes(app: Flask, relay: Relay) -> None:
    """Everything but the read API."""
    _around(app, relay)
    _errors(app)
    _push_and_live(app, relay)
    _telemetry(app, relay)
    _old_posts(app, relay)
    _health(app, relay)
    _page(app)


def _around(app: Flask, relay: Relay) -> None:
    @app.before_request
    def limited() -> Response | None:
        if request.method == "OPTIONS":
            return Response(status=204, content_type="")
        if not request.path.endswith("/v1/push"):
            g.quota = relay.door.take_address(address())
        return None

    @app.after_request
    def always(answer: Response) -> Response:
        for name, value in (*ALWAYS, *g.get("quota", {}).items()):
            answer.headers.setdefault(name, value)
        for name, value in relay.origins.headers(request.headers.get("origin", ""), request.method).items():
            answer.vary.add(value) if name == "Vary" else answer.headers.set(name, value)
        if not answer.content_type:
            del answer.headers["Content-Type"]
        if "Content-Security-Policy" not in answer.headers and answer.mimetype != "text/html":
            answer.headers["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'"
        answer.headers.pop("Date", None)  # the server gives one
        return answer


def words_of(problem: Problem, method: str, path: str) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a refusal, as those who ask there understand them: the earlier system's clients look for "error"."""
    if path == OLD or path.startswith(OLD + "/") or (path == "/" and method != "GET"):
        return json.dumps({"error": str(problem)}).encode(), {"Content-Type": "application/json", **problem.headers}
    return problem.document(), {"Content-Type": "application/problem+json", "Cache-Control": "no-store", **problem.headers}


def _errors(app: Flask) -> None:
    def told(problem: Problem) -> Response:
        body, headers = words_of(problem, request.method, request.path)
        return Response(body, problem.status, headers)

    def busy(error: Busy) -> Response:
        return told(Problem(503, "store-unavailable", "the store is busy: try again", headers={"Retry-After": str(max(1, round(error.retry_after)))}))

    def full(error: Full) -> Response:
        return told(Problem(507, "quota", "the store is full: make room, then try again", headers={"Retry-After": "300"}))

    def http(error: HTTPException) -> Response:
        code = error.code or 500
        headers = {"Allow": ", ".join(sorted(error.valid_methods))} if getattr(error, "valid_methods", None) else {}  # type: ignore[attr-defined]
        words = {404: "there is nothing at this path: see /docs", 405: "this method is not allowed here", 413: "this is too large"}.get(code, error.name.lower())
        return told(Problem(code, {404: "not-found", 405: "method-not-allowed", 413: "too-large"}.get(code, "malformed"), words, headers=headers))

    def unforeseen(error: Exception) -> Response:
        log.error("%s %s failed", request.method, request.path, exc_info=error)
        return told(Problem(503 if isinstance(error, LedgerError) else 500, "store-unavailable", "this is our fault, and it is in the relay's log"))

    for kind, handler in ((Problem, told), (Busy, busy), (Full, full), (HTTPException, http), (Exception, unforeseen)):
        app.register_error_handler(kind, handler)


def _push_and_live(app: Flask, relay: Relay) -> None:
    def push() -> Response:
        status, headers, body = relay.push.answer(request.method, request.path, lower_headers(), lambda length: request.get_data(), address=address())
        if status == 200:
            relay.door.pushed(request.headers["relay-key"], address())
        return Response(body, status, headers)

    def live_ticket() -> Mapping[str, Any]:
        access = caller_of(relay, *ANY)
        origin = request.headers.get("origin", "")
        relay.origins.must_be_ours(origin, request.headers.get("host", ""))
        ticket = relay.tickets.issue(Ticket(access.tenant, g.entered.key_id), origin)
        return tickets.answer(ticket, relay.settings.live_url)

    for mount in ("", "/api"):
        app.add_url_rule(f"{mount}/v1/push", f"push{mount}", push, methods=["POST"])
        app.add_url_rule(f"{mount}/v1/live-tickets", f"tickets{mount}", live_ticket, methods=["POST"])


def _old_posts(app: Flask, relay: Relay) -> None:
    def old_post() -> Mapping[str, Any]:
        tenant = relay.door.posts(lower_headers(), address())
        request.max_content_length = LARGEST_POST
        from relay import posted

        return relay.posts.take(tenant, posted.read(request.get_data()))

    app.add_url_rule("/", "old_post", old_post, methods=["POST"])
    app.add_url_rule(OLD, "old_post_there", old_post, methods=["POST"], strict_slashes=False)


def _telemetry(app: Flask, relay: Relay) -> None:
    """OTLP from machines without an agent, with a push key as bearer. Nothing of it is loaded before it is needed."""

    def take() -> Response:
        access = caller_of(relay, "push")
        try:
            from relay.telemetry import Telemetry
        except ImportError:  # it is no part of the functions on AWS
            raise Problem(501, "not-here", "this relay takes no telemetry: run an agent, or a relay of your own") from None
        key = g.entered.key_id
        taker = Telemetry(relay.store, PriceBook.load(), relay.clock, relay.changed)
        body, type = taker.take(access.tenant, claims_of(key).source, PATHS[request.path.removeprefix("/api")], lower_headers(), request.get_data(),
                                begins=lambda: relay.ring.find(key, relay.clock(), anew=True))  # fmt: skip
        return Response(body, content_type=type)

    for path in PATHS:
        for mount in ("", "/api"):
            app.add_url_rule(f"{mount}{path}", f"telemetry{mount}{path}".replace("/", "_"), take, methods=["POST"])


def _health(app: Flask, relay: Relay) -> None:
    @app.get("/healthz")
    def healthz() -> tuple[Mapping[str, Any], int]:
        trouble = relay.health.trouble(relay)
        if not from_here():  # who asks from elsewhere learns what is wrong, but no name or address of it
            trouble = [reason.partition(": ")[0] for reason in trouble]
        return ({"status": "trouble", "trouble": trouble}, 503) if trouble else ({"status": "ok"}, 200)

    @app.get("/metrics")
    def metrics_text() -> Response:
        """Sums that name nobody, for callers on the same machine. An admin key opens them from elsewhere, and adds what its tenant uses."""
        headers = lower_headers()
        tenant = None
        if not from_here() or "authorization" in headers or "x-api-key" in headers:
            tenant = caller_of(relay, "admin").tenant
        return Response(metrics.text(relay, tenant), content_type=CONTENT_TYPE)


def _page(app: Flask) -> None:
    @app.get("/", defaults={"path": ""})
    @app.get("/<path:path>")
    def file(path: str) -> Response:
        found = page.find(path, accept=request.headers.get("accept-encoding", ""))
        if found is None:
            raise Problem(404, "not-found", "there is nothing at this path: see /docs")
        return Response(found.body, headers=found.headers).make_conditional(request)  # type: ignore[return-value]
