"""The read API as a Flask blueprint: a translator, nothing more. Both homes mount it, at as many prefixes as they like."""
from __future__ import annotations

import json
from collections.abc import Callable

from flask import Blueprint, Response, request
from werkzeug.routing import Rule

from ledger.errors import Problem
from ledger.http.reads import Access, Answer, Reads, refusal


class Route(Rule):
    """A rule of a Flask app (its *url_rule_class*) that is matched at once, and learns to write an address when somebody asks for one.

    Nobody does here, and the code for it, two functions compiled for every rule, would be a tenth of a function's start.
    """

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        made = super()._compile_builder
        return lambda rule, **values: made(append_unknown)(rule, **values)


def read_api(reads: Reads, caller: Callable[[], Access], *, name: str, prefix: str = "", legacy_errors: bool = False) -> Blueprint:
    """GET everything that Reads answers, below *prefix*.

    *caller* says who is asking, or raises Problem (401, 403); it is not asked for open paths. With *legacy_errors* an error is
    {"error": …}, as the predecessor's function wrote it.
    """
    blueprint = Blueprint(name, __name__, url_prefix=prefix or None)

    def answer(path: str) -> Response:
        try:
            access = _who(reads, caller, path)
        except Problem as problem:
            return response(refusal(problem), legacy_errors)
        return response(reads.answer(access, request.method, path, request.args, dict(request.headers)), legacy_errors)

    def rule(path: str) -> Callable[..., Response]:
        return lambda **values: answer(path.replace("<path:id>", values.get("id", "")))

    for path in PATHS:
        blueprint.add_url_rule(path, endpoint=path.strip("/").replace("/", "-").replace(".", "-").replace("<path:id>", "one"), view_func=rule(path), methods=["GET"], strict_slashes=False)
    return blueprint


PATHS = (
    "/status", "/sessions/active", "/sessions/recent", "/sessions", "/sessions/<path:id>", "/analytics/current", "/five-hour-blocks", "/limits",
    "/machines", "/team", "/dashboard-config", "/export", "/v1/feed", "/v1/ping", "/openapi.json", "/docs",
)  # fmt: skip


def _who(reads: Reads, caller: Callable[[], Access], path: str) -> Access | None:
    if not reads.is_open(path):
        return caller()
    try:
        return caller()
    except Problem:
        return None


def response(answer: Answer, legacy_errors: bool = False) -> Response:
    body: object = answer.stream if answer.stream is not None else answer.body
    headers = dict(answer.headers)
    if legacy_errors and answer.status >= 400:
        body = json.dumps({"error": json.loads(answer.body).get("detail") or "error"}).encode()
        headers["content-type"] = "application/json"
    return Response(body, status=answer.status, headers=headers)  # type: ignore[arg-type]
