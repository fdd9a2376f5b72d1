"""What is forgotten is gone everywhere, does not come back, and the report says what went."""
from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from ledger.errors import LedgerError
from ledger.record import add, hash_of, to_hex
from ledger.stores import open_store
from relay.people.forget import DRAWERS
from relay.protocol import Terms
from relay.scrub import scrub
from relay.upkeep import Upkeep
from tests.ledger.ledgerkit import DAY, HOUR, NOW, a_session, use
from tests.ledger.stores import STORES
from tests.ledger.test_otlp import event, logs
from tests.relay.house import RelayHouse

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(params=STORES)
def house(request, tmp_path):
    with STORES[request.param](tmp_path) as store:
        yield RelayHouse(store)


@pytest.fixture
def quick():
    return RelayHouse()


SESSIONS = {
    "s1": {"project": "zebra", "title": "one"}, "s2": {"project": "lion", "title": "two"}, "s3": {"project": "zebra", "more": 1},
}  # fmt: skip
DAYS = {"date": "2026-08-01", "tz": "UTC", "rows": [["claude_code", "m", "standard", name, 5, 5, 0, 0, 0, 1, None] for name in ("zebra", "lion")]}


def message(sender: Any, kinds: dict[str, dict[str, str]], **more: Any) -> dict[str, Any]:
    """A push of records of several kinds, right where the sender stands."""
    after = add(sender.digest, put=(hash_of(kind, id, body) for kind, found in kinds.items() for id, body in found.items()))
    made: dict[str, Any] = sender.message(after=to_hex(after), **more)
    return {**made, "put": [{"k": kind, "id": id, "b": body} for kind, found in kinds.items() for id, body in found.items()]}


def truth(**more: Any) -> dict[str, dict[str, str]]:
    """What the laptop holds."""
    sessions = {id: json.dumps(a_session(id, use(NOW - HOUR), **{**told, **more})[2]) for id, told in SESSIONS.items()}
    return {"session": sessions, "usage": {"s3/1": json.dumps({"session": "s3", "usage": [use(NOW - DAY)]})}, "day": {"2026-08-01": json.dumps(DAYS)}}


def pushed(house: RelayHouse, source: str = "laptop", records: Any = None) -> Any:
    """A laptop that pushed everything, for the first time or again."""
    sender = house.sender(source=source)
    sender.start()
    sent = message(sender, records or truth(), commit=True)
    reply = sender.send(sent)
    assert reply.status == 200, reply.body
    sender.seq, sender.digest = 1, int(sent["after"], 16)
    return sender, reply


def kept(house: RelayHouse) -> str:
    """Everything that the store can be asked for, as text."""
    store, now = house.store, house.clock()
    rows = [f"{tenant} {head} {list(store.rows(tenant, head.source))}" for tenant in store.tenants() for head in store.heads(tenant)]
    papers = [str(list(store.list(drawer, now=now))) for drawer in (*DRAWERS, "webpush/alice", "webpush/zebra")]
    return "".join([*rows, *papers])


def test_a_relay_is_not_kept_busy_with_forgetting() -> None:
    house = RelayHouse()
    key, body = house.key("admin"), json.dumps({"what": "project", "name": "x"})

    def forget(key: str, body: str = body) -> int:
        return int(house.ask("/v1/admin/forget", key, method="POST", body=body, Content_Type="application/json").status_code)

    assert [forget(key) for _ in range(6)] == [200] * 5 + [429]
    assert forget(key, json.dumps({"what": "project", "name": "x", "dry_run": True})) == 200 == forget(house.key("admin", "bob"))
    house.clock.now += 60_000
    assert [forget(key) for _ in range(2)] == [200, 429]


def test_a_project_is_gone_and_the_sums_are_those_of_the_rest(house):
    pushed(house)
    before = house.get("/v1/feed")["summary"]
    report = house.relay.office.forget("t", "project", "zebra", "alice")
    assert (report.records, report.trimmed, report.machines, report.erased) == (3, 1, ["laptop"], True)
    after = house.get("/v1/feed")["summary"]
    assert before["projects"] == ["lion", "zebra"] and after["projects"] == ["lion"]
    assert house.get("/sessions")["total"] == 1 and "zebra" not in kept(house)
    assert scrub(house.store, "alice", "laptop", now=house.clock())


