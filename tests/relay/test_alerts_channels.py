"""What a channel sends and where it may go: signed webhooks, apprise in a process of its own, and nothing to addresses inside."""
from __future__ import annotations

import base64
import json
import logging
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from ledger.errors import Misconfigured, Problem
from ledger.stores.memory import MemoryStore
from relay.alerts import carry
from relay.alerts.channels import Book, masked, new_secret
from relay.alerts.locker import Locker
from relay.alerts.webhook import Refused, addresses_of, is_public, parts_of, post, trust
from tests.relay.alertkit import ALICE, Receiver, receiver

TRIAL = {"type": "trial", "id": "trial", "rule": "trial", "level": "info", "text": "Hello • there", "at": 1_790_000_000_000}


@pytest.fixture
def ops() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def book(*, private: bool = True) -> Book:
    import time

    return Book(MemoryStore(), Locker([b"m" * 32]), private=private, clock=lambda: int(time.time() * 1000))


def send(shelf: Book, url: str, **more: Any) -> dict[str, str]:
    """Keep a channel and send the trial by it; the secrets that were made."""
    wishes, made = shelf.set_channel(ALICE, {"name": "ops", "url": url, **more})
    shelf.carry(ALICE, wishes.channels[-1], TRIAL, "msg_1")
    return made


# -- webhooks


def test_a_webhook_is_signed_so_that_the_standard_library_believes_it(ops: Receiver) -> None:
    made = send(book(), f"{ops.url}/hook?x=1")
    [(path, headers, body)] = ops.heard
    assert path == "/hook?x=1"
    told = Webhook(made["ops"]).verify(body, headers)
    assert told == {"type": "trial", "timestamp": "2026-09-21T14:13:20.000Z", "data": {"id": "trial", "rule": "trial", "level": "info", "text": "Hello • there", "tenant": "alice"}}


def test_a_secret_of_ones_own_signs(ops: Receiver) -> None:
    secret = new_secret()
    assert send(book(), ops.url, secret=secret) == {}
    Webhook(secret).verify(ops.heard[0][2], ops.heard[0][1])


def test_a_new_secret_signs_and_the_address_stays(ops: Receiver) -> None:
    kept, secret = book(), new_secret()
    send(kept, f"{ops.url}/hook")
    wishes, made = kept.set_channel(ALICE, {"name": "ops", "secret": secret})
    kept.carry(ALICE, wishes.channels[-1], TRIAL, "msg_2")
    path, headers, body = ops.heard[-1]
    Webhook(secret).verify(body, headers)
    assert (path, made) == ("/hook", {})


def test_a_secret_that_can_be_guessed_is_refused(ops: Receiver) -> None:
    with pytest.raises(Problem, match="16 to 64 bytes"):
        send(book(), ops.url, secret="whsec_" + base64.b64encode(b"fifteen bytes..").decode())
    assert ops.heard == []


@pytest.mark.parametrize(("status", "said"), [(500, "it answered 500"), (302, "redirects are not followed"), (404, "it answered 404")])
def test_a_webhook_that_is_not_taken_says_why_and_a_redirect_leads_nowhere(ops: Receiver, status: int, said: str) -> None:
    ops.status, ops.headers = status, {"location": f"{ops.url}/inside"}
    with pytest.raises(Refused, match=said):
        send(book(), ops.url)
    assert [path for path, _, _ in ops.heard] == ["/"]


def test_a_receiver_that_drips_is_left_at_the_deadline() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def drip() -> None:
        """A good answer in two seconds: whoever waits for each byte alone takes it."""
        peer, _ = listener.accept()
        with peer:
            for byte in b"HTTP/1.1 204 No Content\r\nx-drip: 1\r\n\r\n":
                if stop.wait(0.05):
                    return
                try:
                    peer.sendall(bytes([byte]))
                except OSError:
                    return

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    with pytest.raises(Refused, match="no answer within"):
        post(f"http://127.0.0.1:{listener.getsockname()[1]}/", b"{}", {}, private=True, deadline_s=0.4)
    stop.set()
    listener.close()


def test_an_answer_of_any_length_is_not_read_to_its_end() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def flood() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.recv(1000)
            try:
                peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\n\r\n" + b"x" * 10_000_000)
            except OSError:
                pass

    threading.Thread(target=flood, daemon=True).start()
    assert post(f"http://127.0.0.1:{listener.getsockname()[1]}/", b"{}", {}, private=True) == 200
    listener.close()


