"""How readers other than Claude Code's hand over what they found: bodies become records in the step under way."""
from __future__ import annotations

import json
from collections.abc import Mapping

from ledger.record import Record, Ref
from local_agent.archive import Step

SESSION = "session"


def put(step: Step, kind: str, id: str, body: Mapping[str, object]) -> None:
    """Keep *body* as the state of a record, serialised once and for all."""
    step.put(Record(kind, id, json.dumps(body, separators=(",", ":"), ensure_ascii=False)))


def delete(step: Step, kind: str, id: str) -> None:
    """Only for an explicit deletion by the tool."""
    step.delete(Ref(kind, id))


def observe(step: Step, key: str, body: Mapping[str, object]) -> None:
    """A session that was read from a tool's own files."""
    put(step, SESSION, key, body)


def declare(step: Step, tracker: str, key: str, body: Mapping[str, object]) -> None:
    """A session that a tracker declares."""
    put(step, SESSION, key, body)


def withdraw(step: Step, tracker: str, key: str) -> None:
    """A session that its tracker has deleted."""
    delete(step, SESSION, key)
