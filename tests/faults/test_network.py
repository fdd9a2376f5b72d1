"""Between laptop and relay: whatever becomes of a message, nothing acknowledged is lost and the relay ends equal to the truth.

The real agent's delivery and the real relay, in one process; what only a socket can do is in test_network_wire.py.
"""
from __future__ import annotations

import errno
import gzip
import json
import random
import socket

import pytest

from ledger import signing
from local_agent.push.transport import Reply
from tests.faults.hands import CALM, a_world, altered, at_work, raises, says, survives
from tests.journeys.world import BODIES, IDS, Message, World

HTML = b"<html><form action=/login>Welcome</form></html>"
HOUR = 3600


@pytest.mark.fault(1)
def test_a_lost_request_loses_nothing() -> None:
    survives(World.lose_request)


@pytest.mark.fault(2)
def test_a_lost_answer_loses_nothing() -> None:
    survives(World.lose_answer)


@pytest.mark.fault(3)
def test_a_request_that_arrives_twice_counts_once() -> None:
    survives(World.deliver_twice, outcome=lambda outcome: outcome.state in CALM)


@pytest.mark.fault(4)
def test_an_old_request_an_hour_later_changes_nothing() -> None:
    with a_world() as world:
        at_work(world)
        world.converge()
        for place in range(len(world.recorded)):
            world.time_passes(HOUR)
            world.replay(place / len(world.recorded))
        assert world.visible() == world.shown_truth()
        assert world.converge() <= 2


@pytest.mark.fault(5)
@pytest.mark.parametrize("seed", range(8))
def test_requests_in_another_order_change_nothing_that_is_true(seed: int) -> None:
    chance = random.Random(seed)
    with a_world(seed=seed) as world:
        at_work(world)
        for turn in range(6):
            world.write((IDS[turn % 5], BODIES[turn % 4]))
            world.step(World.keep_back)
            if chance.random() < 0.5:
                world.crash_agent()
        for _ in range(12):
            world.replay(chance.random())
        world.converge()


@pytest.mark.fault(6)
def test_a_request_cut_anywhere_is_refused_whole() -> None:
    with a_world() as world:
        noise = random.Random(6)
        at_work(world)
        world.write(*((f"big{n}", json.dumps({"x": f"{noise.getrandbits(160_000):x}"})) for n in range(2)))
        cuts: list[int] = []

        def cut(world: World, message: Message) -> Reply:
            headers, body = message
            cuts.extend(range(0, len(body), 1024))
            for at in cuts:
                answer = world._at_relay((headers, body[:at]))
                assert answer.status in (400, 401), answer
            raise OSError("cut")

        before = world.visible()
        world.step(cut)
        assert len(cuts) > 15 and world.visible() == before
        world.converge()


@pytest.mark.fault(7)
@pytest.mark.parametrize("part", [0.0, 0.3, 0.99])
def test_a_cut_answer_moves_nothing_on_the_laptop(part: float) -> None:
    survives(altered(lambda reply: Reply(reply.status, reply.headers, reply.body[: int(len(reply.body) * part)])))


@pytest.mark.fault(11)
def test_without_names_the_agent_is_offline_and_loses_nothing() -> None:
    said = survives(raises(lambda: socket.gaierror(socket.EAI_AGAIN, "try again")))
    assert {outcome.state for outcome in said} == {"offline"} and max(outcome.wait_s for outcome in said) <= 15


@pytest.mark.fault(14)
@pytest.mark.parametrize("body", [HTML, b"", b"{}", b'{"v":1,"seq":1,"committed":true}'])
def test_a_captive_portal_moves_nothing(body: bytes) -> None:
    said = survives(says(200, body, content_type="text/html"))
    assert {outcome.state for outcome in said} == {"portal"} and max(outcome.wait_s for outcome in said) <= 60


@pytest.mark.fault(15)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_a_login_moves_nothing(status: int) -> None:
    said = survives(says(status, location="https://login.example/"))
    assert {outcome.state for outcome in said} == {"portal"}


@pytest.mark.fault(16)
def test_511_is_a_portal() -> None:
    assert {outcome.state for outcome in survives(says(511, HTML, content_type="text/html"))} == {"portal"}


@pytest.mark.fault(17)
@pytest.mark.parametrize("status", [407, 502, 504])
def test_a_failing_proxy_is_waited_out(status: int) -> None:
    survives(says(status, HTML, content_type="text/html"))


