"""Somebody on the way: bytes that were changed, messages sent again, answers of strangers, a port that another program took."""
from __future__ import annotations

import contextlib
import json
import random
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from ledger.keytext import SECRET_BYTES, Claims, KeyText, id_of
from local_agent import cli
from tests.compliance.client import Reply, Sender
from tests.compliance.process import Theatre, theatre
from tests.relay.pushing import NOW, Office

KEY = KeyText("push", id_of(Claims("push", "alice", "laptop", NOW, 0)), bytes(range(200, 200 + SECRET_BYTES)))
SIGNED = ("webhook-id", "webhook-timestamp", "webhook-signature")


class Wire:
    """Between a sender and the relay, and remembers."""

    def __init__(self, office: Office) -> None:
        self.office, self.seen = office, list[tuple[bytes, dict[str, str]]]()

    def post(self, body: bytes, headers: Mapping[str, str]) -> Reply:
        self.seen.append((body, dict(headers)))
        return self.office.post(body, headers)


def conversation(pushes: int = 12) -> tuple[Office, Sender, Wire]:
    """Three copies after one another, each with pushes, deletions and beats."""
    office = Office()
    sender, wire = office.sender(), Wire(office)
    sender.post = wire.post
    for copy in range(3):
        sender.start()
        held: dict[str, str] = {}
        for number in range(pushes):
            id, body = f"s{number}", json.dumps({"id": f"s{number}", "copy": copy})
            sender.push({id: body}, commit=number >= 2)
            held[id] = body
            if number % 4 == 3:
                gone = f"s{number - 1}"
                sender.push(gone={gone: held.pop(gone)})
            sender.send(sender.message("beat"))
    return office, sender, wire


def state(office: Office, sender: Sender) -> object:
    head = office.head(sender)
    return head.lease, head.seq, head.digest, head.committed, head.beat_s, office.visible(sender)


def flips(data: bytes) -> Iterator[bytes]:
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bytes(flipped)


@pytest.mark.parametrize("type", ["push", "beat", "bye"])
def test_every_flipped_bit_of_a_request_is_refused(type: str) -> None:
    office = Office()
    sender = office.begun(put={"a": '{"id":"a"}'})
    body = json.dumps(sender.message(type, put={"b": "{}"} if type == "push" else None)).encode()
    kept: list[tuple[bytes, Mapping[str, str]]] = []
    sender.post = lambda wire, headers: kept.append((wire, headers)) or Reply(0, {}, b"")  # type: ignore[func-returns-value]
    sender.raw(body)
    [(wire, headers)] = kept
    before, tried = state(office, sender), 0
    for changed in flips(wire):
        tried += 1
        assert office.post(changed, headers).status == 401
    for name in (*SIGNED, "relay-key"):
        for changed in flips(headers[name].encode()):
            tried += 1
            assert office.post(wire, {**headers, name: changed.decode("latin-1")}).status == 401, (name, changed)
    assert tried > 2500 and state(office, sender) == before


def test_nothing_that_was_sent_changes_anything_when_it_is_sent_again() -> None:
    office, sender, wire = conversation()
    before = state(office, sender)
    _replay(office, wire, 4000)
    assert state(office, sender) == before


@pytest.mark.slow
def test_a_hundred_thousand_replays_change_nothing() -> None:
    office, sender, wire = conversation()
    before = state(office, sender)
    _replay(office, wire, 100_000)
    assert state(office, sender) == before


def _replay(office: Office, wire: Wire, times: int) -> None:
    chance = random.Random(7)
    for _ in range(times):
        office.now = NOW + chance.randrange(0, 900)
        body, headers = chance.choice(wire.seen)
        office.post(body, headers)


def test_a_replayed_bye_keeps_nobody_from_being_seen() -> None:
    office = Office()
    sender, wire = office.begun(put={"a": "{}"}), Wire(office)
    sender.post = wire.post
    assert sender.send(sender.message("bye")).status == 200
    office.now += 10
    assert sender.send(sender.message("beat")).status == 200
    alive = office.head(sender)
    office.post(*wire.seen[0])
    assert office.head(sender) == alive


# -- strangers who answer


@pytest.fixture
def house() -> Iterator[Theatre]:
    with theatre() as found:
        yield found


