"""Put the page's few libraries and its font into dashboard/vendor, byte for byte as the lock says.

    python dashboard/tools/vendor.py --check         offline: is every vendored file what the lock says?
    python dashboard/tools/vendor.py                 fetch the locked packages again and write the files
    python dashboard/tools/vendor.py --update NAME=VERSION

Packages come through the ordinary npm client and must have the sha512 of the lock. The modules of the
libraries become one file, each still in a scope of its own and its code untouched: a phone asks once
instead of five times, and no bare name is left that would need an import map, hence an inline script.
"""
from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCK, VENDOR = ROOT / "vendor.lock.json", ROOT / "vendor"
IMPORT = re.compile(r'import\{([^}]*)\}from"([^"]+)";?')
AGAIN = re.compile(r'export\{[^}]*\}from"[^"]+";?')
EXPORT = re.compile(r"export\{([^}]*)\};?")
SOURCE_MAP = re.compile(r"\n?//# sourceMappingURL=\S*\s*\Z")


class Wrong(Exception):
    """Something does not agree with the lock; the message says what and what to do."""


def npm_pack(name: str, version: str, into: Path) -> Path:
    """Let the npm client fetch one package; its path."""
    command = ["npm", "pack", "--silent", "--pack-destination", str(into), f"{name}@{version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Wrong(f"npm could not fetch {name}@{version}: {done.stderr.strip()[-200:]}")
    return into / done.stdout.split()[-1]


def integrity(data: bytes) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()


def scoped(code: str, homes: dict[str, str]) -> str:
    """A module as a function that returns what the module exports, so that short names cannot meet."""
    def taken(found: re.Match[str]) -> str:
        if found[2] not in homes:
            raise Wrong(f'"{found[2]}" is imported but comes after, or is not in the lock')
        return f"const{{{found[1].replace(' as ', ':')}}}={homes[found[2]]};"
    code = IMPORT.sub(taken, AGAIN.sub("", SOURCE_MAP.sub("", code)))
    names = EXPORT.search(code)
    if names:
        pairs = [name.split(" as ") for name in names[1].split(",")]
        code = EXPORT.sub("", code) + f"\nreturn{{{','.join(f'{pair[-1]}:{pair[0]}' for pair in pairs)}}}"
    else:
        code = code.replace("export default ", "return ")
    if re.search(r"\b(?:import|export)\b[ {*]", code):
        raise Wrong("a module imports or exports in a way that this script does not know")
    return f"(()=>{{{code}\n}})()"


def joined(lock: dict[str, Any], codes: dict[str, str]) -> bytes:
    """All modules as one file, exporting the names that the lock lists."""
    homes = {name: f"m{number}" for number, name in enumerate(lock["modules"])}
    parts = ["/*! " + " | ".join(f"{name} {each['version']} ({each['license']})" for name, each in lock["packages"].items() if any("module" in f for f in each["files"])) + " | LICENSES.txt */"]
    for name, exports in lock["modules"].items():
        parts.append(f"const {homes[name]}={scoped(codes[name], {n: v for n, v in homes.items() if v < homes[name]})};")
        parts.append(f"export const htm={homes[name]};" if exports == "default" else f"export const{{{','.join(exports)}}}={homes[name]};" if exports else "")
    return "\n".join(part for part in parts if part).encode() + b"\n"


def fetch(lock: dict[str, Any], pack: Callable[[str, str, Path], Path] = npm_pack) -> None:
    """Write vendor/ from the packages the lock names, refusing any whose hash differs."""
    VENDOR.mkdir(exist_ok=True)
    licences, codes, files = [], dict[str, str](), dict[str, bytes]()
    with tempfile.TemporaryDirectory() as temp:
        for name, each in lock["packages"].items():
            archive = pack(name, each["version"], Path(temp))
            found = integrity(archive.read_bytes())
            if each["integrity"] and each["integrity"] != found:
                raise Wrong(f"{name}@{each['version']} is not the locked package: {found}")
            each["integrity"] = found
            with tarfile.open(archive) as tar:
                for entry in each["files"]:
                    raw = member(tar, entry["from"])
                    if "module" in entry:
                        codes[entry["module"]] = raw.decode()
                    else:
                        files[entry["to"]] = raw
                licences.append(f"{name} {each['version']} | {each['license']}\n\n{member(tar, 'LICENSE').decode().strip()}\n")
    files["preact.js"] = joined(lock, codes)
    files["LICENSES.txt"] = ("\n" + "=" * 78 + "\n\n").join(licences).encode()
    for name, data in files.items():
        (VENDOR / name).write_bytes(data)
    lock["sha256"] = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}
    LOCK.write_text(json.dumps(lock, indent=2) + "\n")


def member(tar: tarfile.TarFile, path: str) -> bytes:
    file = tar.extractfile(f"package/{path}")
    if file is None:
        raise Wrong(f"{path} is not in the package")
    return file.read()


def check(lock: dict[str, Any]) -> list[str]:
    """What in vendor/ differs from the lock; empty when all is well. Needs no network."""
    wanted = lock["sha256"]
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest()
             for path in VENDOR.iterdir() if not path.name.endswith(".d.ts")}
    return ([f"{name} is missing" for name in sorted(wanted.keys() - found.keys())]
            + [f"{name} is not in the lock" for name in sorted(found.keys() - wanted.keys())]
            + [f"{name} was changed" for name in sorted(wanted.keys() & found.keys()) if wanted[name] != found[name]])


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="The page's libraries, as the lock says.")
    parser.add_argument("--check", action="store_true", help="compare only; no network")
    parser.add_argument("--update", metavar="NAME=VERSION", help="lock another version and fetch it")
    options = parser.parse_args(argv)
    lock = json.loads(LOCK.read_text())
    try:
        if options.check:
            wrong = check(lock)
            for line in wrong:
                print(f"vendor: {line}; run dashboard/tools/vendor.py", file=sys.stderr)  # noqa: T201
            return 1 if wrong else 0
        if options.update:
            name, _, version = options.update.rpartition("=")
            if name not in lock["packages"]:
                raise Wrong(f"{name or options.update} is not in {LOCK.name}")
            lock["packages"][name] |= {"version": version, "integrity": ""}
        fetch(lock)
    except Wrong as wrong_thing:
        print(f"vendor: {wrong_thing}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
