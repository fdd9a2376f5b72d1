"""Bodies that readers hand over as they are: declared blocks and official limits. Sessions go by way of sessions.py."""
from __future__ import annotations

import json
from collections.abc import Mapping

from ledger.record import Record, Ref
from local_agent.archive import Step


def put(step: Step, kind: str, id: str, body: Mapping[str, object]) -> None:
    """Keep *body* as the state of a record, serialised once and for all."""
    step.put(Record(kind, id, json.dumps(body, separators=(",", ":"), ensure_ascii=False)))


def delete(step: Step, kind: str, id: str) -> None:
    """Only for an explicit deletion by the tool."""
    step.delete(Ref(kind, id))
