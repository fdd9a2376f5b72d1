"""The seal key of this machine: made on first use, kept like the relay's key, and carried to the page in a link's fragment.

A fragment never leaves a browser, so the relay that serves the page does not learn the key. Other machines of the same person
use the same key, or the page could open only some of the names.
"""
from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from ledger.errors import Misconfigured, Misuse
from local_agent import settings as settings_of
from local_agent.identity import make_private, sync_folder, write_durably
from local_agent.push.sealing import KEY_BYTES, Seal, to_bytes, to_text

if TYPE_CHECKING:
    from local_agent.settings import Settings


def seal_key(home: Path) -> bytes:
    """The key kept in *home*, made now if there never was one. Raises Misconfigured for one that is damaged or that others can read."""
    path = home / settings_of.SEAL_FILE
    text = settings_of.read_secret(path, again="python -m local_agent seal --use -")
    if text is None:
        if path.exists():
            raise Misconfigured(f"{path} is empty: put it back from a backup, or with  python -m local_agent seal --use -")
        _make(path)
        text = settings_of.read_secret(path, again="python -m local_agent seal --use -") or ""
    try:
        return key_of(text)
    except ValueError:
        raise Misconfigured(f"{path} is damaged: put it back from a backup, or with  python -m local_agent seal --use -") from None


def open_seal(home: Path) -> Seal:
    return Seal(seal_key(home))


def use(home: Path, given: str) -> None:
    """Take over the key of another machine, given alone or as its whole link. Raises Misuse for what is none."""
    try:
        key = key_of(given)
    except ValueError:
        raise Misuse("that is no seal key: give the link that  python -m local_agent seal  prints on the other machine") from None
    make_private(home)
    write_durably(home / settings_of.SEAL_FILE, to_text(key).encode() + b"\n")


def key_of(given: str) -> bytes:
    """The 32 bytes in a key's text or in a link with one. Raises ValueError."""
    key = to_bytes(given.strip().rpartition("seal=")[2].partition("&")[0])
    if len(key) != KEY_BYTES:
        raise ValueError("a seal key has 32 bytes")
    return key


def link(settings: Settings) -> str:
    """Where the page opens the names: the relay's address, and the key behind the #."""
    return f"{settings.aud or settings.relay or ''}/#seal={to_text(seal_key(settings.home))}"


def in_words(settings: Settings) -> str:
    """What `seal` prints: the link alone on the first line, then what to do with it."""
    lines = [link(settings)] if settings.relay else [to_text(seal_key(settings.home))]
    if not settings.relay:
        lines.append("This is the seal key; not paired with a relay yet, so there is no link: python -m local_agent pair URL KEY")
    else:
        lines.append("Open this once in each browser. Whoever has it can read the names, so send it like a password.")
    if settings.privacy != "sealed":
        lines.append(f"Names still leave by the rule {settings.privacy!r}: run the agent with --privacy sealed")
    return "\n".join(lines)


def _make(path: Path) -> None:
    """A new key, unless another process was quicker: then that one's stays."""
    make_private(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    write_durably(temporary, to_text(secrets.token_bytes(KEY_BYTES)).encode() + b"\n")
    try:
        os.link(temporary, path)
        sync_folder(path.parent)
    except FileExistsError:
        pass
    finally:
        temporary.unlink(missing_ok=True)
