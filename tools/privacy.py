"""The list of every field that leaves the laptop, written from the schemas themselves: into the README by name, into docs/privacy.md with what each is.

    python -m tools.privacy           write it
    python -m tools.privacy --check   exit 1 if it is not what the schemas say
"""
from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from ledger import bodies

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- fields: begin -->", "<!-- fields: end -->"
NAMES = "a name: as it is, as an alias, sealed, or not at all, by `--privacy`"
WORDS = {
    "session": {
        "id": "the tool's own session id, or the name of a file that holds none", "session_type": "which tool", "start_time": "when it began", "end_time": "when it ended",
        "last_activity": "when it last did something", "is_active": "whether it goes on", "stale": "whether it says so without a sign of life",
        "total_messages": "how many messages", "models_used": "which models, paths cut to their last part", "estimated_tokens": "all tokens together",
        "conversation_id": "the tool's id of the conversation; if it is no UUID, left out unless names may leave", "project": f"last part of the folder's path; {NAMES}",
        "title": f"the title that the tool gave it, never a prompt; {NAMES}", "git_branch": f"the branch; {NAMES}", "machine": "the machine's name",
        "account": "which of the tool's accounts: a short hash of the id that the tool gave it, the same on every machine, or `default`", "metadata": "what a tracker wrote down beside (at most 4 KiB); left out unless names may leave",
        "provenance": "observed, telemetry or declared", "context": "tokens of the last request and size of the window",
        "columns": "a tracker's further columns, paths cut to their last part; text left out unless names may leave", "origin": "whether its file is gone",
        "usage": "tokens by quarter-hour, model and price class, number of requests, cost that the tool reported", "more": "how many older parts of its usage there are",
    },
    "usage": {"session": "whose usage", "usage": "older rows of it, as above"},
    "block": {
        "id": "the tracker's id", "start_time": "when it began", "end_time": "when it ended", "session_type": "which tool", "total_sessions": "how many sessions",
        "total_tokens": "how many tokens", "efficiency_score": "as the tracker says", "is_complete": "whether it is over", "tracker": "which tracker, as a hash",
        "columns": "the tracker's further columns, paths cut to their last part; text left out unless names may leave",
    },
    "limit": {
        "tool": "which tool", "account": "which account, as above", "window": "five hours or a week", "used_percent": "how much is used", "resets_at": "when it resets",
        "observed_at": "when the tool said so", "source": "where it said so", "earlier": "earlier resets of the same window", "earlier_used": "how much was used of those windows",
    },
    "machine": {
        "name": "the machine's name", "os": "its system", "version": "the agent's version", "tz": "its time zone",
        "readers": "what each reader counted, skipped or could not read, by number and reason; files and folders are named only if names may leave",
        "note": "one line on what the relay should tell whoever looks, such as how many values of an old client's post could not be kept", "disk": "`full` while its disk is", "sample": "whether this is sample data",
    },
    "day": {"date": "a local day", "tz": "in this zone", "rows": "tokens by tool, model, price class and project of sessions that the relay no longer keeps; the project by `--privacy`", "origin": "whether it was imported"},
}  # fmt: skip


def lines() -> Iterator[str]:
    """The table; raises KeyError for a field that nobody described, and ValueError for a description of none."""
    yield "| record | field | what it is |"
    yield "|---|---|---|"
    for kind, shape in bodies.KINDS.items():
        described = WORDS[kind]
        if extra := described.keys() - set(shape.__struct_fields__):
            raise ValueError(f"{kind} has no field {sorted(extra)}")
        for field in shape.__struct_fields__:
            yield f"| {kind} | `{field}` | {described[field]} |"


def names() -> Iterator[str]:
    """The short list: the fields of each kind of record."""
    for kind, shape in bodies.KINDS.items():
        yield f"- {kind}: {', '.join(f'`{field}`' for field in shape.__struct_fields__)}"


LISTS = {ROOT / "README.md": names, ROOT / "docs" / "privacy.md": lines}


def written(page: str, fields: Iterable[str]) -> str:
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + "\n" + "\n".join(fields) + "\n" + END + rest.partition(END)[2]


def main(argv: list[str]) -> int:
    wanted = {path: written(path.read_text(encoding="utf-8"), fields()) for path, fields in LISTS.items()}
    if argv == ["--check"]:
        return int(any(path.read_text(encoding="utf-8") != text for path, text in wanted.items()))
    for path, text in wanted.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
