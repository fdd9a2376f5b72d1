"""The faults that only a socket can have: the agent's real transport against real listeners on loopback."""
from __future__ import annotations

import datetime as dt
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from local_agent.push import transport
from local_agent.push.classify import Verdict, meaning_of_failure
from local_agent.push.transport import HttpTransport, open_session
from tests.journeys.fault_proxy import FAULTS, FaultProxy, read_message, reset
from tests.journeys.test_faults import World, bodies


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        made = World(tmp_path, "memory:", [])
        stack.callback(made.close)
        made.write(bodies(40))
        made.settle()
        yield made


def ends_well(world: World, *faults: tuple[str, Callable[..., None]]) -> None:
    """The faults meet a change and a deletion; then the relay is equal to the truth."""
    world.write(bodies(20, 5))
    world.delete("s30")
    world.proxy.plan.extend(faults)
    world.settle()
    assert world.shown() == world.truth() and len(world.truth()) == 39
    assert world.proxy.met == [name for name, _ in faults]


@pytest.mark.fault(8)
def test_a_reset_within_the_request_or_the_answer_loses_nothing(world: World) -> None:
    def while_sending(proxy: FaultProxy, request: bytes, client: socket.socket) -> None:
        with socket.create_connection(proxy.upstream) as relay:
            relay.sendall(request[:200])
            reset(relay)
        reset(client)

    ends_well(world, ("while sending", while_sending), ("in the answer", FAULTS["reset in the body"]), ("while sending", while_sending))


@pytest.mark.fault(9)
@pytest.mark.parametrize("begun", [lambda whole: 0, lambda whole: whole.index(b"\r\n\r\n") + 4], ids=["from the first byte", "from the body on"])
def test_an_answer_that_drips_is_given_up_and_asked_for_again(world: World, monkeypatch: pytest.MonkeyPatch, begun: Callable[[bytes], int]) -> None:
    monkeypatch.setattr(transport, "TOTAL_S", 0.2)
    heard_out = []

    def drips(proxy: FaultProxy, request: bytes, client: socket.socket) -> None:
        whole = proxy.forward(request)
        client.sendall(whole[: begun(whole)])
        for number, byte in enumerate(whole[begun(whole) :]):
            client.sendall(bytes([byte]))  # fails as soon as the agent has gone
            time.sleep(0.01)
            if number == 200:  # two seconds, ten times as long as it should wait, and not yet the end of head or body
                heard_out.append(whole)

    ends_well(world, ("drips", drips), ("drips", drips))
    assert not heard_out


@pytest.mark.fault(10)
def test_a_network_that_swallows_everything_is_given_up_after_a_while(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "READ_S", 0.05)
    waited_for = []

    def swallow(proxy: FaultProxy, request: bytes, client: socket.socket) -> None:
        client.settimeout(5)
        try:
            client.recv(1)  # says nothing, and does not close: only the agent can
        except TimeoutError:
            waited_for.append(request)

    ends_well(world, ("swallowed", swallow), ("swallowed", swallow))
    assert not waited_for


