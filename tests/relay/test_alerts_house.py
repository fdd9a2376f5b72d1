"""Alerts as a relay runs them: quiet hours, restarts, two instances, channels that fail, and what HTTP answers."""
from __future__ import annotations

import itertools
import json
import threading
from dataclasses import replace
from typing import Any

import pytest

from ledger.errors import Busy
from relay.alerts import memory
from relay.alerts.quiet import is_quiet
from relay.alerts.webhook import Refused
from relay.alerts.wishes import Quiet
from relay.app import Relay
from tests.ledger.stores import STORES
from tests.relay.alertkit import ALICE, BOB, DAY, HOUR, MINUTE, NOW, Bell, a_limit, a_session, ms, use
from tests.relay.house import RelayHouse

RESET = ms("2026-11-22T13:00Z")
HALF = "Five hours: 76% used; it resets at 13:00."


@pytest.fixture
def bell() -> Bell:
    house = Bell()
    house.wants(tz="UTC", rules={"ahead": {"on": False}})
    return house


# -- once, whatever happens


@pytest.mark.parametrize("name", STORES)
def test_on_every_store_two_instances_and_a_restart_tell_once(name: str, tmp_path: Any) -> None:
    with STORES[name](tmp_path) as store:
        one, other = Bell(store), Bell(store)
        one.wants(tz="UTC", rules={"ahead": {"on": False}})
        one.laptop().pushes(a_limit(76, RESET))
        both = [threading.Thread(target=bell.round) for bell in (one, other)]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
        restarted = Bell(store)
        restarted.round()
        assert [message["text"] for _, _, message in one.told + other.told + restarted.told] == [HALF]


def test_what_a_relay_had_noticed_but_not_sent_when_it_died_is_sent_by_the_next(bell: Bell) -> None:
    bell.laptop().pushes(a_limit(76, RESET))
    bell.alerts.watch.check(ALICE)
    reborn = Bell(bell.store)
    assert reborn.round() == [HALF]
    assert bell.round() == []


def test_what_died_while_it_was_sent_is_sent_again_under_the_same_id(bell: Bell) -> None:
    bell.laptop().pushes(a_limit(76, RESET))
    bell.alerts.watch.check(ALICE)
    [taken] = memory.change(bell.store, ALICE, bell.clock(), lambda kept: memory.take_due(kept, bell.clock()))
    number = memory.number_of(ALICE, taken["message"], "chat")
    assert bell.round() == [], "somebody has it"
    assert bell.round(memory.TAKEN_MS) == [HALF]
    assert bell.numbers == [number]


# -- channels that fail


def test_one_failing_channel_keeps_no_other_waiting_and_is_tried_again_with_growing_waits(bell: Bell) -> None:
    bell.wants(channels=("deaf", "chat"))
    bell.deaf.add("deaf")
    bell.laptop().pushes(a_limit(76, RESET))
    assert bell.round() == [HALF]
    [deaf] = [way for way in bell.alerts.watch.shown(ALICE)["channels"] if way["name"] == "deaf"]
    assert (deaf["waiting"], deaf["error"]) == (1, "it answered 500")
    bell.deaf.clear()
    assert bell.round(29_000) == []
    assert bell.round(1000) == [HALF]
    assert bell.alerts.watch.shown(ALICE)["channels"][0]["error"] is None


def test_a_channel_that_never_answers_is_given_up_after_six_tries_and_that_is_counted(bell: Bell) -> None:
    bell.wants(rules={"reset": {"on": False}})
    bell.deaf.add("chat")
    bell.laptop().pushes(a_limit(76, RESET))
    tries = []
    carry = bell.alerts.book.carry
    bell.alerts.book.carry = lambda *words: (tries.append(bell.clock()), carry(*words))
    bell.round()
    for wait in memory.WAITS:
        bell.round(wait - 1)
        bell.round(1)
    bell.round(DAY)
    assert [later - before for before, later in itertools.pairwise(tries)] == [*memory.WAITS]
    [chat] = bell.alerts.watch.shown(ALICE)["channels"]
    assert (chat["lost"], chat["waiting"]) == (1, 0)


def test_a_channel_that_hangs_neither_holds_the_round_nor_another_tenant(bell: Bell) -> None:
    hold, heard = threading.Event(), threading.Event()
    bell.wants(BOB, tz="UTC")

    def carry(tenant: str, *_: Any) -> None:
        heard.set() if tenant == BOB else hold.wait(30)

    bell.alerts.book.carry = carry
    bell.laptop().pushes(a_limit(76, RESET))
    bell.laptop(tenant=BOB).pushes(a_limit(76, RESET))
    bell.alerts.duty.all()
    assert heard.wait(10), "bob is told while alice's channel hangs"
    hold.set()
    bell.alerts.post.settle()


