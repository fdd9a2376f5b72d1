"""The page about several people is true: what it tells people to type is typed here, in order."""
from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ledger.stores import open_store
from ledger.views.share import PARTS
from relay import cli
from relay.people.badge import SHOWS
from relay.people.tenants import LIMITS, ROLES
from tests.ledger.ledgerkit import Laptop, StoppedClock, a_session
from tests.relay.house import RelayHouse

PAGE = (Path(__file__).resolve().parents[2] / "docs/team.md").read_text(encoding="utf-8")
COMMANDS = [shlex.split(line, comments=True) for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


def test_every_command_of_the_page_works_as_it_is_printed(tmp_path: Any, monkeypatch: Any, capsys: Any) -> None:
    url = f"sqlite:///{tmp_path / 'relay.db'}"
    monkeypatch.setenv("RELAY_SECRET", "correct horse battery staple")
    monkeypatch.setenv("RELAY_STORE", url)
    store = open_store(url)
    Laptop(store, "old-laptop", "main", clock=StoppedClock()).pushes(a_session("a", project="website"), a_session("b", project="secret-client"))
    store.close()
    typed = 0
    for words in COMMANDS:
        if words[:3] != ["python", "-m", "relay"]:
            continue
        if words[3:] == ["share", "revoke", "ID"]:
            cli.main(["share", "list", "--json"])
            words[-1] = json.loads(capsys.readouterr().out)[0]["id"]
        assert cli.main(words[3:]) == 0, (words, capsys.readouterr().err)
        assert capsys.readouterr().out
        typed += 1
    store = open_store(url)
    assert typed > 15 and store.tenants() == []
    store.close()


def test_the_call_of_the_page_works_as_it_is_printed() -> None:
    [words] = [words for words in COMMANDS if words[0] == "curl"]
    house = RelayHouse()
    key = house.key("admin")
    answer = house.ask(urlsplit(words[-1]).path, key, method=words[words.index("-X") + 1], body=words[words.index("-d") + 1])
    assert answer.status_code == 201 and "#key=sr_read_" in json.loads(answer.data)["url"]


def test_the_page_names_every_part_role_setting_and_endpoint() -> None:
    house = RelayHouse()
    rules = {re.sub(r"/<[^>]*>", "", rule.rule) for rule in house.client.application.url_map.iter_rules() if rule.rule.startswith("/v1/admin/")}  # type: ignore[attr-defined]
    for name in (*PARTS, *ROLES, *SHOWS, *LIMITS, *rules):
        assert f"`{name}`" in PAGE or f" {name}" in PAGE, name