def test_an_agent_that_holds_it_still_agrees_and_brings_nothing_back(house):
    sender, _ = pushed(house)
    house.relay.office.forget("t", "project", "zebra", "alice")
    assert sender.send(sender.message("beat")).kind == "409 state"
    again, reply = pushed(house)
    assert {(stub["k"], stub["id"], stub["code"]) for stub in reply.document["stubs"]} == {("session", "s1", "forgotten"), ("session", "s3", "forgotten"), ("usage", "s3/1", "forgotten")}
    assert again.send(again.message("beat")).status == 200
    assert scrub(house.store, "alice", "laptop", now=house.clock()) and "zebra" not in kept(house)
    feed = house.get("/v1/feed")
    assert feed["summary"]["projects"] == ["lion"] and feed["summary"]["stubs"] == [] and len(feed["records"]) == 1
    assert [row["project"] for row in json.loads(house.ask("/export?kind=day&format=json", house.key()).data)] == ["lion"]
    more = {"s3": json.dumps({"id": "s3", "project": "zebra", "title": "later"}), "s9": json.dumps({"id": "s9", "project": "zebra"})}
    assert again.push(more, commit=True).status in (200, 422)


def test_a_project_can_be_taken_in_again_and_its_agent_brings_it_back(house):
    pushed(house)
    before = house.get("/v1/feed")["summary"]["totals"]
    house.relay.office.forget("t", "project", "zebra", "alice")
    again, _ = pushed(house)
    assert house.relay.office.recall("t", "alice", "zebra") == ["laptop"] and house.get("/sessions")["total"] == 1
    assert again.send(again.message("beat")).kind == "409 lease"
    _, reply = pushed(house)
    assert reply.document["stubs"] == [] and house.get("/v1/feed")["summary"]["totals"] == before
    with pytest.raises(LedgerError, match="has forgotten no project"):
        house.relay.office.recall("t", "alice", "zebra")


def test_a_copy_that_begins_is_taken_in_by_what_holds_now_whatever_was_known_a_moment_ago(quick):
    elsewhere = RelayHouse(quick.store)
    assert not elsewhere.relay.tenants.get("alice").forgotten, "and that is believed for a while"
    quick.relay.office.forget("t", "project", "zebra", "alice")
    _, reply = pushed(elsewhere)
    assert {stub["code"] for stub in reply.document["stubs"]} == {"forgotten"} and "zebra" not in kept(quick)


def test_usage_that_comes_after_its_session_is_not_kept_either(quick):
    quick.relay.office.forget("t", "project", "zebra", "alice")
    records = truth()
    usage = records.pop("usage")
    sender, _ = pushed(quick, records=records)
    assert sender.send(message(sender, {"usage": usage})).document["stubs"][0]["code"] == "forgotten"


def test_what_an_old_client_posts_of_it_is_not_kept(quick):
    quick.relay.office.forget("t", "project", "zebra", "main")
    quick.post(active_sessions=[{"id": "a", "project": "zebra"}, {"id": "b", "project": "lion"}])
    assert [session["project"] for session in quick.get("/sessions/active", quick.key(tenant="main"))] == ["lion"]


def test_what_came_in_before_every_process_had_heard_is_cleared_by_upkeep(quick):
    quick.relay.office.forget("t", "project", "zebra", "alice")
    stale = RelayHouse(quick.store)
    stale.relay.push._terms_of = lambda tenant, is_new: Terms()
    pushed(stale)
    assert "zebra" in kept(quick)
    assert Upkeep(quick.store, keep_days=None, clock=quick.clock).round().retired == 4
    assert "zebra" not in kept(quick)


def test_a_project_that_is_not_there_is_forgotten_for_the_future(quick):
    report = quick.relay.office.forget("t", "project", "zebra", "alice")
    assert report.records == 0 and "0 records" in str(report)
    pushed(quick)
    assert "zebra" not in kept(quick)


