"""Tenants with settings of their own, members with roles, the administrator's endpoints, and the badge."""
from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import Any

import pytest

from ledger.keytext import BadKey, Claims, KeyText, claims_of, id_of
from ledger.store import Shelf
from ledger.stores.memory import MemoryStore
from relay import cli
from relay.people.badge import short, svg
from relay.people.tenants import Tenants
from relay.people.terms import terms_of
from relay.protocol import Terms
from tests.ledger.ledgerkit import HOUR, MINUTE, NOW, Laptop, StoppedClock, a_session, use
from tests.ledger.stores import STORES
from tests.relay.house import RelayHouse


@pytest.fixture
def house():
    return RelayHouse()


def admin(house: RelayHouse, path: str, *, method: str = "GET", key: str | None = None, **body: Any) -> Any:
    sent = json.dumps(body) if method in ("POST", "PUT") else None
    return house.ask(f"/v1/admin/{path}", key or house.key("admin"), method=method, body=sent, Content_Type="application/json")


# -- keys that carry a role


@pytest.mark.parametrize(("scope", "source", "role", "holder"), [
    ("read", "", "member", ""), ("admin", "", "admin", ""), ("push", "laptop", "machine", "laptop"), ("read", "~viewer/vera", "viewer", "vera"),
    ("read", "~share", "share", ""), ("admin", "~admin/ann", "admin", "ann"),
])  # fmt: skip
def test_a_key_says_whose_it_is(scope: str, source: str, role: str, holder: str) -> None:
    claims = claims_of(id_of(Claims(scope, "acme", source, 1, 0)))
    assert (claims.role, claims.holder, claims.source) == (role, holder, source)


@pytest.mark.parametrize(("scope", "source"), [
    ("read", "laptop"), ("push", "~viewer/vera"), ("push", ""), ("read", "~admin/ann"), ("admin", "~viewer/vera"), ("read", "~owner/ann"), ("read", "~viewer/"), ("read", "~viewer/a|b"),
])  # fmt: skip
def test_a_key_that_says_two_things_at_once_is_none(scope: str, source: str) -> None:
    with pytest.raises(BadKey):
        id_of(Claims(scope, "acme", source, 1, 0))


# -- settings


@pytest.mark.parametrize("name", STORES)
def test_settings_are_kept_on_every_store_and_heard_of_within_a_minute(name: str, tmp_path: Any) -> None:
    with STORES[name](tmp_path) as store:
        clock = StoppedClock()
        mine, theirs = Tenants(store, clock), Tenants(store, clock)
        mine.create("acme", keep_days=90, zone="Europe/Berlin")
        assert theirs.get("acme").zone == "Europe/Berlin"
        mine.change("acme", keep_days=None, max_machines=3)
        assert theirs.get("acme").keep_days == 90
        clock.goes(46_000)
        assert (theirs.get("acme").keep_days, theirs.get("acme").max_machines, theirs.get("acme").zone) == (None, 3, "Europe/Berlin")
        assert [tenant.name for tenant in theirs.all()] == ["acme"]


def test_a_push_asks_the_store_for_settings_once_in_45_seconds() -> None:
    class Counting(MemoryStore):
        asked = 0

        def take(self, drawer: str, name: str, *, now: int) -> Any:
            Counting.asked += drawer in ("tenants", "forgotten")
            return super().take(drawer, name, now=now)

    house = RelayHouse(Counting())
    sender = house.sender()
    sender.start()
    for number in range(30):
        assert sender.push({f"s{number}": json.dumps(a_session(f"s{number}")[2])}, commit=True).status == 200
    assert Counting.asked <= 4


def test_terms_of_a_tenant_lie_over_those_of_the_relay() -> None:
    tenants = Tenants(MemoryStore(), StoppedClock())
    usual = Terms(keep_days=400)
    of = terms_of(tenants, usual)
    assert of("alice", False) is usual
    tenants.create("acme", keep_days=0, keep_totals_days=30, max_records=5)
    assert (of("acme", False).keep_days, of("acme", False).keep_totals_days, of("acme", False).max_records) == (None, 30, 5)


