"""The relay on AWS: the zip, what a cold start costs by part, what a push and a page load cost when warm, and what that is a month.

Processor time is that of a clean process of the runtime's Python on the unpacked zip, the least of several runs; the table is the
emulator's. Start times depend on the machine, so they are also given against the import of Flask alone, in the same minute.
"""
from __future__ import annotations

import json
import os
import subprocess
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import costs
from bench.table import Figure
from tools.deploy_local import ARCH, Cloud
from tools.package import Impossible, build, runtime_python

HERE = Path(__file__).resolve().parent
RUNS = 7
LIBRARIES = ("flask", "serverless_wsgi", "msgspec")
SETTINGS = {"AWS_LAMBDA_FUNCTION_NAME": "bench", "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
            "RELAY_STORE": "dynamodb://bench", "RELAY_SECRET": "b" * 40, "RELAY_URL": "https://relay.example", "RELAY_GATEWAY": "https://gateway.example/prod"}


def child(folder: Path, *words: str, **env: str) -> str:
    done = subprocess.run([runtime_python(), str(HERE / "cloud_child.py"), *words], env={"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(folder), **SETTINGS, **env},
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the function does not run: {done.stderr.strip()[-500:]}")
    return done.stdout


def cold(folder: Path, *modules: str) -> float:
    """The least of several runs: noise only ever adds."""
    return min(float(child(folder, "cold", *modules)) for _ in range(RUNS))


def trust(folder: Path) -> float:
    return min(float(child(folder, "trust")) for _ in range(RUNS))


def first(folder: Path, how: str, key: str, **env: str) -> float:
    return min(float(child(folder, "first", how, key, **env)) for _ in range(RUNS))


def busy(folder: Path) -> dict[str, float]:
    """What a table's owner pays for: warm pushes and loads, and the first of each in an instance that just began."""
    cloud = Cloud(folder)
    try:
        cloud.start_emulator()
        with cloud.named("bench").store() as store:
            store.create()
        there = {"AWS_ENDPOINT_URL": cloud.aws["AWS_ENDPOINT_URL"]}
        found: dict[str, Any] = json.loads(child(folder, "warm", str(HERE), **there))
        return found | {f"first_{how}": first(folder, how, found.pop(f"{how}_key"), **there) for how in ("push", "load")}
    finally:
        cloud.close()


def figures() -> list[Figure]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        try:
            zip, _ = build(ARCH, folder / "relay.zip")
        except (Impossible, subprocess.CalledProcessError) as why:
            raise RuntimeError(str(why)) from None
        with zipfile.ZipFile(zip) as archive:
            archive.extractall(folder)
        flask, total, live = cold(folder, "flask"), cold(folder, "relay.handler"), cold(folder, "relay.live.handler")
        libraries = cold(folder, LIBRARIES[0]) + sum(cold(folder, *LIBRARIES[:n], LIBRARIES[n]) for n in range(1, len(LIBRARIES)))
        trusted, found = trust(folder), busy(folder)
        size = zip.stat().st_size
    usage = replace(costs.Usage(), writes_per_push=found["writes_per_push"], reads_per_push=found["reads_per_push"], reads_per_load=found["reads_per_load"],
                    push_cpu_ms=found["push_cpu_ms"], read_cpu_ms=found["load_cpu_ms"], start_cpu_ms=total)
    return [
        Figure("Lambda zip", size / 1e6, "MB", "≤ 3"),
        Figure("cold start of the HTTP function, processor", total, "ms", "≤ 260", f"{total / flask:.1f} times Flask alone ({flask:.0f} ms)"),
        Figure("… of that Flask", flask, "ms"),
        Figure("… of that all libraries", libraries, "ms"),
        Figure("… the certificates to believe, read before the first call of AWS", trusted, "ms"),
        Figure("cold start and the first push's answer, processor", found["first_push"], "ms"),
        Figure("cold start and a page's first load, processor", found["first_load"], "ms"),
        Figure("cold start of the live function, processor", live, "ms"),
        Figure("warm push of one session, processor", found["push_cpu_ms"], "ms"),
        Figure("warm page load (full feed after a change), processor", found["load_cpu_ms"], "ms"),
        Figure("DynamoDB write units for a push of one changed session, sessions taking turns", found["writes_in_turns"], "", "≤ 4"),
        Figure("… a dozen pushes of one session, then of the next", found["writes_per_push"], "", "≤ 4"),
        Figure("DynamoDB read units for a push", found["reads_per_push"], ""),
        Figure("DynamoDB read units for a page load", found["reads_per_load"], ""),
        Figure("DynamoDB write units for a minute of work that a page watches, 3 pushes", found["live_writes"], ""),
        Figure("DynamoDB read units for the same", found["live_reads"], ""),
        Figure("AWS, one user", costs.month(usage), "$ a month", "≤ 0.06", f"list prices of {costs.PRICED}"),
        Figure("AWS, 1,000 users", 1000 * costs.month(usage), "$ a month"),
    ]  # fmt: skip
