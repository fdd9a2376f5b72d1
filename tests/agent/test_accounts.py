from __future__ import annotations

import json

from ledger.account import DEFAULT
from local_agent.readers.accounts import Accounts


def told(path, id: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"oauthAccount": {"accountUuid": id, "emailAddress": "ada@example.org"}}))


def test_an_account_is_the_same_on_every_machine_and_names_nobody(tmp_path):
    for machine in ("a", "b"):
        told(tmp_path / machine / ".claude.json", "0b0c9d4e-0000-4000-8000-000000000001")
    first, second = (Accounts(tmp_path / machine).of(tmp_path / machine / ".claude") for machine in ("a", "b"))
    assert first == second != DEFAULT
    assert "0b0c9d4e" not in first and len(first) == 12


def test_every_configuration_folder_has_its_own_account(tmp_path):
    told(tmp_path / ".claude.json", "one")
    told(tmp_path / "work" / ".claude.json", "two")
    accounts = Accounts(tmp_path)
    assert accounts.of(tmp_path / ".claude") == accounts.of(None) != accounts.of(tmp_path / "work")


def test_without_an_id_everything_is_one_account(tmp_path):
    (tmp_path / ".claude.json").write_text("not json")
    accounts = Accounts(tmp_path)
    assert {accounts.of(None), accounts.of(tmp_path / ".claude"), accounts.of(tmp_path / "other")} == {DEFAULT}


def test_signing_in_with_another_account_is_noticed(tmp_path):
    accounts = Accounts(tmp_path)
    told(tmp_path / ".claude.json", "one")
    before = accounts.of(None)
    told(tmp_path / ".claude.json", "another")
    assert accounts.of(None) != before
