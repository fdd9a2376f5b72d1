"""Whoever is shown a part sees that part, and no path leads to the rest."""
from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ledger.http.described import ALL
from ledger.http.reads import HANDLERS
from ledger.views.share import PARTS
from ledger.views.shared import FREE, NEEDS
from tests.ledger.ledgerkit import DAY, HOUR, MINUTE, NOW, Laptop, a_session, use
from tests.ledger.stores import STORES
from tests.relay.house import PAGE, RelayHouse

SECRET = "zebra"
"""Stands in every name that may have to be hidden."""
NAMES = {
    "titles": ("zebratitle", "zebrabranch", "zebrameta", "zebraconversation"), "projects": ("zebraproject", "zebraother"),
    "machines": ("zebralaptop", "zebradesktop", "zebraname"), "never": ("zebraaccount", "zebracolumn", "zebrareader", "zebratracker", "zebranote"),
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "sums only": {"shows": ["totals"]},
    "sums with costs": {"shows": ["totals", "costs"]},
    "blocks and limits": {"shows": ["blocks", "limits"]},
    "sessions without names": {"shows": ["totals", "sessions"]},
    "sessions with titles": {"shows": ["sessions", "titles"]},
    "projects and machines": {"shows": ["totals", "projects", "machines"]},
    "one project": {"shows": ["totals", "sessions", "titles", "projects"], "project": "zebraproject"},
    "one project unnamed": {"shows": ["totals", "blocks", "sessions"], "project": "zebraproject"},
    "one machine": {"shows": ["totals", "sessions", "machines", "costs"], "machine": "zebralaptop"},
    "everything": {"shows": list(PARTS)},
}


def furnished(store: Any = None) -> RelayHouse:
    """Two machines, two projects, every kind of record, and a name to hide in each member that can hold one."""
    house = RelayHouse(store)
    for source, project in (("zebralaptop", "zebraproject"), ("zebradesktop", "zebraother")):
        machine = Laptop(house.store, source, clock=house.clock)
        rows = [use(NOW - MINUTE, input=1000, reported=1.25), use(NOW - DAY, input=77), use(NOW - 30 * DAY)]
        told = {"project": project, "title": f"zebratitle {project}", "git_branch": "zebrabranch", "machine": f"zebraname {source}", "account": "zebraaccount",
                "metadata": {"description": "zebrameta"}, "columns": {"zebracolumn": "zebracolumn"}, "conversation_id": "zebraconversation"}  # fmt: skip
        machine.pushes(
            a_session(f"{source}:1", *rows, **told, more=1, is_active=True, context={"used": 5, "size": 10}),
            ("usage", f"{source}:1/1", {"session": f"{source}:1", "usage": [use(NOW - 40 * DAY)]}),
            a_session(f"{source}:2", use(NOW - 3 * HOUR, model="unheard-of-model"), **told),
            ("machine", source, {"name": f"zebraname {source}", "os": "linux", "tz": "Europe/Berlin", "note": "zebranote",
                                 "readers": {"zebrareader": {"state": "unreadable", "detail": "zebrareader"}}}),
            ("limit", "claude_code/zebraaccount/five_hour", {"tool": "claude_code", "account": "zebraaccount", "window": "five_hour", "used_percent": 42.5,
                                                             "resets_at": NOW + HOUR, "observed_at": NOW, "source": "statusline"}),
            ("limit", "claude_code/zebraaccount/seven_day", {"tool": "claude_code", "account": "zebraaccount", "window": "seven_day", "used_percent": 61.5,
                                                             "resets_at": NOW + 3 * DAY, "observed_at": NOW, "source": "statusline"}),
            ("block", f"zebratracker:{source}", {"id": "zebratracker", "start_time": NOW - HOUR, "total_tokens": 5, "tracker": "zebratracker", "columns": {"a": "zebracolumn"}}),
            ("day", "2026-08-01", {"date": "2026-08-01", "tz": "UTC", "rows": [["claude_code", "claude-opus-5", "standard", project, 5, 5, 0, 0, 0, 1, 0.5]]}),
            ("session", "zebrabad", "{not json zebracolumn"),
        )  # fmt: skip
    return house


