"""The README and its pages are true: what they show can be pasted, and what people can use stands in the reference."""
from __future__ import annotations

import argparse
import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ledger.stores.memory import MemoryStore
from local_agent import cli as agent_cli
from relay import cli as relay_cli
from relay import settings
from relay.app import Relay, create_app

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README = PAGES[0].read_text(encoding="utf-8")
REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
NOT_OURS = {"UTC", "HOME", "TERM", "TZ", "NO_COLOR", "NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY", "O_NOFOLLOW", "SUPABASE_ANON_KEY"}


def commands() -> Iterator[tuple[str, str]]:
    """Every command of every console block, with the page it stands on; comments, continuations, pipes and chains resolved."""
    for page in PAGES:
        for block in re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                for words in chained(line):
                    yield page.name, shlex.join(words)


def chained(line: str) -> Iterator[list[str]]:
    """The commands that a line strings together."""
    words = shlex.split(line, comments=True)
    for linked, part in itertools.groupby(words, key=lambda word: word in ("|", "&&", "||", ";")):
        if not linked:
            yield list(part)


COMMANDS = list(dict.fromkeys(commands()))


def app() -> object:
    return create_app(Relay(settings.read({"RELAY_SECRET": "a secret of the tests alone"}, store="memory:"), MemoryStore()))


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=lambda value: value[:60])
def test_every_command_shown_is_one_that_exists(page: str, line: str) -> None:
    words = shlex.split(line)
    if words[0] == "make":
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
        assert set(words[1:]) - {word for word in words if "=" in word} <= targets
    elif words[0] in ("python", ".venv/bin/python") and words[1] == "-m":
        parses(words[2], words[3:])
    elif words[0] == "curl":
        assert answers(next(word for word in words[1:] if re.match(r"(https?://)?(localhost|127\.0\.0\.1)", word)), method_of(words))


def parses(module: str, words: list[str]) -> None:
    """The command line is one that the program takes; nothing is run."""
    words = ["--help" if word == "…" else word for word in words]
    if module in ("pip", "venv") or words[:1] == ["statusline"]:
        return
    parser: argparse.ArgumentParser | None = {"relay": relay_cli._parser, "local_agent": agent_cli.parser}.get(module, lambda: None)()
    if parser is None:
        assert (ROOT / module.replace(".", "/")).exists() or (ROOT / f"{module.replace('.', '/')}.py").exists()
    else:
        parser.parse_args(words)


def method_of(words: list[str]) -> str:
    if "-X" in words:
        return words[words.index("-X") + 1]
    return "POST" if {"-d", "--data", "--json"} & set(words) else "GET"


AGENTS_OWN = ("/api/netlify-sync", "/api/session-update")


def answers(url: str, method: str) -> bool:
    path = urlsplit(url if "://" in url else f"http://{url}").path
    adapter = app().url_map.bind("localhost")  # type: ignore[attr-defined]
    if path in (*AGENTS_OWN, "/v1/live"):  # answered by the agent, or before the app
        return True
    endpoint = adapter.match(path, method=method)[0]
    return endpoint is not None and not endpoint.startswith("file")


def variables() -> set[str]:
    text = "".join((ROOT / home / "settings.py").read_text(encoding="utf-8") for home in ("relay", "local_agent"))
    return {name for name in re.findall(r'"([A-Z][A-Z_]*[A-Z])"', text) if name not in NOT_OURS and not name.startswith(("XDG_", "AWS_"))}


@pytest.mark.parametrize("name", sorted(variables()))
def test_every_setting_is_named(name: str) -> None:
    assert f"`{name}`" in REFERENCE


def test_every_route_is_named() -> None:
    rules = {rule.rule for rule in app().url_map.iter_rules() if not rule.rule.startswith(("/api", "/.net"))}  # type: ignore[attr-defined]
    named = {re.sub(r"<[^>]*>", "", rule).rstrip("/") for rule in rules} - {""}
    assert not [path for path in sorted(named) if path not in REFERENCE]


def test_every_command_is_named() -> None:
    for module, parser in (("relay", relay_cli._parser()), ("local_agent", agent_cli.parser())):
        [actions] = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        for name in actions.choices:
            assert f"python -m {module} {name}" in REFERENCE, f"python -m {module} {name}"


def test_every_path_that_is_named_exists() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} points to {target}"


def test_every_library_earns_its_place_in_the_table() -> None:
    names = [line.split("[")[0].strip() for line in (ROOT / "requirements.in").read_text(encoding="utf-8").splitlines() if line and not line.startswith(("#", "-"))]
    table = README.split("## What it stands on")[1]
    assert not [name for name in names if name not in table]