@pytest.mark.fault(18)
def test_a_proxy_that_strips_or_alters_headers_loses_nothing() -> None:
    def without(*names: str) -> None:
        def stripped(world: World, message: Message) -> Reply:
            return world._at_relay(({name: value for name, value in message[0].items() if name not in names}, message[1]))

        survives(stripped, outcome=lambda outcome: names == ("content-encoding",) or outcome.state not in CALM)

    # That a body is compressed is seen in the body itself, so a proxy that drops the word for it does no harm either.
    for name in ("webhook-signature", "webhook-id", "webhook-timestamp", "relay-key", "content-encoding", "content-type"):
        without(name)
    survives(altered(lambda reply: Reply(reply.status, {"content-type": "application/json"}, reply.body)))
    # What leaves the signature alone does no harm.
    survives(altered(lambda reply: Reply(reply.status, {**reply.headers, "content-type": "text/plain", "via": "1.1 proxy"}, reply.body)), outcome=lambda o: o.state in CALM)


@pytest.mark.fault(19)
def test_a_proxy_that_compresses_anew_is_refused_and_not_misread() -> None:
    def unpacked(world: World, message: Message) -> Reply:
        headers = {name: value for name, value in message[0].items() if name != "content-encoding"}
        return world._at_relay((headers, gzip.decompress(message[1])))

    survives(unpacked)
    survives(lambda world, message: world._at_relay((message[0], gzip.compress(gzip.decompress(message[1]), 1))))
    survives(altered(lambda reply: Reply(reply.status, {**reply.headers, "content-encoding": "gzip"}, gzip.compress(reply.body))))


@pytest.mark.fault(12, 20)
def test_the_answers_of_another_relay_move_nothing() -> None:
    with a_world(seed=7) as stranger:
        stranger.keys._masters = [b"x" * 32]
        survives(lambda world, message: Reply(*stranger.push.answer("POST", "/v1/push", {**message[0], "content-length": str(len(message[1]))}, message[1])))
        assert stranger.head() is None


@pytest.mark.fault(21)
def test_every_status_moves_nothing_unless_the_relay_itself_says_it() -> None:
    with a_world() as world:
        at_work(world)
        before, place = world.visible(), world.mirror.place()
        for status in range(100, 600):
            for kind in ("application/json", "text/html"):
                world.step(says(status, b"{}", content_type=kind))
                assert world.visible() == before and world.mirror.place() == place, status
        world.converge()


@pytest.mark.fault(22)
@pytest.mark.parametrize("asked, least, most", [
    ("0", 0, 300), ("-5", 0, 300), ("1000000000", 3600, 3600), ("Mon, 22 Nov 2126 10:00:00 GMT", 3600, 3600), ("Mon, 22 Nov 1999 10:00:00 GMT", 0, 300),
    ("soon", 0, 300), ("", 0, 300), ("1e9", 0, 300), ("٣", 0, 300), ("30, 60", 0, 300),
])  # fmt: skip
def test_any_retry_after_is_obeyed_within_reason(asked: str, least: float, most: float) -> None:
    for status in (429, 503):
        for outcome in survives(says(status, retry_after=asked)):
            assert outcome.state == "throttled" and least <= outcome.wait_s <= most and outcome.wait_s > 0


@pytest.mark.fault(23)
def test_a_200_with_a_wrong_signature_moves_nothing() -> None:
    survives(World.forged_answer)

    def turned(reply: Reply) -> Reply:
        return Reply(reply.status, reply.headers, reply.body.replace(b"{", b"{ ", 1))

    survives(altered(turned))

    def of_another_message(world: World, message: Message) -> Reply:
        reply = world.deliver(message)
        return Reply(reply.status, {**reply.headers, **signing.headers(reply.body, [world.key.secret], "msg_another", world.seconds)}, reply.body)

    survives(of_another_message)


@pytest.mark.fault(25)
@pytest.mark.parametrize("delivered", [False, True])
def test_a_network_that_changes_within_a_request_is_waited_out(delivered: bool) -> None:
    said = survives(raises(lambda: OSError(errno.ENETUNREACH, "network is unreachable"), delivered=delivered))
    assert {outcome.state for outcome in said} == {"offline"}
    with a_world() as world:
        at_work(world)
        world.step(raises(lambda: OSError(errno.ENETDOWN, "down"), delivered=delivered))
        world.delivery.wake()
        assert world.delivery.wait_s <= 5
        world.converge()