def test_a_machine_is_gone_and_cannot_come_back_with_its_key(house):
    sender, _ = pushed(house, "zebra-laptop")
    pushed(house, "other", {"session": {"x": json.dumps(a_session("x")[2])}})
    share = house.relay.office.share("t", "alice", ["totals"], machine="zebra-laptop")
    house.relay.office.add_member("t", "alice", "ann", "member", machine="zebra-laptop")
    report = house.relay.office.forget("t", "machine", "zebra-laptop", "alice")
    assert (report.records, report.machines, report.keys) == (5, ["zebra-laptop"], 2)
    assert house.ask("/v1/feed", share).status_code == 401 and house.get("/sessions")["total"] == 1
    house.clock.goes(50_000)
    assert sender.send(sender.message("beat")).kind == "401 key-revoked"
    assert "zebra" not in kept(house)
    pushed(house, "zebra-laptop")  # with a new key it may begin anew
    assert house.get("/sessions")["total"] == 4


@pytest.mark.parametrize(("what", "name"), [("machine", "zebra-laptop"), ("tenant", "alice")])
def test_what_is_forgotten_begins_no_copy_at_a_process_that_believed_its_key(house, what, name):
    sender, _ = pushed(house, "zebra-laptop")
    elsewhere = RelayHouse(house.store)
    sender.post = elsewhere.sender(source="zebra-laptop").post
    assert sender.push({}).status == 200
    house.relay.office.forget("t", what, name, "alice")
    elsewhere.clock.goes(1000)
    assert sender.push({}).kind == sender.start().kind == "401 key-revoked"
    assert "zebra" not in kept(house)


def test_telemetry_of_what_is_forgotten_begins_nothing_at_a_process_that_believed_its_key(quick):
    elsewhere, key = RelayHouse(quick.store), quick.relay.ring.issue("push", "alice", "zebra-laptop")

    def tells() -> int:
        return elsewhere.ask("/v1/logs", key, method="POST", body=json.dumps(logs(event())), Content_Type="application/json").status_code

    assert tells() == 200
    quick.relay.office.forget("t", "machine", "zebra-laptop", "alice")
    elsewhere.clock.goes(1000)
    assert tells() == 401
    assert "zebra" not in kept(quick)


def test_a_tenant_is_gone_with_everything_of_it_and_its_keys_stay_shut(house):
    old, admin, read = house.sender(tenant="zebra"), house.key("admin", "zebra"), house.key("read", "zebra")
    old.start()
    assert old.push({"a": json.dumps(a_session("a")[2])}, commit=True).status == 200
    house.relay.office.change("t", "zebra", {"badge": ["tokens"], "zone": "Europe/Berlin"})
    house.relay.office.add_member("t", "zebra", "ann", "viewer")
    share = house.relay.office.share("t", "zebra", ["totals"])
    house.relay.views.checkpoint("zebra")
    dry = house.relay.office.forget("t", "tenant", "zebra", "zebra", dry_run=True)
    assert house.get("/sessions", read)["total"] == 1
    report = house.relay.office.forget("t", "tenant", "zebra", "zebra")
    assert (report.records, report.keys, report.documents) == (dry.records, dry.keys, dry.documents) == (1, 5, report.documents)
    assert "zebra" not in kept(house)
    house.clock.goes(50_000)
    for key in (admin, read, share):
        assert house.ask("/v1/feed", key).status_code == 401
    assert old.send(old.message("beat")).kind == "401 key-revoked"
    assert house.get("/sessions", house.key("read", "zebra"))["total"] == 0


def test_a_live_viewer_of_what_was_forgotten_is_cut_off(quick):
    from ledger.http.request import Request

    key = quick.key("read", "zebra")
    pushed(quick)
    admission = quick.relay.admissions.admit(Request("GET", "/v1/live", "", {"authorization": f"Bearer {key}"}, "10.0.0.1"))
    assert admission.still()
    quick.relay.office.forget("t", "tenant", "zebra", "zebra")
    assert not admission.still()


