"""The API's description as one page of HTML: no script, no third party, its only style allowed by its hash."""
from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from typing import Any

from marshmallow import fields

from ledger.http.openapi import Call, Route, shape

STYLE = """
:root{color-scheme:light dark;font:15px/1.5 system-ui,sans-serif}body{max-width:58rem;margin:2rem auto;padding:0 1.5rem}
h1{font-size:1.6rem}h2{font-size:1.05rem;margin:2.2rem 0 .3rem;border-top:1px solid #8884;padding-top:1rem}
code,pre{font:13px/1.5 ui-monospace,monospace}pre{padding:.7rem 1rem;background:#8881;border-radius:6px;overflow:auto}
table{border-collapse:collapse;width:100%;margin:.5rem 0}td,th{text-align:left;vertical-align:top;padding:.25rem .8rem .25rem 0;border-bottom:1px solid #8883}
th{font-weight:500}details{margin:.4rem 0}summary{cursor:pointer}.k{opacity:.7}
"""


@dataclass(frozen=True, slots=True)
class Page:
    body: bytes
    csp: str


def page(routes: Iterable[Route], version: str, calls: Iterable[Call] = ()) -> Page:
    """The page and the content security policy that lets it look as it should."""
    routes = list(routes)
    index = "".join(f'<li><a href="#{route.name}"><code>{escape(route.path)}</code></a> {escape(route.about)}</li>' for route in routes)
    body = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Session Relay API</title><style>{STYLE}</style></head><body><main><h1>Session Relay API</h1>"
        f'<p class="k">Version {escape(version)}. The same as <a href="openapi.json">OpenAPI 3.1</a>. Times are UTC, ISO 8601 with Z; money is USD. '
        "Every answer has an ETag; send it back as If-None-Match and an unchanged answer is 304. Errors are application/problem+json and say what to do next.</p>"
        "<p>On a relay, reads need <code>Authorization: Bearer sr_read_…</code> (or <code>X-API-Key</code>); on the machine itself they need nothing.</p>"
        f"<ul>{index}</ul>{''.join(map(_section, routes))}{''.join(map(_call, calls))}</main></body></html>"
    )
    digest = base64.b64encode(sha256(STYLE.encode()).digest()).decode()
    csp = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    return Page(body.encode(), csp)


def _section(route: Route) -> str:
    path = route.path.lstrip("/").replace("{id}", "ID")
    keyed = "" if route.is_open else ' -H "Authorization: Bearer $KEY"'
    asked = "".join(_row(name, field, str(field.metadata.get("description", ""))) for name, field in route.asked().fields.items())
    parts = [
        f'<section><h2 id="{route.name}">GET <code>{escape(route.path)}</code></h2><p>{escape(route.about)}.{"" if not route.is_open else " Needs no key."}</p>',
        f"<pre>curl{escape(keyed)} $BASE/{escape(path)}</pre>",
        f"<table><tr><th>parameter</th><th>type</th><th></th></tr>{asked}</table>" if asked else "",
    ]
    if route.answered is not None:
        rows = "".join(_row(name, field, "") for name, field in route.answered().fields.items())
        many = "An array of objects:" if route.many else "An object:"
        parts.append(f"<details><summary>{many}</summary><table><tr><th>member</th><th>type</th><th></th></tr>{rows}</table></details>")
    return "".join(parts) + "</section>"


def _call(call: Call) -> str:
    needs = "Needs no key." if not call.scope else f"Signed with a {call.scope} key." if call.headers else f"Needs the key of scope {call.scope}."
    heads = "".join(f"<tr><td><code>{escape(name)}</code></td><td>{escape(about)}</td></tr>" for name, about in call.headers.items())
    sent = escape(json.dumps(call.shapes or next(iter(call.sent.values())), indent=1)) if call.sent else ""
    return (
        f"<section><h2>{call.method} <code>{escape(call.path)}</code></h2><p>{escape(call.about)}. {needs}</p>"
        + (f"<table><tr><th>header</th><th></th></tr>{heads}</table>" if heads else "")
        + (f"<details><summary>What is sent, as {escape(', '.join(call.sent))}</summary><pre>{sent}</pre></details>" if sent else "") + "</section>"
    )


def _row(name: str, field: fields.Field[Any], about: str) -> str:
    found = shape(field, {})
    kind = found.get("format") or found.get("type") or ("object" if found else "any")
    more = f", one of {', '.join(map(str, found['enum']))}" if "enum" in found else ""
    if found.get("minimum") is not None:
        more += f", {found['minimum']} to {found['maximum']}"
    if "default" in found:
        more += f", default {found['default']}"
    shown = " or ".join(kind) if isinstance(kind, list) else str(kind)
    return f"<tr><td><code>{escape(name)}</code></td><td>{escape(shown + more)}</td><td>{escape(about)}</td></tr>"
