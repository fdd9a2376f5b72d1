"""Stands in for ccusage: adds up every line as it stands, each token at a millionth of a dollar, all in one block.

NAIVE_EXTRA adds output tokens to everything but the price probes, so that it is wrong.
"""
from __future__ import annotations

import json
import os
import sys
from pathlib import Path

KINDS = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


def totals(report: str) -> dict[str, list[int]]:
    files = [path for root in os.environ["CLAUDE_CONFIG_DIR"].split(",") for path in sorted(Path(root).rglob("*.jsonl"))]
    entries = [(path, json.loads(line)) for path in files for line in path.read_text().splitlines()]
    block = min(entry["timestamp"] for _, entry in entries)[:13] + ":00:00.000Z"
    found: dict[str, list[int]] = {}
    for path, entry in entries:
        session = path.parent.parent.name if path.parent.name == "subagents" else path.stem
        sums = found.setdefault({"daily": entry["timestamp"][:10], "session": session, "blocks": block}[report], [0, 0, 0, 0])
        for n, kind in enumerate(KINDS):
            sums[n] += entry["message"]["usage"].get(kind, 0)
        sums[1] += 0 if path.parent.name == "probe" else int(os.environ.get("NAIVE_EXTRA", "0"))
    return found


def row(report: str, name: str, sums: list[int]) -> dict[str, object]:
    if report == "blocks":
        counts = dict(zip(("inputTokens", "outputTokens", "cacheCreationInputTokens", "cacheReadInputTokens"), sums, strict=True))
        return {"startTime": name, "endTime": name, "isGap": False, "tokenCounts": counts, "costUSD": sum(sums) * 1e-6}
    counts = dict(zip(("inputTokens", "outputTokens", "cacheCreationTokens", "cacheReadTokens"), sums, strict=True))
    return {"date": name, "sessionId": name, "projectPath": "p", "totalCost": sum(sums) * 1e-6, **counts}


def main(words: list[str]) -> None:
    if "--version" in words:
        sys.stdout.write("ccusage 20.0.24\n")
        return
    report = words[1]
    rows = [row(report, name, sums) for name, sums in totals(report).items()]
    sys.stdout.write(json.dumps({{"daily": "daily", "session": "sessions", "blocks": "blocks"}[report]: rows}))


main(sys.argv[1:])
