"""What a deployment is called: `eval "$(python -m tools.deployed prod)"` sets what `python -m relay` needs to work on it."""
from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from shlex import quote

SERVICE = "session-relay"


def exports(stage: str, outputs: Mapping[str, str], region: str) -> str:
    values = {"RELAY_URL": outputs["Url"], "RELAY_STORE": f"dynamodb://{outputs['TableName']}", "RELAY_SECRET": f"ssm:/{SERVICE}/{stage}/secret",
              "RELAY_LIVE_URL": outputs["LiveUrl"], "RELAY_ALARMS": outputs["Alarms"], "AWS_REGION": region, "AWS_DEFAULT_REGION": region}
    return "\n".join(f"export {name}={quote(value)}" for name, value in values.items()) + "\n"


def main(words: Sequence[str] | None = None) -> int:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    parser = argparse.ArgumentParser(prog="python -m tools.deployed", description=__doc__)
    parser.add_argument("stage", nargs="?", default="prod")
    parser.add_argument("--region")
    given = parser.parse_args(words)
    try:
        client = boto3.client("cloudformation", region_name=given.region)
        (stack,) = client.describe_stacks(StackName=f"{SERVICE}-{given.stage}")["Stacks"]
    except (ClientError, BotoCoreError) as why:
        sys.stderr.write(f"deployed: {str(why).strip()}: deploy first, or name the region with --region\n")
        return 1
    sys.stdout.write(exports(given.stage, {one["OutputKey"]: one["OutputValue"] for one in stack["Outputs"]}, client.meta.region_name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