def shared(house: RelayHouse, **how: Any) -> str:
    return house.relay.office.share("test", "alice", how["shows"], project=how.get("project"), machine=how.get("machine"), expires_s=3600)


PATHS = [
    *(route.path for route in ALL if route.answered and "{" not in route.path), "/export?kind=session&format=csv", "/export?kind=usage&format=jsonl", "/export?kind=block&format=json",
    "/export?kind=day&format=jsonl", "/sessions?q=zebra", "/sessions?q=zebratitle&sort=-cost", "/sessions?project=zebraproject", "/sessions?machine=zebraname zebralaptop",
    "/sessions?machine=zebradesktop", "/sessions?sort=cost", "/sessions/zebralaptop:1", "/sessions/zebralaptop:1/cost", "/five-hour-blocks?gaps=true&limit=500",
    "/export?kind=session&format=jsonl&q=zebratitle&project=zebraproject", "/export?kind=usage&format=json&machine=zebradesktop", "/export?kind=session&checksum=true",
    "/v1/feed?tz=Europe/Berlin", "/v1/feed?cursor=x&sessions=1000", "/openapi.json",
    "/status?zebra", "/healthz", "/v1/alerts/key", "/v1/admin/tenant", "/v1/admin/members", "/v1/admin/shares", "/v1/admin/audit", "/v1/admin/keys", "/metrics",
]  # fmt: skip


def everything(house: RelayHouse, key: str) -> dict[str, str]:
    """What every path answers to that key, headers too, and what each listed session tells of itself."""
    found = {}
    for path in PATHS:
        answer = house.ask(path.replace(" ", "%20"), key)
        found[path] = answer.get_data(as_text=True) + " ".join(f"{name}: {value}" for name, value in answer.headers)
    for session in json.loads(house.ask("/sessions", key).data).get("sessions", []):
        for path in (f"/sessions/{session['key']}", f"/sessions/{session['key']}/cost"):
            found[path] = house.ask(path, key).get_data(as_text=True)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_no_name_that_was_not_chosen_comes_by_any_path(kind: str) -> None:
    house = furnished()
    how = KINDS[kind]
    may = {name for part, names in NAMES.items() if part in how["shows"] for name in names}
    may -= {"zebraother"} if how.get("project") else set()
    may -= {"zebradesktop"} if how.get("machine") else set()
    hidden = {name for names in NAMES.values() for name in names} - may
    if "titles" in how["shows"]:
        hidden -= {"zebraproject"}  # titles speak of what they like
        hidden -= {"zebrameta", "zebraconversation"}
    if "titles" in how["shows"] and not how.get("project"):
        hidden -= {"zebraother"}
    for path, answer in everything(house, shared(house, **how)).items():
        asked = path.replace(" ", "%20")
        found = [name for name in hidden if name in answer.replace(asked, "").replace(path, "")]
        assert not found, (path, found, answer[:600])


@pytest.mark.parametrize("kind", KINDS)
def test_no_money_comes_by_any_path_unless_it_was_chosen(kind: str) -> None:
    house = furnished()
    how = KINDS[kind]
    if "costs" in how["shows"]:
        assert house.get("/v1/feed", shared(house, **how))["summary"]["totals"]["all"]["cost"] > 0
        return
    key = shared(house, **how)
    for path, text in everything(house, key).items():
        if text[:1] in "[{" and "/export" not in path and path != "/openapi.json":
            assert not list(money(json.JSONDecoder().raw_decode(text)[0])), path
        assert "1.25" not in text and "0.5," not in text, path
    csv = house.ask("/export?kind=session&format=csv", key)
    if csv.status_code == 200:
        rows = [line.split(",") for line in csv.get_data(as_text=True).splitlines()]
        assert all(row[rows[0].index("cost")] == row[rows[0].index("reported_cost")] == "" for row in rows[1:])


