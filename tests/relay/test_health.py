"""What a monitor is told: metrics that are complete, and a health that is red when it should be."""
from __future__ import annotations

import json
import re
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ledger.errors import Busy
from ledger.http.gauges import labelled
from ledger.http.request import Request
from relay.health import AHEAD_MS, STALLED_MS
from relay.server import STOP_S, Housekeeper, shell_of
from relay.upkeep import Done
from tests.ledger.test_otlp import event, logs
from tests.relay.house import RelayHouse
from tests.relay.test_telemetry import send

LINE = re.compile(r'^[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9.e+-]+$')


@pytest.fixture
def house() -> RelayHouse:
    return RelayHouse()


def red(house: RelayHouse) -> list[str]:
    answer = house.ask("/healthz")
    assert answer.status_code == (200 if answer.json == {"status": "ok"} else 503)
    told: list[str] = answer.json.get("trouble", [])
    assert f"session_relay_healthy {int(not told)}" in house.ask("/metrics").text
    return told


def test_it_is_green_where_all_is_well(house: RelayHouse) -> None:
    assert red(house) == []


def test_a_store_that_does_not_answer_is_red(house: RelayHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise Busy("the database is away")

    monkeypatch.setattr(house.store, "take", fail)
    assert red(house) == ["the store does not answer: the database is away"]


def test_a_store_that_keeps_silent_is_red_before_the_monitor_gives_up(house: RelayHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    silence = threading.Event()
    monkeypatch.setattr(house.store, "take", lambda *_, **__: silence.wait(60))
    house.relay.health.patience_s = 0.01
    assert red(house) == ["the store does not answer: it has been silent for 0 s"]
    assert red(house) == ["the store does not answer: it was asked before, and is silent"]
    silence.set()
    assert house.relay.health._asking
    house.relay.health._asking.join(10)
    assert red(house) == []


def test_who_asks_from_elsewhere_learns_no_name_of_what_is_wrong(house: RelayHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise Busy("the database db.inside.example/secret-name does not answer")

    monkeypatch.setattr(house.store, "take", fail)
    assert house.ask("/healthz", X_Forwarded_For="203.0.113.9").json == {"status": "trouble", "trouble": ["the store does not answer"]}
    assert "db.inside" in house.ask("/healthz").text


@pytest.mark.parametrize(("free", "trouble"), [(1 << 20, ["the disk is full"]), (1 << 30, [])])
def test_a_full_disk_is_red(house: RelayHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, trouble: list[str]) -> None:
    monkeypatch.setattr(house.store, "path", tmp_path / "relay.db", raising=False)
    assert house.relay.health.trouble(house.relay, free=lambda path: free) == trouble


def test_a_disk_that_is_gone_is_red(house: RelayHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(house.store, "path", Path("/nowhere/at/all/relay.db"), raising=False)
    assert red(house) == ["the disk is full"]


def test_upkeep_that_stalls_is_red_and_one_that_never_was_is_not(house: RelayHouse) -> None:
    house.clock.now += 10 * STALLED_MS
    assert red(house) == []
    house.relay.health.kept_at = house.clock() - STALLED_MS - 1
    assert red(house) == ["upkeep has stalled"]


def test_upkeep_that_fails_is_red_until_it_succeeds(house: RelayHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = Housekeeper(house.relay)
    with monkeypatch.context() as broken:
        broken.setattr(house.relay.upkeep, "_sweep_all", _fails)
        keeper._upkeep()
    assert red(house) == ["upkeep failed: fails: it is away"]
    keeper._upkeep()
    assert red(house) == []
    assert "session_relay_upkeep_age_seconds 0" in house.ask("/metrics").text


def _fails(done: Any) -> Any:
    raise Busy("it is away")


def test_the_housekeeper_does_each_thing_at_its_own_pace(house: RelayHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    class Seconds:
        """A stop that is asked for after twenty minutes, which pass at once."""

        left = 1200

        def wait(self, seconds: float) -> bool:
            self.left -= 1
            return self.left < 0

    done: list[str] = []
    for name, part, step in (("upkeep", house.relay.upkeep, "round"), ("silent", house.relay.upkeep, "tell_silent"), ("alerts", house.relay.alerts.duty, "step")):
        monkeypatch.setattr(part, step, lambda name=name: done.append(name) or Done())
    monkeypatch.setattr(house.relay.health, "look", lambda relay: done.append("clock"))
    monkeypatch.setattr("gc.collect", lambda: done.append("garbage"))
    monkeypatch.setattr(house.store, "settle", lambda: done.append("store"), raising=False)
    monkeypatch.setattr(house.relay.ahead, "step", lambda: done.append("ahead"))
    monkeypatch.setattr(house.relay.views, "save_due", lambda: done.append("checkpoints"))
    keeper = Housekeeper(house.relay)
    for work in (keeper._run, keeper._read_on):
        keeper._stop = Seconds()  # type: ignore[assignment]
        work()
    assert Counter(done) == {"alerts": 1200, "store": 1200, "silent": 80, "clock": 20, "upkeep": 2, "garbage": 2, "ahead": 1200, "checkpoints": 20}


def test_told_to_stop_gentle_work_makes_no_more_pauses(house: RelayHouse) -> None:
    with Housekeeper(house.relay):
        pass
    assert house.relay.views.pause(60) is True, "it did not wait for the end of the pause"


def test_work_that_does_not_end_is_waited_for_together_and_not_one_after_the_other(house: RelayHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stuck:
        def start(self) -> None:
            pass

        def join(self, seconds: float) -> None:
            nonlocal now
            now += seconds

    now = 0.0
    monkeypatch.setattr("relay.server.monotonic", lambda: now)
    keeper = Housekeeper(house.relay)
    keeper._threads = [Stuck(), Stuck()]  # type: ignore[list-item]
    with keeper:
        pass
    assert now == STOP_S


def test_a_clock_that_was_set_back_is_red(house: RelayHouse) -> None:
    send(house, logs(event(house.clock() - 60_000)))
    house.relay.health.look(house.relay)
    assert red(house) == []
    house.clock.now -= AHEAD_MS + 5_000
    house.relay.health.look(house.relay)
    assert red(house) == ["the clock was set back by 305 s"]


def test_a_clock_that_was_set_right_by_minutes_is_no_trouble(house: RelayHouse) -> None:
    send(house, logs(event(house.clock() - 60_000)))
    house.clock.now -= AHEAD_MS
    house.relay.health.look(house.relay)
    assert red(house) == []


@pytest.mark.parametrize(("path", "kept"), [("/sessions", True), ("/api/v1/feed", True), ("/export", False), ("/api/export", False), ("/v1/live", False), ("/metrics", False)])
def test_what_is_long_or_never_the_same_is_not_kept_to_be_answered_again(house: RelayHouse, path: str, kept: bool) -> None:
    headers = {"authorization": f"Bearer {house.key()}"}
    house.relay.door.enter(headers, "a")
    asked = Request("GET", path, "", headers, "127.0.0.1")
    assert (shell_of(house.relay)._who(asked) == "alice") is kept  # type: ignore[misc]


def test_a_source_is_fresh_until_it_missed_its_beats(house: RelayHouse) -> None:
    laptop = house.sender()
    laptop.start()
    laptop.push({}, commit=True)
    house.clock.now += 149_000
    assert "session_relay_sources_fresh 1" in house.ask("/metrics").text
    house.clock.now += 1_000
    assert "session_relay_sources_fresh 0" in house.ask("/metrics").text and "session_relay_sources 1" in house.ask("/metrics").text


def test_every_line_is_prometheus_text_with_help_and_type(house: RelayHouse) -> None:
    send(house, logs(event(house.clock() - 60_000)))
    lines = house.ask("/metrics", house.key("admin")).text.splitlines()
    assert [line for line in lines if not line.startswith("#") and not LINE.match(line)] == []
    named = {line.split("{")[0].split(" ")[0] for line in lines if not line.startswith("#")}
    for what in ("HELP", "TYPE"):
        told = [line.split(" ")[2] for line in lines if line.startswith(f"# {what} ")]
        assert len(told) == len(set(told))
        assert named <= set(told)


def test_an_admin_key_adds_what_its_tenant_uses_and_nothing_else_does(house: RelayHouse) -> None:
    send(house, logs(event(house.clock() - 60_000)))
    assert 'session_relay_usage_tokens{span="all"} 100' in house.ask("/metrics", house.key("admin")).text
    assert 'session_relay_usage_tokens{span="all"} 0' in house.ask("/metrics", house.key("admin", tenant="bob")).text
    assert "usage" not in house.ask("/metrics").text
    assert house.ask("/metrics", house.key("read")).status_code == 403


def test_metrics_name_nobody(house: RelayHouse) -> None:
    send(house, logs(event(house.clock() - 60_000)), key=house.key("push", source="alices-laptop"))
    text = house.ask("/metrics", house.key("admin")).text
    assert "alice" not in text
    assert "box" not in text


GRAFANA = json.loads((Path(__file__).resolve().parents[2] / "docs" / "grafana.json").read_text(encoding="utf-8"))


def expressions() -> list[str]:
    return [target["expr"] for panel in GRAFANA["panels"] for target in panel.get("targets", [])]


@pytest.fixture(scope="module")
def told() -> set[str]:
    """The name of every metric of both homes, with something of everything going on."""
    from tests.agent.test_metrics import everything_of_an_agent

    house = RelayHouse()
    send(house, logs(event(house.clock() - 60_000)))
    house.relay.health.upkeep_at = house.clock()
    from relay.logs import AccessLog

    house.relay.access_log = AccessLog("text")
    text = house.ask("/metrics", house.key("admin")).text + everything_of_an_agent()
    names = {line.split(" ")[2] for line in text.splitlines() if line.startswith("# TYPE ")}
    return names | {name.replace("session_agent_", "session_relay_") for name in names if "_usage_" in name}  # use is told by the same lines on both


def test_every_metric_that_the_dashboard_asks_for_exists(told: set[str]) -> None:
    asked = {name for expression in expressions() for name in re.findall(r"session_(?:agent|relay)_[a-z_]+", expression)}
    assert len(asked) > 20
    assert sorted(asked - told) == []


def test_every_metric_is_documented(told: set[str]) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "watch.md").read_text(encoding="utf-8")
    named = {name.removeprefix("session_agent_").removeprefix("session_relay_") for name in told}
    assert sorted(name for name in named if f"`{name}`" not in page and f"`{name.removeprefix('usage_')}`" not in page) == []


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    assert GRAFANA["schemaVersion"] >= 36
    assert GRAFANA["uid"] == "session-relay"
    ids = [panel["id"] for panel in GRAFANA["panels"]]
    assert len(ids) == len(set(ids))
    variables = {variable["name"] for variable in GRAFANA["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]+)", json.dumps(GRAFANA["panels"])))
    assert used <= variables
    taken: set[tuple[int, int]] = set()
    for panel in GRAFANA["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, f"{panel['title']} lies over another panel"
        taken |= cells
        if panel["type"] != "row":
            assert panel["title"]
            assert panel["description"]
            assert all(target["datasource"]["uid"] == "${datasource}" and target["refId"] for target in panel["targets"])
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_every_expression_is_balanced() -> None:
    for expression in expressions():
        bare = re.sub(r'"[^"]*"', "", expression)
        for opens, closes in ("()", "{}", "[]"):
            assert bare.count(opens) == bare.count(closes), expression


def test_a_label_may_hold_any_letter_and_stays_one_line() -> None:
    assert list(labelled("m", "gauge", "what", [({"name": 'a\\b"c\nd'}, 1)]))[-1] == 'm{name="a\\\\b\\"c d"} 1'
