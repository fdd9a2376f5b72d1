"""The readers of an agent: one for each tool and place that its settings name.

A new tool is one module and a line here. Modules are imported where they are needed, so that a command
which reads nothing does not wait for them.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from local_agent.archive import Archive
    from local_agent.readers.accounts import Accounts
    from local_agent.readers.report import Report
    from local_agent.settings import Settings


class Reader(Protocol):
    """What the agent's loop knows of a reader. Names are unique among the readers of one agent."""

    name: str

    def poll(self, archive: Archive, now_ms: int) -> Report:
        """Commit what changed, in steps of its own; never raises for bad data."""
        ...

    def watch_paths(self) -> Sequence[Path]:
        """Folders in which something will change when there is something to read."""
        ...


def build_readers(settings: Settings, *, book: Any = None, user: Path | None = None) -> list[Reader]:
    """A reader for everything that the settings name; *book* is the price book, which knows where long context costs more."""
    from pathlib import Path

    from ledger.prices import PriceBook
    from local_agent.imports.reader import ImportReader
    from local_agent.readers.accounts import Accounts
    from local_agent.readers.statusline import StatuslineReader

    book = book or PriceBook.load()
    user = user or Path.home()
    accounts = Accounts(None if settings.no_defaults else user)
    return [
        *_trackers(settings, accounts.of(None)), *_claude(settings, book, accounts, user), *_tools(settings, book),
        StatuslineReader(settings.home, accounts.of), ImportReader(),
    ]  # fmt: skip


def _claude(settings: Settings, book: Any, accounts: Accounts, user: Path) -> Iterator[Reader]:
    from local_agent.readers.claude_code import ClaudeReader

    desktop = () if settings.no_defaults else (desktop_sessions(user),)
    folders = [*settings.transcripts, *desktop]
    if folders:
        yield ClaudeReader(folders, named=settings.transcripts if settings.transcripts_named else (), book=book, account_of=accounts.of)


def _trackers(settings: Settings, account: str) -> Iterator[Reader]:
    from zoneinfo import ZoneInfo

    from local_agent.readers import pathtext
    from local_agent.readers.tracker import TrackerReader

    zone = ZoneInfo(settings.tracker_tz) if settings.tracker_tz else None
    for name, path in zip(_names([pathtext.shown(path.name) for path in settings.trackers]), settings.trackers, strict=True):
        yield TrackerReader(path, zone=zone, name=name, account=account)


def _names(files: Sequence[str]) -> list[str]:
    """`tracker` where there is one; else the file's name, numbered where files share it."""
    if len(files) == 1:
        return ["tracker"]
    return [f"tracker {name}" + (f" {files[:n].count(name) + 1}" if name in files[:n] else "") for n, name in enumerate(files)]


def _tools(settings: Settings, book: Any) -> Iterator[Reader]:
    from local_agent.readers.codex import Codex
    from local_agent.readers.gemini import Gemini
    from local_agent.readers.opencode import Opencode
    from local_agent.readers.tool import ToolReader

    if settings.codex:
        yield ToolReader(Codex(settings.codex), book=book)
    if settings.gemini:
        yield ToolReader(Gemini(settings.gemini), book=book)
    if settings.opencode:
        yield ToolReader(Opencode(settings.opencode), book=book)


def desktop_sessions(user: Path, system: str | None = None) -> Path:
    """Where Claude Desktop keeps the transcripts of its own agent sessions."""
    import platform

    places = {"Darwin": user / "Library/Application Support/Claude", "Windows": user / "AppData/Roaming/Claude"}
    return places.get(system or platform.system(), user / ".config/Claude") / "local-agent-mode-sessions"