def money(value: Any) -> Any:
    """Every amount of money in an answer."""
    if isinstance(value, dict):
        for name, part in value.items():
            if ("cost" in name or "usd" in name or name == "amount") and isinstance(part, int | float):
                yield name, part
            elif name in ("models", "projects", "machines", "tools") and isinstance(part, dict):
                yield from ((name, pair[1]) for pair in part.values() if isinstance(pair, list) and pair[1] is not None)
            else:
                yield from money(part)
    elif isinstance(value, list):
        for part in value:
            yield from money(part)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_chosen_is_as_the_owner_sees_it(kind: str) -> None:
    house = furnished()
    how = KINDS[kind]
    mine, theirs = house.get("/v1/feed"), house.get("/v1/feed", shared(house, **how))
    if "totals" in how["shows"] and not how.keys() & {"project", "machine"}:
        for span, sums in mine["summary"]["totals"].items():
            assert theirs["summary"]["totals"][span]["tokens"] == sums["tokens"]
        assert [day["tokens"] for day in theirs["summary"]["days"]] == [day["tokens"] for day in mine["summary"]["days"]]
    if "totals" not in how["shows"]:
        assert theirs["summary"]["totals"] is None and theirs["summary"]["days"] == []
    count = 2 if how.keys() & {"project", "machine"} else 4
    assert len(theirs["records"]) == (count if "sessions" in how["shows"] or "titles" in how["shows"] else 0)
    assert theirs["summary"]["sessions_total"] == (count if {"totals", "sessions", "titles"} & set(how["shows"]) else None)
    assert (theirs["summary"]["block"] is not None) == ("blocks" in how["shows"])
    assert [limit["percent"] for limit in theirs["summary"]["limits"]] == ([42.5, 61.5] if "limits" in how["shows"] else [])


def test_each_kind_differs_from_the_others_and_none_from_itself() -> None:
    house = furnished()
    keys = {kind: shared(house, **how) for kind, how in KINDS.items()}
    tags = {kind: house.ask("/v1/feed", key).headers["etag"] for kind, key in keys.items()}
    assert len(set(tags.values())) == len(KINDS)
    for kind, key in keys.items():
        assert house.ask("/v1/feed", key, If_None_Match=tags[kind]).status_code == 304
        assert house.ask("/v1/feed", key, If_None_Match=house.ask("/v1/feed", house.key()).headers["etag"]).status_code == 200


def test_every_path_is_thought_of_and_one_that_nobody_thought_of_shows_nothing() -> None:
    thought = {*FREE, *NEEDS, "/team"}
    assert set(HANDLERS) <= thought
    house = furnished()
    view = house.relay.views.view(f"alice|{house.relay.office.share('t', 'alice', ['totals'], expires_s=60) and house.relay.office.shares('alice')[0].id}")
    with pytest.raises(Exception, match="does not show"):
        view.must_show("/something-new")


def test_ping_says_what_a_key_shows_and_until_when() -> None:
    house = furnished()
    told = house.get("/v1/ping", shared(house, shows=["blocks", "totals"]))
    assert (told["scope"], told["role"], told["tenant"], told["shows"]) == ("read", "share", "alice", ["totals", "blocks"])
    assert told["expires"] == "2026-11-22T11:56:03.000Z"
    whole = house.get("/v1/ping", house.key())
    assert (whole["scope"], whole["role"], whole["shows"], whole["expires"]) == ("read", "member", None, None)


def test_a_link_ends_at_its_time_and_when_it_is_revoked() -> None:
    house = furnished()
    key, other = shared(house, shows=["totals"]), shared(house, shows=["totals"])
    house.relay.office.unshare("test", "alice", house.relay.office.shares("alice")[0].id)
    states = [house.ask("/v1/feed", one).status_code for one in (key, other)]
    assert sorted(states) == [200, 401]
    house.clock.goes(3600_000)
    assert [house.ask("/v1/feed", one).status_code for one in (key, other)] == [401, 401]


