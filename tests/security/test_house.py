"""What an operator, another user of the machine or a supplier could do to us: bad settings, planted links, loose pins, calls to elsewhere."""
from __future__ import annotations

import ast
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ledger.errors import LedgerError
from local_agent import settings
from local_agent.identity import open_identity, write_durably
from tests.processes import ROOT, Site, command, environment, get, site

OURS = [path for folder in ("ledger", "relay", "local_agent", "tools") for path in (ROOT / folder).rglob("*.py")]
SECRET = "correct-horse-battery-staple-0123456789abcdef"

# -- files of the agent's home


@pytest.mark.parametrize("name", ["key", "seal"])
@pytest.mark.parametrize("trap", ["a link to another's file", "a pipe", "a folder", "readable by all", "in a folder that all may write"])
def test_a_secret_that_somebody_prepared_is_not_read(tmp_path: Path, name: str, trap: str) -> None:
    home, path = tmp_path / "home", tmp_path / "home" / name
    home.mkdir(mode=0o700)
    if trap == "a link to another's file":
        (tmp_path / "another").write_text("x" * 43)
        (tmp_path / "another").chmod(0o600)  # ours and private, so that nothing but the link itself can be the reason
        path.symlink_to(tmp_path / "another")
    elif trap == "a pipe":
        os.mkfifo(path, 0o600)
    elif trap == "a folder":
        path.mkdir()
    else:
        path.write_text("x" * 43)
        path.chmod(0o644 if trap == "readable by all" else 0o600)
        home.chmod(0o777 if trap == "in a folder that all may write" else 0o700)
    with pytest.raises(LedgerError, match=re.escape(str(home))):
        settings.read_secret(path)


def test_a_home_that_is_a_link_or_a_file_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "file").write_text("x")
    for home in ("link", "file"):
        with pytest.raises(LedgerError):
            open_identity(tmp_path / home)
    assert list((tmp_path / "real").iterdir()) == []


def test_what_is_written_replaces_a_planted_link_instead_of_following_it(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "home").mkdir(mode=0o700)
    (tmp_path / "home" / "key").symlink_to(victim)
    write_durably(tmp_path / "home" / "key", b"ours")
    assert victim.read_text() == "precious" and not (tmp_path / "home" / "key").is_symlink()
    assert stat.S_IMODE((tmp_path / "home" / "key").stat().st_mode) == 0o600


def test_nothing_in_the_home_can_be_read_by_others_after_a_run(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        done = command("local_agent", "once", "--home", str(tmp_path / "home"), "--no-defaults", "--privacy", "sealed")
    finally:
        os.umask(previous)
    assert done.returncode == 1 and "not paired" in done.stderr
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700
    for path in (tmp_path / "home").iterdir():
        assert path.name == "archive.db" or path.name.startswith(("archive.db-", "lock")) or not stat.S_IMODE(path.stat().st_mode) & 0o077, path


FORBIDDEN = {"pickle", "marshal", "shelve", "yaml", "dill", "cloudpickle", "telnetlib", "xmlrpc"}
KNOWN = {
    "local_agent/readers/claude/helper.py: marshal": "between our own two processes, over a pipe that nobody else has",
    "local_agent/statusline.py: a shell": "the status line command that the person had before, run as the tool ran it",
}
"""What may, and why."""
DANGEROUS = {"eval", "exec", "__import__", "compile"}


def test_nothing_is_read_in_a_way_that_can_run_it() -> None:
    found = []
    for file in OURS:
        path = file.relative_to(ROOT)
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [f"{path}: {name}" for name in imported if name.split(".")[0] in FORBIDDEN]
            if isinstance(node, ast.Call):
                called = node.func.id if isinstance(node.func, ast.Name) else ""
                found += [f"{path}: {called}()"] if called in DANGEROUS else []
                found += [f"{path}: a shell"] if any(word.arg == "shell" and ast.unparse(word.value) != "False" for word in node.keywords) else []
                found += [f"{path}: unverified TLS"] if any(word.arg == "verify" and ast.unparse(word.value) == "False" for word in node.keywords) else []
    assert not set(found) - KNOWN.keys()


# -- what a relay must not start with

REFUSED = {
    "no secret": {}, "the earlier system's default": {"RELAY_SECRET": "development-secret"}, "a short secret": {"RELAY_SECRET": "x"},
    "memory on a function": {"RELAY_SECRET": SECRET, "AWS_LAMBDA_FUNCTION_NAME": "f", "RELAY_STORE": "memory:"}, "every page may read": {"RELAY_SECRET": SECRET, "RELAY_ORIGINS": "*"},
    "an origin with a path": {"RELAY_SECRET": SECRET, "RELAY_ORIGINS": "https://a.example/x"}, "an unknown store": {"RELAY_SECRET": SECRET, "RELAY_STORE": "mongodb://x"},
    "a shared key that is a default": {"RELAY_SECRET": SECRET, "API_SECRET": "development-secret"}, "a retention that cannot be": {"RELAY_SECRET": SECRET, "RELAY_RETENTION": "-3d"},
    "a rate that cannot be": {"RELAY_SECRET": SECRET, "RELAY_RATE": "0"}, "proxies by name": {"RELAY_SECRET": SECRET, "RELAY_PROXIES": "everybody"},
}  # fmt: skip


@pytest.mark.parametrize("trouble", REFUSED)
def test_a_relay_that_is_set_up_dangerously_does_not_start(tmp_path: Path, trouble: str) -> None:
    given = {"RELAY_STORE": f"sqlite:///{tmp_path / 'relay.db'}", **REFUSED[trouble]}
    done = command("relay", "serve", "--port", "0", env=environment(**given))
    assert done.returncode == 78, (done.returncode, done.stderr)
    assert len(done.stderr.strip().splitlines()) == 1 and "Traceback" not in done.stderr
    assert "development-secret" not in done.stderr and SECRET not in done.stderr


# -- calls to elsewhere

WATCH = '''
import os, sys
def hook(event, words):
    if event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system"):
        with open(os.environ["WATCHED"], "a") as file:
            file.write(f"{event} {words[1:] if event == 'socket.connect' else words}\\n")
sys.addaudithook(hook)
'''


@pytest.fixture
def house(tmp_path: Path) -> object:
    with site(tmp_path) as found:
        yield found


def test_a_relay_calls_nobody(house: Site, tmp_path: Path) -> None:
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "sitecustomize.py").write_text(WATCH)
    relay = house.relay(PYTHONPATH=str(tmp_path / "watch"), WATCHED=str(tmp_path / "calls"))
    key, read = house.key(relay, "push", source="laptop"), house.key(relay, "read")
    (tmp_path / "calls").write_text("")
    done = command("local_agent", "once", "--home", str(tmp_path / "home"), "--no-defaults", "--relay", relay.url, "--key", key, "--name", "http://169.254.169.254/latest", "--json")
    assert done.returncode == 0, done.stdout
    for path in ("/sessions?q=http://169.254.169.254/", "/v1/feed", "/summary", "/status", "/export?format=csv&kind=machine", "/v1/ping", "/metrics"):
        try:
            get(relay.url + path, key=read)
        except ValueError:
            pass  # not every answer is JSON
        except OSError as error:
            assert getattr(error, "code", 0) in (400, 403, 404), path
    assert (tmp_path / "calls").read_text() == ""


