"""The relay on AWS, from an empty account to an empty account, on an emulated cloud that enforces every policy.

Runs by `make deploy-local`; each test goes on from where the one before it stopped, as a person's day does.
"""
from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from tests.journeys.cloud_push import agent_of, digest_of
from tests.processes import environment, until

ROOT = Path(__file__).resolve().parent.parent.parent
pytestmark = pytest.mark.skipif("SESSION_RELAY_CLOUD" not in os.environ, reason="deploys to an emulated cloud: run make deploy-local")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from tools.deploy_local import cloud

    with cloud(tmp_path_factory.mktemp("cloud")) as deployed:
        yield deployed


@pytest.fixture(scope="module")
def read_key(cloud: Any) -> str:
    return cloud.relay("keys", "create", "--scope", "read", "--tenant", "alice")


@pytest.fixture(scope="module")
def home(cloud: Any, generate: Callable[..., None]) -> Path:
    """Alice's laptop: transcripts, paired with the relay."""
    generate("gen_transcripts.py", 99, "1MB", cloud.folder / "claude", "--no-edge")
    key = cloud.relay("keys", "create", "--scope", "push", "--tenant", "alice", "--source", "laptop")
    paired = agent(cloud.folder / "home", "pair", cloud.url, "-", text=key)
    assert paired.returncode == 0, paired.stderr
    return cloud.folder / "home"


def agent(home: Path, *words: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "local_agent", words[0], *words[1:], "--home", str(home)], cwd=ROOT, env=environment(), input=text,
                          capture_output=True, text=True, timeout=120, check=False)


def once(cloud: Any, home: Path) -> dict[str, Any]:
    done = agent(home, "once", "--json", "--no-defaults", "--transcripts", str(cloud.folder / "claude"))
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)


def ticket(cloud: Any, key: str, origin: str) -> str:
    import urllib.request

    request = urllib.request.Request(cloud.url + "/v1/live-tickets", method="POST", headers={"Authorization": f"Bearer {key}", "Origin": origin}, data=b"")
    with urllib.request.urlopen(request, timeout=30) as answer:
        told = json.load(answer)
    assert told["url"] == cloud.live_url
    return str(told["ticket"])


def watch(cloud: Any, key: str) -> ClientConnection:
    return connect(f"{cloud.live_url}?ticket={ticket(cloud, key, cloud.url)}", origin=cloud.url, open_timeout=30)


def subscribe(page: ClientConnection, cursor: str | None = None, *, patience: float = 30) -> dict[str, Any]:
    page.send(json.dumps({"type": "subscribe", "cursor": cursor, "tz": "Europe/Berlin", "sessions": 200}))
    return json.loads(page.recv(timeout=patience))


# -- the journey


def test_the_relay_answers_and_says_that_it_is_one(cloud: Any) -> None:
    ping = cloud.get("/v1/ping")
    assert (ping["home"], ping["url"]) == ("relay", cloud.url)


def test_the_deployment_says_what_a_person_needs_to_work_on_it(cloud: Any) -> None:
    said = subprocess.run([sys.executable, "-m", "tools.deployed", "local"], cwd=ROOT, env=environment(**cloud.aws), capture_output=True, text=True, check=True).stdout
    told = dict(line.removeprefix("export ").split("=", 1) for line in said.splitlines())
    assert (told["RELAY_URL"], told["RELAY_STORE"], told["RELAY_SECRET"]) == tuple(cloud.admin[name] for name in ("RELAY_URL", "RELAY_STORE", "RELAY_SECRET"))


def test_an_agent_pairs_and_everything_it_read_is_seen_with_curl(cloud: Any, home: Path, read_key: str) -> None:
    once(cloud, home)
    truth = json.loads((cloud.folder / "claude" / "truth.json").read_text())
    said = subprocess.run(["curl", "-sS", "--fail-with-body", "-H", f"Authorization: Bearer {read_key}", f"{cloud.url}/sessions?limit=500"],
                          capture_output=True, text=True, check=True).stdout
    shown = json.loads(said)
    expected = sum(row["outputTokens"] for row in truth["randomSessions"]["byUtcDayAndModel"])
    assert shown["total"] == len(shown["sessions"]) > 0
    assert sum(session["tokens"]["output"] for session in shown["sessions"]) == expected


def test_a_websocket_client_sees_a_change_the_moment_it_is_pushed(cloud: Any, home: Path, read_key: str) -> None:
    with watch(cloud, read_key) as page:
        first = subscribe(page)
        if first["type"] == "changed":
            first = cloud.get("/v1/feed?sessions=200&tz=Europe/Berlin", read_key)
            page.send(json.dumps({"type": "subscribe", "cursor": first["cursor"], "tz": "Europe/Berlin", "sessions": 200}))
            assert json.loads(page.recv(timeout=30))["since"] == first["cursor"]
        other = agent_of(cloud, "alice", "desktop")
        other.push(1)
        change = json.loads(page.recv(timeout=30))
        assert change["type"] == "changed" or change["since"] == first["cursor"]
        page.send('{"type":"ping"}')
        assert json.loads(page.recv(timeout=30))["type"] == "pong"


