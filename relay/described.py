"""What a relay takes and answers beside the read API, for its description. Loaded only when somebody reads that."""
from __future__ import annotations

import msgspec

from ledger import wire
from ledger.http.openapi import Call, Json
from ledger.views.share import PARTS

JSON = "application/json"
_TEXT: Json = {"type": "string"}
_COUNT: Json = {"type": "integer", "minimum": 0}
_YES: Json = {"type": "boolean"}
_LIST: Json = {"type": "array", "items": {"type": "object"}}


def _object(required: str = "", **members: Json) -> Json:
    return {"type": "object", "properties": members, "required": required.split()}


def _json(required: str = "", **members: Json) -> dict[str, Json]:
    return {JSON: _object(required, **members)}


(_PUSH,), _WIRE = msgspec.json.schema_components([wire.Push], ref_template="#/components/schemas/{name}")
_HEADERS = {
    "relay-key": "The id of the push key: what follows sr_push_ up to its last underscore.",
    "webhook-id": "Names this message; the answer repeats it.",
    "webhook-timestamp": "Unix seconds, at most five minutes from the relay's clock.",
    "webhook-signature": "v1, and the HMAC-SHA256 of id.timestamp.body with the key's secret (Standard Webhooks).",
}
_PUSHED = _object(
    "v re lease seq digest committed durable stubs server_time beat_s max_changes notices",
    v=_COUNT, re=_TEXT, lease=_TEXT, seq=_COUNT, digest=_TEXT, committed=_YES, durable=_YES, keep_days={"type": ["integer", "null"]}, keep_totals_days=_COUNT,
    stubs=_LIST, server_time=_COUNT, beat_s=_COUNT, max_changes=_COUNT, apart_s={"type": "number"}, notices={"type": "array", "items": _TEXT},
)  # fmt: skip
_OLD = _json("source timestamp data", source=_TEXT, timestamp=_TEXT, data={"type": "object"})
_OTLP: dict[str, Json] = {JSON: {"type": "object"}, "application/x-protobuf": {"type": "string", "format": "binary"}}
_EXPIRES: Json = {"type": "integer", "minimum": 0, "maximum": 3650, "default": 0}
_ANY = _json()

CALLS = [
    Call("POST", "/v1/push", "One signed message of an agent: changes, a sign of life, or good-bye", "push", {JSON: _PUSH}, {JSON: _PUSHED}, headers=_HEADERS, shapes=_WIRE),
    Call("POST", "/v1/live-tickets", "A ticket that opens one live channel once, within 30 s", "read", answered=_ANY),
    Call("POST", "/", "What the earlier system's client sends, with the shared key as X-API-Key", "shared", _OLD, _ANY),
    Call("POST", "/.netlify/functions/session-sync", "The same, at the earlier path", "shared", _OLD, _ANY),
    Call("POST", "/v1/logs", "OTLP logs of a machine without an agent", "push", _OTLP, _OTLP),
    Call("POST", "/v1/metrics", "OTLP metrics of a machine without an agent", "push", _OTLP, _OTLP),
    Call("GET", "/healthz", "Is the relay well; 503 says what is not", answered=_json("status", status=_TEXT, trouble={"type": "array", "items": _TEXT})),
    Call("GET", "/metrics", "Prometheus text; needs no key from the same machine", "admin", answered={"text/plain": _TEXT}),
    Call("GET", "/badge/{name}", "A badge: ID.svg, or ID.json for shields", answered={"image/svg+xml": _TEXT, **_json("schemaVersion label message", schemaVersion=_COUNT, label=_TEXT, message=_TEXT)}),
    Call("GET", "/v1/alerts", "Alerts that are open", "read", answered=_ANY),
    Call("GET", "/v1/alerts/settings", "What is told, when and where", "read", answered=_ANY),
    Call("PUT", "/v1/alerts/settings", "Change what is told, when and where: only the members that are sent", "admin", _ANY, _ANY),
    Call("POST", "/v1/alerts/trial", "Send a trial to a channel, or to this browser's subscriptions", "admin", _json(channel=_TEXT), _ANY),
    Call("GET", "/v1/alerts/key", "The public key that a browser subscribes with", "read", answered=_json("key", key=_TEXT)),
    Call("POST", "/v1/alerts/subscriptions", "Subscribe a browser to Web Push", "read", _json("endpoint keys", endpoint=_TEXT, keys={"type": "object"}), _json("id", id=_TEXT), "201"),
    Call("DELETE", "/v1/alerts/subscriptions/{id}", "Forget a browser's subscription", "read", status="204"),
    Call("GET", "/v1/admin/tenant", "The tenant's settings", "admin", answered=_ANY),
    Call("PUT", "/v1/admin/tenant", "Change the tenant's settings: only the members that are sent", "admin", _ANY, _ANY),
    Call("GET", "/v1/admin/members", "Who belongs to the tenant", "admin", answered={JSON: _LIST}),
    Call("POST", "/v1/admin/members", "Add a member; the answer holds their key, once", "admin", _json("name role", name=_TEXT, role=_TEXT, machine=_TEXT, expires_days=_EXPIRES), _json("key", key=_TEXT), "201"),
    Call("DELETE", "/v1/admin/members/{name}", "Remove a member, and revoke their keys", "admin", answered=_ANY),
    Call("GET", "/v1/admin/shares", "Share links", "admin", answered={JSON: _LIST}),
    Call("POST", "/v1/admin/shares", "A link that shows only what is named", "admin",
         _json("shows", shows={"type": "array", "items": {"enum": list(PARTS)}}, project=_TEXT, machine=_TEXT, label=_TEXT, expires_days=_EXPIRES), _json("key url", key=_TEXT, url=_TEXT), "201"),
    Call("DELETE", "/v1/admin/shares/{id}", "End a share link", "admin", status="204"),
    Call("GET", "/v1/admin/keys", "Keys, without their secrets", "admin", answered={JSON: _LIST}),
    Call("DELETE", "/v1/admin/keys/{id}", "Revoke a key", "admin", status="204"),
    Call("GET", "/v1/admin/audit", "What administrators did", "admin", answered={JSON: _LIST}),
    Call("POST", "/v1/admin/forget", "Forget a machine or a project, and say what was removed", "admin",
         _json("what name", what={"enum": ["machine", "project"]}, name=_TEXT, dry_run=_YES), _ANY),
]  # fmt: skip
