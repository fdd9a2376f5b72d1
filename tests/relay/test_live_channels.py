"""The live channel as a page sees it, once, on both kinds of relay: sockets of our own, and API Gateway with the shelf."""
from __future__ import annotations

import asyncio
import json
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ledger.aws import Account, Line, NoAnswer
from ledger.errors import Busy, Problem
from ledger.serving.live import Admission, Live
from ledger.stores.memory import MemoryStore
from relay.live.connections import Connections
from relay.live.fanout import CROWDS, FanOut, Gone
from relay.live.gateway import Gateway
from relay.live.sockets import Sockets
from relay.live.tickets import GOOD_FOR_MS, Ticket, Tickets

NOW = 1_763_800_000_000
PAGE = "https://sessions.example"


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


class News:
    """A ledger of which only the feed shows: each tenant's cursor counts its changes."""

    def __init__(self) -> None:
        self.heads: dict[str, int] = {}
        self.body = "a session"
        self.asked: list[tuple[str, str | None, str, int]] = []
        self.meanwhile: Callable[[], None] | None = None
        """What happens once, after a reading and before whoever read goes on."""

    def __call__(self, tenant: str, cursor: str | None, tz: str, sessions: int) -> dict[str, Any]:
        self.asked.append((tenant, cursor, tz, sessions))
        head = self.heads.get(tenant, 0)
        new = [{"kind": "session", "key": f"{tenant}-{n}", "value": self.body} for n in range(int(cursor or 0), head)]
        if meanwhile := self.meanwhile:
            self.meanwhile = None
            meanwhile()
        return {"cursor": str(head), "head": str(head), "full": cursor is None, "reset": [], "records": new, "removed": [], "summary": {}, "machines": []}


