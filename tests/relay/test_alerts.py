"""Alerts reach phones through their vendor's push service."""
from __future__ import annotations

import base64
import io
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import http_ece
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ledger.errors import Problem
from ledger.stores.memory import MemoryStore
from relay.alerts.webpush import MOST, WebPush, checked, deliver, new_keys, reachable
from relay.app import create_app
from tests.relay.house import RelayHouse

HALF = {"id": "block:b1:75", "level": "warn", "text": "75 % of the block is used."}


class Phone:
    """A browser's side of Web Push: its keys, and what its push service received."""

    def __init__(self, host: str = "fcm.googleapis.com") -> None:
        self.private, self.auth = ec.generate_private_key(ec.SECP256R1()), os.urandom(16)
        point = self.private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.subscription = {"endpoint": f"https://{host}/send/{id(self)}", "keys": {"p256dh": text(point), "auth": text(self.auth)}}
        self.posts: list[tuple[str, bytes, Any]] = []

    def post(self, url: str, data: bytes, headers: Any, **_: Any) -> requests.Response:
        self.posts.append((url, data, headers))
        answer = requests.Response()
        answer.status_code = 201
        return answer

    def read(self) -> Any:
        return json.loads(http_ece.decrypt(self.posts[-1][1], private_key=self.private, auth_secret=self.auth, version="aes128gcm"))


def text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def test_a_phone_reads_what_the_relay_encrypted_for_it() -> None:
    phone, keys = Phone(), new_keys()
    status = deliver(phone.subscription, json.dumps(HALF), keys["private"], "mailto:ops@example.org", session=phone)  # type: ignore[arg-type]
    assert (status, phone.read()) == (201, HALF)
    assert phone.posts[0][2]["authorization"].startswith("vapid t=")


def test_a_subscription_of_one_tenant_hears_nothing_of_another() -> None:
    sent: list[str] = []
    push = WebPush(MemoryStore(), url="https://relay.example", clock=lambda: 0, send=lambda to, *_: sent.append(to["endpoint"]) or 201)
    alice, bob = Phone(), Phone()
    push.subscribe("alice", alice.subscription)
    push.subscribe("bob", bob.subscription)
    assert push.tell("alice", HALF) == 1
    assert sent == [alice.subscription["endpoint"]]


def test_a_browser_that_is_gone_is_forgotten() -> None:
    push = WebPush(MemoryStore(), url="https://relay.example", clock=lambda: 0, send=lambda *_: 410)
    push.subscribe("alice", Phone().subscription)
    assert push.tell("alice", HALF) == 0
    assert WebPush.tell(push, "alice", HALF) == 0 and not list(push._shelf.list("webpush/alice", now=0))


def test_the_vapid_key_is_made_once_and_kept() -> None:
    shelf = MemoryStore()
    keys = {WebPush(shelf, url="https://relay.example", clock=lambda: 0).public_key() for _ in range(3)}
    assert len(keys) == 1 and len(base64.urlsafe_b64decode(keys.pop() + "=")) == 65


def test_subscriptions_are_bounded() -> None:
    push = WebPush(MemoryStore(), url="https://relay.example", clock=lambda: 0)
    phones = [Phone() for _ in range(MOST + 1)]
    for phone in phones[:MOST]:
        push.subscribe("alice", phone.subscription)
    push.subscribe("alice", phones[0].subscription)
    with pytest.raises(Problem) as refused:
        push.subscribe("alice", phones[-1].subscription)
    assert refused.value.status == 409


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://fcm.googleapis.com/x", "https://127.0.0.1/x", "https://fcm.googleapis.com.evil.example/x", "https://evilfcm.googleapis.com@10.0.0.1/x",
        "https://fcm.googleapis.com:8443/x", "https://notpush.apple.com/x", "https://[::1]/", "https://[bad/", "file:///etc/passwd", "", "https://user@fcm.googleapis.com/x",
        # What one library takes for a part of the host, another takes for the end of it.
        "https://evil.example\\.push.apple.com/x", "https://127.0.0.1\\.push.apple.com/x", "https://evil.example%2f.push.apple.com/", "https://evil.example;.push.apple.com/",
        "https://127.0.0.1 .push.apple.com/", "https://x.push.apple.com\r\n/x", "https://evil.example\t.push.apple.com/", "https://fcm.googleapis.com/\n", "https://fcm.googleapis.com\\@evil.example/",
    ],
)  # fmt: skip
def test_the_relay_calls_no_address_but_a_known_push_service(endpoint: str) -> None:
    assert not reachable(endpoint)
    called: list[object] = []
    push, phone = WebPush(MemoryStore(), url="https://relay.example", clock=lambda: 0, send=lambda *to: called.append(to) or 201), Phone()
    push._shelf.put("webpush/alice", "kept by a former version", {**phone.subscription, "endpoint": endpoint}, now=0)
    assert push.tell("alice", HALF) == 0 and not called and not push.has("alice")


