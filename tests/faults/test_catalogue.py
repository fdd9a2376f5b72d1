"""Every fault of the catalogue has its test."""
from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.faults.catalogue import FAULTS

TESTS = Path(__file__).resolve().parent.parent


def marked() -> Iterator[int]:
    """The numbers in `@pytest.mark.fault(…)` on tests."""
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            for mark in node.decorator_list if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_") else ():
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.fault":
                    yield from (int(ast.unparse(word)) for word in mark.args)


def test_every_fault_has_a_test_and_no_test_is_of_an_unknown_fault() -> None:
    assert list(FAULTS) == list(range(1, 64))
    assert sorted(set(marked())) == list(FAULTS)
