"""The two things that the relay asks of AWS beside its table: to send to a connection, and what its secrets are."""
from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from ledger.errors import Busy, Misconfigured
from relay.live.fanout import Gone

SCHEME = "ssm:"
_CONFIG = Config(parameter_validation=False, tcp_keepalive=True, connect_timeout=1, read_timeout=2,
                 retries={"total_max_attempts": 2, "mode": "standard"}, max_pool_connections=10)


class Gateway:
    """The connections of the WebSocket API at *endpoint*. The client is made when somebody first watches."""

    def __init__(self, endpoint: str, client: Any = None) -> None:
        self._endpoint, self._client, self._lock = endpoint, client, threading.Lock()

    def __call__(self, id: str, frame: bytes) -> None:
        """Send *frame*. Raises Gone, or Busy for everything that may work later."""
        try:
            self._connect().post_to_connection(ConnectionId=id, Data=frame)
        except ClientError as error:
            code, status = error.response["Error"]["Code"], error.response["ResponseMetadata"].get("HTTPStatusCode")
            if code == "GoneException" or status == 410:
                raise Gone("the connection is closed") from None
            raise Busy(f"the gateway answers {code}: look at the role's policy if this goes on") from None
        except BotoCoreError as error:
            raise Busy(f"the gateway does not answer ({type(error).__name__})") from None

    def _connect(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = boto3.client("apigatewaymanagementapi", endpoint_url=self._endpoint, config=_CONFIG)
            return self._client


def revealed(secrets: Sequence[bytes], client: Any = None) -> tuple[bytes, ...]:
    """*secrets*, with every "ssm:NAME" among them replaced by what that parameter holds (a list, newest first).

    Raises Misconfigured, which names the parameter and never what is in it.
    """
    names = [text.decode().removeprefix(SCHEME) for text in secrets if text.startswith(SCHEME.encode())]
    if not names:
        return tuple(secrets)
    client, found = client or boto3.client("ssm", config=_CONFIG), {}
    for name in names:
        try:
            found[name] = client.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code != "ParameterNotFound":
                raise Misconfigured(f"the parameter {name} cannot be read ({code}): look at the role's policy") from None
        except BotoCoreError as error:
            raise Busy(f"the parameter {name} cannot be read now ({type(error).__name__})") from None
    plain: list[bytes] = []
    for text in secrets:
        name = text.decode().removeprefix(SCHEME)
        if not text.startswith(SCHEME.encode()):
            plain.append(text)
        elif name in found:
            plain += [part.strip().encode() for part in found[name].split(",") if part.strip()]
        else:
            raise Misconfigured(f"there is no parameter {name}: aws ssm put-parameter --name {name} --type SecureString --value \"$(openssl rand -hex 32)\"")
    if any(len(secret) < 16 for secret in plain):
        raise Misconfigured(f"a secret in {', '.join(names)} can be guessed: put the output of `openssl rand -hex 32` there")
    return tuple(plain)
