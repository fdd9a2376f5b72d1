"""What the relay may be told, and the configurations that must not start."""
from __future__ import annotations

import stat

import pytest

from ledger.errors import Misconfigured
from relay import settings

SECRET = "0123456789abcdef0123456789abcdef"


def read(**given):
    options = {name: given.pop(name) for name in ("store", "host", "port", "dev") if name in given}
    return settings.read({"HOME": "/nowhere", **given}, **options)


def test_the_defaults_keep_everything_on_this_machine():
    found = read(RELAY_SECRET=SECRET)
    assert (found.host, found.url, found.store) == ("127.0.0.1", "http://127.0.0.1:8787", "sqlite:////nowhere/.local/share/session-relay/relay.db")
    assert (found.origins, found.shared, found.retention_days, found.beat_s) == (settings.AGENT_PAGES, (), None, 60)


def test_everything_can_be_set():
    found = read(
        RELAY_SECRET=f"{SECRET}, {SECRET[::-1]}", RELAY_STORE="memory:", RELAY_URL="https://relay.example.org/", RELAY_ORIGINS="https://a.example, http://b.example:81",
        RELAY_RETENTION="none", RELAY_BEAT="30", API_SECRET="shared one", NETLIFY_API_SECRET="shared two",
    )  # fmt: skip
    assert found.secrets == (SECRET.encode(), SECRET[::-1].encode())
    assert (found.url, found.origins) == ("https://relay.example.org", ("https://a.example", "http://b.example:81"))
    assert (found.retention_days, found.beat_s, found.shared) == (None, 30, (b"shared one", b"shared two"))


def test_an_option_is_stronger_than_the_environment():
    assert read(RELAY_SECRET=SECRET, RELAY_STORE="memory:", store="sqlite:///x.db").store == "sqlite:///x.db"


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        ({}, "openssl rand"),
        ({"RELAY_SECRET": "short"}, "openssl rand"),
        ({"RELAY_SECRET": "development-secret"}, "openssl rand"),
        ({"RELAY_SECRET": f"{SECRET},short"}, "openssl rand"),
        ({"dev": True, "host": "0.0.0.0"}, "127.0.0.1"),
        ({"dev": True, "host": "relay.example.org"}, "127.0.0.1"),
        ({"dev": True, "AWS_LAMBDA_FUNCTION_NAME": "f", "RELAY_STORE": "dynamodb://t"}, "RELAY_SECRET"),
        ({"RELAY_SECRET": SECRET, "AWS_LAMBDA_FUNCTION_NAME": "f", "RELAY_STORE": "memory:"}, "dynamodb://"),
        ({"RELAY_SECRET": SECRET, "AWS_LAMBDA_FUNCTION_NAME": "f"}, "dynamodb://"),
        ({"RELAY_SECRET": SECRET, "AWS_LAMBDA_FUNCTION_NAME": "f", "RELAY_STORE": "sqlite:///x.db"}, "dynamodb://"),
        ({"RELAY_SECRET": SECRET, "SUPABASE_URL": "https://x.supabase.co"}, "postgresql://postgres.x:PASSWORD@"),
        ({"RELAY_SECRET": SECRET, "RELAY_STORE": "https://x.supabase.co"}, "postgresql://postgres.x:PASSWORD@"),
        ({"RELAY_SECRET": SECRET, "SUPABASE_ANON_KEY": "eyJ"}, "postgresql://"),
        ({"RELAY_SECRET": SECRET, "API_SECRET": "development-secret"}, "API_SECRET"),
        ({"RELAY_SECRET": SECRET, "RELAY_ORIGINS": "*"}, "wildcard"),
        ({"RELAY_SECRET": SECRET, "RELAY_ORIGINS": "example.org"}, "https://host"),
        ({"RELAY_SECRET": SECRET, "RELAY_PROXIES": "zz"}, "10.0.0.0/8"),
        ({"RELAY_SECRET": SECRET, "RELAY_PROXIES": "10.0.0.1, *"}, "10.0.0.0/8"),
        ({"RELAY_SECRET": SECRET, "RELAY_URL": "relay.example.org"}, "https://"),
        ({"RELAY_SECRET": SECRET, "RELAY_RETENTION": "forever"}, "400d"),
        ({"RELAY_SECRET": SECRET, "RELAY_RETENTION": "0d"}, "400d"),
        ({"RELAY_SECRET": SECRET, "RELAY_BEAT": "nan"}, "RELAY_BEAT"),
        ({"RELAY_SECRET": SECRET, "RELAY_BEAT": "0"}, "RELAY_BEAT"),
        ({"RELAY_SECRET": SECRET, "RELAY_REVOKED": "what"}, "keys list"),
    ],
)
def test_what_must_not_start_is_refused_with_what_to_do(given, remedy):
    with pytest.raises(Misconfigured) as refused:
        read(**given)
    assert remedy in str(refused.value) and "\n" not in str(refused.value) and SECRET not in str(refused.value)


def test_a_trial_relay_makes_its_own_secret_once_and_keeps_it_to_itself(tmp_path):
    store = f"sqlite:///{tmp_path}/new/relay.db"
    first, again = read(dev=True, store=store), read(dev=True, store=store)
    kept = tmp_path / "new" / "dev-secret"
    assert first.secrets == again.secrets and len(first.secrets[0]) == 64
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600 and stat.S_IMODE(kept.parent.stat().st_mode) == 0o700


def test_a_secret_that_others_may_read_or_have_swapped_is_refused(tmp_path):
    store = f"sqlite:///{tmp_path}/relay.db"
    read(dev=True, store=store)
    kept = tmp_path / "dev-secret"
    kept.chmod(0o644)
    with pytest.raises(Misconfigured, match="others may read"):
        read(dev=True, store=store)
    kept.rename(tmp_path / "elsewhere")
    kept.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Misconfigured):
        read(dev=True, store=store)


def test_the_repr_shows_no_secret():
    found = read(RELAY_SECRET=SECRET, API_SECRET="shared one", RELAY_STORE="postgresql://me:pass@host/db")
    assert SECRET not in repr(found) and "shared one" not in repr(found) and "pass" not in repr(found)
