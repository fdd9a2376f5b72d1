"""Secrets that stand in SSM: read when something starts, never shown, and clearly missed."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws

from ledger.errors import Busy, Misconfigured
from relay.live.gateway import revealed
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


class Refusing:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def get_parameter(self, **_: Any) -> Any:
        raise self.error


@pytest.mark.parametrize(("error", "kind"), [
    (ClientError({"Error": {"Code": "AccessDeniedException", "Message": "secret"}}, "GetParameter"), Misconfigured),
    (EndpointConnectionError(endpoint_url="https://ssm"), Busy),
])
def test_what_keeps_it_from_the_secret_is_said(error: Exception, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="cannot be read"):
        revealed([f"ssm:{NAME}".encode()], Refusing(error))