def test_the_watch_sees_a_call(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    (tmp_path / "calls").write_text("")
    env = environment(PYTHONPATH=str(tmp_path), WATCHED=str(tmp_path / "calls"))
    subprocess.run([sys.executable, "-c", "import socket\ntry: socket.create_connection(('127.0.0.1', 9), 1)\nexcept OSError: pass"], env=env, check=True)
    assert "socket.connect" in (tmp_path / "calls").read_text()


# -- what we stand on


def test_everything_that_is_installed_is_pinned_by_hash() -> None:
    for name in ("requirements.txt", "requirements-dev.txt", "tools/aws/emulator.txt"):
        blocks = re.split(r"\n(?=[A-Za-z0-9])", (ROOT / name).read_text("utf-8"))
        pinned = [block for block in blocks if re.match(r"[A-Za-z0-9._\[\],-]+==", block)]
        assert len(pinned) > 10 and all("--hash=sha256:" in block for block in pinned), name
        assert not [block.splitlines()[0] for block in blocks if not re.match(r"[A-Za-z0-9._\[\],-]+==|#|-", block) and block.strip()]
    assert "--require-hashes" in (ROOT / "Makefile").read_text("utf-8")


def test_whatever_installs_python_packages_asks_for_their_hashes() -> None:
    """In our own programs, in the image and in the documents: every pip that fetches says so, at once."""
    pages = [ROOT / "Makefile", ROOT / "Containerfile", ROOT / ".ci/run", ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    found = []
    for path in [*OURS, *pages]:
        for asked in re.finditer(r"""-m["', ]+pip["', ]+(?:install|download)\b.{0,200}""", path.read_text("utf-8"), re.DOTALL):
            found.append((path.relative_to(ROOT).as_posix(), "--require-hashes" in asked[0]))
    assert {"Makefile", "Containerfile", "tools/package.py", "tools/deploy_local.py", "docs/install.md"} <= {name for name, _ in found}
    assert not [name for name, is_safe in found if not is_safe]


def test_what_npm_installs_is_pinned_by_hash() -> None:
    for lock in ("tests/js/package-lock.json", "tools/aws/package-lock.json"):
        locked = json.loads((ROOT / lock).read_text("utf-8"))["packages"]
        missing = [name for name, package in locked.items() if name and not package.get("link") and not str(package.get("integrity", "")).startswith("sha512-")]
        assert len(locked) > 2 and not missing, lock
    assert "npm ci" in (ROOT / ".ci/run").read_text("utf-8")
