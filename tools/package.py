"""The zip that runs on Lambda, and the CloudFormation template that goes with it.

Two builds of the same sources give the same bytes: names are sorted, times are fixed, wheels are pinned by
hash, and byte code is compiled by the runtime's own Python minor without a look at file times. Without usable
byte code every cold start compiles everything, which costs more than all libraries together. boto3 is left to
the runtime. Wheels are kept in .cache, so that a second build needs no network.
"""
from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD, CACHE, AWS = ROOT / "build", ROOT / ".cache", ROOT / "tools" / "aws"
MINOR = "3.12"
PLATFORMS = {"arm64": "manylinux2014_aarch64", "x86_64": "manylinux2014_x86_64"}
LIBRARIES = ("blinker", "click", "flask", "itsdangerous", "jinja2", "markupsafe", "marshmallow", "msgspec", "serverless-wsgi", "tzdata", "werkzeug")
"""What the function imports and the runtime lacks, with what those need in turn; versions and hashes stand in requirements.txt."""
SOURCES = ("ledger", "relay", "dashboard")
LEFT_OUT = re.compile(r"(^|/)(tests?|tools|__pycache__|[^/]*\.dist-info/(?!licenses/|LICENSE)[^/]*|bin)(/|$)|\.(pyi|pyc|c|h|pyx|map|typed|md|rst)$")
ELSEWHERE = re.compile(r"(relay/(__main__|backup|cli|logs|server|telemetry|alerts/cli|people/cli)|ledger/(price_update|shell|serving/(bridge|server)|otlp/(fold|http|protobuf|signals))|ledger/stores/(memory|postgres\w*|sqlite\w*))\.py")
"""What of ours only a server of one's own or a person at a prompt runs; telemetry, too, for which the zip has no room."""
SMALLEST_TIME = (1980, 1, 1, 0, 0, 0)
LARGEST_ZIP = 3_000_000


class Impossible(Exception):
    """The zip cannot be built; the text says what to do."""


class Missing(Impossible):
    """This machine lacks what builds it."""


def runtime_python() -> str:
    """A Python of the runtime's minor: by name, then wherever pyenv keeps its versions."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    named = [shutil.which(f"python{MINOR}"), *sorted(map(str, pyenv.glob(f"versions/{MINOR}.*/bin/python{MINOR}")), reverse=True)]
    for candidate in filter(None, [os.environ.get("PYTHON_RUNTIME"), *named]):
        asked = subprocess.run([candidate, "-c", "import sys; print(sys.version_info[:2])"], capture_output=True, text=True, check=False)
        if asked.stdout.strip() == f"({MINOR.replace('.', ', ')})":
            return candidate
    raise Missing(f"the byte code for Lambda needs Python {MINOR}: install python{MINOR} (or run pyenv install {MINOR}), then the same again")


def pinned(requirements: str, names: tuple[str, ...] = LIBRARIES) -> str:
    """The lines of *requirements* that pin these libraries, with their hashes."""
    lines = {match.group(1): match.group(0) for match in re.finditer(r"^([a-z0-9-]+)==[^\n]*(?:\n +--hash=[^\n]*)*", requirements, re.MULTILINE)}
    if missing := set(names) - set(lines):
        raise Impossible(f"requirements.txt does not pin {', '.join(sorted(missing))}: run make lock")
    return "\n".join(lines[name].rstrip(" \\") for name in names) + "\n"


def wheels(arch: str) -> list[Path]:
    """The wheels for Lambda's Python, from the cache or from the package index."""
    wanted = pinned((ROOT / "requirements.txt").read_text())
    folder = CACHE / "wheels" / f"{arch}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
    with alone("wheels"):
        if folder.is_dir():
            return sorted(folder.glob("*.whl"))
        with tempfile.TemporaryDirectory(dir=CACHE) as half:
            folder.parent.mkdir(parents=True, exist_ok=True)
            (Path(half) / "wanted.txt").write_text(wanted)
            subprocess.run(
                [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps", "--only-binary", ":all:",
                 "--platform", PLATFORMS[arch], "--implementation", "cp", "--abi", f"cp{MINOR.replace('.', '')}", "--python-version", MINOR,
                 "--dest", f"{half}/wheels", "--requirement", f"{half}/wanted.txt"], check=True)
            Path(half, "wheels").rename(folder)
    return sorted(folder.glob("*.whl"))


@contextlib.contextmanager
def alone(what: str) -> Iterator[None]:
    """One process at a time fetches; the others wait and find it done."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def unpack(stage: Path, arch: str) -> None:
    for wheel in wheels(arch):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(stage, [name for name in archive.namelist() if not LEFT_OUT.search(name)])
    for path in our_files():
        target = stage / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def our_files() -> Iterator[Path]:
    """What git would take, so that nothing that merely lies about gets into the zip; elsewhere every file."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *SOURCES], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    names = listed.split("\0") if listed else [str(path.relative_to(ROOT)) for top in SOURCES for path in (ROOT / top).rglob("*")]
    for name in sorted(filter(None, set(names))):
        if (ROOT / name).is_file() and not LEFT_OUT.search(name) and not ELSEWHERE.fullmatch(name):
            yield ROOT / name


