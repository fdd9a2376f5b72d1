"""Who this machine is to the relay: one id, written once, never silently made anew.

If the file is there but cannot be read we stop and say so, because a new id would show this machine twice.
If it came here with a copied home folder (another machine's fingerprint), we say so too, because two
machines that push as one would overwrite each other.
"""
from __future__ import annotations

import json
import os
import platform
import secrets
import stat
import uuid
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ledger.errors import Misconfigured

FILE = "identity.json"


@dataclass(frozen=True, slots=True)
class Identity:
    """*machine* is the fingerprint of the computer it was made on; *copied* says that this is another one."""

    source: str
    machine: str
    copied: bool = False


def open_identity(home: Path, *, fingerprint: str | None = None) -> Identity:
    """The identity kept in *home*, made now if there never was one. Raises Misconfigured for one that is damaged."""
    here = fingerprint or machine_fingerprint()
    path = home / FILE
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return _create(path, here)
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path} cannot be read ({error.__class__.__name__}): put it back from a backup, or remove it to become a new machine") from None
    return _parse(path, text, here)


def _parse(path: Path, text: str, here: str) -> Identity:
    try:
        kept = json.loads(text)
        source, machine = str(kept["source"]), str(kept["machine"])
    except (ValueError, KeyError, TypeError):
        raise Misconfigured(f"{path} is damaged: put it back from a backup, or remove it to become a new machine") from None
    return Identity(source, machine, copied=machine != here)


def adopt(home: Path, *, fingerprint: str | None = None) -> Identity:
    """Become a machine of its own after the home was copied here: a new id, by a person's explicit word only."""
    here = fingerprint or machine_fingerprint()
    (home / FILE).unlink(missing_ok=True)
    return _create(home / FILE, here)


def _create(path: Path, machine: str) -> Identity:
    identity = Identity(secrets.token_hex(8), machine)
    write_durably(path, json.dumps({"source": identity.source, "machine": machine}).encode())
    return identity


def write_durably(path: Path, content: bytes) -> None:
    """Old or new, never half: temporary file, fsync, rename, fsync of the folder. Mode 0600."""
    make_private(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_private(folder: Path) -> None:
    """The folder exists, is ours and only we may look into it (0700)."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise Misconfigured(f"{folder} cannot be made ({(error.strerror or 'unusable').lower()}): choose another place with --home") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise Misconfigured(f"{folder} is not a folder of yours: choose another with --home")
    if stat.S_IMODE(found.st_mode) & 0o077:
        folder.chmod(0o700)


def machine_fingerprint() -> str:
    """The same on one computer for ever, different on another; a hash, so that it tells nothing else."""
    for file in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        try:
            found = Path(file).read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if found:
            return _hashed(found)
    node = uuid.getnode()
    # Without a network card uuid invents a number for each process and marks it so; the name is steadier then.
    invented = node >> 40 & 1
    return _hashed(f"{platform.system()} {platform.node() if invented else f'{node:012x}'}")


def _hashed(text: str) -> str:
    return sha256(b"session-relay machine\0" + text.encode()).hexdigest()[:32]