def test_a_certificate_is_verified_for_the_name_and_every_address_of_it_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pem = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with receiver(context) as ops:
        url = f"https://hooks.example:{ops.port}/"

        def look_up(host: str, port: int) -> list[str]:
            return ["127.0.0.2", "127.0.0.1"]

        with pytest.raises(Refused, match="certificate"):
            post(url, b"{}", {}, private=True, look_up=look_up)
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        trust.cache_clear()
        assert post(url, b"{}", {}, private=True, look_up=look_up) == 204
        with pytest.raises(Refused, match="certificate"):
            post(url.replace("hooks.example", "other.example"), b"{}", {}, private=True, look_up=look_up)
    assert [headers["host"] for _, headers, _ in ops.heard] == [f"hooks.example:{ops.port}"]


def test_the_certificates_to_believe_are_read_once_for_all_webhooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[ssl.SSLContext] = []
    monkeypatch.setattr(ssl, "create_default_context", lambda: read.append(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)) or read[-1])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path))
    with receiver(context) as ops:
        for _ in range(3):
            with pytest.raises(Refused, match="certificate"):
                post(f"https://hooks.example:{ops.port}/", b"{}", {}, private=True, look_up=lambda host, port: ["127.0.0.1"])
    assert len(read) == 1


@pytest.fixture(autouse=True)
def _whom_the_system_believes() -> Iterator[None]:
    trust.cache_clear()
    yield
    trust.cache_clear()


def certificate(folder: Path) -> Path:
    """A key and a certificate of its own for hooks.example, in one file."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hooks.example")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = folder / "both.pem"
    pem.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()) + made.public_bytes(serialization.Encoding.PEM))
    return pem


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "::1", "::", "fe80::1",
        "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "2002:7f00:1::", "64:ff9b::a9fe:a9fe", "2001:db8::1", "192.0.0.192", "fec0::1", "3fff::1", "::ffff:192.0.0.192",
        "nonsense", "",
    ],
)  # fmt: skip
def test_an_address_inside_is_known(address: str) -> None:
    assert not is_public(address)
    with pytest.raises(Refused):
        addresses_of("name.example", 443, private=False, look_up=lambda host, port: ["93.184.216.34", address])


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:93.184.216.34"])
def test_an_address_of_the_open_internet_is_known(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/", "https://localhost/", "https://LOCALHOST./", "https://[::1]/", "https://[::ffff:10.0.0.1]/", "https://127.1/", "https://0x7f.0.0.1/", "https://2130706433/", "https://0177.0.0.1/",
        "https://169.254.169.254/latest/meta-data", "https://intranet/", "https://db.internal/", "https://printer.local/", "http://hooks.example/", "ftp://hooks.example/", "https://user:pass@hooks.example/",
        "https://hooks.example:22/", "https://hooks.example:6379/", "https://hooks.example:99999/", "https:///x", "https://hooks.example/\r\nX: y", "https://hooks.example/ x", "https://[bad/", "//x", "", "https://hooks.example/#x",
    ],
)  # fmt: skip
def test_a_webhook_may_not_be_set_to_an_address_inside(url: str) -> None:
    with pytest.raises(Problem) as refused:
        parts_of(url, private=False)
    assert refused.value.status == 400


def test_a_name_that_is_honest_when_set_and_leads_inside_when_called_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection goes to the address that was looked at: a second answer of the name server changes nothing."""
    answers = iter([["93.184.216.34"], ["127.0.0.1"]])
    reached: list[Any] = []
    monkeypatch.setattr(socket, "create_connection", lambda address, timeout: reached.append(address) or (_ for _ in ()).throw(ConnectionRefusedError(111, "refused")))
    for said in ("cannot be reached", "open internet"):
        with pytest.raises(Refused, match=said):
            post("https://rebound.example/", b"{}", {}, look_up=lambda host, port: next(answers))
    assert reached == [("93.184.216.34", 443)]


def test_a_relay_for_oneself_may_allow_addresses_inside_but_each_use_asks_anew(ops: Receiver) -> None:
    mine = book()
    send(mine, ops.url)
    mine.private = False
    with pytest.raises(Refused, match="https://"):
        mine.carry(ALICE, mine.read(ALICE).channels[0], TRIAL, "msg_2")
    assert len(ops.heard) == 1


# -- apprise