def compile_all(stage: Path) -> None:
    """Byte code that is believed without a look at the source; the same from the same source, every time."""
    subprocess.run(
        [runtime_python(), "-m", "compileall", "-q", "-j", "1", "--invalidation-mode", "unchecked-hash", "-s", str(stage), "-p", "/var/task", str(stage)],
        check=True, env={"PATH": os.environ.get("PATH", ""), "PYTHONHASHSEED": "0"})


def without_sources(stage: Path) -> None:
    """Libraries travel as byte code alone, which halves them; our own files keep their lines for the log."""
    for compiled in stage.rglob(f"__pycache__/*.cpython-{MINOR.replace('.', '')}.pyc"):
        source = compiled.parent.parent / (compiled.name.split(".")[0] + ".py")
        if source.relative_to(stage).parts[0] not in SOURCES:
            compiled.replace(source.with_suffix(".pyc"))
            source.unlink()


def zipped(stage: Path, target: Path) -> str:
    """Write *target*; its SHA-256."""
    target.parent.mkdir(parents=True, exist_ok=True)
    half = target.with_suffix(".half")
    with zipfile.ZipFile(half, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(found for found in stage.rglob("*") if found.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(stage).as_posix(), SMALLEST_TIME)
            entry.external_attr, entry.create_system = 0o644 << 16, 3
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED, 9)
    half.replace(target)
    return hashlib.sha256(target.read_bytes()).hexdigest()


def build(arch: str = "arm64", target: Path | None = None) -> tuple[Path, str]:
    """Build the zip for *arch*: where it is and its SHA-256."""
    target = target or BUILD / f"relay-{arch}.zip"
    with tempfile.TemporaryDirectory() as folder:
        stage = Path(folder) / "stage"
        stage.mkdir()
        unpack(stage, arch)
        compile_all(stage)
        without_sources(stage)
        digest = zipped(stage, target)
    if target.stat().st_size > LARGEST_ZIP:
        raise Impossible(f"{target} has {target.stat().st_size:,} bytes, more than {LARGEST_ZIP:,}: look for what should not be in it")
    return target, digest


def node_tools() -> Path:
    """The folder of the deployment tool's commands, installed from its lock once."""
    npm, folder, lock = shutil.which("npm"), CACHE / "node", AWS / "package-lock.json"
    if npm is None:
        raise Missing("the template needs Node.js 18 or newer with npm: install it, then the same again")
    stamp, wanted = folder / ".lock", hashlib.sha256(lock.read_bytes()).hexdigest()
    with alone("node"):
        if not stamp.is_file() or stamp.read_text() != wanted:
            folder.mkdir(parents=True, exist_ok=True)
            for name in ("package.json", "package-lock.json"):
                shutil.copyfile(AWS / name, folder / name)
            subprocess.run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
            stamp.write_text(wanted)
    return folder / "node_modules" / ".bin"


def osls(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the deployment tool in the project's folder. It gets no look at whoever is logged in unless *env* says so."""
    quiet = {"SLS_TELEMETRY_DISABLED": "1", "SLS_NOTIFICATIONS_MODE": "off", "SLS_DEPRECATION_DISABLE": "*"}
    done = subprocess.run([str(node_tools() / "osls"), *words], cwd=ROOT, env={**os.environ, **quiet, **(env or {})}, text=True, capture_output=True, check=False)
    if done.returncode:
        raise Impossible(f"osls {words[0]} failed: {(done.stdout + done.stderr).strip()[-3000:]}")
    return done


def template(stage: str) -> Path:
    """What CloudFormation will be given for *stage*."""
    target = BUILD / f"template-{stage}"
    osls("package", "--stage", stage, "--package", str(target))
    found = target / "cloudformation-template-update-stack.json"
    json.loads(found.read_text())
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.package", description=__doc__.splitlines()[0])
    parser.add_argument("--arch", choices=sorted(PLATFORMS), default="arm64")
    parser.add_argument("--stage", default="prod")
    parser.add_argument("--no-template", action="store_true", help="the zip alone, without Node.js")
    given = parser.parse_args()
    try:
        path, digest = build(given.arch)
        sys.stdout.write(f"{path.relative_to(ROOT)}  {path.stat().st_size:,} bytes  sha256 {digest}\n")
        if not given.no_template:
            sys.stdout.write(f"{template(given.stage).relative_to(ROOT)}\n")
    except (Impossible, subprocess.CalledProcessError) as why:
        sys.stderr.write(f"package: {why}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
