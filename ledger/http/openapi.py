"""The description of what a home answers, made from the schemas that check and describe it."""
from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from marshmallow import Schema, fields, validate

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Route:
    """One path: what it is for, what may be asked, what is answered. *is_open*: it needs no key."""

    path: str
    about: str
    asked: type[Schema]
    answered: type[Schema] | None
    many: bool = False
    is_open: bool = False

    @property
    def name(self) -> str:
        return self.path.strip("/").replace("/", "_").replace("{", "").replace("}", "").replace("-", "_").replace(".", "_")


@dataclass(frozen=True, slots=True)
class Call:
    """One method of a path beside the read API. *scope* is the key that it needs, none if empty; *sent* and *answered* are JSON Schemas by media type,
    *headers* say what each means, *shapes* are named schemas that those refer to."""

    method: str
    path: str
    about: str
    scope: str = ""
    sent: Mapping[str, Json] = field(default_factory=dict)
    answered: Mapping[str, Json] = field(default_factory=dict)
    status: str = "200"
    headers: Mapping[str, str] = field(default_factory=dict)
    shapes: Mapping[str, Json] = field(default_factory=dict)


def document(routes: Iterable[Route], version: str, calls: Iterable[Call] = ()) -> Json:
    """An OpenAPI 3.1 document."""
    known: dict[str, Json] = {}
    paths: dict[str, Json] = {route.path: {"get": _operation(route, known)} for route in routes}
    for call in calls:
        known |= call.shapes
        paths.setdefault(call.path, {})[call.method.lower()] = _call(call, known)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Session Relay", "version": version, "description": "Which coding-agent sessions run, what they use and what they cost."},
        "servers": [{"url": "."}],
        "security": [{"bearer": []}, {"header": []}],
        "paths": paths,
        "components": {
            "schemas": known,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}, "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"}},
        },
    }


def _call(call: Call, known: dict[str, Json]) -> Json:
    in_path = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in re.findall(r"{(\w+)}", call.path)]
    in_head = [{"name": name, "in": "header", "required": True, "schema": {"type": "string"}, "description": about} for name, about in call.headers.items()]
    operation: Json = {
        "operationId": f"{call.method.lower()}_{re.sub(r'[^a-z0-9]+', '_', call.path.lower()).strip('_') or 'root'}", "summary": call.about, "parameters": [*in_path, *in_head],
        "responses": {call.status: {"description": "Done.", **_bodies(call.answered)}, "4XX": _problem(known), "503": _problem(known)},
    }  # fmt: skip
    if call.sent:
        operation["requestBody"] = {"required": True, **_bodies(call.sent)}
    if not call.scope or call.headers:
        operation["security"] = []
    return operation


def _bodies(schemas: Mapping[str, Json]) -> Json:
    return {"content": {kind: {"schema": schema} for kind, schema in schemas.items()}} if schemas else {}


def _problem(known: dict[str, Json]) -> Json:
    from ledger.http.schemas import ProblemAnswer

    return {"description": "What is wrong, and what to do next.", "content": {"application/problem+json": {"schema": _named(ProblemAnswer, known)}}}


def _operation(route: Route, known: dict[str, Json]) -> Json:
    parameters = [_parameter(name, field) for name, field in route.asked().fields.items()]
    if "{id}" in route.path:
        parameters.insert(0, {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}, "description": "A session's key or id."})
    operation: Json = {
        "operationId": route.name, "summary": route.about, "parameters": parameters,
        "responses": {"200": {"description": "The answer.", **_content(route, known)}, "304": {"description": "As the ETag says."}, "4XX": _problem(known)},
    }  # fmt: skip
    if route.is_open:
        operation["security"] = []
    return operation


def _content(route: Route, known: dict[str, Json]) -> Json:
    if route.answered is None:
        return {}
    schema = _named(route.answered, known)
    return {"content": {"application/json": {"schema": {"type": "array", "items": schema} if route.many else schema}}}


def _parameter(name: str, field: fields.Field[Any]) -> Json:
    found: Json = {"name": name, "in": "query", "required": field.required, "schema": shape(field, {})}
    if description := field.metadata.get("description"):
        found["description"] = description
    return found


def _named(schema: type[Schema], known: dict[str, Json]) -> Json:
    name = schema.__name__.removesuffix("Answer")
    if name not in known:
        known[name] = {}
        made = schema()
        properties = {key: shape(field, known) for key, field in made.fields.items()}
        known[name] = {"type": "object", "properties": properties, "required": [key for key, field in made.fields.items() if field.required]}
    return {"$ref": f"#/components/schemas/{name}"}


TYPES: list[tuple[type[Any], Json]] = [
    (fields.Boolean, {"type": "boolean"}),
    (fields.Integer, {"type": "integer"}),
    (fields.Float, {"type": "number"}),
    (fields.Dict, {"type": "object"}),
    (fields.String, {"type": "string"}),
]


def shape(field: fields.Field[Any], known: dict[str, Json]) -> Json:
    """JSON Schema of one field."""
    if isinstance(field, fields.Nested):
        found = dict(_named(type(field.schema), known))
    elif isinstance(field, fields.List):
        found = {"type": "array", "items": shape(field.inner, known)}
    elif type(field).__name__ == "When":
        found = {"type": "string", "format": "date-time"}
    else:
        found = dict(next((given for kind, given in TYPES if isinstance(field, kind)), {}))
    for rule in field.validators:
        if isinstance(rule, validate.OneOf):
            found["enum"] = list(rule.choices)
        elif isinstance(rule, validate.Range):
            found |= {"minimum": rule.min, "maximum": rule.max}
        elif isinstance(rule, validate.Length):
            found["maxLength"] = rule.max
    if isinstance(field.load_default, str | int | bool) and field.load_default != "":
        found["default"] = field.load_default
    if field.allow_none:
        found = {**found, "type": [found["type"], "null"]} if "type" in found else ({"anyOf": [found, {"type": "null"}]} if found else found)
    return found