@pytest.mark.fault(11)
def test_names_that_cannot_be_looked_up_mean_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> Any:
        raise socket.gaierror(socket.EAI_AGAIN, "temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert failure("https://relay.example").verdict is Verdict.OFFLINE


@pytest.mark.fault(24)
def test_a_broken_ipv6_leads_to_ipv4(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        closed = free.getsockname()[1]
    ask = socket.getaddrinfo

    def both(host: Any, port: Any, *words: Any, **more: Any) -> Any:
        if host != "relay.test":
            return ask(host, port, *words, **more)
        return [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", closed, 0, 0)), (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    world.place = type(world.place)(f"http://relay.test:{world.proxy.port}", *(getattr(world.place, name) for name in ("aud", "source", "key_id", "secrets")))
    world.restart()
    world.delivery.transport._session.trust_env = False
    ends_well(world)


@pytest.mark.fault(25)
def test_a_kept_connection_that_died_meanwhile_is_opened_anew(world: World) -> None:
    def dies(proxy: FaultProxy, request: bytes, client: socket.socket) -> None:
        client.sendall(proxy.forward(request))
        client.close()

    ends_well(world, ("dies after the answer", dies))
    world.write(bodies(3, 9))
    assert world.step().state != "offline"
    world.settle()
    assert world.shown() == world.truth()


# -- certificates


class Authority:
    """Signs certificates, good and bad ones."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.key = folder, ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._signed("our authority", self.key, ca=True)
        self.file = folder / "authority.pem"
        self.file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, *, days: int = 30, signed_by_itself: bool = False) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._signed(name, key, days=days, alone=signed_by_itself)
        path = self.folder / f"{name}{days}{signed_by_itself}.pem"
        path.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _signed(self, name: str, key: ec.EllipticCurvePrivateKey, *, days: int = 30, ca: bool = False, alone: bool = False) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = subject if ca or alone else x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "our authority")])
        until = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
        other: x509.GeneralName = x509.IPAddress(ip_address(name)) if name[0].isdigit() else x509.DNSName(name)
        made = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number(), until - dt.timedelta(days=60), until)
        made = made.add_extension(x509.BasicConstraints(ca, None), critical=True)
        if not ca:
            made = made.add_extension(x509.SubjectAlternativeName([other]), critical=False)
        return made.sign(key if ca or alone else self.key, hashes.SHA256())


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def listening() -> Iterator[Callable[[ssl.SSLContext], str]]:
    """A server that answers one request with 204; the address it has."""
    with ExitStack() as stack:

        def serve(context: ssl.SSLContext) -> str:
            server = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))

            def work() -> None:
                try:
                    with context.wrap_socket(server.accept()[0], server_side=True) as client:
                        read_message(client)
                        client.sendall(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n")
                except OSError:
                    pass

            threading.Thread(target=work, daemon=True).start()
            return f"https://127.0.0.1:{server.getsockname()[1]}"

        yield serve


def failure(url: str) -> Any:
    with pytest.raises(Exception) as caught:
        asked(url)
    return meaning_of_failure(caught.value)


def asked(url: str) -> int:
    session = open_session(url)
    session.trust_env = False
    return HttpTransport(session).post(f"{url}/v1/push", b"{}", {}).status


@pytest.mark.fault(13)
@pytest.mark.parametrize("name, days, alone", [("127.0.0.1", -1, False), ("relay.example", 30, False), ("127.0.0.1", 30, True)], ids=["expired", "of another name", "self-signed"])
def test_a_bad_certificate_is_a_portal_and_nothing_is_sent(
    authority: Authority, listening: Callable[[ssl.SSLContext], str], monkeypatch: pytest.MonkeyPatch, name: str, days: int, alone: bool
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    assert failure(listening(authority.issue(name, days=days, signed_by_itself=alone))).verdict is Verdict.PORTAL


@pytest.mark.fault(13)
@pytest.mark.skipif(os.uname().sysname != "Linux", reason="other systems keep whom they trust in a store that a test must not touch")
def test_an_authority_that_this_computer_believes_is_believed(
    authority: Authority, listening: Callable[[ssl.SSLContext], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = authority.issue("127.0.0.1")
    assert failure(listening(context)).verdict is Verdict.PORTAL
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    assert asked(listening(context)) == 204


@pytest.mark.fault(17)
def test_the_systems_proxy_is_used_and_not_for_this_computer(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as proxy:
        seen: list[bytes] = []

        def work() -> None:
            client, _ = proxy.accept()
            with client:
                seen.append(client.recv(4096))
                client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")

        threading.Thread(target=work, daemon=True).start()
        for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        with pytest.raises(Exception) as caught:
            HttpTransport(open_session("https://relay.example")).post("https://relay.example/v1/push", b"{}", {})
        assert seen and seen[0].startswith(b"CONNECT relay.example:443 ")
        assert meaning_of_failure(caught.value).verdict in (Verdict.AGAIN, Verdict.PORTAL)
    assert open_session("http://127.0.0.1:3000").trust_env is False
