"""The relay's commands as a person or a script runs them."""
from __future__ import annotations

import json
import re

import pytest

from ledger import __version__
from ledger.keytext import KeyText
from ledger.stores import open_store
from relay.cli import main
from relay.upkeep import Done
from tests.processes import command, environment

SECRET = "correct horse battery staple"


@pytest.fixture
def relay(tmp_path, monkeypatch, capsys):
    """Runs a command in this process; answers (code, stdout, stderr)."""
    for name in ("API_SECRET", "NETLIFY_API_SECRET", "SUPABASE_URL", "SUPABASE_ANON_KEY", "RELAY_URL", "RELAY_REVOKED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RELAY_SECRET", SECRET)
    monkeypatch.setenv("RELAY_STORE", f"sqlite:///{tmp_path / 'relay.db'}")

    def run(*words):
        try:
            code = main(words)
        except SystemExit as ended:
            code = ended.code
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


def test_a_new_key_is_all_that_is_printed(relay):
    code, out, err = relay("keys", "create", "--scope", "push", "--source", "laptop", "--tenant", "alice")
    claims = KeyText.parse(out.strip()).claims
    assert (code, err, out.count("\n")) == (0, "", 1)
    assert (claims.scope, claims.tenant, claims.source, claims.expires) == ("push", "alice", "laptop", 0)


def test_a_push_key_without_a_source_gets_a_name_of_its_own(relay):
    names = {KeyText.parse(relay("keys", "create", "--scope", "push")[1].strip()).claims.source for _ in range(2)}
    assert len(names) == 2


def test_a_key_may_end(relay):
    claims = KeyText.parse(relay("keys", "create", "--scope", "read", "--expires", "90d")[1].strip()).claims
    assert claims.expires == claims.issued + 90 * 86400 or claims.expires == claims.issued + 90 * 86400 + 1


def test_a_list_of_keys_stands_in_columns_and_says_when_they_end(relay):
    relay("keys", "create", "--scope", "read", "--name", "phone", "--expires", "90d")
    relay("keys", "create", "--scope", "push", "--source", "a-laptop")
    lines = [re.split("  +", line) for line in relay("keys", "list")[1].splitlines()]
    assert sorted(line[:5] for line in lines) == [["in force", "push", "main/a-laptop", "a-laptop", "never used"], ["in force", "read", "main", "phone", "never used"]]
    assert sorted(line[5][:6] for line in lines) == ["no end", "until "]
    assert len({line.index(" never used ") for line in relay("keys", "list")[1].splitlines()}) == 1


def test_whoever_names_no_store_is_told_which_one_is_meant(relay, tmp_path, monkeypatch):
    """Else a key that is revoked in this store goes on opening a relay with another."""
    monkeypatch.delenv("RELAY_STORE")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    code, out, err = relay("keys", "create", "--scope", "read")
    assert (code, out.count("\n")) == (0, 1) and err == f"relay: in sqlite:///{tmp_path}/session-relay/relay.db, since neither --store nor RELAY_STORE names another\n"
    assert "neither" not in relay("keys", "list", "--store", f"sqlite:///{tmp_path}/session-relay/relay.db")[2]


def test_a_shared_address_that_others_cannot_reach_says_so(relay, monkeypatch):
    words = ("share", "create", "--shows", "totals", "--expires", "7d")
    assert "RELAY_URL says what others reach the relay by" in relay(*words)[2]
    monkeypatch.setenv("RELAY_URL", "https://relay.example.org")
    code, out, err = relay(*words)
    assert (code, err) == (0, "") and out.startswith("https://relay.example.org/#key=sr_read_")


def test_keys_are_listed_and_revoked_without_their_secrets(relay):
    key = KeyText.parse(relay("keys", "create", "--scope", "read", "--name", "phone")[1].strip())
    code, out, _ = relay("keys", "list", "--json")
    assert code == 0 and json.loads(out)[0]["id"] == key.id and json.loads(out)[0]["name"] == "phone"
    assert key.text().split("_")[3] not in out
    assert relay("keys", "revoke", key.id)[0] == 0
    assert relay("keys", "list")[1].startswith("revoked")
    assert relay("keys", "revoke", key.text())[0] == 0


def test_upkeep_that_was_not_finished_fails_and_says_what_to_do(relay, monkeypatch):
    relay("keys", "create", "--scope", "read")
    monkeypatch.setattr("relay.upkeep.Upkeep.round", lambda self: Done(swept=2, trouble="sweep all: the store is busy"))
    code, out, err = relay("upkeep")
    assert (code, out) == (1, "") and "the store is busy" in err and "run it again" in err


