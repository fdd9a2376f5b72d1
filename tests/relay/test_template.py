"""What CloudFormation is given: least privilege, nothing that costs while nobody works, nothing that loses data, no secret."""
from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ledger.stores.dynamodb import TABLE
from tools import package

STAGES = ("dev", "prod", "local")
TABLE_ACTIONS = {"dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:DeleteItem"}
STREAM_ACTIONS = {"dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams"}
LOG_ACTIONS = {"logs:CreateLogStream", "logs:PutLogEvents"}


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The template of every stage; the zip in it may be anything."""
    made, empty = {}, tmp_path_factory.mktemp("package") / "relay.zip"
    empty.write_bytes(b"PK\x05\x06" + bytes(18))
    try:
        for stage in STAGES:
            target = tmp_path_factory.mktemp(stage)
            package.osls("package", "--stage", stage, "--param", f"zip={empty}", "--package", str(target), env={"AWS_REGION": "eu-central-1"})
            made[stage] = json.loads((target / "cloudformation-template-update-stack.json").read_text())
    except (package.Impossible, subprocess.CalledProcessError) as why:
        pytest.skip(f"the template cannot be made here: {why}")
    return made


@pytest.fixture(params=STAGES)
def stage(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def resources(templates: dict[str, Any], stage: str) -> dict[str, Any]:
    return templates[stage]["Resources"]


def of_type(resources: dict[str, Any], type: str) -> dict[str, Any]:
    return {name: resource for name, resource in resources.items() if resource["Type"] == type}


def statements(resources: dict[str, Any], role: str) -> list[dict[str, Any]]:
    return [one for policy in resources[role]["Properties"]["Policies"] for one in policy["PolicyDocument"]["Statement"]]


def actions(resources: dict[str, Any], role: str) -> set[str]:
    found: set[str] = set()
    for statement in statements(resources, role):
        found |= {statement["Action"]} if isinstance(statement["Action"], str) else set(statement["Action"])
    return found


def test_the_linter_has_nothing_to_say(templates: dict[str, Any], stage: str, tmp_path: Path) -> None:
    (tmp_path / "template.json").write_text(json.dumps(templates[stage]))
    linter = Path(sys.executable).with_name("cfn-lint")
    done = subprocess.run([linter, "--ignore-checks", "W3005", "--template", tmp_path / "template.json"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_function_has_a_role_of_its_own_with_exactly_what_it_needs(resources: dict[str, Any]) -> None:
    roles = {name: function["Properties"]["Role"]["Fn::GetAtt"][0] for name, function in of_type(resources, "AWS::Lambda::Function").items()}
    assert roles == {"HttpLambdaFunction": "HttpRole", "LiveLambdaFunction": "LiveRole", "UpkeepLambdaFunction": "UpkeepRole"}
    assert set(of_type(resources, "AWS::IAM::Role")) == set(roles.values())
    assert actions(resources, "HttpRole") == TABLE_ACTIONS | LOG_ACTIONS | {"execute-api:ManageConnections", "ssm:GetParameter"}
    assert actions(resources, "LiveRole") == TABLE_ACTIONS | LOG_ACTIONS | STREAM_ACTIONS | {"execute-api:ManageConnections"}
    assert actions(resources, "UpkeepRole") == TABLE_ACTIONS | LOG_ACTIONS | {"ssm:GetParameter"}


def test_no_permission_reaches_further_than_one_thing_of_this_stage(resources: dict[str, Any], stage: str) -> None:
    for role in of_type(resources, "AWS::IAM::Role"):
        for statement in statements(resources, role):
            assert not [action for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]) if "*" in action]
            resource = json.dumps(statement["Resource"])
            assert resource != '"*"'
            if "*" in resource:
                assert resource.endswith((f"/{stage}/POST/@connections/*\"}}", f"parameter/session-relay/{stage}/*\"}}"))


def test_the_table_is_the_one_that_the_store_expects(resources: dict[str, Any]) -> None:
    table = resources["Table"]["Properties"]
    assert {name: table[name] for name in TABLE} == dict(TABLE)
    assert table["TimeToLiveSpecification"] == {"AttributeName": "x", "Enabled": True}
    assert table["StreamSpecification"] == {"StreamViewType": "KEYS_ONLY"}
    assert table["OnDemandThroughput"]["MaxWriteRequestUnits"] <= 1000


def test_only_production_outlives_its_stack_and_can_be_restored(resources: dict[str, Any], stage: str) -> None:
    table = resources["Table"]
    assert table["DeletionPolicy"] == table["UpdateReplacePolicy"] == ("Retain" if stage == "prod" else "Delete")
    assert table["Properties"]["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is (stage == "prod")


def test_functions_run_on_the_cheap_processor_with_a_runtime_that_has_byte_code(resources: dict[str, Any], stage: str) -> None:
    for function in of_type(resources, "AWS::Lambda::Function").values():
        properties = function["Properties"]
        assert (properties["Runtime"], properties["Architectures"]) == ("python3.12", ["x86_64" if stage == "local" else "arm64"])
        assert properties["LoggingConfig"] == {"LogFormat": "JSON", "ApplicationLogLevel": "INFO", "SystemLogLevel": "WARN"}
        assert properties["Timeout"] <= 300


def test_logs_do_not_pile_up(resources: dict[str, Any], stage: str) -> None:
    groups = of_type(resources, "AWS::Logs::LogGroup").values()
    assert {group["Properties"]["RetentionInDays"] for group in groups} == {90 if stage == "prod" else 14}
    assert len(groups) == 3


def test_both_doors_are_throttled(resources: dict[str, Any]) -> None:
    for found in of_type(resources, "AWS::ApiGatewayV2::Stage").values():
        assert found["Properties"]["DefaultRouteSettings"] == {"ThrottlingRateLimit": 200, "ThrottlingBurstLimit": 400}


def test_everything_that_can_fail_raises_an_alarm(resources: dict[str, Any]) -> None:
    alarms = [alarm["Properties"] for alarm in of_type(resources, "AWS::CloudWatch::Alarm").values()]
    assert {alarm["MetricName"] for alarm in alarms} == {"Errors", "Throttles", "5xx", "WriteThrottleEvents"}
    assert len(alarms) <= 10, "the first ten are free"
    assert all(alarm["AlarmActions"] == [{"Ref": "Alarms"}] for alarm in alarms)


def test_nothing_is_paid_for_while_nobody_works(resources: dict[str, Any]) -> None:
    kinds = {resource["Type"] for resource in resources.values()}
    assert not {kind for kind in kinds if re.search(r"SecretsManager|KMS|NatGateway|VPC|LoadBalancer|Cache|RDS|ProvisionedConcurrency", kind)}
    assert all("ProvisionedConcurrencyConfig" not in resource.get("Properties", {}) for resource in resources.values())


def test_no_secret_stands_in_the_template(templates: dict[str, Any], stage: str) -> None:
    for function in of_type(templates[stage]["Resources"], "AWS::Lambda::Function").values():
        variables = function["Properties"]["Environment"]["Variables"]
        assert variables["RELAY_SECRET"] == f"ssm:/session-relay/{stage}/secret"
        assert not {name for name in variables if re.search(r"KEY|TOKEN|PASSWORD|API_SECRET", name)}


def test_no_door_lets_in_every_origin(templates: dict[str, Any], stage: str) -> None:
    text = json.dumps(templates[stage])
    assert "CorsConfiguration" not in text and "AllowOrigins" not in text
    assert templates[stage]["Resources"]["HttpLambdaFunction"]["Properties"]["Environment"]["Variables"]["RELAY_ORIGINS"] == ""


def test_the_stream_wakes_the_function_for_crowds_only(resources: dict[str, Any]) -> None:
    from relay.live.fanout import CROWDS

    (mapping,) = of_type(resources, "AWS::Lambda::EventSourceMapping").values()
    (pattern,) = mapping["Properties"]["FilterCriteria"]["Filters"]
    assert json.loads(pattern["Pattern"])["dynamodb"]["Keys"]["p"]["S"] == [f"D|{CROWDS}"]


def test_the_address_of_the_relay_is_told(templates: dict[str, Any], stage: str) -> None:
    assert {"Url", "LiveUrl", "TableName", "Alarms"} <= set(templates[stage]["Outputs"])
