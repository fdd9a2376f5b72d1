"""Deploy to an emulated AWS on loopback and run the journey through it.

The zip, the template, the deployment tool and the policies are the real ones; only AWS is played, by MiniStack, which
enforces the roles' policies. Everything that is needed is installed once into .cache; nothing leaves this machine.
"""
from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.aws.front import Front
from tools.package import AWS, CACHE, ROOT, Impossible, alone, build, node_tools, osls, runtime_python, template

REGION, STAGE, SERVICE = "us-east-1", "local", "session-relay"
ARCH = "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"
CONTRACT = ("tests/ledger/test_store_contract.py", "tests/ledger/test_shelf_contract.py")
JOURNEY = "tests/journeys/test_cloud.py"


def emulator_python() -> str:
    """A Python of the runtime's minor with the emulator in it, installed from its lock once."""
    folder, lock = CACHE / "emulator", AWS / "emulator.txt"
    stamp, wanted = folder / ".lock", hashlib.sha256(lock.read_bytes()).hexdigest()
    python = folder / "bin" / "python"
    with alone("emulator"):
        if not stamp.is_file() or stamp.read_text() != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([runtime_python(), "-m", "venv", str(folder)], check=True)
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:",
                            "--requirement", str(lock)], check=True, stderr=subprocess.DEVNULL)
            stamp.write_text(wanted)
    return str(python)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(eq=False)
