"""Sealed names: both ends agree byte by byte, nothing else opens them, and the key is kept like a key."""
from __future__ import annotations

import base64
import hmac
import json
import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as some

from ledger.errors import Misconfigured, Misuse
from local_agent import cli, settings
from local_agent.push import seals
from local_agent.push.sealing import SEALED, Seal, Unopened, to_bytes, to_text

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "sealed.json").read_text("utf-8"))
KEY = bytes(range(32))
SEAL = Seal(KEY)
NAMES = some.text(some.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=120)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector['kind']} {vector['text'][:20]}")
def test_the_vectors_are_sealed_and_opened(vector: dict[str, str]) -> None:
    seal = Seal(to_bytes(vector["seal_key"]))
    assert seal.sealed(vector["kind"], vector["text"]) == vector["sealed"]
    assert seal.opened(vector["kind"], vector["sealed"]) == vector["text"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector['kind']} {vector['text'][:20]}")
def test_a_library_s_own_parts_open_them_as_the_document_says(vector: dict[str, str]) -> None:
    def padded(text: str) -> bytes:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

    def derived(info: bytes) -> bytes:
        return HKDF(hashes.SHA256(), 32, b"", info).derive(padded(vector["seal_key"]))

    raw, kind, text = padded(vector["sealed"].removeprefix("sealed1.")), vector["kind"].encode(), vector["text"].encode()
    plain = AESGCM(derived(b"session-relay seal v1 encrypt")).decrypt(raw[:12], raw[12:], kind)
    assert plain == text + b"\0" * (-len(text) % 16)
    assert raw[:12] == hmac.digest(derived(b"session-relay seal v1 nonce"), kind + b"\0" + text, "sha256")[:12]


@given(NAMES, some.sampled_from(["project", "title", "git_branch"]))
def test_whatever_is_sealed_opens_and_equal_names_of_a_kind_are_equal(text: str, kind: str) -> None:
    sealed = SEAL.sealed(kind, text)
    assert SEALED.fullmatch(sealed)
    assert SEAL.opened(kind, sealed) == text
    assert Seal(KEY).sealed(kind, text) == sealed == SEAL.sealed(kind, sealed)


def test_one_name_of_two_kinds_or_under_two_keys_shows_no_likeness() -> None:
    other = Seal(bytes(32))
    assert len({SEAL.sealed("project", "atlas"), SEAL.sealed("title", "atlas"), other.sealed("project", "atlas")}) == 3


def test_the_length_tells_no_more_than_the_number_of_blocks() -> None:
    assert len({len(SEAL.sealed("project", "x" * length)) for length in range(1, 17)}) == 1
    assert len(SEAL.sealed("project", "x" * 17)) > len(SEAL.sealed("project", "x" * 16))


