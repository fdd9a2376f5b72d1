"""Which account a configuration folder of Claude Code belongs to, without saying who that is.

Blocks and limits belong to an account, on however many machines it is used. The tool keeps the account's id beside
its configuration; a short hash of it is the same everywhere and tells nobody anything. Where there is none (an API
key, an older version) everything counts as one account, as it does for the tool itself.
"""
from __future__ import annotations

import json
from pathlib import Path

from ledger.account import DEFAULT, name_of

FILE = ".claude.json"
LARGEST = 32 << 20


class Accounts:
    """Remembers what each folder's file said until the file changes. *user* None: only what is in the folders themselves is looked at."""

    def __init__(self, user: Path | None) -> None:
        self._user = user
        self._known: dict[Path, tuple[tuple[int, int], str]] = {}

    def of(self, config: Path | None) -> str:
        """The account of a configuration folder (the one that holds `projects`), or of none."""
        # The usual folder's file lies beside it, any other folder's within it.
        places = [config / FILE] if config else []
        if self._user and config in (None, self._user / ".claude", self._user / ".config" / "claude"):
            places.append(self._user / FILE)
        return next((account for account in map(self._read, places) if account), DEFAULT)

    def _read(self, path: Path) -> str:
        try:
            found = path.stat()
        except OSError:
            return ""
        state = (found.st_mtime_ns, found.st_size)
        known = self._known.get(path)
        if known is None or known[0] != state:
            known = self._known[path] = (state, _account(path) if found.st_size <= LARGEST else "")
        return known[1]


def _account(path: Path) -> str:
    try:
        told = json.loads(path.read_bytes())
        id = told["oauthAccount"]["accountUuid"]
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return ""
    return name_of(id) if isinstance(id, str) and id else ""