class Portal:
    """Answers everything, and writes down all it hears."""

    def __init__(self, reply: Callable[[], Reply]) -> None:
        self.reply, self.log = reply, b""

    def post(self, wire: bytes, headers: Mapping[str, str]) -> Reply:
        self.log += wire + repr(dict(headers)).encode()
        return self.reply()

    def other(self, method: str, path: str, headers: Mapping[str, str]) -> Reply:
        self.log += f"{method} {path} {dict(headers)}".encode()
        return self.reply()


def secrets_of(key: KeyText) -> list[bytes]:
    return [key.text().encode(), key.text().split("_")[3].encode(), key.secret, key.secret.hex().encode()]


ANSWERS = {
    "a login page": lambda: Reply(200, {"content-type": "text/html"}, b"<html>sign in</html>"),
    "a redirect": lambda: Reply(302, {"location": "http://127.0.0.1:9/login"}, b""),
    "a request for a password": lambda: Reply(401, {"www-authenticate": "Basic realm=hotel", "content-type": "text/html"}, b"who?"),
    "a proxy's request for a password": lambda: Reply(407, {"proxy-authenticate": "Basic realm=proxy"}, b""),
    "network authentication": lambda: Reply(511, {"content-type": "text/html"}, b""),
    "a 200 that nobody signed": lambda: Reply(200, {"content-type": "application/json"}, b'{"v":1,"seq":1,"digest":"00","committed":true,"lease":null}'),
    "a 409 that nobody signed": lambda: Reply(409, {"content-type": "application/problem+json"}, b'{"type":"lease","lease":"' + b"e" * 32 + b'"}'),
}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A single run that tries once and waits for nothing."""
    monkeypatch.setattr("local_agent.commands.once.LONGEST_WAIT_S", 0.0)


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_portal_learns_no_secret_and_moves_nothing(house: Theatre, tmp_path: Path, impatient: None, answer: str, capsys: pytest.CaptureFixture[str]) -> None:
    house.stage = portal = Portal(ANSWERS[answer])  # type: ignore[assignment]
    options = ["--home", str(tmp_path), "--no-defaults", "--relay", house.url, "--key", KEY.text()]
    assert cli.main(["once", *options]) == 1
    assert cli.main(["doctor", *options]) == 1
    assert cli.main(["pair", house.url, KEY.text(), "--home", str(tmp_path / "other"), "--no-defaults"]) == 1
    said = capsys.readouterr()
    assert b"POST" in portal.log or b"webhook-signature" in portal.log
    for secret in secrets_of(KEY):
        assert secret not in portal.log and secret not in (said.out + said.err).encode()


def test_a_program_that_took_our_port_is_told_nothing(tmp_path: Path, impatient: None, capsys: pytest.CaptureFixture[str]) -> None:
    heard = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        port, done = squatter.getsockname()[1], threading.Event()

        def listen() -> None:
            squatter.settimeout(0.1)
            while not done.is_set():
                with contextlib.suppress(TimeoutError):
                    caller, _ = squatter.accept()
                    with caller:
                        heard.extend(caller.recv(65536))

        thread = threading.Thread(target=listen)
        thread.start()
        options = ["--home", str(tmp_path), "--no-defaults", "--port", str(port), "--relay", "http://127.0.0.1:9", "--key", KEY.text(), "--privacy", "sealed"]
        codes = [cli.main([command, *options]) for command in ("once", "status", "doctor", "seal", "run")]
        done.set()
        thread.join()
    assert codes[-1] != 0, "it does not run beside the squatter"
    for secret in [*secrets_of(KEY), (tmp_path / "seal").read_bytes().strip()]:
        assert secret not in bytes(heard)


# -- a key that was stolen


def test_a_stolen_push_key_reads_nothing_and_touches_no_other_machine() -> None:
    office = Office()
    victim = office.begun(source="studio", put={"a": '{"id":"a"}'})
    thief = office.sender(source="laptop")
    before = state(office, victim)
    thief.start()
    for changed in ({"source": "studio"}, {"source": "laptop", "aud": "https://other.example"}, {"lease": victim.lease, "source": "studio"}):
        assert thief.send(thief.message(put={"a": '{"id":"stolen"}'}, **changed)).status == 403
    assert thief.send(thief.message(put={"a": '{"id":"mine"}'}, lease=victim.lease)).status == 409
    assert state(office, victim) == before


def test_a_stolen_key_ends_within_a_minute_of_its_revocation() -> None:
    office = Office()
    thief = office.begun(put={"a": "{}"})
    office.keys.revoke(thief.key.id)
    office.now += 60
    reply = thief.push({"b": "{}"})
    assert (reply.status, reply.document["type"]) == (401, "key-revoked")
