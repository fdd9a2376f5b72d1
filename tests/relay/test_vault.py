"""Secrets that stand in SSM: read when something starts, never shown, and clearly missed."""
from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import boto3
import pytest
from moto import mock_aws

from ledger.aws import Account, Line, NoAnswer
from ledger.errors import Busy, Misconfigured
from relay.settings import Settings, read
from relay.vault import opened

NAME, OLD, NEW = "/session-relay/prod/secret", "o" * 32, "n" * 32


@pytest.fixture
def ssm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name, value in {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "eu-central-1"}.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        yield boto3.client("ssm")


def settings(*secrets: str, **more: Any) -> Settings:
    return replace(read({"RELAY_SECRET": ",".join(secrets), "RELAY_STORE": "dynamodb://t", "RELAY_URL": "https://relay.example"}), **more)


def test_a_parameter_may_hold_a_list_newest_first(ssm: Any) -> None:
    ssm.put_parameter(Name=NAME, Value=f"{NEW}, {OLD}", Type="SecureString")
    assert opened(settings(f"ssm:{NAME}")).secrets == (NEW.encode(), OLD.encode())


def test_secrets_that_are_given_plainly_ask_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boto3, "client", lambda *_, **__: pytest.fail("asked AWS"))
    assert opened(settings(NEW)).secrets == (NEW.encode(),)


def test_the_shared_key_of_the_earlier_system_may_stand_there_too(ssm: Any) -> None:
    ssm.put_parameter(Name="/session-relay/prod/shared", Value=OLD, Type="SecureString")
    assert opened(settings(NEW, shared=(b"ssm:/session-relay/prod/shared",))).shared == (OLD.encode(),)


def test_a_parameter_that_is_missing_is_named_with_the_command_that_makes_it(ssm: Any) -> None:
    with pytest.raises(Misconfigured, match=r"aws ssm put-parameter --name /session-relay/prod/secret"):
        opened(settings(f"ssm:{NAME}"))


def test_a_secret_that_can_be_guessed_is_refused_and_not_repeated(ssm: Any) -> None:
    ssm.put_parameter(Name=NAME, Value="hunter2", Type="SecureString")
    with pytest.raises(Misconfigured) as refusal:
        opened(settings(f"ssm:{NAME}"))
    assert "hunter2" not in str(refusal.value)


def test_the_function_reads_the_same_parameter_without_boto3(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    def post(self: Any, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        asked.append((headers["x-amz-target"], json.loads(body)))
        return 200, json.dumps({"Parameter": {"Name": NAME, "Value": NEW}}).encode()

    monkeypatch.setattr(Line, "post", post)
    assert opened(settings(f"ssm:{NAME}", account=Account("eu-central-1", "k", "s"))).secrets == (NEW.encode(),)
    assert asked == [("AmazonSSM.GetParameter", {"Name": NAME, "WithDecryption": True})]


@pytest.mark.parametrize(("status", "said", "kind", "words"), [
    (400, {"__type": "ParameterNotFound"}, Misconfigured, "aws ssm put-parameter"),
    (400, {"__type": "com.amazon#AccessDeniedException", "message": "hunter2"}, Misconfigured, r"cannot be read \(AccessDeniedException\)"),
    (0, {}, Busy, "cannot be read now"),
])
def test_what_keeps_the_function_from_its_secret_is_said(monkeypatch: pytest.MonkeyPatch, status: int, said: Any, kind: type[Exception], words: str) -> None:
    def post(*_: Any) -> tuple[int, bytes]:
        if not status:
            raise NoAnswer("TimeoutError")
        return status, json.dumps(said).encode()

    monkeypatch.setattr(Line, "post", post)
    with pytest.raises(kind, match=words) as why:
        opened(settings(f"ssm:{NAME}", account=Account("eu-central-1", "k", "s")))
    assert "hunter2" not in str(why.value)
