"""Put the page's few libraries and its font into dashboard/vendor, byte for byte as the lock says.

    python dashboard/tools/vendor.py --check         offline: is every vendored file what the lock says?
    python dashboard/tools/vendor.py                 fetch the locked packages again and write the files
    python dashboard/tools/vendor.py --update NAME=VERSION

Packages come through the ordinary npm client and must have the sha512 of the lock. Browsers know no
bare module names, so each `from "preact"` becomes `from "./preact.js"`: that keeps an import map,
which would need an inline script, out of the page and out of its content security policy.
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

ROOT = Path(__file__).resolve().parent.parent
LOCK, VENDOR = ROOT / "vendor.lock.json", ROOT / "vendor"
BARE = re.compile(r"""(\bfrom\s*|\bimport\s*)(["'])([^."'/][^"']*)\2""")
SOURCE_MAP = re.compile(rb"\n?//# sourceMappingURL=\S*\s*\Z")


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


def relative_imports(code: bytes, homes: dict[str, str]) -> bytes:
    """Point every bare import at the vendored file that answers to that name."""
    def point(found: re.Match[str]) -> str:
        if found[3] not in homes:
            raise Wrong(f'"{found[3]}" is imported but not vendored: add it to the lock')
        return f'{found[1]}"./{homes[found[3]]}"'
    return BARE.sub(point, code.decode()).encode()


def module_names(packages: dict) -> dict[str, str]:
    """The bare name of each vendored module: `preact/hooks` -> `hooks.js`."""
    return {entry["module"]: entry["to"] for each in packages.values() for entry in each["files"] if "module" in entry}


def written(entry: dict, raw: bytes, title: str, homes: dict[str, str]) -> bytes:
    """A file as it lies in vendor/: code gets a banner and relative imports, a font stays untouched."""
    if not entry["to"].endswith(".js"):
        return raw
    return f"/*! {title} */\n".encode() + relative_imports(SOURCE_MAP.sub(b"\n", raw), homes)


def fetch(lock: dict, pack: Callable[[str, str, Path], Path] = npm_pack) -> None:
    """Write vendor/ from the packages the lock names, refusing any whose hash differs."""
    VENDOR.mkdir(exist_ok=True)
    homes, licences = module_names(lock["packages"]), []
    with tempfile.TemporaryDirectory() as temp:
        for name, each in lock["packages"].items():
            archive = pack(name, each["version"], Path(temp))
            found = integrity(archive.read_bytes())
            if each["integrity"] and each["integrity"] != found:
                raise Wrong(f"{name}@{each['version']} is not the locked package: {found}")
            each["integrity"] = found
            title = f"{name} {each['version']} | {each['license']} | see LICENSES.txt"
            with tarfile.open(archive) as tar:
                for entry in each["files"]:
                    data = written(entry, member(tar, entry["from"]), title, homes)
                    entry["sha256"] = hashlib.sha256(data).hexdigest()
                    (VENDOR / entry["to"]).write_bytes(data)
                licences.append(f"{title}\n\n{member(tar, 'LICENSE').decode().strip()}\n")
    text = ("\n" + "=" * 78 + "\n\n").join(licences).encode()
    (VENDOR / "LICENSES.txt").write_bytes(text)
    lock["licenses_sha256"] = hashlib.sha256(text).hexdigest()
    LOCK.write_text(json.dumps(lock, indent=2) + "\n")


def member(tar: tarfile.TarFile, path: str) -> bytes:
    file = tar.extractfile(f"package/{path}")
    if file is None:
        raise Wrong(f"{path} is not in the package")
    return file.read()


def check(lock: dict) -> list[str]:
    """What in vendor/ differs from the lock; empty when all is well. Needs no network."""
    wanted = {entry["to"]: entry["sha256"] for each in lock["packages"].values() for entry in each["files"]}
    wanted["LICENSES.txt"] = lock["licenses_sha256"]
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
