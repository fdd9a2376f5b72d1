"""`export`: what the archive holds, as a file or to standard output."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from ledger.clock import now_ms
from ledger.errors import LedgerError, Misuse, Problem
from ledger.export import COLUMNS, export
from ledger.prices import PriceBook
from ledger.stores.sqlite import SqliteStore
from ledger.times import parse
from ledger.views.tenants import Views
from local_agent.archive import LOCAL
from local_agent.settings import Settings


def write(settings: Settings, format: str, kind: str, out: BinaryIO, *, since: str = "", until: str = "", wanted: Mapping[str, str] | None = None) -> str:
    """Write everything of one kind, piece by piece; its SHA-256. Works whether the agent runs or not. Raises Misuse for what cannot be asked."""
    if kind not in COLUMNS:
        raise Misuse(f"--kind is one of {', '.join(COLUMNS)}, not {kind!r}")
    span = (_moment(since, "--since"), _moment(until, "--until"))
    if not settings.archive.exists():
        raise LedgerError(f"nothing was read into {settings.home} yet: python -m local_agent once")
    store, digest = SqliteStore(settings.archive, synchronous="NORMAL"), sha256()
    try:
        try:
            made = export(Views(store, PriceBook.load(), now_ms).view(LOCAL), kind, format, *span, wanted)
        except Problem as problem:
            raise Misuse(f"--{problem.detail}") from None
        for chunk in made.chunks:
            digest.update(chunk)
            out.write(chunk)
    finally:
        store.close()
    return digest.hexdigest()


def write_file(path: Path, write: Callable[[BinaryIO], str]) -> str:
    """An export into a file, whole or not at all, with its checksum beside it for `sha256sum -c`. Returns that file's name; raises LedgerError where it cannot be written."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            digest = write(file)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise LedgerError(f"cannot write {path}: {error.strerror}") from None
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sums = path.with_name(f"{path.name}.sha256")
    sums.write_text(f"{digest}  {path.name}\n", "utf-8")
    return sums.name


def _moment(text: str, option: str) -> int | None:
    if not text:
        return None
    try:
        return parse(text)
    except ValueError:
        raise Misuse(f"{option} is a date or a time such as 2026-11-22 or 2026-11-22T10:00:00Z, not {text!r}") from None