def test_a_second_tenant_sees_nothing_of_the_first(cloud: Any, read_key: str) -> None:
    bob = cloud.relay("keys", "create", "--scope", "read", "--tenant", "bob")
    assert cloud.get("/sessions?limit=500", bob)["sessions"] == []
    some = cloud.get("/sessions?limit=1", read_key)["sessions"][0]["key"]
    assert cloud.status(f"/sessions/{some}", read_key) == 200
    assert cloud.status(f"/sessions/{some}", bob) == 404
    with watch(cloud, bob) as page:
        assert subscribe(page)["records"] == []
        agent_of(cloud, "alice", "desktop").push(1)
        page.send('{"type":"heartbeat"}')
        assert json.loads(page.recv(timeout=30))["type"] == "heartbeat_ack"


def test_without_a_key_or_a_ticket_nothing_opens(cloud: Any, read_key: str) -> None:
    assert cloud.status("/sessions") == 401
    assert cloud.status("/v1/feed", "sr_read_x") == 401
    for query, origin in (("", cloud.url), ("?ticket=x", cloud.url), (f"?ticket={ticket(cloud, read_key, cloud.url)}", "https://elsewhere.example")):
        with pytest.raises(InvalidStatus):
            connect(cloud.live_url + query, origin=origin, open_timeout=30).close()


def test_a_crowd_is_told_through_the_stream(cloud: Any, read_key: str) -> None:
    with ExitStack() as all_of_them:
        pages = [all_of_them.enter_context(watch(cloud, read_key)) for _ in range(22)]
        for page in pages:
            subscribe(page)
        agent_of(cloud, "alice", "desktop").push(1)
        assert {json.loads(page.recv(timeout=60))["type"] for page in pages} <= {"feed", "changed"}


def test_two_instances_that_answer_one_source_stay_correct(cloud: Any, read_key: str) -> None:
    racer = agent_of(cloud, "alice", "racer")
    racer.push(1)
    outcomes = racer.race(3)
    assert sorted(outcomes) == [200, 409, 409]
    head, rows = racer.there()
    assert (digest_of(rows), head.seq) == (head.digest, racer.sender.seq)
    assert racer.push(1) == 200


def test_an_emptied_table_is_refilled_by_the_agent_alone(cloud: Any, home: Path, read_key: str) -> None:
    before = cloud.get("/sessions?limit=500", read_key)["total"]
    empty(cloud)
    once(cloud, home)
    once(cloud, home)
    until(lambda: cloud.get("/machines", read_key), "the machine being back")
    after = cloud.get("/sessions?limit=500", read_key)
    assert {session["source"] for session in after["sessions"]} == {"laptop"}
    assert 0 < after["total"] <= before


def empty(cloud: Any) -> None:
    client = cloud.client("dynamodb")
    for page in client.get_paginator("scan").paginate(TableName=cloud.table, ProjectionExpression="p, s"):
        for item in page["Items"]:
            client.delete_item(TableName=cloud.table, Key=item)


