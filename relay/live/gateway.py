"""The two things that the relay asks of AWS beside its table: to send to a connection, and what its secrets are."""
from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from urllib.parse import quote

from ledger.aws import Account, Line, NoAnswer
from ledger.errors import Busy, Misconfigured
from relay.live.fanout import Gone

SCHEME = "ssm:"
SHORTEST = 16
Parameter = Callable[[str], str | None]
"""What the parameter of that name holds, None if there is none. Raises Misconfigured or Busy."""


class Gateway:
    """The connections of the WebSocket API at *endpoint*."""

    def __init__(self, endpoint: str, account: Account) -> None:
        self._line = Line(account, "execute-api", endpoint)

    def __call__(self, id: str, frame: bytes) -> None:
        """Send *frame*. Raises Gone, or Busy for everything that may work later."""
        try:
            status, _ = self._line.post(f"/@connections/{quote(id, safe='')}", {"content-type": "application/octet-stream"}, frame)
        except NoAnswer as silence:
            raise Busy(f"the gateway does not answer ({silence}): the same again in a moment") from None
        if status == 410:
            raise Gone("the connection is closed")
        if status != 200:
            raise Busy(f"the gateway answers {status}: look at the role's policy if this goes on")


def parameters(account: Account) -> Parameter:
    """SSM, as a function asks it."""
    line = Line(account, "ssm")

    def value(name: str) -> str | None:
        body = json.dumps({"Name": name, "WithDecryption": True}).encode()
        try:
            status, said = line.post("/", {"content-type": "application/x-amz-json-1.1", "x-amz-target": "AmazonSSM.GetParameter"}, body)
        except NoAnswer as silence:
            raise Busy(f"the parameter {name} cannot be read now ({silence}): the same again in a moment") from None
        if status == 200:
            return str(json.loads(said)["Parameter"]["Value"])
        _must_be_missing(name, json.loads(said or b"{}").get("__type", str(status)).rpartition("#")[2])
        return None

    return value


def parameters_of_a_person() -> Parameter:
    """SSM, with the credentials of whoever runs a command."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.client("ssm")

    def value(name: str) -> str | None:
        try:
            return str(client.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"])
        except ClientError as error:
            _must_be_missing(name, error.response["Error"]["Code"])
            return None
        except BotoCoreError as error:
            raise Busy(f"the parameter {name} cannot be read now ({type(error).__name__}): the same again in a moment") from None

    return value


def _must_be_missing(name: str, code: str) -> None:
    if code != "ParameterNotFound":
        raise Misconfigured(f"the parameter {name} cannot be read ({code}): look at the role's policy")


def revealed(secrets: Sequence[bytes], parameter: Parameter) -> tuple[bytes, ...]:
    """*secrets*, with every "ssm:NAME" among them replaced by what that parameter holds (a list, newest first).

    Raises Misconfigured, which names the parameter and never what is in it.
    """
    plain: list[bytes] = []
    for secret in secrets:
        text = secret.decode()
        plain += _held(text.removeprefix(SCHEME), parameter) if text.startswith(SCHEME) else [secret]
    return tuple(plain)


def _held(name: str, parameter: Parameter) -> list[bytes]:
    value = parameter(name)
    if value is None:
        raise Misconfigured(f"there is no parameter {name}: aws ssm put-parameter --name {name} --type SecureString --value \"$(openssl rand -hex 32)\"")
    found = [part.strip().encode() for part in value.split(",") if part.strip()]
    if not found or any(len(secret) < SHORTEST for secret in found):
        raise Misconfigured(f"a secret in {name} can be guessed: put the output of `openssl rand -hex 32` there")
    return found