def test_a_key_that_is_made_in_the_second_of_the_forgetting_is_good(quick):
    pushed(quick, "zebra")
    quick.relay.office.forget("t", "machine", "zebra", "alice")
    sender = quick.sender(source="zebra")
    assert sender.start().kind == "409 lease"


@pytest.mark.parametrize(("what", "name"), [("machine", "nobody"), ("tenant", "nobody")])
def test_what_is_not_there_is_said_in_one_line(quick, what, name):
    with pytest.raises(LedgerError, match=f"no {what} 'nobody'"):
        quick.relay.office.forget("t", what, name, "alice" if what == "machine" else name)


def test_a_dry_run_changes_nothing(quick):
    pushed(quick)
    before = kept(quick)
    report = quick.relay.office.forget("t", "project", "zebra", "alice", dry_run=True)
    assert (report.records, report.trimmed) == (3, 1) and "would forget" in str(report)
    assert kept(quick) == before


def test_the_name_is_in_no_byte_of_the_file_and_of_a_backup(tmp_path):
    from relay.backup import backup

    path = tmp_path / "relay.db"
    house = RelayHouse(open_store(f"sqlite:///{path}"))
    pushed(house, records=truth(title="zebra title", git_branch="zebra-branch"))
    house.relay.office.share("t", "alice", ["totals"], project="zebra")
    assert any(b"zebra" in file.read_bytes() for file in tmp_path.iterdir())
    house.relay.office.forget("t", "project", "zebra", "alice")
    # The other project's session says the word in its title: it is no part of what was forgotten.
    other = house.store.connection().execute("SELECT count(*) FROM ledger_rows WHERE body LIKE '%zebra%'").fetchone()[0]
    assert other == 1
    pushed(house, records={"session": {"s2": json.dumps({"id": "s2", "project": "lion"})}})
    house.relay.office.forget("t", "project", "nothing", "alice")
    with (tmp_path / "backup").open("wb") as out:
        backup(house.store, out, now=house.clock())
    import gzip

    for file in tmp_path.iterdir():
        content = gzip.decompress(file.read_bytes()) if file.name == "backup" else file.read_bytes()
        assert b"zebra" not in content, file
    house.store.close()
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def test_every_drawer_of_the_relay_is_known_to_forgetting():
    import re

    found = set()
    for path in (ROOT / "relay").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        found |= set(re.findall(r'^_?(?:DRAWER|CROWDS|TENANTS|LATE|HELD)\b[^=\n]*= "([a-z-]+)"', text, re.MULTILINE))
        for names in re.findall(r'^(?:[A-Z_]+, )*_?(?:DRAWER|CONNECTIONS|TENANTS)(?:, [A-Z_]+)* = ((?:"[a-z:-]+"(?:, )?)+)', text, re.MULTILINE):
            found.add(re.findall(r'"([a-z:-]+)"', names)[0])
    assert {"keys", "shares", "alerts", "webpush", "tickets"} <= found
    assert found <= DRAWERS


def test_a_backup_brings_back_who_may_what_and_that_something_was_forgotten(quick):
    import io

    from relay.backup import backup, restore

    pushed(quick)
    office = quick.relay.office
    gone = quick.key("read", "gone")
    office.forget("t", "tenant", "gone", "gone")
    office.forget("t", "project", "zebra", "alice")
    link, (_, viewer) = office.share("t", "alice", ["totals"]), office.add_member("t", "alice", "vera", "viewer")
    id = office.change("t", "alice", {"badge": ["tokens"]}).badge
    copy = io.BytesIO()
    backup(quick.store, copy, now=quick.clock())
    copy.seek(0)
    new = RelayHouse()
    restore(new.store, copy, now=new.clock())
    assert [new.ask("/v1/feed", key).status_code for key in (link, viewer, gone)] == [200, 200, 401]
    assert new.ask(f"/badge/{id}.svg").status_code == 200 and [member.name for member in new.relay.office.members("alice")] == ["vera"]
    pushed(new)
    assert "zebra" not in kept(new)