def test_an_agent_is_told_the_horizons_of_its_tenant(house: RelayHouse) -> None:
    house.relay.office.change("t", "alice", {"keep_days": 30, "keep_totals_days": 90})
    sender = house.sender()
    sender.start()
    told = sender.push({}, commit=True).document
    assert (told["keep_days"], told["keep_totals_days"]) == (30, 90)


def test_quotas_hold_for_machines_and_for_records(house: RelayHouse) -> None:
    house.relay.office.change("t", "alice", {"max_machines": 1, "max_records": 2})
    first = house.sender()
    first.start()
    assert first.push({"a": "{}", "b": "{}"}, commit=True).status == 200
    assert first.push({"c": "{}"}).kind == "507 quota"
    second = house.sender(source="another")
    assert second.start().kind == "507 quota" and len(house.store.heads("alice")) == 1
    assert house.sender(tenant="bob").start().kind == "409 lease"


def test_the_zone_of_a_tenant_is_for_those_who_name_none(house: RelayHouse) -> None:
    Laptop(house.store, clock=house.clock).pushes(a_session("a"))
    house.relay.office.change("t", "alice", {"zone": "Asia/Tokyo"})
    assert house.get("/v1/feed")["summary"]["tz"] == "Asia/Tokyo"
    assert house.get("/v1/feed?tz=America/New_York")["summary"]["tz"] == "America/New_York"


def test_a_damaged_document_stops_no_push() -> None:
    store: Shelf = MemoryStore()
    store.put("tenants", "alice", {"keep_days": "x", "zone": 5, "forgotten": 7, "badge_shows": None, "max_records": -1}, now=NOW)
    house = RelayHouse(store)
    assert house.relay.tenants.get("alice").keep_days is None and house.sender().start().kind == "409 lease"


# -- the administrator's endpoints


def test_only_an_admin_key_opens_them_and_only_for_its_own_tenant(house: RelayHouse) -> None:
    for key in (house.key(), house.relay.office.add_member("t", "alice", "vera", "viewer")[1], house.relay.office.add_member("t", "alice", "ann", "member")[1]):
        assert {admin(house, path, key=key).status_code for path in ("tenant", "members", "shares", "keys", "audit")} == {403}
    house.relay.office.share("t", "bob", ["totals"], label="of bob")
    assert json.loads(admin(house, "shares").data) == [] and len(json.loads(admin(house, "shares", key=house.key("admin", "bob")).data)) == 1
    assert house.ask("/v1/admin/tenant").status_code == 401
    assert admin(house, "tenant").headers["cache-control"] == "no-store"


def test_settings_members_and_links_are_changed_and_every_act_is_noted(house: RelayHouse, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "audit")
    Laptop(house.store, clock=house.clock).pushes(a_session("a"), ("machine", "mbp-16", {"name": "Ann's book"}))
    assert json.loads(admin(house, "tenant", method="PUT", keep_days=10, badge=["tokens"]).data)["badge_url"].startswith("https://relay.example.org/badge/")
    made = admin(house, "members", method="POST", name="vera", role="viewer", expires_days=3)
    key = json.loads(made.data)["key"]
    assert made.status_code == 201 and house.get("/v1/ping", key)["role"] == "viewer"
    link = json.loads(admin(house, "shares", method="POST", shows=["sessions"], machine="Ann's book", expires_days=1).data)
    assert link["url"].startswith("https://relay.example.org/#key=sr_read_") and house.get("/sessions", link["key"])["total"] == 1
    [share] = json.loads(admin(house, "shares").data)
    assert admin(house, f"shares/{share['id']}", method="DELETE").status_code == 204 and house.ask("/sessions", link["key"]).status_code in (200, 401)
    house.clock.goes(11_000)
    assert house.ask("/sessions", link["key"]).status_code == 401
    assert admin(house, "members/vera", method="DELETE").status_code == 200
    house.clock.goes(11_000)
    assert house.ask("/v1/feed", key).status_code == 401
    assert json.loads(admin(house, "forget", method="POST", what="project", name="relay").data)["records"] == 1
    trail = [note["what"] for note in json.loads(admin(house, "audit").data)]
    assert sorted(trail) == sorted(["settings changed", "member's key made", "share made", "share revoked", "member removed", "project forgotten"])
    lines = [record for record in caplog.records if record.name == "audit"]
    assert set(trail) <= {record.getMessage() for record in lines if getattr(record, "tenant", "") == "alice" and getattr(record, "key", "")}, "each is a line in the audit log, too"
    assert not [part for part in (key, link["key"]) if part in caplog.text]


