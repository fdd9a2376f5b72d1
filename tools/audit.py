"""Is any pinned part known to be vulnerable? Asks the OSV database for all of them at once.

    python -m tools.audit           0 none, or the database cannot be asked (it says so); 1 some that run at a user's are

What only tests or deploys is named as well and fails nothing: what is known against a tool of a tool's cannot be mended here. A finding that does not concern us is named in audit.json of this folder, with the reason and the day until which that holds.
"""
from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from tools.pins import Pin, pins

SERVICE = "https://api.osv.dev/v1/querybatch"
ACCEPTED = Path(__file__).with_name("audit.json")
AT_ONCE, PATIENCE_S = 500, 20.0
Ask = Callable[[bytes], bytes]


class Unreachable(Exception):
    """The database did not answer, or not as it should."""


def over_network(question: bytes) -> bytes:
    request = urllib.request.Request(SERVICE, question, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        found: bytes = answer.read()
        return found


def findings(parts: Sequence[Pin], ask: Ask) -> dict[Pin, list[str]]:
    """The ids of what is known against each part. Raises Unreachable."""
    found: dict[Pin, list[str]] = {}
    for start in range(0, len(parts), AT_ONCE):
        some = parts[start : start + AT_ONCE]
        question = {"queries": [{"package": {"name": part.name, "ecosystem": part.ecosystem}, "version": part.version} for part in some]}
        for part, told in zip(some, _answered(json.dumps(question).encode(), ask, len(some)), strict=True):
            if ids := sorted(str(each["id"]) for each in told.get("vulns") or []):
                found[part] = ids
    return found


def _answered(question: bytes, ask: Ask, count: int) -> list[dict[str, Any]]:
    try:
        results = json.loads(ask(question))["results"]
    except (OSError, urllib.error.URLError, ValueError, KeyError, TypeError) as error:
        raise Unreachable(f"{type(error).__name__}: {error}") from None
    if not isinstance(results, list) or len(results) != count or not all(isinstance(each, dict) for each in results):
        raise Unreachable("its answer does not fit the question")
    return results


def accepted(kept: Mapping[str, Mapping[str, str]], today: date) -> set[str]:
    """The ids that were looked into and found not to concern us, as long as that holds."""
    return {id for id, why in kept.items() if why.get("reason") and date.fromisoformat(why["until"]) >= today}


def main(ask: Ask = over_network, kept: Path = ACCEPTED, today: date | None = None) -> int:
    parts = pins()
    try:
        known = findings(parts, ask)
    except Unreachable as why:
        sys.stderr.write(f"audit: skipped, since the database of vulnerabilities cannot be asked ({why}); {len(parts)} pinned parts are unchecked" + "\n")
        return 0
    fine = accepted(json.loads(kept.read_text("utf-8")) if kept.exists() else {}, today or datetime.now(UTC).date())
    bad = {part: [id for id in ids if id not in fine] for part, ids in known.items()}
    for part, ids in bad.items():
        for id in ids:
            sys.stderr.write(f"audit: {part.name} {part.version} ({part.use}): {id}, see https://osv.dev/{id}" + "\n")
    count, ours = sum(map(len, bad.values())), any(ids for part, ids in bad.items() if part.use == "runs")
    sys.stdout.write(f"audit: {len(parts)} pinned parts, {count or 'nothing'} known against them" + (f", {len(fine)} looked into" if fine else "") + "\n")
    return 1 if ours else 0


if __name__ == "__main__":
    sys.exit(main())
