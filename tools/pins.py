"""What is pinned, as the lock files say: for the list of parts and for the audit."""
from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = {"requirements.txt": "runs", "requirements-dev.txt": "tests", "tools/aws/emulator.txt": "tests"}
PAGE = "dashboard/vendor.lock.json"
NPM = {"tests/js/package-lock.json": "tests", "tools/aws/package-lock.json": "deploys"}
_PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)(.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Pin:
    """One part: *ecosystem* is PyPI or npm, *hashes* are "sha256:…" or "sha512-…" as the lock file has them, *use* is runs, tests or deploys."""

    ecosystem: str
    name: str
    version: str
    hashes: tuple[str, ...]
    use: str

    @property
    def purl(self) -> str:
        kind, name = ("pypi", self.name.lower().replace("_", "-")) if self.ecosystem == "PyPI" else ("npm", self.name.replace("@", "%40", 1))
        return f"pkg:{kind}/{name}@{self.version}"


def pins(root: Path = ROOT) -> list[Pin]:
    """Every part of every lock file once, those that run first. Raises ValueError for one without a hash."""
    found: dict[str, Pin] = {}
    pins = [
        *in_page((root / PAGE).read_text("utf-8")),
        *(pin for file, use in PYTHON.items() for pin in in_requirements((root / file).read_text("utf-8"), use)),
        *(pin for file, use in NPM.items() for pin in in_npm((root / file).read_text("utf-8"), use)),
    ]
    for pin in pins:
        found.setdefault(pin.purl, pin)
    if loose := [pin.purl for pin in found.values() if not pin.hashes]:
        raise ValueError(f"{loose[0]} is pinned without a hash: make lock")
    return list(found.values())


def in_requirements(text: str, use: str) -> Iterator[Pin]:
    for name, version, rest in _PIN.findall(text):
        yield Pin("PyPI", name, version, tuple(re.findall(r"--hash=(sha256:[0-9a-f]{64})", rest)), use)


def in_npm(text: str, use: str) -> Iterator[Pin]:
    for path, package in json.loads(text)["packages"].items():
        if path and not package.get("link"):
            yield Pin("npm", path.rpartition("node_modules/")[2], package["version"], tuple(package.get("integrity", "").split()), use)


def in_page(text: str) -> Iterator[Pin]:
    """What stands in the page itself and so runs in every browser."""
    for name, package in json.loads(text)["packages"].items():
        yield Pin("npm", name, package["version"], (package["integrity"],), "runs")
