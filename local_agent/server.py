"""localhost: the read API at /api, the live channel at /ws, the page at /, and the two POSTs that old scripts know.

Wiring only. Who may ask is decided in guard.py; what is answered comes from the same reads that the relay serves.
"""
from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from ledger.api import read_api
from ledger.errors import Problem
from ledger.http import page
from ledger.http.reads import Access, Reads
from ledger.http.request import Request
from ledger.otlp import LARGEST, PATHS
from ledger.serving.live import Live
from ledger.serving.viewers import Admission, Viewer
from ledger.shell import Shell
from ledger.times import iso
from local_agent.archive import LOCAL
from local_agent.guard import Guard

JSON = "application/json"
OURS = Access(LOCAL, "local", None)
ALWAYS = (("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer"), ("cross-origin-resource-policy", "same-origin"), ("x-frame-options", "DENY"))

REFUSALS = {404: ("not-found", "there is nothing at this path: see /api/docs"), 405: ("method-not-allowed", "this method is not allowed here"), 413: ("too-large", "this is too large")}


class Doors(Protocol):
    """What the POSTs set in motion, and what a monitor asks."""

    def read_now(self) -> None: ...

    def push_now(self) -> None: ...

    def metrics(self) -> str: ...

    def trouble(self) -> list[str]: ...

    def telemetry(self, signal: str, headers: Mapping[str, str], body: bytes) -> tuple[bytes, str]: ...


@dataclass
class Serving:
    """The parts that a server needs; *clock* gives milliseconds."""

    reads: Reads
    guard: Guard
    doors: Doors
    clock: Callable[[], int]

    def ask(self, path: str, **query: str) -> Any:
        """A read's answer as a value."""
        return json.loads(self.reads.answer(OURS, "GET", path, query, {}).body)

    def initial_data(self, viewer: Viewer) -> list[dict[str, Any]]:
        """The predecessor's greeting."""
        config = self.ask("/dashboard-config")
        return [{
            "type": "initial_data", "client_id": viewer.id, "server_time": iso(self.clock()),
            "active_sessions": self.ask("/sessions/active"), "recent_sessions": self.ask("/sessions/recent", limit="10"),
            "analytics": self.ask("/analytics/current"), "five_hour_blocks": self.ask("/five-hour-blocks", limit="5"),
            "config": {"ping_interval": config.get("websocket_config", {}).get("ping_interval"), "auto_refresh": config.get("auto_refresh")},
        }]  # fmt: skip

    def admit(self, asked: Request) -> Admission:
        self.guard.check(asked)
        return Admission(LOCAL)

    def who(self, asked: Request) -> str | None:
        """Whose cached answers a caller may have: none for somebody the app would refuse."""
        if not asked.path.startswith("/api/"):
            return None
        try:
            return self.admit(asked).tenant
        except Problem:
            return None


def create_app(serving: Serving, live: Live) -> Flask:
    app = Flask("local_agent", static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined]

    @app.before_request
    def guarded() -> Response | None:
        asked = Request(request.method, request.path, "", {name.lower(): value for name, value in request.headers.items()}, "")
        serving.guard.check(asked)
        return Response(status=204, headers=serving.guard.preflight(asked.origin)) if request.method == "OPTIONS" else None

    @app.after_request
    def cross_origin(answer: Response) -> Response:
        for name, value in serving.guard.cors(request.headers.get("origin")).items():
            answer.vary.add(value) if name == "vary" else answer.headers.setdefault(name, value)
        return answer

    @app.errorhandler(Problem)
    def told(problem: Problem) -> Response:
        return Response(problem.document(), problem.status, {**problem.headers, "cache-control": "no-store"}, content_type="application/problem+json")

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> Response:
        methods = getattr(error, "valid_methods", None)
        type, words = REFUSALS.get(error.code or 500, ("malformed", error.name.lower()))
        return told(Problem(error.code or 500, type, words, headers={"allow": ", ".join(sorted(methods))} if methods else {}))

    app.register_blueprint(read_api(serving.reads, lambda: OURS, name="api", prefix="/api"))
    _posts(app, serving, live)
    _monitoring(app, serving.doors)
    _telemetry(app, serving.doors)

    @app.get("/", defaults={"path": ""})
    @app.get("/<path:path>")
    def file(path: str) -> Response:
        found = page.find(path, accept=request.headers.get("accept-encoding", ""))
        if found is None:
            raise Problem(404, *REFUSALS[404])
        if request.if_none_match.contains_weak(found.headers["etag"].strip('"')):
            return Response(status=304, headers={"etag": found.headers["etag"], "cache-control": "no-cache"})
        return Response(found.body, headers=found.headers)

    return app


def _posts(app: Flask, serving: Serving, live: Live) -> None:
    @app.post("/api/session-update")
    def session_update() -> dict[str, str]:
        update = _body()
        live.broadcast(LOCAL, {"timestamp": iso(serving.clock()), **update, "type": "session_update"})
        serving.doors.read_now()
        return {"status": "received"}

    @app.post("/api/netlify-sync")
    def netlify_sync() -> dict[str, str]:
        _needs_json()
        serving.doors.push_now()
        return {"status": "sync_started"}


def _monitoring(app: Flask, doors: Doors) -> None:
    @app.get("/metrics")
    def metrics() -> Response:
        return Response(doors.metrics(), content_type="text/plain; version=0.0.4; charset=utf-8", headers={"cache-control": "no-store"})

    @app.get("/healthz")
    def healthz() -> tuple[dict[str, object], int]:
        trouble = doors.trouble()
        return {"ok": not trouble, "trouble": trouble}, 503 if trouble else 200


def _telemetry(app: Flask, doors: Doors) -> None:
    def take() -> Response:
        body, type = doors.telemetry(PATHS[request.path.removeprefix("/api")], {name.lower(): value for name, value in request.headers.items()}, request.get_data())
        return Response(body, content_type=type)

    app.config["MAX_CONTENT_LENGTH"] = LARGEST
    for mount in ("", "/api"):
        for path in PATHS:
            app.add_url_rule(f"{mount}{path}", f"telemetry{mount}{path}".replace("/", "_"), take, methods=["POST"])


def _needs_json() -> None:
    """A form on a web page can send text, but not JSON, without asking first."""
    if request.headers.get("origin") and request.mimetype != JSON:
        raise Problem(415, "encoding", "send content-type: application/json")


def _body() -> Mapping[str, Any]:
    _needs_json()
    try:
        body = json.loads(request.get_data() or b"null", parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Problem(400, "malformed", "the body is not JSON: send an object") from None
    if not isinstance(body, dict) or not body.get("event") or not isinstance(body.get("session"), dict):
        raise Problem(400, "malformed", "the body must be a JSON object with event, session (an object) and timestamp")
    return body


def _no_constant(name: str) -> None:
    raise ValueError(name)


def shell_of(serving: Serving, live: Live) -> Shell:
    return Shell(
        create_app(serving, live), live, serving.admit, who=serving.who, sockets=("/ws", "/api/ws"), streams=("/v1/live", "/api/v1/live"),
        always=ALWAYS, clock=serving.clock,
    )  # fmt: skip