def test_a_store_that_is_busy_for_one_tenant_stops_no_other(bell: Bell, monkeypatch: pytest.MonkeyPatch) -> None:
    bell.wants(BOB, tz="UTC", rules={"ahead": {"on": False}})
    view = bell.relay.views.view

    def busy(tenant: str) -> Any:
        if tenant == ALICE:
            raise Busy
        return view(tenant)

    bell.alerts._view_of = busy
    bell.laptop(tenant=BOB).pushes(a_limit(76, RESET))
    assert bell.round() == [HALF]


def test_a_push_looks_at_nothing_and_sends_nothing(bell: Bell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bell.alerts.watch, "check", lambda tenant: pytest.fail("a push waited for an alert"))
    sender = bell.sender()
    sender.start()
    assert sender.push({"s1": '{"id":"s1"}'}, commit=True).status == 200


def test_news_is_told_within_seconds_and_a_flood_of_pushes_is_looked_at_every_five(bell: Bell) -> None:
    bell.round()
    bell.laptop().pushes(a_limit(76, RESET))
    looked = []
    check = bell.alerts.watch.check
    bell.alerts.watch.check = lambda tenant: (looked.append(bell.clock()), check(tenant))[1]
    for _ in range(11):
        bell.clock.goes(1000)
        bell.alerts.duty.note(ALICE)
        bell.alerts.duty.step()
    bell.alerts.post.settle()
    assert [at - NOW for at in looked] == [5000, 10_000]
    assert len(bell.told) == 1


def test_who_says_where_to_reach_them_is_told_within_seconds_of_what_is_true_already() -> None:
    bell = Bell()
    bell.round()
    bell.laptop().pushes(a_limit(76, RESET))
    bell.clock.goes(1000)
    assert put(bell, {"tz": "UTC", "rules": {"ahead": {"on": False}}, "channels": [{"name": "chat", "url": "https://hooks.example/"}]}).status_code == 200
    bell.alerts.duty.step()
    bell.alerts.post.settle()
    assert [message["text"] for _, _, message in bell.told] == [HALF]


def test_nobody_who_does_not_listen_costs_anything() -> None:
    bell = Bell()
    bell.laptop().pushes(a_limit(100, RESET))
    assert bell.round() == []
    assert not list(bell.store.list(memory.DRAWER, now=NOW))


def test_after_a_channel_failed_the_rest_of_its_messages_waits_untried(bell: Bell) -> None:
    bell.laptop().pushes(a_limit(76, RESET), a_limit(93, RESET, account="work"), a_limit(93, RESET, account="home"))
    tried: list[str] = []

    def refuse(tenant: str, channel: Any, message: Any, number: str) -> None:
        tried.append(message["text"])
        raise Refused("it answered 500")

    bell.alerts.book.carry = refuse
    assert bell.round() == [] and len(tried) == 1
    [chat] = bell.alerts.watch.shown(ALICE)["channels"]
    assert chat["waiting"] == 3


def test_a_channel_that_was_switched_off_is_sent_nothing_that_waited_for_it(bell: Bell) -> None:
    bell.deaf.add("chat")
    bell.laptop().pushes(a_limit(76, RESET))
    bell.round()
    bell.deaf.clear()
    bell.alerts.book.set_channel(ALICE, {"name": "chat", "on": False})
    assert bell.round(memory.WAITS[0]) == []
    bell.alerts.book.set_channel(ALICE, {"name": "chat", "on": True})
    assert bell.round(DAY) == []


# -- quiet hours


@pytest.mark.parametrize(
    ("start", "end", "clock", "quiet"),
    [
        ("12:00", "13:00", "11:59", False), ("12:00", "13:00", "12:00", True), ("12:00", "13:00", "12:59", True), ("12:00", "13:00", "13:00", False),
        ("22:00", "07:00", "21:59", False), ("22:00", "07:00", "22:00", True), ("22:00", "07:00", "06:59", True), ("22:00", "07:00", "07:00", False),
        ("08:00", "08:00", "08:00", False),
    ],
)  # fmt: skip
def test_quiet_hours_begin_with_their_first_minute_and_end_before_their_last(start: str, end: str, clock: str, quiet: bool) -> None:
    assert is_quiet(Quiet(start=start, end=end), ms(f"2026-11-22T{clock}+01:00"), "Europe/Berlin") is quiet