def test_a_link_whose_terms_are_lost_opens_nothing() -> None:
    house = furnished()
    key = shared(house, shows=["totals"])
    [(name, _)] = house.store.list("shares", now=house.clock())
    house.store.drop("shares", name)
    answer = house.ask("/v1/feed", key)
    assert answer.status_code == 401 and b"ask for a new one" in answer.data


def test_a_link_opens_nothing_but_reads() -> None:
    house = furnished()
    key = shared(house, shows=list(PARTS))
    for method, path in (("GET", "/v1/alerts/key"), ("POST", "/v1/alerts/subscriptions"), ("PUT", "/v1/admin/tenant"), ("POST", "/v1/admin/shares"), ("POST", "/v1/admin/forget"), ("GET", "/v1/admin/audit")):
        answer = house.ask(path, key, method=method, body="{}", Content_Type="application/json")
        assert answer.status_code == 403 and b"share's key does not open this" in answer.data, path
    assert house.ask("/", key, method="POST", body="{}").status_code == 401


def test_a_live_ticket_of_a_link_leads_to_what_the_link_shows() -> None:
    from ledger.http.request import Request

    house = furnished()
    key = shared(house, shows=["totals"])
    ticket = json.loads(house.ask("/v1/live-tickets", key, method="POST", Origin=PAGE).data)["ticket"]
    admission = house.relay.admissions.admit(Request("GET", "/ws", f"ticket={ticket}", {"origin": PAGE, "host": "relay.example.org"}, "10.0.0.1"))
    by_key = house.relay.admissions.admit(Request("GET", "/v1/live", "", {"authorization": f"Bearer {key}"}, "10.0.0.1"))
    assert admission.tenant == by_key.tenant != "alice" and admission.tenant.startswith("alice|")
    told = json.dumps(house.relay.feed(admission.tenant, None, "", 1000))
    assert SECRET not in told and '"tokens"' in told
    house.relay.office.unshare("test", "alice", house.relay.office.shares("alice")[0].id)
    assert not admission.still() and not by_key.still()


def test_viewers_of_a_link_hear_of_changes_of_its_tenant() -> None:

    from ledger.serving.viewers import Admission

    house = furnished()
    name = house.relay.door.enter({"authorization": f"Bearer {shared(house, shows=['totals'])}"}, "a", scopes=("share",)).access.tenant
    heard: list[str] = []

    async def watch() -> None:
        live, told = house.relay.live, asyncio.Event()

        async def send(message: Any) -> None:
            heard.append(message["text"])
            if len(heard) == 2:
                told.set()

        with ThreadPoolExecutor(1) as pool:
            live.start(pool)
            viewer = live.join(Admission(name), send, is_sse=False, abort=lambda: None)
            await live.subscribe(viewer)
            Laptop(house.store, "zebralaptop", clock=house.clock).pushes(a_session("new", use(NOW - MINUTE, input=5_000_000), title="zebratitle"))
            house.relay.changed("alice")
            house.relay.changed("bob")
            await asyncio.wait_for(told.wait(), 60)
            live.leave(viewer)
            live.stop()

    with ThreadPoolExecutor(1) as thread:  # this one may have a loop already, which a browser's driver left
        thread.submit(asyncio.run, watch()).result()
    assert len(heard) == 2 and SECRET not in "".join(heard)
    assert json.loads(heard[1])["summary"]["totals"]["all"]["tokens"] > 5_000_000 and json.loads(heard[1])["records"] == []


def test_a_session_that_leaves_the_shared_project_leaves_the_link() -> None:
    house = furnished()
    key = shared(house, **KINDS["one project"])
    before = house.get("/v1/feed", key)
    Laptop(house.store, "zebralaptop", clock=house.clock).pushes(a_session("zebralaptop:2", use(NOW - 3 * HOUR), project="zebraother", title="zebratitle elsewhere"))
    after = house.get(f"/v1/feed?cursor={before['cursor']}", key)
    assert not after["full"] and len(after["removed"]) == 1 and "elsewhere" not in json.dumps(after)
    assert house.get("/sessions", key)["total"] == 1


