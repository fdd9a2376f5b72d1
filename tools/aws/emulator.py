"""Start the AWS emulator with the one resource type that it lacks. Runs in the emulator's own environment, not in ours.

A deployment of a WebSocket API is a snapshot of its routes; the emulator always serves the newest, so an id is enough.
"""
from __future__ import annotations

import sys

from ministack.app import main
from ministack.core.responses import new_uuid
from ministack.services.cloudformation import provisioners


def create(logical_id: str, props: dict[str, object], stack_name: str) -> tuple[str, dict[str, str]]:
    made = new_uuid()[:10]
    return made, {"DeploymentId": made}


def delete(physical_id: str, props: dict[str, object]) -> None:
    return None


provisioners._RESOURCE_HANDLERS.setdefault("AWS::ApiGatewayV2::Deployment", {"create": create, "delete": delete})

if __name__ == "__main__":
    sys.exit(main())
