"""docs/alerts.md does what it says: its commands are run against a real relay, its webhook is received and verified."""
from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from relay.alerts import carry, memory
from relay.alerts.wishes import Rules
from tests.processes import ROOT, Running, environment, free_port
from tests.relay.alertkit import Bell, Receiver, a_limit, ms, receiver

PAGE = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Receiver, dict[str, str]]]:
    """A relay, somebody who receives, and the environment of the person who types."""
    folder = tmp_path_factory.mktemp("alerts")
    env = environment(RELAY_STORE=f"sqlite:///{folder}/relay.db", RELAY_SECRET="s" * 40, RELAY_ALERTS_PRIVATE="yes")
    port = free_port()
    relay = Running(["relay", "serve", "--port", str(port)], port, folder / "relay.log", env)
    with receiver() as ops:
        relay.start()
        try:
            made = subprocess.run([sys.executable, "-m", "relay", "keys", "create", "--scope", "admin"], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
            yield relay, ops, env | {"ADMIN": made.stdout.strip()}
        finally:
            relay.kill()


def typed(place: tuple[Running, Receiver, dict[str, str]], lines: str) -> str:
    """What a shell prints for *lines*; it ends at the first that fails."""
    relay, ops, env = place
    for shown, real in (("python -m", f"{sys.executable} -m"), ("https://hooks.example.org", ops.url), ("localhost:8787", f"127.0.0.1:{relay.port}")):
        lines = lines.replace(shown, real)
    done = subprocess.run(["bash", "-e", "-c", lines], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not shutil.which("curl"), reason="the examples use curl: apt-get install curl")
def test_every_command_on_the_page_does_what_it_says(place: tuple[Running, Receiver, dict[str, str]]) -> None:
    channels, rules, http = blocks("console")
    said = typed(place, channels)
    secret = said.splitlines()[0]
    assert secret.startswith("whsec_") and "ops    webhook  http://127.0.0.1/…  on" in said and "phone  apprise  ntfys://…           on" in said
    [(_, headers, body)] = place[1].heard
    # The page's own receiver believes it.
    exec(compile(blocks("python")[0], "docs/alerts.md", "exec"), {"secret": secret, "body": body, "headers": headers})

    printed = typed(place, rules)
    assert "block.on=yes block.steps=80,95" in printed and "day.usd=40" in printed and "quiet=22:00-07:00 urgent=yes tz=Europe/Berlin" in printed

    answers = typed(place, http)
    documents = list(decoded(answers))
    assert [set(document) for document in documents] == [
        {"at", "quiet", "tz", "open", "past", "channels", "machines"}, {"rules", "quiet", "tz", "channels"}, {"rules", "quiet", "tz", "channels"}, {"channel", "ok", "detail"},
    ]  # fmt: skip
    assert (documents[2]["rules"]["day"]["usd"], [channel["name"] for channel in documents[2]["channels"]]) == (40.0, ["ops"])
    assert documents[3] == {"channel": "ops", "ok": True, "detail": ""}
    assert len(place[1].heard) == 2


def decoded(text: str) -> Iterator[dict[str, Any]]:
    text = text.strip()
    while text:
        document, end = json.JSONDecoder().raw_decode(text)
        yield document
        text = text[end:].strip()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("test nobody", 2, "there is no channel nobody"), ("set block.steps=a", 2, "whole numbers"), ("set blok.on=no", 2, "blok"), ("set quiet=late", 2, "22:00-07:00"), ("set quiet=25:00-07:00", 2, "hours such as 22:00-07:00"),
        ("set blok.on=no", 2, "there is no rule blok: they are block, week,"), ("set day.usd=-1", 2, "a number above nothing"), ("set block.steps=0,200", 2, "expected a whole number >= 1 at `rules.block.steps[0]`"), ("set day", 2, "NAME=VALUE"),
        ("channels add x", 2, "a name and an address"), ("channels remove x", 2, "there is no channel x"), ("channels add x exec://rm", 2, "begins with one of"), ("list --store memory:", 1, "over HTTP"),
        ("set tz=Nowhere/Land", 2, "time zone"), ("channels add x -", 2, "no address came"),
    ],
)  # fmt: skip
def test_a_command_that_is_wrong_says_so_in_one_line(place: Any, words: str, code: int, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from relay import cli

    for name, value in place[2].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    assert cli.main(["alerts", *words.split()]) == code
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1 and "Traceback" not in told


def test_the_settings_of_each_rule_stand_on_the_page_with_what_they_are_at_first() -> None:
    plain = msgspec.to_builtins(Rules())
    for rule, members in plain.items():
        [row] = [line for line in PAGE.split("## What you are told")[1].split("## Silent")[0].splitlines() if line.startswith("|") and f"`{rule}`" in line.split("|")[1]]
        for name, value in members.items():
            text = {"True": "yes", "None": "none"}.get(str(value), ",".join(map(str, value)) if isinstance(value, list | tuple) else f"{value:.0f}" if isinstance(value, float) else str(value))
            assert name == "on" or f"`{name}={text}`" in row, (rule, name, text)


def test_every_service_on_the_page_is_taken_and_every_one_that_is_taken_is_on_the_page() -> None:
    services = PAGE.split("## Services")[1]
    for address in re.findall(r"\| `(\w+://[^`]+)`", services):
        assert carry.checked(address, private=False)
    assert not [scheme for scheme in carry.SCHEMAS if scheme not in services and scheme.removesuffix("s") not in services]


def test_the_waits_and_the_message_are_those_of_the_program() -> None:
    assert [wait // 1000 for wait in memory.WAITS] == [30, 120, 480, 1920, 7680] and "after 30 seconds,\n2, 8, 32 and 128 minutes" in PAGE
    bell = Bell()
    bell.wants("main", tz="Europe/Berlin", rules={"ahead": {"on": False}})
    bell.laptop(tenant="main").pushes(a_limit(76, ms("2026-11-22T13:00Z")))
    bell.round()
    shown = json.loads(blocks("json")[0])
    sent = bell.told[0][2]
    assert shown["data"] == {name: sent[name] for name in ("id", "rule", "level", "text")} | {"tenant": "main"}


def test_the_page_has_no_other_examples_than_these() -> None:
    assert {language: len(blocks(language)) for language in ("console", "python", "json")} == {"console": 3, "python": 1, "json": 1}
    assert PAGE.count("```") == 10
    assert Path(ROOT / "docs" / "alerts.md").exists()
