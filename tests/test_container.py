"""The container file: safe by its words, and what it copies is enough to run what it starts."""
from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.processes import environment, free_port, get, until

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "Containerfile").read_text(encoding="utf-8")
KNOWN = {"FROM", "WORKDIR", "RUN", "COPY", "ENV", "USER", "VOLUME", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"}


def instructions() -> list[tuple[str, str]]:
    lines = [line for line in TEXT.splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


STEPS = instructions()
LAST_STAGE = STEPS[max(n for n, (word, _) in enumerate(STEPS) if word == "FROM") :]


def words_of(name: str) -> list[str]:
    """The exec form of the last instruction of that name."""
    rest = [rest for word, rest in LAST_STAGE if word == name][-1]
    found: list[str] = json.loads(rest[rest.index("[") :])
    return found


def copied() -> list[tuple[str, str]]:
    return [(rest.split()[0], rest.split()[1]) for word, rest in LAST_STAGE if word == "COPY" and not rest.startswith("--from")]


def test_every_instruction_is_a_known_one() -> None:
    assert {word for word, _ in STEPS} <= KNOWN


def test_images_have_a_version() -> None:
    assert all(re.fullmatch(r"docker\.io/library/python:3\.\d+-slim( AS build)?", rest) for word, rest in STEPS if word == "FROM")


def test_it_does_not_run_as_root_and_looks_after_its_health() -> None:
    users = [rest for word, rest in LAST_STAGE if word == "USER"]
    assert users == ["10001:10001"]
    assert [word for word, _ in LAST_STAGE].index("USER") < [word for word, _ in LAST_STAGE].index("ENTRYPOINT")
    assert any(word == "HEALTHCHECK" for word, _ in LAST_STAGE)


def test_nothing_goes_through_a_shell_and_no_secret_stands_in_it() -> None:
    for word, rest in STEPS:
        if word in ("RUN", "ENTRYPOINT", "CMD", "VOLUME"):
            assert json.loads(rest)
    assert "RELAY_SECRET=" not in TEXT


def test_libraries_are_installed_as_everywhere_else_by_their_hashes() -> None:
    options = re.search(r"^INSTALL := .*-m pip install (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert options
    [install] = [json.loads(rest) for word, rest in STEPS if word == "RUN" and "pip" in rest]
    assert set(options[1].replace("-qq", "").split()) <= set(install)


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    allowed = {line[1:] for line in (ROOT / ".containerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")}
    wanted = {rest.split()[0] for word, rest in STEPS if word == "COPY" and not rest.startswith("--from")}
    assert wanted == allowed
    assert all((ROOT / name).exists() for name in wanted)


def test_what_is_copied_is_enough_to_run_it(tmp_path: Path) -> None:
    app, data, port = tmp_path / "app", tmp_path / "data", free_port()
    for source, place in copied():
        shutil.copytree(ROOT / source, app / place, ignore=shutil.ignore_patterns("__pycache__", "tools"))
    data.mkdir()
    words = [sys.executable if word.endswith("/python") else word.replace("8787", str(port)).replace("0.0.0.0", "127.0.0.1") for word in words_of("ENTRYPOINT") + words_of("CMD")]
    env = environment(RELAY_SECRET="correct-horse-battery-staple-0123456789abcdef", RELAY_STORE=f"sqlite:///{data}/relay.db", PYTHONDONTWRITEBYTECODE="1", PYTHONPATH="")
    running = subprocess.Popen(words, cwd=app, env=env, stderr=subprocess.DEVNULL)
    try:
        until(lambda: get(f"http://127.0.0.1:{port}/v1/ping"), "the relay of the container")
        check = [sys.executable, *[word.replace("8787", str(port)) for word in words_of("HEALTHCHECK")[1:]]]
        assert subprocess.run(check, cwd=app, check=False).returncode == 0
        assert (data / "relay.db").exists()
    finally:
        running.terminate()
        running.wait(20)
    assert subprocess.run(check, cwd=app, check=False, stderr=subprocess.DEVNULL).returncode != 0


def test_the_page_on_hosting_tells_of_it() -> None:
    assert "Containerfile" in (ROOT / "docs/self-host.md").read_text(encoding="utf-8")