@pytest.mark.parametrize("is_known", [True, False], ids=["read before", "a process that begins"])
def test_a_link_of_one_project_hears_nothing_of_sessions_of_others(is_known: bool) -> None:
    house = furnished()
    key = shared(house, **KINDS["one project"])
    before = house.get("/v1/feed", key)
    machine = Laptop(house.store, "zebralaptop", clock=house.clock)
    machine.pushes(a_session("elsewhere", use(NOW - MINUTE), project="zebraother", more=1), ("usage", "elsewhere/1", {"session": "elsewhere", "usage": [use(NOW - DAY)]}))
    machine.pushes(a_session("elsewhere", use(NOW), project="zebraother"), gone=[("usage", "elsewhere/1")])
    machine.pushes(gone=[("session", "elsewhere")])
    if not is_known:
        house.relay.views.forget(["alice"])
    after = house.get(f"/v1/feed?cursor={before['cursor']}", key)
    assert after["removed"] == [] and {one["key"] for one in after["records"]} <= {one["key"] for one in before["records"]}


@pytest.mark.parametrize("name", STORES)
def test_a_link_shows_the_same_over_every_store(name: str, tmp_path: Any) -> None:
    with STORES[name](tmp_path) as store:
        house = furnished(store)
        feed = house.get("/v1/feed", shared(house, shows=["totals", "sessions"]))
        assert feed["summary"]["totals"]["all"]["sessions"] == 4 and len(feed["records"]) == 4 and SECRET not in json.dumps(feed)
        assert {record["value"]["cost"] for record in feed["records"]} == {None}


def test_a_viewer_sees_every_sum_and_no_single_session() -> None:
    house = furnished()
    _, key = house.relay.office.add_member("test", "alice", "vera", "viewer")
    told = house.get("/v1/ping", key)
    assert told["role"] == "viewer" and "titles" not in told["shows"] and "costs" in told["shows"]
    feed = house.get("/v1/feed", key)
    assert feed["records"] == [] and feed["summary"]["totals"]["all"] == house.get("/v1/feed")["summary"]["totals"]["all"]
    assert house.ask("/sessions", key).status_code == 403
    for path, answer in everything(house, key).items():
        assert not [name for name in (*NAMES["titles"], *NAMES["never"]) if name in answer], path


def test_the_team_is_summed_over_machines_and_people_without_titles() -> None:
    house = furnished()
    house.relay.office.add_member("test", "alice", "ann", "member", machine="zebralaptop")
    _, viewer = house.relay.office.add_member("test", "alice", "vera", "viewer")
    for key in (house.key(), viewer):
        team = house.get("/team", key)
        assert [one["name"] for one in team["members"]] == ["ann"] and len(team["machines"]) == 2
        sums = [one["week"]["tokens"] for one in team["machines"]]
        assert sum(sums) == team["total"]["week"]["tokens"] == house.get("/v1/feed", key)["summary"]["totals"]["week"]["tokens"]
        assert team["members"][0]["week"] == next(one["week"] for one in team["machines"] if one["source"] == "zebralaptop")
        assert team["total"]["active"] == 2 and team["total"]["blocks"] >= 1 and "zebratitle" not in json.dumps(team)
    assert house.ask("/team", shared(house, shows=["totals"])).status_code == 403


@pytest.mark.parametrize(("how", "told"), [
    ({"shows": []}, "nothing would be shown"), ({"shows": ["costs"]}, "nothing would be shown"), ({"shows": ["everything"]}, "there is no"),
    ({"shows": ["totals"], "machine": "nobody's"}, "no machine"), ({"shows": ["totals"], "label": "x" * 81}, "label"), ({"shows": ["totals"], "label": "a\nb"}, "label"),
])  # fmt: skip
def test_a_link_that_makes_no_sense_is_refused_in_one_line(how: dict[str, Any], told: str) -> None:
    house = furnished()
    answer = house.ask("/v1/admin/shares", house.key("admin"), method="POST", body=json.dumps(how), Content_Type="application/json")
    assert answer.status_code == 400 and told in json.loads(answer.data)["detail"]