@pytest.mark.parametrize("host", ["fcm.googleapis.com", "FCM.googleapis.com", "web.push.apple.com", "updates.push.services.mozilla.com:443", "wns2-par02p.notify.windows.com"])
def test_the_services_of_all_browsers_are_called(host: str) -> None:
    assert reachable(f"https://{host}/w/?token=BQYAAAD%2f0~a_b-c!")


def test_a_push_service_that_sends_the_relay_elsewhere_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str | None] = []

    def send(adapter: object, asked: requests.PreparedRequest, **_: Any) -> requests.Response:
        called.append(asked.url)
        answer = requests.Response()
        answer.status_code, answer.headers["location"], answer.url, answer.request = 302, "http://169.254.169.254/", str(asked.url), asked
        answer.raw = io.BytesIO()
        return answer

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
    phone = Phone()
    assert deliver(phone.subscription, "{}", new_keys()["private"], "mailto:ops@example.org") == 0
    assert called == [phone.subscription["endpoint"]]


@pytest.mark.parametrize("broken", [None, [], {}, {"endpoint": 1, "keys": {}}, {"endpoint": "https://fcm.googleapis.com/x", "keys": {"p256dh": "é", "auth": 3}}])
def test_a_malformed_subscription_is_refused_with_a_reason(broken: object) -> None:
    with pytest.raises(Problem) as refused:
        checked(broken)
    assert refused.value.status == 400


def test_a_browser_subscribes_tries_and_leaves_over_http() -> None:
    house = RelayHouse()
    sent: list[str] = []
    house.relay.alerts.webpush._send = lambda to, *_: sent.append(to["endpoint"]) or 201
    phone = Phone()
    assert len(house.get("/api/v1/alerts/key")["key"]) == 87
    made = house.ask("/api/v1/alerts/subscriptions", house.key(), method="POST", body=json.dumps(phone.subscription), Content_Type="application/json")
    assert made.status_code == 201
    assert house.ask("/api/v1/alerts/trial", house.key(), method="POST").json == {"reached": 1}
    assert sent == [phone.subscription["endpoint"]]
    gone = f"/v1/alerts/subscriptions/{made.json['id']}"
    assert house.ask(gone, house.key(tenant="charlie"), method="DELETE").status_code == 404, "a stranger cannot end it"
    assert [house.ask(gone, house.key(), method="DELETE").status_code for _ in range(2)] == [204, 404]


def test_trials_by_web_push_are_few_and_hold_up_nobody() -> None:
    house, begun, over = RelayHouse(), threading.Semaphore(0), threading.Event()

    def slow(*_: Any) -> int:
        begun.release()
        over.wait(30)
        return 201

    house.relay.alerts.webpush._send = slow
    for tenant in ("alice", "bob", "carol"):
        house.relay.alerts.webpush.subscribe(tenant, Phone().subscription)

    def trial(tenant: str) -> Any:
        return create_app(house.relay).test_client().post("/v1/alerts/trial", headers={"Authorization": f"Bearer {house.key(tenant=tenant)}"})

    with ThreadPoolExecutor(2) as others:
        waiting = [others.submit(trial, tenant) for tenant in ("alice", "bob")]
        for _ in waiting:
            assert begun.acquire(timeout=30)
        refused = trial("carol")
        over.set()
        assert (refused.status_code, [one.result().status_code for one in waiting]) == (429, [200, 200]) and refused.headers["Retry-After"]
    assert [house.ask("/v1/alerts/trial", house.key(tenant="carol"), method="POST").status_code for _ in range(11)] == [200] * 10 + [429]


@pytest.mark.parametrize(("body", "kind", "status"), [("{", "application/json", 400), ("{}", "application/json", 400), ("{}", "text/plain", 415), ("[" * 5000, "application/json", 400)])
def test_a_bad_subscription_over_http_is_refused(body: str, kind: str, status: int) -> None:
    house = RelayHouse()
    assert house.ask("/v1/alerts/subscriptions", house.key(), method="POST", body=body, Content_Type=kind).status_code == status


def test_nobody_without_a_key_reaches_the_alerts() -> None:
    house = RelayHouse()
    for method, path in (("GET", "key"), ("POST", "subscriptions"), ("POST", "trial"), ("DELETE", "subscriptions/x")):
        assert house.ask(f"/v1/alerts/{path}", method=method).status_code == 401