def test_apprise_carries_in_a_process_of_its_own_that_has_none_of_our_secrets(ops: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_SECRET", "not for children")
    ops.status = 200
    send(book(), f"ntfy://127.0.0.1:{ops.port}/alerts")
    [(_, _, body)] = ops.heard
    told = json.loads(body)
    assert (told["topic"], told["title"], told["message"]) == ("alerts", "Session Relay", "Hello • there")


def test_apprise_reaches_nothing_inside_wherever_a_name_leads(ops: Receiver) -> None:
    """The address looks harmless; only the connecting process can know."""
    with pytest.raises(Refused):
        carry.carry(f"ntfy://127.0.0.1:{ops.port}/alerts", title="t", text="x", level="info", private=False)
    assert ops.heard == []


def test_apprise_that_hangs_is_ended() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    with pytest.raises(Refused, match="no answer within"):
        carry.carry(f"ntfy://127.0.0.1:{listener.getsockname()[1]}/alerts", title="t", text="x", level="info", private=True, time_s=1.0)
    listener.close()


@pytest.mark.parametrize(
    "url",
    [
        "exec://rm", "file:///etc/passwd", "dbus://", "syslog://", "json://hooks.example", "form://hooks.example", "xml://x.example", "ntfy://", "discord", "smtp://x", "ntfys://127.0.0.1/x", "gotify://10.0.0.1/t",
        "mailto://u:p@localhost", "mailtos://u:p@example.org?smtp=169.254.169.254", "mailtos://u:p@example.org?pgp=yes&pgppub=/etc/passwd", "slack://a/b/c?template=/etc/passwd", "discord://1/2?avatar_url=http://10.0.0.1/",
        "ntfys://ntfy.sh/x?attach=file:///etc/passwd", "ntfys://ntfy.sh/x?+X-Y=1", "ntfys://ntfy.sh/x?verify=no", "hassio://2130706433/t", "matrixs://[::1]/x", "ntfys://[bad/x", "ntfys://ntfy.sh/\nx",
    ],
)  # fmt: skip
def test_apprise_runs_nothing_reads_nothing_and_goes_nowhere_inside(url: str) -> None:
    with pytest.raises(Problem) as refused:
        carry.checked(url, private=False)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "url", ["discord://123456/abcdef", "slack://T1/B2/C3", "tgram://123:abc/456", "ntfys://ntfy.sh/topic?priority=high", "ntfys://topic", "mailtos://me:pass@gmail.com?to=me@example.org", "pover://user@token"]
)
def test_the_usual_services_are_taken(url: str) -> None:
    assert carry.checked(url, private=False) == url


def test_every_service_that_may_be_named_is_one_that_apprise_knows() -> None:
    from apprise.manager_plugins import NotificationManager

    assert set(NotificationManager().schemas()) >= carry.SCHEMAS


def test_without_apprise_the_person_is_told_what_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carry, "is_available", lambda: False)
    with pytest.raises(Problem, match="use a webhook"):
        book().set_channel(ALICE, {"name": "ops", "url": "discord://1/2"})


# -- secrets


def test_no_log_and_no_reason_holds_what_is_secret_in_an_address(ops: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    ops.status = 403
    with pytest.raises(Refused) as why:
        send(book(), f"ntfy://someone:topsecret@127.0.0.1:{ops.port}/alerts-hidden")
    with pytest.raises(Refused) as also:
        send(book(), f"{ops.url}/hidden-path")
    said = f"{why.value} {also.value} {caplog.text}"
    assert not [word for word in ("topsecret", "hidden", "someone") if word in said], said


def test_what_is_shown_of_an_address_is_where_it_goes_and_no_more() -> None:
    assert masked("https://hooks.example:8443/a/b?token=1", "webhook") == "https://hooks.example/…"
    assert masked("tgram://123:abc/456", "apprise") == "tgram://…"


def test_an_address_is_unreadable_in_the_store_and_opens_with_any_master_secret_that_is_in_force() -> None:
    old, new = Locker([b"old" * 10]), Locker([b"new" * 10, b"old" * 10])
    locked = old.lock("ntfy://x/ü" * 50, ALICE)
    assert new.open(locked, ALICE) == "ntfy://x/ü" * 50
    assert old.lock("same", ALICE) != old.lock("same", ALICE)
    for locker, text, tenant in ((Locker([b"x" * 30]), locked, ALICE), (old, locked, "bob"), (old, "A" + locked[1:], ALICE), (old, "", ALICE), (old, "é", ALICE)):
        with pytest.raises(Misconfigured, match="set its address again"):
            locker.open(text, tenant)
