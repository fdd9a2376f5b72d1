"""The table of threats is whole, and every test that it names is there."""
from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.security.threats import THREATS, Threat

ROOT = Path(__file__).resolve().parents[2]


def named_in(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_all_threats_are_in_the_table() -> None:
    assert [threat.number for threat in THREATS] == list(range(1, 26))


@pytest.mark.parametrize("threat", THREATS, ids=lambda threat: f"{threat.number} {threat.attack}")
def test_a_threat_is_met_by_tests_that_exist(threat: Threat) -> None:
    for named in threat.tests:
        file, _, test = named.partition("::")
        found = named_in(file)
        assert found if test == "*" else test in found, named


def test_the_document_lists_the_same_threats() -> None:
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", (ROOT / "docs/security.md").read_text("utf-8"), re.MULTILINE)
    assert [(int(number), attack.strip()) for number, attack in rows] == [(threat.number, threat.attack) for threat in THREATS]