def test_quiet_hours_hold_back_what_can_wait_and_sum_it_up_afterwards(bell: Bell) -> None:
    bell.wants(quiet={"from": "22:00", "to": "07:00"}, tz="Europe/Berlin", rules={"ahead": {"on": False}, "silent": {"on": False}, "reset": {"on": False}})
    bell.clock.now = ms("2026-11-22T23:30+01:00")
    laptop = bell.laptop()
    reset = ms("2026-11-23T02:00+01:00")
    laptop.pushes(a_limit(76, reset, observed_at=bell.clock()))
    assert bell.round() == []
    laptop.pushes(a_limit(100, reset, observed_at=bell.clock()))
    assert bell.round(MINUTE) == ["Five hours: the limit is reached; it resets at Mon 02:00."], "what is urgent passes"
    assert bell.round(ms("2026-11-23T06:59+01:00") - bell.clock()) == []
    assert bell.round(MINUTE) == ["While it was quiet: 1 alert:\nFive hours: 76% used; it resets at Mon 02:00. (over)"]
    assert bell.round(MINUTE) == []


def test_nothing_passes_quiet_hours_if_nothing_may(bell: Bell) -> None:
    bell.wants(quiet={"from": "10:00", "to": "11:00", "urgent": False})
    bell.laptop().pushes(a_limit(100, RESET))
    assert bell.round() == []
    assert bell.round(5 * MINUTE)[0].startswith("While it was quiet: 1 alert:\nFive hours: the limit is reached")


# -- over HTTP


def put(house: RelayHouse, asked: Any, key: str | None = None) -> Any:
    return house.ask("/v1/alerts/settings", key or house.key("admin"), method="PUT", body=json.dumps(asked), Content_Type="application/json")


def test_settings_are_changed_member_by_member_and_secrets_never_come_back() -> None:
    house = RelayHouse()
    made = put(house, {"channels": [{"name": "ops", "url": "https://hooks.example/very/secret"}], "rules": {"day": {"usd": 40}}, "quiet": {"from": "22:00", "to": "07:00"}})
    assert made.status_code == 200
    assert made.json["channels"] == [{"name": "ops", "kind": "webhook", "least": "info", "on": True, "url": "https://hooks.example/…", "secret": made.json["channels"][0]["secret"]}]
    again = put(house, {"rules": {"block": {"steps": [50]}}, "channels": [{"name": "ops", "least": "warn"}]}).json
    assert (again["rules"]["day"]["usd"], again["rules"]["block"]["steps"], again["quiet"]["urgent"]) == (40.0, [50], True)
    shown = house.get("/v1/alerts/settings", house.key("admin"))
    assert shown["channels"] == [{"name": "ops", "kind": "webhook", "least": "warn", "on": True, "url": "https://hooks.example/…"}]
    kept = json.dumps([document.value for _, document in house.store.list("alert-wishes", now=NOW)])
    assert "very/secret" not in kept and made.json["channels"][0]["secret"] not in kept
    assert house.relay.alerts.book.opened(house.relay.alerts.book.read(ALICE).channels[0], ALICE)["url"] == "https://hooks.example/very/secret"
    assert put(house, {"channels": []}).json["channels"] == []