class Cloud:
    """The relay, deployed. *folder* takes the logs."""

    folder: Path
    secret: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    emulator_port: int = field(default_factory=free_port)
    port: int = field(default_factory=free_port)
    outputs: dict[str, str] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list, repr=False)
    """Every secret that there was."""
    _process: subprocess.Popen[bytes] | None = None
    _front: Front | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def live_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def table(self) -> str:
        return self.outputs["TableName"]

    @property
    def aws(self) -> dict[str, str]:
        """What a process needs to talk to this cloud as its owner."""
        return {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.emulator_port}", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION, "AWS_EC2_METADATA_DISABLED": "true"}

    @property
    def admin(self) -> dict[str, str]:
        """What `python -m relay` needs to work on the deployed table."""
        return {**self.aws, "RELAY_STORE": f"dynamodb://{self.table}", "RELAY_SECRET": f"ssm:/{SERVICE}/{STAGE}/secret", "RELAY_URL": self.url}

    def client(self, service: str) -> Any:
        import boto3

        aws = self.aws
        return boto3.client(service, endpoint_url=aws["AWS_ENDPOINT_URL"], region_name=REGION,
                            aws_access_key_id=aws["AWS_ACCESS_KEY_ID"], aws_secret_access_key=aws["AWS_SECRET_ACCESS_KEY"])

    @contextlib.contextmanager
    def store(self) -> Iterator[Any]:
        """The deployed table, opened as the relay opens it."""
        from ledger.stores.dynamodb import DynamoStore, connect

        opened = DynamoStore(self.table, client=connect(endpoint_url=self.aws["AWS_ENDPOINT_URL"], region_name=REGION, aws_access_key_id="test", aws_secret_access_key="test"))
        yield opened
        opened.close()

    def named(self, table: str) -> Cloud:
        """The same cloud with a table that no deployment made."""
        self.outputs["TableName"] = table
        return self

    # -- up and down

    def start_emulator(self) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RELAY_", "PYTHON"))}
        env |= {"GATEWAY_PORT": str(self.emulator_port), "BIND_HOST": "127.0.0.1", "AUTH": "true", "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test", "MINISTACK_REGION": REGION, "LOG_LEVEL": "INFO", "TMPDIR": str(self.folder)}
        with (self.folder / "emulator.log").open("wb") as log:
            self._process = subprocess.Popen([emulator_python(), str(AWS / "emulator.py")], env=env, stdout=log, stderr=log, start_new_session=True)
        self._wait_for(f"http://127.0.0.1:{self.emulator_port}/_ministack/health")

    def _wait_for(self, url: str) -> None:
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline:
            if self._process and self._process.poll() is not None:
                break
            with contextlib.suppress(OSError):
                urllib.request.urlopen(url, timeout=2).close()
                return
            time.sleep(0.1)
        raise Impossible(f"the emulator does not start: {(self.folder / 'emulator.log').read_text()[-1500:]}")

    def tool(self, *words: str) -> str:
        """Run the deployment tool on this cloud; what it said."""
        done = osls(*words, "--stage", STAGE, "--region", REGION, env=self.aws)
        return done.stdout + done.stderr

    def keep_secret(self, value: str) -> None:
        self.kept += value.split(",")
        self.client("ssm").put_parameter(Name=f"/{SERVICE}/{STAGE}/secret", Value=value, Type="SecureString", Overwrite=True)

    def deploy(self, *options: str) -> None:
        zip, _ = build(ARCH)
        params = {"arch": ARCH, "zip": str(zip.relative_to(ROOT)), "url": self.url, "liveUrl": self.live_url,
                  "gateway": f"http://127.0.0.1:{self.emulator_port}/_aws/execute-api/${{WebsocketsApi}}/{STAGE}", "origins": self.url}
        self.tool("deploy", *options, *(word for name, value in params.items() for word in ("--param", f"{name}={value}")))
        (stack,) = self.client("cloudformation").describe_stacks(StackName=f"{SERVICE}-{STAGE}")["Stacks"]
        self.outputs = {one["OutputKey"]: one["OutputValue"] for one in stack["Outputs"]}
        apis = {one["Name"]: one["ApiId"] for one in self.client("apigatewayv2").get_apis()["Items"]}
        self._front = self._front or Front(self.port, self.emulator_port)
        self._front.http_path = f"/_aws/execute-api/{apis[f'{SERVICE}-{STAGE}']}"
        self._front.live_path = f"/_aws/execute-api/{apis[f'{SERVICE}-{STAGE}-live']}/{STAGE}"

    def remove(self) -> None:
        self.tool("remove")

    def close(self) -> None:
        if self._front:
            self._front.close()
        if self._process and self._process.poll() is None:
            # Its functions run in processes of their own, in the same session.
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()

    # -- what people do with it

    def relay(self, *words: str) -> str:
        """Run `python -m relay …` against the deployed table; what it printed."""
        env = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RELAY_"))} | self.admin
        done = subprocess.run([sys.executable, "-m", "relay", *words], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise Impossible(f"relay {words[0]}: {done.stderr.strip()}")
        return done.stdout.strip()

    def get(self, path: str, key: str | None = None, **headers: str) -> Any:
        request = urllib.request.Request(self.url + path, headers={**headers, **({"Authorization": f"Bearer {key}"} if key else {})})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def status(self, path: str, key: str | None = None, method: str = "GET") -> int:
        request = urllib.request.Request(self.url + path, method=method, headers={"Authorization": f"Bearer {key}"} if key else {})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refusal:
            return refusal.code

    def logs(self) -> str:
        """Everything that the functions wrote."""
        client, text = self.client("logs"), []
        for group in client.describe_log_groups(logGroupNamePrefix=f"/aws/lambda/{SERVICE}-{STAGE}")["logGroups"]:
            for stream in client.describe_log_streams(logGroupName=group["logGroupName"])["logStreams"]:
                events = client.get_log_events(logGroupName=group["logGroupName"], logStreamName=stream["logStreamName"])["events"]
                text += [event["message"] for event in events]
        return "\n".join(text)


@contextlib.contextmanager
def cloud(folder: Path) -> Iterator[Cloud]:
    """A deployed relay for the length of a with block."""
    made = Cloud(folder)
    try:
        made.start_emulator()
        made.keep_secret(made.secret)
        made.deploy()
        yield made
    finally:
        made.close()


def lint() -> None:
    found = template(STAGE)
    done = subprocess.run([str(Path(sys.executable).with_name("cfn-lint")), "--ignore-checks", "W3005", "--template", str(found)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Impossible(f"cfn-lint: {done.stdout.strip()}")


def main(words: Sequence[str] | None = None) -> int:
    began = time.monotonic()
    try:
        with ThreadPoolExecutor() as pool:
            # Three installs that mostly wait for the network.
            begun: list[Future[object]] = [pool.submit(node_tools), pool.submit(emulator_python), pool.submit(build, ARCH)]
            for each in begun:
                each.result()
        lint()
    except (Impossible, subprocess.CalledProcessError) as why:
        sys.stderr.write(f"deploy-local: {why}\n")
        return 1
    sys.stdout.write(f"tools, zip and template are ready after {time.monotonic() - began:.0f} s\n")
    sys.stdout.flush()
    env = {**os.environ, "SESSION_RELAY_CLOUD": "1"}
    code = subprocess.run([sys.executable, "-m", "pytest", JOURNEY, "-p", "no:xdist", *(words if words is not None else sys.argv[1:])], cwd=ROOT, env=env, check=False).returncode
    sys.stdout.write(f"deploy-local took {time.monotonic() - began:.0f} s\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
