"""The walls of the house: who may import whom, read from the syntax tree."""
from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(path for top in ("ledger", "relay", "local_agent") for path in (ROOT / top).rglob("*.py"))

ONLY_IN = {
    "boto3": ("ledger/stores/dynamodb.py", "relay/live/"),
    "botocore": ("ledger/stores/dynamodb.py", "relay/live/"),
    "psycopg": ("ledger/stores/postgres",),
    "requests": ("local_agent/delivery.py", "local_agent/push/transport.py", "relay/alerts/"),
    "flask": ("ledger/api.py", "relay/", "local_agent/server.py"),
    "uvicorn": ("ledger/serving/server.py",),
    "pywebpush": ("relay/alerts/",),
    "py_vapid": ("relay/alerts/",),
}
FLOORS = {"ledger/views": ("ledger.http", "ledger.serving", "ledger.shell", "ledger.api"), "ledger/http": ("ledger.serving", "ledger.shell", "ledger.api"), "ledger/stores": ("ledger.views", "ledger.http", "ledger.serving")}
"""What stands above a folder, and is never imported by it."""
LOW = {"record", "errors", "signing", "keytext", "strict"}
MIDDLE = {"wire", "messages", "store", "sizes"}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_the_two_homes_never_import_each_other_and_the_ledger_imports_neither(path: Path) -> None:
    own = name_of(path).split("/")[0]
    foreign = {"ledger": {"relay", "local_agent"}, "relay": {"local_agent"}, "local_agent": {"relay"}}[own]
    assert not {name.split(".")[0] for name in imports(path)} & (foreign | {"tests", "bench", "tools"})


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_each_library_is_used_in_its_own_place_only(path: Path) -> None:
    for name in {name.split(".")[0] for name in imports(path)} & set(ONLY_IN):
        assert name_of(path).startswith(ONLY_IN[name]), f"{name} has no business in {name_of(path)}"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_the_environment_is_read_in_the_two_settings_alone(path: Path) -> None:
    if path.name == "settings.py":
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    reads = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv") and isinstance(node.value, ast.Name) and node.value.id == "os"
    ]
    assert not reads, f"{name_of(path)} reads the environment at lines {reads}"


@pytest.mark.parametrize("folder", FLOORS)
def test_no_folder_of_the_ledger_imports_what_stands_above_it(folder: str) -> None:
    files = sorted((ROOT / folder).glob("*.py"))
    assert len(files) > 5
    for path in files:
        assert not [name for name in imports(path) if name.startswith(FLOORS[folder])], f"{name_of(path)} looks upwards"


def test_the_foundation_imports_nothing_above_it() -> None:
    for module in LOW | MIDDLE:
        inner = {name.split(".")[1] for name in imports(ROOT / f"ledger/{module}.py") if name.startswith("ledger.")}
        assert inner <= LOW | (MIDDLE if module in MIDDLE else set()), f"{module} imports {inner}"
