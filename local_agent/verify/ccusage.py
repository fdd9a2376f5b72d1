"""Runs ccusage and reads its reports. Its prices are read out of it, too: what it charges for known amounts."""
from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ledger.errors import LedgerError
from local_agent.verify.transcript import Counts

PINNED = "20.0.24"
ABSENT = f"ccusage is not installed: run  npm install -g ccusage@{PINNED}  or name it with --ccusage PATH"
MOST_S = 1800
SMALL, BELOW, LARGE = 100_000, 200_000, 300_000
"""ccusage charges a kind of token above 200,000 in one request another price."""


class NoCcusage(LedgerError):
    """ccusage cannot be asked; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Total:
    """What a report says of a day, a session or a block: tokens as (input, output, cache writes, reads)."""

    tokens: tuple[int, int, int, int]
    cost: float

    def plus(self, other: Total) -> Total:
        tokens = tuple(one + more for one, more in zip(self.tokens, other.tokens, strict=True))
        return Total(tokens, self.cost + other.cost)  # type: ignore[arg-type]


class Ccusage:
    """The installed program, reading *roots*."""

    def __init__(self, program: str, roots: Sequence[Path]) -> None:
        self.program, self.roots = program, roots

    def version(self) -> str:
        return self._run(["--version"]).split()[-1]

    def days(self, zone: str) -> dict[str, Total]:
        return {entry["date"]: _total(entry) for entry in self._report("daily", zone)["daily"]}

    def sessions(self) -> dict[str, Total]:
        """By the session's own name: one that was worked in from several folders is one."""
        found: dict[str, Total] = {}
        for entry in self._report("session", "UTC")["sessions"]:
            name, total = str(entry["sessionId"]), _total(entry)
            found[name] = found[name].plus(total) if name in found else total
        return found

    def blocks(self) -> dict[str, Total]:
        """Blocks by their start; gaps by theirs."""
        found = {}
        for entry in self._report("blocks", "UTC")["blocks"]:
            counts = entry["tokenCounts"]
            tokens = tuple(counts[f"{kind}Tokens"] for kind in ("input", "output", "cacheCreationInput", "cacheReadInput"))
            name = ("gap " if entry["isGap"] else "") + _instant(entry["startTime"]) + (f" to {_instant(entry['endTime'])}" if entry["isGap"] else "")
            found[name] = Total(tokens, entry["costUSD"])
        return found

    def prices(self, models: Iterable[tuple[str, bool]]) -> Prices:
        """What it charges for each (model, fast), found by letting it read one answer for each kind of token."""
        names = sorted(set(models))
        with TemporaryDirectory() as folder:
            _write_probes(Path(folder), names)
            costs = {name: total.cost for name, total in Ccusage(self.program, [Path(folder)]).sessions().items()}
        rates = {}
        for n, name in enumerate(names):
            small = [costs.get(f"p-{n}-{kind}-{SMALL}", 0.0) / SMALL for kind in range(5)]
            large = [(costs.get(f"p-{n}-{kind}-{LARGE}", 0.0) - small[kind] * BELOW) / (LARGE - BELOW) for kind in range(5)]
            rates[name] = (tuple(small), tuple(large))
        return Prices(rates)

    def _report(self, name: str, zone: str) -> dict[str, list[dict[str, Any]]]:
        text = self._run(["claude", name, "--json", "--offline", "--mode", "calculate", "--timezone", zone])
        try:
            found = json.loads(text)
        except ValueError:
            raise NoCcusage(f"{self.program} answered no JSON for {name}: is it ccusage {PINNED}?") from None
        return found if isinstance(found, dict) else {}

    def _run(self, words: list[str]) -> str:
        roots = ",".join(str(root) for root in self.roots)
        try:
            done = subprocess.run(
                ["env", f"CLAUDE_CONFIG_DIR={roots}", "LOG_LEVEL=0", self.program, *words], capture_output=True, text=True, timeout=MOST_S, check=False
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise NoCcusage(f"{self.program} cannot be run ({error.__class__.__name__}): {ABSENT}") from None
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[0]
            raise NoCcusage(f"{self.program} failed: {said}")
        return done.stdout


def find(named: str | None) -> str:
    """The program's path. Raises NoCcusage, which says what to install."""
    found = shutil.which(os.path.expanduser(named)) if named else shutil.which("ccusage")
    if not found:
        raise NoCcusage(f"{named} is no program that can be run" if named else ABSENT)
    return os.path.abspath(found)


Rates = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Prices:
    """USD per token of each kind below and above 200,000, by (model, fast)."""

    rates: dict[tuple[str, bool], tuple[Rates, Rates]]

    def theirs(self, model: str, fast: bool, counts: Counts) -> float:
        """As ccusage does: the excess of each kind of token at the higher price."""
        small, large = self.rates[model, fast]
        return sum(min(n, BELOW) * below + max(n - BELOW, 0) * above for n, below, above in zip(counts, small, large, strict=True))

    def plain(self, model: str, fast: bool, counts: Counts, *, long: bool) -> float:
        """As vendors do: a long request at the higher price as a whole."""
        rates = self.rates[model, fast][long]
        return sum(n * rate for n, rate in zip(counts, rates, strict=True))


def _write_probes(folder: Path, names: Sequence[tuple[str, bool]]) -> None:
    place = folder / "projects" / "probe"
    place.mkdir(parents=True)
    for n, (model, fast) in enumerate(names):
        for kind in range(5):
            for amount in (SMALL, LARGE):
                name = f"p-{n}-{kind}-{amount}"
                (place / f"{name}.jsonl").write_text(json.dumps(_probe(name, model, fast, kind, amount), separators=(",", ":")) + "\n", "utf-8")


def _probe(name: str, model: str, fast: bool, kind: int, amount: int) -> dict[str, object]:
    counts = [amount if each == kind else 0 for each in range(5)]
    usage = {
        "input_tokens": counts[0], "output_tokens": counts[1], "cache_creation_input_tokens": counts[2] + counts[3],
        "cache_read_input_tokens": counts[4], "cache_creation": {"ephemeral_5m_input_tokens": counts[2], "ephemeral_1h_input_tokens": counts[3]},
        **({"speed": "fast"} if fast else {}),
    }  # fmt: skip
    return {
        "sessionId": name, "version": "2.0.0", "timestamp": "2026-01-01T00:00:00.000Z", "requestId": f"req_{name}", "type": "assistant",
        "message": {"id": f"msg_{name}", "role": "assistant", "model": model, "usage": usage},
    }  # fmt: skip


def _total(entry: dict[str, Any]) -> Total:
    tokens = tuple(entry[f"{kind}Tokens"] for kind in ("input", "output", "cacheCreation", "cacheRead"))
    return Total(tokens, entry["totalCost"])


def _instant(text: object) -> str:
    return datetime.fromisoformat(str(text)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