def test_who_may_only_read_sees_alerts_but_neither_changes_nor_learns_where_they_go() -> None:
    house = RelayHouse()
    put(house, {"channels": [{"name": "ops", "url": "https://hooks.example/x"}]})
    assert house.get("/v1/alerts/settings")["channels"] == [{"name": "ops", "kind": "webhook", "on": True}]
    assert house.get("/api/v1/alerts")["open"] == []
    assert put(house, {}, house.key()).status_code == 403
    assert house.ask("/v1/alerts/trial", house.key(), method="POST", body='{"channel":"ops"}', Content_Type="application/json").status_code == 403
    for method, path in (("GET", ""), ("GET", "/settings"), ("PUT", "/settings")):
        assert house.ask(f"/v1/alerts{path}", method=method).status_code == 401


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ([], "object"), ({"rule": {}}, "rules"), ({"rules": {"blok": {}}}, "blok"), ({"rules": {"block": {"steps": [0]}}}, "rules.block.steps"),
        ({"rules": {"block": {"step": 1}}}, "step"), ({"rules": {"day": {"usd": -1}}}, "usd"), ({"rules": {"day": 5}}, "rules.day"), ({"quiet": {"from": "25:00", "to": "07:00"}}, "quiet.from"),
        ({"tz": "../../etc/passwd"}, "time zone"), ({"channels": [{"name": "A b", "url": "https://x.example"}]}, "channels[0].name"), ({"channels": [{"name": "ops"}]}, "needs a url"),
        ({"channels": [{"name": "ops", "url": "https://x.example/"}] * 2}, "name of its own"), ({"channels": [{"name": f"c{n}", "url": "https://x.example"} for n in range(11)]}, "10 channels"),
        ({"channels": [{"name": "ops", "url": "http://x.example/"}]}, "https://"), ({"channels": [{"name": "ops", "url": "https://10.0.0.1/"}]}, "open internet"),
        ({"channels": [{"name": "ops", "url": "https://x.example/", "secret": "short"}]}, "whsec_"), ({"channels": [{"name": "ops", "url": "exec://rm"}]}, "apprise"),
        ({"channels": [{"name": "ops", "url": "discord://1/2", "secret": "whsec_" + "A" * 32}]}, "webhooks"), ({"rules": {"runaway": {"factor": float("nan")}}}, "factor"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused_by_name_and_change_nothing(asked: Any, named: str) -> None:
    house = RelayHouse()
    answer = put(house, asked)
    assert answer.status_code in (400, 409), answer.data
    assert named in answer.json["detail"], answer.json["detail"]
    assert "\n" not in answer.json["detail"] and len(answer.json["detail"]) < 700
    assert house.relay.alerts.book.tenants() == []


def test_alerts_show_what_is_open_what_was_told_and_how_machines_and_channels_fare(bell: Bell) -> None:
    bell.laptop().pushes(a_limit(76, RESET), a_session("a"))
    bell.round()
    shown = bell.get("/v1/alerts")
    assert [(one["text"], one["told"], one["over"]) for one in shown["open"]] == [(HALF, "2026-11-22T10:56:03.120Z", None)]
    assert [(one["name"], one["state"]) for one in shown["machines"]] == [("mbp-16", "working")]
    assert [(one["name"], one["waiting"], one["error"]) for one in shown["channels"]] == [("chat", 0, None)]
    bell.round(3 * HOUR)
    assert HALF in [one["text"] for one in bell.get("/v1/alerts")["past"]]
    assert bell.get("/v1/alerts", bell.key(tenant=BOB)) | {"at": ""} == {"at": "", "quiet": False, "tz": "UTC", "open": [], "past": [], "channels": [], "machines": []}


def test_what_is_true_but_was_not_told_yet_is_shown_as_open_and_untold(bell: Bell) -> None:
    bell.laptop().pushes(a_limit(76, RESET))
    [untold] = bell.alerts.watch.shown(ALICE)["open"]
    bell.round()
    [told] = bell.alerts.watch.shown(ALICE)["open"]
    assert untold["told"] is None and told["told"] is not None


def test_a_trial_says_whether_the_channel_took_it(bell: Bell) -> None:
    def trial(channel: str, tenant: str = ALICE) -> Any:
        return bell.ask("/v1/alerts/trial", bell.key("admin", tenant), method="POST", body=json.dumps({"channel": channel}), Content_Type="application/json")

    assert trial("chat").json == {"channel": "chat", "ok": True, "detail": ""}
    assert bell.told[-1][2]["type"] == "trial"
    bell.deaf.add("chat")
    assert trial("chat").json == {"channel": "chat", "ok": False, "detail": "it answered 500"}
    assert trial("none").status_code == 404
    assert trial("chat", BOB).status_code == 404
    assert [trial("chat").status_code for _ in range(10)][-1] == 429


def test_channels_outlive_rules_that_only_a_later_version_understands() -> None:
    bell = Bell()
    bell.wants(rules={"block": {"steps": [50]}})
    [document] = [found for name, found in bell.store.list("alert-wishes", now=NOW) if name == ALICE]
    later = {**document.value, "rules": {"moon": {"on": True}}}
    bell.store.put("alert-wishes", ALICE, later, now=NOW)
    wishes = bell.alerts.book.read(ALICE)
    assert [channel.name for channel in wishes.channels] == ["chat"] and wishes.rules.block.steps == (75, 90, 100)


def test_a_function_on_lambda_never_loads_alerts_to_take_a_push() -> None:
    house = RelayHouse()
    heard: list[str] = []
    function = Relay(replace(house.settings, on_lambda=True), house.store, clock=house.clock, on_change=heard.append)
    function.changed(ALICE)
    assert heard == [ALICE] and "alerts" not in vars(function)


def test_a_shared_view_has_no_alerts(bell: Bell) -> None:
    from ledger.errors import Problem
    from ledger.http.reads import Access
    from relay.alerts.routes import _member

    with pytest.raises(Problem) as refused:
        _member(Access("alice|x", "share"))
    assert refused.value.status == 403


def test_a_restored_store_under_another_secret_asks_for_the_address_again(bell: Bell) -> None:
    other = Bell(bell.store, RELAY_SECRET="another secret of sufficient length")
    del other.alerts.book.carry
    assert "set its address again" in other.alerts.post.trial(ALICE, "chat")


def test_use_is_seen_though_a_session_began_long_ago(bell: Bell) -> None:
    bell.laptop().pushes(a_session("old", use(NOW - 30 * DAY), use(NOW - MINUTE)))
    assert bell.get("/v1/alerts")["machines"][0]["state"] == "working"