def test_upkeep_says_what_it_did(relay):
    code, out, _ = relay("upkeep")
    assert code == 0 and out.startswith("upkeep: swept 0 rows")


@pytest.mark.parametrize(
    "words",
    [
        [], ["what"], ["keys"], ["keys", "create"], ["keys", "create", "--scope", "all"], ["keys", "create", "--scope", "read", "--expires", "soon"],
        ["keys", "create", "--scope", "read", "--source", "x"], ["keys", "create", "--scope", "push", "--source", "a/b"], ["keys", "create", "--scope", "read", "--tenant", ""],
        ["keys", "revoke"], ["keys", "revoke", "nothing"], ["keys", "revoke", "sr_read_x"], ["serve", "--port", "x"], ["serve", "--port", "70000"],
    ],
)  # fmt: skip
def test_wrong_use_is_2_with_a_word_of_help(relay, words):
    code, out, err = relay(*words)
    assert code == 2 and not out and err and "Traceback" not in err


@pytest.mark.parametrize(
    ("given", "words", "remedy"),
    [
        ({"RELAY_SECRET": ""}, ["serve"], "openssl rand"),
        ({"RELAY_SECRET": "secret"}, ["keys", "list"], "openssl rand"),
        ({"RELAY_SECRET": ""}, ["serve", "--dev", "--host", "0.0.0.0"], "127.0.0.1"),
        ({"AWS_LAMBDA_FUNCTION_NAME": "f", "RELAY_STORE": "memory:"}, ["serve"], "dynamodb"),
        ({"RELAY_STORE": "", "SUPABASE_URL": "https://x.supabase.co"}, ["serve"], "postgresql://"),
        ({"API_SECRET": "development-secret"}, ["serve"], "API_SECRET"),
        ({"RELAY_ORIGINS": "*"}, ["serve"], "wildcard"),
        ({"RELAY_STORE": "mongodb://x"}, ["keys", "list"], "sqlite"),
        ({"RELAY_PROXIES": "zz"}, ["serve"], "10.0.0.0/8"),
    ],
)
def test_what_must_not_start_is_78_with_one_line(relay, monkeypatch, given, words, remedy):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    code, out, err = relay(*words)
    assert (code, out, err.count("\n")) == (78, "", 1) and remedy in err and err.startswith("relay: ")


def test_what_does_not_work_is_1_with_one_line(relay, tmp_path, monkeypatch):
    (tmp_path / "damaged.db").write_bytes(b"this is not a database, but it is long enough to be looked at" * 100)
    monkeypatch.setenv("RELAY_STORE", f"sqlite:///{tmp_path / 'damaged.db'}")
    code, out, err = relay("keys", "list")
    assert (code, out, err.count("\n")) == (1, "", 1) and "Traceback" not in err


@pytest.mark.parametrize("words", [["keys", "list"], ["keys", "revoke", "KEY"], ["backup", "-"]])
def test_looking_at_a_store_that_is_not_there_makes_none(relay, tmp_path, words):
    missing = tmp_path / "new" / "relay.db"
    key = relay("keys", "create", "--scope", "read", "--store", "memory:")[1].strip()
    words = [key if word == "KEY" else word for word in words]
    code, out, err = relay(*words, "--store", f"sqlite:///{missing}", "--dev")
    assert (code, out) == (1, "") and err.startswith(f"relay: there is no store at {missing}")
    assert list(tmp_path.iterdir()) == []


def test_keys_of_a_memory_store_are_made_but_revoked_by_setting(relay, monkeypatch):
    monkeypatch.setenv("RELAY_STORE", "memory:")
    key = KeyText.parse(relay("keys", "create", "--scope", "read")[1].strip())
    code, _, err = relay("keys", "revoke", key.id)
    assert code == 1 and f"RELAY_REVOKED={key.id}" in err


def test_the_module_runs_and_closes_its_store(tmp_path):
    store = f"sqlite:///{tmp_path / 'relay.db'}"
    done = command("relay", "keys", "create", "--scope", "read", "--store", store, "--dev", env=environment(HOME=str(tmp_path)))
    assert done.returncode == 0 and KeyText.parse(done.stdout.strip()).scope == "read" and done.stderr == ""
    assert (tmp_path / "dev-secret").exists()
    opened = open_store(store)
    assert len(list(opened.list("keys", now=0))) == 1
    opened.close()


def test_help_costs_nothing_and_names_every_command():
    done = command("relay", "--help")
    assert done.returncode == 0 and all(name in done.stdout for name in ("serve", "keys", "upkeep"))


@pytest.mark.parametrize("module", ["relay", "local_agent"])
def test_every_program_says_its_version(module):
    assert command(module, "--version").stdout == f"session-relay {__version__}\n"