def test_the_newest_act_is_noted_first(house: RelayHouse) -> None:
    for days in (10, 20, 30):
        admin(house, "tenant", method="PUT", keep_days=days)
        house.clock.goes(1000)
    assert [note["settings"]["keep_days"] for note in json.loads(admin(house, "audit").data)] == [30, 20, 10]


def test_a_member_who_is_removed_loses_keys_too_that_nobody_remembers(house: RelayHouse) -> None:
    office, tenants = house.relay.office, house.relay.tenants
    _, read = office.add_member("test", "alice", "ann", "member")
    _, push = office.add_member("test", "alice", "ann", "member", machine="ann-laptop")
    [ann] = office.members("alice")
    tenants.keep_member("alice", replace(ann, keys=()))
    office.remove_member("test", "alice", "ann")
    house.clock.goes(60_000)
    assert [house.ask("/v1/feed", key).status_code for key in (read, push)] == [401, 401]


@pytest.mark.parametrize(("method", "path", "body", "status", "told"), [
    ("PUT", "tenant", {"keep_days": -1}, 400, "keep_days is a number"), ("PUT", "tenant", {"keep_days": True}, 400, "keep_days is a number"),
    ("PUT", "tenant", {"colour": "red"}, 400, "no setting 'colour'"), ("PUT", "tenant", {"zone": "Mars/Base"}, 400, "time zone"),
    ("PUT", "tenant", {"badge": ["titles"]}, 400, "cannot show 'titles'"), ("PUT", "tenant", {"badge": "tokens"}, 400, "a badge shows"),
    ("POST", "members", {"name": "a b", "role": "viewer"}, 400, "member's name"), ("POST", "members", {"name": "ann", "role": "owner"}, 400, "role is"),
    ("POST", "members", {"name": "ann", "role": "viewer", "machine": "x"}, 400, "viewer has no machine"), ("POST", "members", {"nom": "ann"}, 400, "nothing here is called 'nom'"),
    ("DELETE", "members/nobody", {}, 404, "no member 'nobody'"), ("DELETE", "shares/nothing", {}, 404, "no such share"), ("DELETE", "keys/nothing", {}, 404, "no key of that id"),
    ("POST", "shares", {"shows": "totals"}, 400, "in a list"), ("POST", "shares", {"shows": ["totals"], "expires_days": 1.5}, 400, "whole number"),
    ("POST", "shares", {"shows": ["totals"], "projekt": "x"}, 400, "'projekt'"), ("POST", "forget", {"what": "tenant", "name": "alice"}, 400, "machine or project"),
    ("POST", "forget", {"what": "machine", "name": "nobody"}, 404, "no machine 'nobody'"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused_in_one_line(house: RelayHouse, method: str, path: str, body: dict[str, Any], status: int, told: str) -> None:
    answer = admin(house, path, method=method, **body)
    assert answer.status_code == status and told in json.loads(answer.data)["detail"], answer.data
    assert house.ask(f"/v1/admin/{path}", house.key("admin"), method="POST", body="[", Content_Type="application/json").status_code in (400, 405)


def test_a_link_of_another_tenant_cannot_be_ended_nor_its_key(house: RelayHouse) -> None:
    key = house.relay.office.share("t", "bob", ["totals"])
    [share] = house.relay.office.shares("bob")
    assert admin(house, f"shares/{share.id}", method="DELETE").status_code == 404
    assert admin(house, f"keys/{KeyText.parse(key).id}", method="DELETE").status_code == 404
    assert house.ask("/v1/feed", key).status_code == 200


def test_a_member_may_have_several_keys_and_one_role(house: RelayHouse) -> None:
    office = house.relay.office
    office.add_member("t", "alice", "ann", "member")
    office.add_member("t", "alice", "ann", "member", machine="ann-laptop")
    [ann] = office.members("alice")
    assert len(ann.keys) == 2 and ann.machines == ("ann-laptop",)
    with pytest.raises(Exception, match="ann is member already"):
        office.add_member("t", "alice", "ann", "admin")


# -- the badge


def furnished(house: RelayHouse, *shows: str) -> str:
    Laptop(house.store, clock=house.clock).pushes(
        a_session("a", use(NOW - MINUTE, input=1_200_000), project="secret", title="secret", is_active=True),
        ("limit", "claude_code//seven_day", {"tool": "claude_code", "window": "seven_day", "used_percent": 61.5, "resets_at": NOW + HOUR, "observed_at": NOW}),
    )
    return str(house.relay.office.change("t", "alice", {"badge": list(shows)}).badge)


def test_a_badge_is_off_until_it_is_opened_and_shows_only_what_was_chosen(house: RelayHouse) -> None:
    assert house.ask("/badge/anything.svg").status_code == 404
    id = furnished(house, "tokens")
    shown = json.loads(house.ask(f"/badge/{id}.json").data)
    assert (shown["schemaVersion"], shown["label"], shown["message"]) == (1, "coding agents today", "1.2M tokens")
    picture = house.ask(f"/badge/{id}.svg")
    assert picture.content_type.startswith("image/svg+xml") and b"1.2M tokens" in picture.data and b"secret" not in picture.data and b"$" not in picture.data
    house.relay.office.change("t", "alice", {"badge": ["tokens", "cost", "week", "active"]})
    assert json.loads(house.ask(f"/badge/{id}.json").data)["message"].startswith("1.2M tokens · $") and "week 62% · 1 active" in house.ask(f"/badge/{id}.json").get_data(as_text=True)
    house.relay.office.change("t", "alice", {"badge": []})
    assert house.ask(f"/badge/{id}.svg").status_code == 404 and house.relay.office.change("t", "alice", {"badge": ["tokens"]}).badge != id


def test_a_badge_is_cached_by_its_mark_and_guessing_ids_is_limited(house: RelayHouse) -> None:
    id = furnished(house, "tokens")
    answer = house.ask(f"/badge/{id}.svg")
    assert answer.headers["cache-control"] == "public, max-age=60" and answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert house.ask(f"/badge/{id}.svg", If_None_Match=answer.headers["etag"]).status_code == 304
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for path in ("/badge/.svg", "/badge/x.png", f"/badge/{id}.html", "/badge/%7C.svg", f"/badge/{'x' * 500}.json"):
        assert house.ask(path).status_code == 404, path
    assert {house.ask(f"/badge/guess{number}.svg").status_code for number in range(80)} == {404, 429}


@pytest.mark.parametrize(("count", "said"), [(0, "0"), (999, "999"), (1000, "1k"), (999_949, "999.9k"), (999_960, "1M"), (1_234_567, "1.2M"), (3.5e9, "3.5B")])
def test_numbers_are_short(count: float, said: str) -> None:
    assert short(count) == said


def test_a_picture_is_well_formed_whatever_it_says() -> None:
    from xml.etree import ElementTree

    assert ElementTree.fromstring(svg('<script>"&')).tag.endswith("svg")


# -- the commands


def run(capsys: Any, *words: str) -> tuple[int, str, str]:
    code = cli.main(words)
    out = capsys.readouterr()
    return code, out.out.strip(), out.err.strip()


@pytest.fixture
def at(tmp_path: Any, monkeypatch: Any) -> list[str]:
    monkeypatch.setenv("RELAY_SECRET", "a secret of the tests alone")
    monkeypatch.setenv("RELAY_URL", "https://relay.example.org")
    return ["--store", f"sqlite:///{tmp_path / 'relay.db'}"]


def test_an_administrators_day_by_command(capsys: Any, at: list[str]) -> None:
    code, key, _ = run(capsys, "tenants", "create", "acme", "--keep", "90d", "--keep-totals", "none", *at)
    assert code == 0 and KeyText.parse(key).claims.role == "admin"
    code, viewer, _ = run(capsys, "members", "add", "vera", "--role", "viewer", "--tenant", "acme", "--expires", "9d", *at)
    assert code == 0 and KeyText.parse(viewer).claims.role == "viewer"
    code, url, _ = run(capsys, "share", "create", "--shows", "totals,blocks", "--expires", "7d", "--label", "For the board", "--tenant", "acme", *at)
    assert code == 0 and url.startswith("https://relay.example.org/#key=sr_read_") and KeyText.parse(url.partition("=")[2]).claims.role == "share"
    [share] = json.loads(run(capsys, "share", "list", "--tenant", "acme", "--json", *at)[1])
    assert (share["shows"], share["label"], share["state"]) == (["totals", "blocks"], "For the board", "in force")
    assert "vera" in run(capsys, "members", "list", "--tenant", "acme", *at)[1]
    shown = json.loads(run(capsys, "tenants", "set", "acme", "--badge", "tokens", "--max-machines", "default", "--json", *at)[1])
    assert (shown["keep_days"], shown["keep_totals_days"], shown["badge_shows"], shown["shares"]) == (90, 0, ["tokens"], 1)
    assert run(capsys, "share", "revoke", share["id"], "--tenant", "acme", *at)[0] == 0
    assert run(capsys, "members", "remove", "vera", "--tenant", "acme", *at)[0] == 0
    assert "would forget tenant acme" in run(capsys, "tenants", "remove", "acme", "--dry-run", *at)[1]
    assert json.loads(run(capsys, "forget", "tenant", "acme", "--json", *at)[1])["keys"] >= 1
    assert run(capsys, "tenants", "show", "acme", *at) == (1, "", "relay: there is no tenant 'acme': `python -m relay tenants list` names them")


@pytest.mark.parametrize(("words", "code", "told"), [
    (("tenants", "create", "a b"), 2, "tenant's name"), (("tenants", "create", "main"), 1, "already"), (("tenants", "set", "main"), 2, "name a setting"),
    (("tenants", "set", "nobody", "--keep", "5d"), 1, "no tenant"), (("members", "remove", "nobody"), 1, "no member"), (("share", "revoke", "nothing"), 1, "no such share"),
    (("share", "create", "--shows", "costs", "--expires", "7d"), 2, "nothing would be shown"), (("share", "create", "--shows", "totals", "--expires", "7d", "--machine", "x"), 2, "no machine"),
    (("forget", "machine", "nobody"), 1, "no machine"), (("forget", "tenant", "nobody"), 1, "no tenant"), (("tenants", "set", "main", "--zone", "Mars"), 2, "time zone"),
])  # fmt: skip
def test_a_command_that_cannot_work_says_why_in_one_line(capsys: Any, at: list[str], words: tuple[str, ...], code: int, told: str) -> None:
    run(capsys, "keys", "create", "--scope", "read", *at)
    found = run(capsys, *words, *at)
    assert found[0] == code and told in found[2] and "\n" not in found[2] and not found[1]


def test_a_memory_store_is_another_processs_own(capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("RELAY_SECRET", "a secret of the tests alone")
    assert run(capsys, "tenants", "create", "acme", "--store", "memory:")[:2] == (1, "")
