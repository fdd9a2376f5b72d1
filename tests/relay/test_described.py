"""A relay's description names everything that a relay answers, and what is sent and answered has the shape that it says."""
from __future__ import annotations

import json
import re

import pytest

from ledger.http.openapi import document
from relay.described import CALLS
from relay.routes import OLD
from tests.relay.house import RelayHouse


@pytest.fixture
def house() -> RelayHouse:
    return RelayHouse()


def test_every_method_of_every_path_is_described(house):
    there = {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in house.client.application.url_map.iter_rules() if not rule.rule.startswith(("/api/", f"{OLD}/")) and rule.endpoint != "file"
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }  # fmt: skip
    paths = house.get("/openapi.json")["paths"]
    described = {(method.upper(), path) for path, found in paths.items() for method in found}
    costs = {("GET", "/sessions/{id}/cost")}  # an id may hold a slash, so the app has one rule for both
    assert described - costs == there


def test_the_description_of_a_push_is_made_from_what_reads_it(house):
    described = house.get("/openapi.json")
    push = described["paths"]["/v1/push"]["post"]
    assert push["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Push"}
    shape = described["components"]["schemas"]["Push"]
    sender = house.sender()
    sender.start()
    message = sender.message(put={}, commit=True)
    assert set(shape["required"]) <= set(message) <= set(shape["properties"])
    assert {each["name"] for each in push["parameters"] if each["in"] == "header"} == {"relay-key", "webhook-id", "webhook-timestamp", "webhook-signature"}
    answered = push["responses"]["200"]["content"]["application/json"]["schema"]
    said = json.loads(sender.send(message).body)
    assert set(answered["required"]) <= set(said) <= set(answered["properties"])


def test_every_shape_and_name_of_the_description_is_there_once(house):
    described = house.get("/openapi.json")
    text = json.dumps(described)
    assert set(re.findall(r'"#/components/schemas/(\w+)"', text)) <= set(described["components"]["schemas"])
    names = [operation["operationId"] for found in described["paths"].values() for operation in found.values()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("call", [call for call in CALLS if call.method != "GET" and call.scope == "admin"], ids=lambda call: f"{call.method} {call.path}")
def test_a_call_asks_for_the_key_that_is_described(house, call):
    path = call.path.replace("{id}", "x").replace("{name}", "x")
    body = '{"channel": "x"}' if call.path.endswith("trial") else "{}"
    assert house.ask(path, house.key("read"), method=call.method, body=body, Content_Type="application/json").status_code == 403
    assert house.ask(path, house.key("admin"), method=call.method, body=body, Content_Type="application/json").status_code != 403


def test_the_page_for_people_names_the_calls_too(house):
    page = house.ask("/docs").text
    assert all(f"{call.method} <code>{call.path}</code>" in page for call in CALLS) and "webhook-signature" in page and "9007199254740991" in page


def test_a_home_without_calls_describes_its_read_api_alone():
    assert document([], "1")["paths"] == {}