class Page:
    """One open channel: what was heard, in order."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self.heard = say, queue.SimpleQueue[dict[str, Any]]()

    def say(self, **message: Any) -> None:
        self._say(json.dumps(message))

    def say_raw(self, text: str) -> None:
        self._say(text)

    def hear(self) -> dict[str, Any]:
        return self.heard.get(timeout=5)

    def hears_nothing_before(self, **answered: Any) -> bool:
        """Whatever was said before this ping got no answer of its own."""
        self.say(type="heartbeat")
        return self.hear()["type"] == "heartbeat_ack"


class OwnSockets:
    """The hub of a self-hosted relay on a loop of its own."""

    def __init__(self, news: News, clock: Clock) -> None:
        self.loop, self.news = asyncio.new_event_loop(), news
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.pool = ThreadPoolExecutor(4)
        self.hub = Live(news, clock=clock, beat_ms=3_600_000)
        self._run(self._start())

    async def _start(self) -> None:
        self.hub.start(self.pool)

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(5)

    def open(self, tenant: str) -> Page:
        page = Page(lambda text: self._run(self.hub.hear(viewer, text)))

        async def send(message: Any) -> None:
            page.heard.put(json.loads(message["text"]))

        async def join() -> Any:
            return self.hub.join(Admission(tenant), send, is_sse=False, abort=lambda: None)

        viewer = self._run(join())
        page.close = lambda: self.loop.call_soon_threadsafe(self.hub.leave, viewer)  # type: ignore[attr-defined]
        return page

    def change(self, tenant: str) -> None:
        self.news.heads[tenant] = self.news.heads.get(tenant, 0) + 1
        self.hub.changed(tenant)

    def end(self) -> None:
        async def stop() -> None:
            self.hub.stop()

        self._run(stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()
        self.pool.shutdown()


class GatewaySockets:
    """API Gateway, as far as the functions see it."""

    def __init__(self, news: News, clock: Clock) -> None:
        self.news, self.clock, self.shelf = news, clock, MemoryStore()
        self.pages: dict[str, Page] = {}
        self.refused: set[str] = set()
        self.tickets, self.connections = Tickets(self.shelf, clock), Connections(self.shelf, clock)
        self.revoked: set[str] = set()
        still = lambda key: key not in self.revoked  # noqa: E731
        self.fanout = FanOut(self.connections, news, self.post, still, self.shelf, clock)
        self.sockets = Sockets(self.connections, self.tickets, news, self.post, still, clock)

    def post(self, id: str, frame: bytes) -> None:
        assert len(frame) <= 32 * 1024, "API Gateway takes no larger frame"
        if id not in self.pages:
            raise Gone("closed")
        if id in self.refused:
            raise Busy("throttled")
        self.pages[id].heard.put(json.loads(frame))

    def event(self, id: str, type: str, **more: Any) -> Any:
        return self.sockets.heard({"requestContext": {"connectionId": id, "eventType": type}, **more})

    def connect(self, id: str, ticket: str, origin: str = PAGE) -> int:
        return self.event(id, "CONNECT", queryStringParameters={"ticket": ticket}, headers={"Origin": origin})["statusCode"]

    def open(self, tenant: str, key: str = "") -> Page:
        id = f"connection{len(self.pages)}="
        assert self.connect(id, self.tickets.issue(Ticket(tenant, key), PAGE)) == 200
        page = self.pages[id] = Page(lambda text: self.event(id, "MESSAGE", body=text))
        page.close = lambda: (self.pages.pop(id), self.event(id, "DISCONNECT"))  # type: ignore[attr-defined]
        page.id = id  # type: ignore[attr-defined]
        return page

    def change(self, tenant: str) -> None:
        self.news.heads[tenant] = self.news.heads.get(tenant, 0) + 1
        self.fanout.changed(tenant)

    def end(self) -> None:
        pass


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def news() -> News:
    return News()


@pytest.fixture(params=[OwnSockets, GatewaySockets])
def relay(request: pytest.FixtureRequest, news: News, clock: Clock) -> Iterator[Any]:
    made = request.param(news, clock)
    yield made
    made.end()


@pytest.fixture
def gateway(news: News, clock: Clock) -> GatewaySockets:
    return GatewaySockets(news, clock)


# -- the same everywhere


def test_a_page_that_subscribes_gets_everything_at_once(relay: Any, news: News) -> None:
    news.heads["alice"] = 2
    page = relay.open("alice")
    page.say(type="subscribe", cursor=None, tz="Europe/Berlin", sessions=50)
    feed = page.hear()
    assert (feed["type"], feed["since"], feed["full"], len(feed["records"])) == ("feed", None, True, 2)
    assert news.asked == [("alice", None, "Europe/Berlin", 50)]


def test_every_change_continues_where_the_page_stands(relay: Any) -> None:
    page = relay.open("alice")
    page.say(type="subscribe", cursor=None)
    cursor = page.hear()["cursor"]
    for _ in range(5):
        relay.change("alice")
        feed = page.hear()
        assert feed["since"] == cursor
        cursor = feed["cursor"]


def test_news_that_come_while_a_page_subscribes_reach_it(relay: Any, news: News) -> None:
    news.meanwhile = lambda: relay.change("alice")
    page = relay.open("alice")
    page.say(type="subscribe", cursor=None)
    heard = page.hear()
    while heard["cursor"] != "1":
        heard = page.hear()
    assert heard["type"] == "feed"
    relay.change("alice")
    assert page.hear()["since"] == "1"


def test_a_page_that_comes_back_gets_only_what_it_missed(relay: Any, news: News) -> None:
    news.heads["alice"] = 7
    page = relay.open("alice")
    page.say(type="subscribe", cursor="5")
    feed = page.hear()
    assert (feed["since"], len(feed["records"]), feed["full"]) == ("5", 2, False)


def test_news_of_one_tenant_reach_no_other(relay: Any) -> None:
    alice, bob = relay.open("alice"), relay.open("bob")
    for page in (alice, bob):
        page.say(type="subscribe", cursor=None)
        page.hear()
    relay.change("alice")
    assert alice.hear()["records"][0]["key"].startswith("alice")
    assert bob.hears_nothing_before()


def test_a_page_that_asks_without_subscribing_is_shown_everything_once(relay: Any, news: News) -> None:
    news.heads["alice"] = 2
    page = relay.open("alice")
    page.say(type="request_data")
    feed = page.hear()
    assert (feed["type"], feed["since"], len(feed["records"])) == ("feed", None, 2)
    assert page.hears_nothing_before()


def test_all_who_stand_at_one_place_are_told_from_one_reading(relay: Any, news: News) -> None:
    pages = [relay.open("alice") for _ in range(12)]
    for page in pages:
        page.say(type="subscribe", cursor=None)
        page.hear()
    news.asked.clear()
    relay.change("alice")
    assert {page.hear()["cursor"] for page in pages} == {"1"}
    assert len(news.asked) == 1


def test_news_too_long_for_the_channel_become_a_notice(relay: Any, news: News) -> None:
    page = relay.open("alice")
    page.say(type="subscribe", cursor=None)
    page.hear()
    news.body = "x" * 40_000
    relay.change("alice")
    assert page.hear() == {"type": "changed", "head": "1"}
    news.body = "short"
    relay.change("alice")
    assert page.hear()["since"] == "1"


def test_pings_and_heartbeats_are_answered(relay: Any) -> None:
    page = relay.open("alice")
    page.say(type="ping")
    assert page.hear()["type"] == "pong"
    page.say(type="heartbeat")
    assert page.hear()["type"] == "heartbeat_ack"


@pytest.mark.parametrize("text", ["", "not json", "[]", "17", "null", '{"type":"sing"}', '{"type":null}', "{" * 3000, '"\\ud800"'])
def test_nothing_that_a_page_says_closes_its_channel(relay: Any, text: str) -> None:
    page = relay.open("alice")
    page.say_raw(text)
    assert page.hears_nothing_before()


@pytest.mark.parametrize("odd", [{"cursor": 7}, {"cursor": "9" * 20_000}, {"tz": ["x"]}, {"sessions": True}, {"sessions": -1}, {"sessions": 10**9}, {"tz": "x" * 99}])
def test_odd_values_in_a_subscription_count_as_not_given(relay: Any, news: News, odd: dict[str, Any]) -> None:
    page = relay.open("alice")
    page.say(type="subscribe", **{"cursor": None, **odd})
    assert page.hear()["type"] == "feed"
    assert news.asked == [("alice", None, "", 200)]


def test_a_page_that_left_is_forgotten(relay: Any) -> None:
    page = relay.open("alice")
    page.say(type="subscribe", cursor=None)
    page.hear()
    page.close()
    relay.change("alice")
    assert page.heard.empty()


# -- where the sockets are our own


def test_a_page_that_did_not_subscribe_is_told_that_there_is_news(news: News, clock: Clock) -> None:
    relay = OwnSockets(news, clock)
    try:
        page, stranger = relay.open("alice"), relay.open("bob")
        relay.change("alice")
        assert page.hear() == {"type": "changed", "head": None}
        relay.loop.call_soon_threadsafe(relay.hub.refresh)
        assert page.hears_nothing_before() and stranger.hears_nothing_before()
    finally:
        relay.end()


def test_a_tenant_is_told_of_its_own_viewers_only(news: News, clock: Clock) -> None:
    relay = OwnSockets(news, clock)
    try:
        relay.open("alice").say(type="ping")
        for _ in range(3):
            relay.open("bob")
        assert relay.hub.statistics("alice") == {"total_connections": 1, "current_connections": 1, "messages_sent": 1, "errors": 0}
        assert relay.hub.statistics("carol")["total_connections"] == 0
        assert relay.hub.statistics()["current_connections"] == 4
    finally:
        relay.end()


# -- where API Gateway holds the sockets


def test_a_page_that_did_not_subscribe_costs_the_gateway_nothing(gateway: GatewaySockets) -> None:
    page = gateway.open("alice")
    gateway.change("alice")
    assert page.hears_nothing_before()


def test_a_ticket_opens_one_channel_once(gateway: GatewaySockets) -> None:
    ticket = gateway.tickets.issue(Ticket("alice"), PAGE)
    assert gateway.connect("one", ticket) == 200
    assert gateway.connect("two", ticket) == 401


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "", "null", PAGE + ".evil.example"])
def test_a_ticket_is_good_for_the_page_that_asked_only(gateway: GatewaySockets, origin: str) -> None:
    assert gateway.connect("one", gateway.tickets.issue(Ticket("alice"), PAGE), origin) == 401


def test_a_ticket_is_good_for_half_a_minute(gateway: GatewaySockets, clock: Clock) -> None:
    ticket = gateway.tickets.issue(Ticket("alice"), PAGE)
    clock.now += GOOD_FOR_MS
    assert gateway.connect("one", ticket) == 401


@pytest.mark.parametrize("ticket", ["", "x", "x" * 100_000, "\ud800"])
def test_what_is_no_ticket_opens_nothing(gateway: GatewaySockets, ticket: str) -> None:
    assert gateway.connect("one", ticket) == 401


def test_a_socket_without_any_query_is_refused(gateway: GatewaySockets) -> None:
    assert gateway.event("one", "CONNECT")["statusCode"] == 401


def test_the_shelf_holds_no_ticket_that_could_be_used(gateway: GatewaySockets) -> None:
    ticket = gateway.tickets.issue(Ticket("alice"), PAGE)
    assert ticket not in repr(list(gateway.shelf.list("tickets", now=NOW)))


def test_a_closed_connection_is_forgotten_at_the_first_message_it_does_not_take(gateway: GatewaySockets) -> None:
    page = gateway.open("alice")
    page.say(type="subscribe", cursor=None)
    del gateway.pages[page.id]  # type: ignore[attr-defined]
    gateway.change("alice")
    assert not list(gateway.connections.watching("alice"))
    assert gateway.connections.of(page.id) is None  # type: ignore[attr-defined]


def test_one_connection_that_cannot_be_reached_now_delays_no_other(gateway: GatewaySockets) -> None:
    pages = [gateway.open("alice") for _ in range(3)]
    for page in pages:
        page.say(type="subscribe", cursor=None)
        page.hear()
    gateway.refused.add(pages[0].id)  # type: ignore[attr-defined]
    gateway.change("alice")
    assert [page.hear()["cursor"] for page in pages[1:]] == ["1", "1"]
    assert len(list(gateway.connections.watching("alice"))) == 3


def test_a_crowd_is_told_through_the_stream_instead(gateway: GatewaySockets, clock: Clock) -> None:
    pages = [gateway.open("alice") for _ in range(21)]
    for page in pages:
        page.say(type="subscribe", cursor=None)
        page.hear()
    gateway.change("alice")
    assert all(page.heard.empty() for page in pages)
    assert [name for name, _ in gateway.shelf.list(CROWDS, now=clock())] == ["alice"]
    assert gateway.fanout.tell_all("alice") == 21
    assert [page.hear()["cursor"] for page in pages] == ["1"] * 21


def test_two_instances_with_the_same_news_tell_it_once(gateway: GatewaySockets) -> None:
    page = gateway.open("alice")
    page.say(type="subscribe", cursor=None)
    page.hear()
    gateway.news.heads["alice"] = 1
    seen = list(gateway.connections.watching("alice"))
    gateway.fanout._tell(seen)
    gateway.fanout._tell(seen)
    assert page.hear()["cursor"] == "1"
    assert page.heard.empty()


def test_a_revoked_key_hears_nothing_more(gateway: GatewaySockets) -> None:
    page = gateway.open("alice", key="key1")
    page.say(type="subscribe", cursor=None)
    page.hear()
    gateway.revoked.add("key1")
    gateway.change("alice")
    page.say(type="subscribe", cursor=None)
    assert page.heard.empty()
    assert gateway.connect("new", gateway.tickets.issue(Ticket("alice", "key1"), PAGE)) == 401


def test_a_revoked_key_is_told_nothing_however_it_asks(gateway: GatewaySockets) -> None:
    page = gateway.open("alice", key="key1")
    gateway.revoked.add("key1")
    page.say(type="subscribe", cursor=None)
    page.say(type="request_data")
    assert page.heard.empty()


@pytest.mark.parametrize(("answer", "raised"), [((410, b""), Gone), ((500, b""), Busy), ((403, b""), Busy), (NoAnswer("timeout"), Busy)])
def test_only_a_connection_that_is_gone_for_good_counts_as_gone(monkeypatch: pytest.MonkeyPatch, answer: Any, raised: type[Exception]) -> None:
    asked: list[str] = []

    def post(self: Line, path: str, headers: Any, body: bytes) -> Any:
        asked.append(path)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(Line, "post", post)
    with pytest.raises(raised):
        Gateway("https://abc.execute-api.eu-central-1.amazonaws.com/prod", Account("eu-central-1", "key", "secret"))("a/b=", b"{}")
    assert asked == ["/@connections/a%2Fb%3D"]


def test_trouble_with_the_store_stops_no_push(gateway: GatewaySockets, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: Any, **__: Any) -> Any:
        raise Busy()

    monkeypatch.setattr(gateway.shelf, "list", busy)
    gateway.change("alice")


def test_trouble_with_the_store_is_told_to_a_page_that_connects(gateway: GatewaySockets, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: Any, **__: Any) -> Any:
        raise Busy()

    monkeypatch.setattr(gateway.shelf, "take", busy)
    assert gateway.connect("one", "x") == 503


def test_a_refused_ticket_says_the_same_whatever_was_wrong(gateway: GatewaySockets) -> None:
    said = set()
    for ticket in ("", "never made", gateway.tickets.issue(Ticket("alice"), "https://elsewhere.example")):
        with pytest.raises(Problem) as refusal:
            gateway.tickets.redeem(ticket, PAGE)
        said.add(str(refusal.value))
    assert len(said) == 1


def test_agents_are_asked_to_push_less_often_while_nobody_watches(gateway: GatewaySockets) -> None:
    gateway.change("alice")
    assert gateway.fanout.apart_s("alice") == 30
    gateway.open("alice").say(type="subscribe", cursor=None)
    gateway.change("alice")
    assert gateway.fanout.apart_s("alice") == 20
