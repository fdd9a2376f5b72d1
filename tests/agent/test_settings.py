from __future__ import annotations

import os
from pathlib import Path

import pytest

from ledger.errors import Misconfigured, Misuse
from local_agent import settings
from local_agent.settings import Settings, keep, keep_key, load, machine_zone, relay_url


@pytest.fixture
def user(tmp_path: Path) -> Path:
    (tmp_path / "user").mkdir()
    return tmp_path / "user"


def loaded(user: Path, environ: dict[str, str] | None = None, **options: object) -> Settings:
    return load(options, environ=environ or {}, user=user)


def test_without_a_word_it_reads_the_usual_places(user: Path) -> None:
    found = loaded(user)
    assert found.transcripts == (user / ".claude", user / ".config/claude")
    assert found.codex == user / ".codex"
    assert (found.port, found.interval, found.privacy, found.relay, found.key) == (3001, 30, "names", None, None)


def test_options_go_before_the_environment_and_that_before_the_file(user: Path) -> None:
    home = user / "home"
    keep(home, interval=11, privacy="none", port=4000)
    found = loaded(user, {"AGENT_HOME": str(home), "SYNC_INTERVAL": "22", "AGENT_PRIVACY": "aliases"}, interval="33")
    assert (found.interval, found.privacy, found.port) == (33, "aliases", 4000)


def test_no_defaults_reads_only_what_was_named(user: Path) -> None:
    found = loaded(user, {"CLAUDE_CONFIG_DIR": "/elsewhere", "CODEX_HOME": "/codex"}, no_defaults=True, transcripts=["/named"])
    assert (found.transcripts, found.codex, found.gemini, found.opencode, found.trackers) == ((Path("/named"),), None, None, None, ())


def test_claude_codes_own_variable_moves_its_folder(user: Path) -> None:
    found = loaded(user, {"CLAUDE_CONFIG_DIR": "/a,/b"})
    assert (found.transcripts, found.transcripts_named) == ((Path("/a"), Path("/b")), True)
    assert not loaded(user).transcripts_named


def test_trackers_may_be_named_several_times(user: Path) -> None:
    assert loaded(user, trackers=["/one.db", "/two,with comma.db"]).trackers == (Path("/one.db"), Path("/two,with comma.db"))
    assert loaded(user, {"TRACKER_DB": "/x,y.db"}).trackers == (Path("/x,y.db"),)


@pytest.mark.parametrize(
    ("name", "value"),
    [("port", "many"), ("port", "70000"), ("interval", "0"), ("interval", "nan?"), ("privacy", "some"), ("tracker_tz", "Mars/Olympus"), ("tz", "../../etc/passwd"),
     ("relay", "http://relay.example.org"), ("relay", "ftp://x"), ("relay", "https://me:secret@relay.example.org"), ("log_format", "xml")],
)  # fmt: skip
def test_a_value_that_cannot_be_is_refused_in_one_line(user: Path, name: str, value: str) -> None:
    with pytest.raises(Misuse) as refused:
        loaded(user, **{name: value})
    assert "\n" not in str(refused.value)


def test_a_relay_on_this_computer_may_be_plain_http() -> None:
    assert relay_url("http://127.0.0.1:8787/") == "http://127.0.0.1:8787"
    assert relay_url("relay.example.org/base/") == "https://relay.example.org/base"


def test_the_key_is_never_shown(user: Path) -> None:
    assert "secret-key-text" not in repr(loaded(user, {"RELAY_KEY": "secret-key-text"}))


def test_the_key_is_read_from_its_private_file(user: Path) -> None:
    keep_key(user / "home", "sr_push_x")
    assert (user / "home/key").stat().st_mode & 0o777 == 0o600
    assert loaded(user, home=str(user / "home")).key == "sr_push_x"


def test_a_key_that_others_could_read_is_refused_and_the_mending_command_named(user: Path) -> None:
    keep_key(user / "home", "sr_push_x")
    (user / "home/key").chmod(0o644)
    with pytest.raises(Misconfigured, match="chmod 600"):
        loaded(user, home=str(user / "home"))


def test_a_key_in_a_folder_that_others_can_write_is_refused(user: Path) -> None:
    keep_key(user / "home", "sr_push_x")
    (user / "home").chmod(0o777)
    with pytest.raises(Misconfigured, match="chmod 700"):
        loaded(user, home=str(user / "home"))


def test_a_key_file_that_is_a_link_is_refused(user: Path) -> None:
    keep_key(user / "home", "sr_push_x")
    (user / "home/key").rename(user / "elsewhere")
    (user / "home/key").symlink_to(user / "elsewhere")
    with pytest.raises(Misconfigured, match="link"):
        loaded(user, home=str(user / "home"))


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to make a file of another user")
def test_a_key_file_of_another_user_is_refused(user: Path) -> None:
    keep_key(user / "home", "sr_push_x")
    os.chown(user / "home/key", 65534, 65534)
    with pytest.raises(Misconfigured, match="not a file of yours"):
        loaded(user, home=str(user / "home"))


@pytest.mark.parametrize("damage", ["{", "[]", "\x00", '{"key": "sr_push_x"}'])
def test_a_damaged_settings_file_says_so(user: Path, damage: str) -> None:
    (user / "home").mkdir()
    (user / "home/settings.json").write_text(damage)
    with pytest.raises(Misconfigured, match=r"settings\.json"):
        loaded(user, home=str(user / "home"))


def test_the_zone_of_the_computer_is_found_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "zoneinfo/Europe").mkdir(parents=True)
    (tmp_path / "zoneinfo/Europe/Berlin").touch()
    (tmp_path / "localtime").symlink_to(tmp_path / "zoneinfo/Europe/Berlin")
    assert machine_zone({}, tmp_path / "localtime") == "Europe/Berlin"
    assert machine_zone({"TZ": ":Asia/Tokyo"}, tmp_path / "localtime") == "Asia/Tokyo"
    assert machine_zone({"TZ": "EST5EDT,M3"}, tmp_path / "nothing") == "UTC"


def test_every_setting_has_a_name_in_the_environment() -> None:
    assert set(settings.NAMES) == set(Settings.__slots__) - {"mark", "transcripts_named"}


def test_systemd_may_hand_the_key_over(user: Path) -> None:
    (user / "relay-key").write_text("sr_push_y\n")
    assert loaded(user, {"CREDENTIALS_DIRECTORY": str(user)}).key == "sr_push_y"