def test_no_flipped_bit_opens() -> None:
    raw = bytearray(to_bytes(SEAL.sealed("title", "Mend the relay").removeprefix("sealed1.")))
    for bit in range(len(raw) * 8):
        raw[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Unopened):
            SEAL.opened("title", "sealed1." + to_text(bytes(raw)))
        raw[bit // 8] ^= 1 << bit % 8


@pytest.mark.parametrize("text", ["", "sealed1.", "sealed1.AAAA", "sealed2.AAAA", "atlas", "sealed1." + "!" * 60, "sealed1." + "A" * 60, "sealed1." + "ü" * 60])
def test_what_was_never_sealed_does_not_open(text: str) -> None:
    with pytest.raises(Unopened):
        SEAL.opened("project", text)


def test_a_name_that_only_looks_sealed_is_sealed_like_any_other() -> None:
    strange = Seal(bytes(32)).sealed("project", "atlas")
    assert SEAL.opened("project", SEAL.sealed("project", strange)) == strange


# -- the key


def test_the_key_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    key = seals.seal_key(tmp_path / "home")
    assert seals.seal_key(tmp_path / "home") == key and len(key) == 32
    assert stat.S_IMODE((tmp_path / "home" / "seal").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["seal"]
    assert seals.seal_key(tmp_path / "other") != key


def test_an_empty_key_file_stops_the_agent_instead_of_being_filled_anew(tmp_path: Path) -> None:
    (tmp_path / "seal").touch(mode=0o600)
    with pytest.raises(Misconfigured, match="is empty"):
        seals.seal_key(tmp_path)


@pytest.mark.parametrize("text", ["AAB", "AAA=", "AA A", "A"])
def test_base64_has_one_spelling_so_that_a_sealed_name_has_one_text(text: str) -> None:
    with pytest.raises(ValueError, match="base64url"):
        to_bytes(text)


def test_of_two_processes_that_make_it_at_once_one_wins_for_both(tmp_path: Path) -> None:
    theirs = seals.seal_key(tmp_path)
    seals._make(tmp_path / "seal")
    assert seals.seal_key(tmp_path) == theirs


@pytest.mark.parametrize("content", [b"", b"short", b"\xff\xfe", b"A" * 42, b"A" * 44, b"!" * 43])
def test_a_damaged_key_stops_the_agent_instead_of_sealing_with_another(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "seal").write_bytes(content)
    (tmp_path / "seal").chmod(0o600)
    with pytest.raises(Misconfigured, match="seal --use -"):
        seals.seal_key(tmp_path)


@pytest.mark.parametrize("trouble", ["readable by others", "a link", "a folder"])
def test_a_key_that_others_could_read_or_have_put_there_is_not_used(tmp_path: Path, trouble: str) -> None:
    seals.seal_key(tmp_path)
    path = tmp_path / "seal"
    if trouble == "readable by others":
        path.chmod(0o644)
    elif trouble == "a link":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.unlink()
        path.mkdir()
    with pytest.raises(Misconfigured):
        seals.seal_key(tmp_path)


def ran(home: Path, *words: str) -> int:
    return cli.main([*words, "--home", str(home), "--no-defaults"])


@pytest.fixture
def told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert ran(tmp_path / "one", "seal", "--relay", "https://relay.example", "--privacy", "sealed") == 0
    return capsys.readouterr().out


def test_seal_prints_the_page_s_link_first_and_what_to_do_with_it(tmp_path: Path, told: str) -> None:
    link, advice = told.splitlines()
    assert link == f"https://relay.example/#seal={to_text(seals.seal_key(tmp_path / 'one'))}" and len(link.partition("=")[2]) == 43
    assert "like a password" in advice


@pytest.mark.parametrize("given", ["{link}", "{key}", "  {key}  ", "https://x/#key=sr_read_a_b_c&seal={key}", "#seal={key}&key=1"])
def test_a_second_machine_takes_over_the_key_as_link_or_alone(tmp_path: Path, told: str, given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    link = told.splitlines()[0]
    seals.seal_key(tmp_path / "two")
    assert ran(tmp_path / "two", "seal", "--use", given.format(link=link, key=link.partition("=")[2])) == 0
    assert seals.seal_key(tmp_path / "two") == seals.seal_key(tmp_path / "one")
    assert stat.S_IMODE((tmp_path / "two" / "seal").stat().st_mode) == 0o600


@pytest.mark.parametrize("first", [b"\xf8", b"\xfb\xef"], ids=["-", "--"])
def test_a_key_that_looks_like_an_option_is_taken_over_alone_too(tmp_path: Path, first: bytes) -> None:
    key = to_text(first + KEY[len(first):])
    assert key.startswith("-")
    assert ran(tmp_path, "seal", "--use", key) == 0
    assert to_text(seals.seal_key(tmp_path)) == key


def test_a_key_that_was_forgotten_on_the_command_line_is_missed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        ran(tmp_path, "seal", "--use")
    assert "expected one argument" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["x", "sr_push_a_b_c", "https://relay.example/", "https://relay.example/#seal=", "A" * 42, "A" * 44, "ü" * 43])
def test_what_is_no_seal_key_is_refused_and_the_old_one_stays(tmp_path: Path, given: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = seals.seal_key(tmp_path)
    assert ran(tmp_path, "seal", "--use", given) == 2
    assert "no seal key" in capsys.readouterr().err and seals.seal_key(tmp_path) == before
    with pytest.raises(Misuse):
        seals.use(tmp_path, given)


def test_the_key_can_come_from_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.write(writing, to_text(KEY).encode() + b"\n")
    os.close(writing)
    with os.fdopen(reading) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert ran(tmp_path, "seal", "--use", "-") == 0
    assert seals.seal_key(tmp_path) == KEY


def test_a_running_agent_notices_another_key(tmp_path: Path) -> None:
    seals.seal_key(tmp_path)
    before = settings.mark(tmp_path)
    seals.use(tmp_path, to_text(KEY))
    assert settings.mark(tmp_path) != before