@pytest.mark.parametrize("name", ['Ann "the fast" laptop', "Büro", "back\\slash"])
def test_a_link_of_one_machine_takes_its_name_whatever_letters_it_has(name: str) -> None:
    house = RelayHouse()
    Laptop(house.store, "desk", clock=house.clock).pushes(("machine", "desk", {"name": "desk", "readers": {"odd": {"name": name}}}))
    Laptop(house.store, "lap", clock=house.clock).pushes(("machine", "lap", {"name": name}))
    shared(house, shows=["totals"], machine=name)
    assert [share.machine for share in house.relay.office.shares("alice")] == ["lap"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_records_themselves_hold_nothing_that_is_hidden(kind: str) -> None:
    """The answers are cut a second time; neither wall leans on the other."""
    from ledger.views.share import Lens, Shown

    house, how = furnished(), KINDS[kind]
    shown = Shown.of(how["shows"], how.get("project"), how.get("machine"))
    lens = Lens(house.store, shown, b"salt")
    text = "".join(f"{head} {row.ref} {row.body}" for head in lens.heads("alice") for row in lens.rows("alice", head.source))
    hidden = {name for part, names in NAMES.items() if part not in how["shows"] for name in names}
    hidden -= {"zebraproject", "zebraother", "zebrameta", "zebraconversation"} if "titles" in how["shows"] else set()
    assert text and not [name for name in hidden if name in text]
    assert "costs" in how["shows"] or ("1.25" not in text and "0.5]" not in text)


def test_a_search_finds_nothing_by_a_word_that_is_hidden() -> None:
    house = furnished()
    key = shared(house, shows=["sessions", "totals"])
    assert house.get("/sessions", key)["total"] == 4
    for asked in ("q=zebratitle", "q=zebrabranch", "project=zebraproject", "machine=zebraname%20zebralaptop"):
        assert house.get(f"/sessions?{asked}", key)["total"] == 0 and house.get(f"/sessions?{asked}")["total"] > 0


def test_watchers_behind_a_gateway_hear_of_their_tenant_and_get_what_their_link_shows() -> None:
    from relay.live.connections import Connections, Watcher
    from relay.live.fanout import FanOut

    house = furnished()
    key = shared(house, shows=["totals"])
    entered = house.relay.door.enter({"authorization": f"Bearer {key}"}, "a", scopes=("share",))
    connections, sent = Connections(house.store, house.clock), dict[str, bytes]()
    for id, tenant, key_id in (("guest=", entered.access.tenant, entered.key_id), ("owner=", "alice", ""), ("other=", "alice2", "")):
        connections.joined(id, tenant, key_id)
        connections.subscribed(Watcher(tenant, id, key_id=key_id))
    FanOut(connections, house.relay.feed, sent.__setitem__, house.relay.door.still, house.store, house.clock).changed("alice")
    assert sorted(sent) == ["guest=", "owner="] and b"zebra" not in sent["guest="] and b"zebra" in sent["owner="]
    house.relay.ring.revoke(entered.key_id)
    sent.clear()
    FanOut(connections, house.relay.feed, sent.__setitem__, lambda id: house.relay.door.still(id), house.store, house.clock).changed("alice")
    assert "guest=" not in sent and connections.of("guest=") is None


def test_shared_views_that_nobody_asks_for_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    from ledger.views import shared as module

    house = furnished()
    keys = [shared(house, shows=["totals", "sessions"]) for _ in range(4)]
    monkeypatch.setattr(module, "MOST_SESSIONS", 9)
    for key in (*keys, keys[0]):
        assert house.get("/sessions", key)["total"] == 4
    assert len(house.relay.views._shared) == 2