def test_the_old_address_works_through_the_netlify_function(cloud: Any, read_key: str) -> None:
    env = environment(RELAY_UNDER_TEST=cloud.url, RELAY_KEY_UNDER_TEST=read_key)
    done = subprocess.run(["node", "--test", "tests/js/netlify.test.mjs"], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "# skipped 0" in done.stdout, done.stdout[-3000:]


def test_upkeep_does_its_round(cloud: Any) -> None:
    said = cloud.client("lambda").invoke(FunctionName="session-relay-local-upkeep", Payload=b'{"source":"aws.events"}')
    assert "FunctionError" not in said, said["Payload"].read()


def test_the_store_contract_holds_on_this_engine(cloud: Any) -> None:
    env = environment(TEST_DYNAMODB=cloud.aws["AWS_ENDPOINT_URL"])
    done = subprocess.run([sys.executable, "-m", "pytest", "-p", "no:xdist", "-q", "-k", "emulated", "tests/ledger/test_store_contract.py",
                           "tests/ledger/test_shelf_contract.py"], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode == 0 and " passed" in done.stdout) or "100%" in done.stdout, done.stdout[-3000:]


# -- permissions: each one is needed


REFUSED_IN = {
    "HttpRole": ["dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:DeleteItem", "execute-api:ManageConnections", "ssm:GetParameter"],
    "LiveRole": ["dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:DeleteItem", "execute-api:ManageConnections"],
    "UpkeepRole": ["dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:DeleteItem", "ssm:GetParameter"],
}
"""What the emulator enforces. It reads streams and takes logs without asking for a permission: those two stand exactly as AWS
documents them, which tests/relay/test_template.py holds fast."""


FAILURES = (AssertionError, OSError, WebSocketException)
"""What a person would see: a step that is refused, does not come about, or takes too long."""


@pytest.mark.parametrize(("role", "action"), [(role, action) for role, those in REFUSED_IN.items() for action in those])
def test_without_any_one_permission_the_journey_fails(cloud: Any, read_key: str, role: str, action: str) -> None:
    with without(cloud, role, action), pytest.raises(FAILURES):
        PROBES[role](cloud, read_key, 3)


@pytest.mark.parametrize("role", list(REFUSED_IN))
def test_with_all_permissions_the_same_steps_work_and_no_role_has_another(cloud: Any, read_key: str, role: str) -> None:
    PROBES[role](cloud, read_key, 30)
    name, policy = policy_of(cloud, role)
    enforced = {action for statement in policy["Statement"] for action in actions(statement)} - UNENFORCED
    assert enforced == set(REFUSED_IN[role]), name


UNENFORCED = {"logs:CreateLogStream", "logs:PutLogEvents", "dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams"}


def actions(statement: dict[str, Any]) -> list[str]:
    return [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]


def policy_of(cloud: Any, role: str) -> tuple[str, dict[str, Any]]:
    client = cloud.client("iam")
    name = cloud.client("cloudformation").describe_stack_resource(StackName="session-relay-local", LogicalResourceId=role)["StackResourceDetail"]["PhysicalResourceId"]
    (policy,) = client.list_role_policies(RoleName=name)["PolicyNames"]
    document = client.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
    return f"{name}/{policy}", json.loads(document) if isinstance(document, str) else document


class without:
    """A role that lacks one action for a while."""

    def __init__(self, cloud: Any, role: str, action: str) -> None:
        self.cloud, self.action = cloud, action
        name, self.before = policy_of(cloud, role)
        self.role, self.policy = name.split("/")

    def __enter__(self) -> None:
        less = json.loads(json.dumps(self.before))
        for statement in less["Statement"]:
            statement["Action"] = [action for action in actions(statement) if action != self.action]
        less["Statement"] = [statement for statement in less["Statement"] if statement["Action"]]
        self._put(less)
        if self.action.startswith("ssm:"):
            restart(self.cloud)  # what is read at the start only is missed at the next start only

    def __exit__(self, *_: object) -> None:
        self._put(self.before)
        if self.action.startswith("ssm:"):
            restart(self.cloud)

    def _put(self, policy: dict[str, Any]) -> None:
        self.cloud.client("iam").put_role_policy(RoleName=self.role, PolicyName=self.policy, PolicyDocument=json.dumps(policy))


def restart(cloud: Any) -> None:
    client = cloud.client("lambda")
    for part in ("http", "live", "upkeep"):
        name = f"session-relay-local-{part}"
        variables = client.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        client.update_function_configuration(FunctionName=name, Environment={"Variables": variables | {"RESTARTED": str(time.monotonic_ns())}})


def http_steps(cloud: Any, key: str, patience: float) -> None:
    """A page opens and watches, an agent pushes twice, one watcher has gone without a word."""
    assert cloud.get("/v1/feed", key)["cursor"]
    pusher = agent_of(cloud, "alice", "probe")
    pusher.catch_up()
    with watch(cloud, key) as page:
        subscribe(page, patience=patience)
        forgotten = pretend_watcher(cloud)
        assert pusher.push(2) == 200
        assert json.loads(page.recv(timeout=patience))["type"] in ("feed", "changed")
        assert pusher.push(1) == 200
        until(lambda: forgotten not in watchers(cloud), "the watcher who is gone being forgotten", seconds=patience)


def live_steps(cloud: Any, key: str, patience: float) -> None:
    """A page comes, subscribes, misses something, subscribes from where it stood, and goes."""
    pusher = agent_of(cloud, "alice", "probe")
    pusher.catch_up()
    with watch(cloud, key) as page:
        cursor = subscribe(page, patience=patience)["cursor"]
        assert pusher.push(1) == 200
        page.recv(timeout=patience)
        told = subscribe(page, cursor, patience=patience)
        assert told["type"] == "feed" and told["since"] == cursor and told["records"]
    until(lambda: not watchers(cloud), "the page being forgotten", seconds=patience)


def upkeep_steps(cloud: Any, key: str, patience: float) -> None:
    """There is something to sweep: a source that began a new copy."""
    sweepable = agent_of(cloud, "alice", "sweepable")
    sweepable.catch_up()
    sweepable.push(2)
    sweepable.begin_anew()
    said = cloud.client("lambda").invoke(FunctionName="session-relay-local-upkeep", Payload=b'{"source":"aws.events"}')
    assert "FunctionError" not in said, said["Payload"].read()
    assert sweepable.stale_rows() == 0
    with cloud.store() as store:
        store.put("alert-wishes", "alice", {}, now=time.time_ns() // 1_000_000)
    for _ in range(2):  # the second time only what is new is read
        said = cloud.client("lambda").invoke(FunctionName="session-relay-local-upkeep", Payload=b'{"only":"alerts"}')
        assert "FunctionError" not in said, said["Payload"].read()
        assert sweepable.push(2) == 200


PROBES: dict[str, Callable[[Any, str, float], None]] = {"HttpRole": http_steps, "LiveRole": live_steps, "UpkeepRole": upkeep_steps}


def watchers(cloud: Any) -> list[str]:
    found = cloud.client("dynamodb").query(TableName=cloud.table, KeyConditionExpression="p = :p", ExpressionAttributeValues={":p": {"S": "D|watchers"}})
    return [item["s"]["S"] for item in found["Items"]]


def pretend_watcher(cloud: Any) -> str:
    """A connection that was closed so abruptly that nobody was told."""
    with cloud.store() as store:
        from relay.live.connections import Connections, Watcher

        connections = Connections(store, lambda: time.time_ns() // 1_000_000)
        connections.subscribed(Watcher("alice", "gone-without-a-word="))
    return "alice|gone-without-a-word="


# -- what docs/aws.md says

PAGE = (ROOT / "docs" / "aws.md").read_text(encoding="utf-8")


def test_the_page_s_commands_lead_from_a_deployment_to_sessions_on_a_phone(cloud: Any, home: Path) -> None:
    """All of the six but the first three, which made this deployment in their own words."""
    (block,) = re.findall(r"## From an empty account.*?```console\n(.*?)```", PAGE, re.DOTALL)
    lines = block.splitlines()
    assert len(lines) <= 6 and [line.split()[0] for line in lines[:3]] == ["aws", "make", ".cache/node/node_modules/.bin/osls"]
    typed = "\n".join(lines[3:]).replace(".venv/bin/python", sys.executable).replace("tools.deployed prod", "tools.deployed local")
    env = environment(**cloud.aws, HOME=str(cloud.folder / "newcomer"), CLAUDE_CONFIG_DIR=str(cloud.folder / "claude"))
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", typed], cwd=ROOT, env=env, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    address, _, key = done.stdout.strip().splitlines()[-1].partition("#key=")
    assert address == f"{cloud.url}/"
    assert cloud.get("/sessions?limit=1", key)["total"] > 0


def test_the_secret_is_rotated_without_a_gap(cloud: Any, read_key: str) -> None:
    new = secrets.token_hex(32)
    cloud.keep_secret(f"{new},{cloud.secret}")
    cloud.deploy("--force")
    fresh = cloud.relay("keys", "create", "--scope", "read", "--tenant", "alice")
    assert [cloud.status("/v1/feed", key) for key in (read_key, fresh)] == [200, 200]
    cloud.keep_secret(new)
    cloud.deploy("--force")
    assert [cloud.status("/v1/feed", key) for key in (read_key, fresh)] == [401, 200]


def test_a_deployment_is_rolled_back_and_its_log_is_read(cloud: Any) -> None:
    first, *later = re.findall(r"Timestamp: (\d+)", cloud.tool("deploy", "list"))
    assert later
    cloud.tool("rollback", "--timestamp", first)
    assert cloud.get("/v1/ping")["home"] == "relay"
    assert "START" in cloud.tool("logs", "--function", "http")


# -- and afterwards


def test_no_secret_is_in_the_logs(cloud: Any, read_key: str) -> None:
    written = cloud.logs() + (cloud.folder / "emulator.log").read_text()
    assert "START" in written
    assert not [secret for secret in cloud.kept if secret in cloud.logs()]
    assert read_key not in written


def test_remove_leaves_nothing(cloud: Any) -> None:
    cloud.remove()
    assert cloud.client("dynamodb").list_tables()["TableNames"] == []
    assert cloud.client("lambda").list_functions()["Functions"] == []
    assert cloud.client("apigatewayv2").get_apis()["Items"] == []
    assert cloud.client("logs").describe_log_groups()["logGroups"] == []
    assert [role["RoleName"] for role in cloud.client("iam").list_roles()["Roles"] if "session-relay" in role["RoleName"]] == []
    assert cloud.client("s3").list_buckets()["Buckets"] == []
