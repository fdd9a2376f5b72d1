"""opencode: its database, and the JSON files that versions before 1.2 wrote instead.

Where both tell of one message the database is right. A message that opencode deletes was paid for all
the same: nothing read here is ever taken back.
"""
from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from ledger import untidy
from local_agent.readers import pathtext
from local_agent.readers.answers import Answers, Data, File, Found
from local_agent.readers.lines import Place, unchanged
from local_agent.readers.tool import Facts, Later, Walked, tree
from local_agent.readers.tracker_file import is_locked
from local_agent.readers.usage import UNKNOWN, Answer

TALK = ""
"""Stands for the model of a message that used none; it is counted among the messages only."""
LARGEST = 4 << 20
BACK_MS = 10 * 60 * 1000
"""How far a second look goes back: a message that another process was still writing is seen then."""


class Opencode:
    """The data folder of opencode."""

    name = "opencode"

    def __init__(self, home: Path) -> None:
        self._home = home
        self.walked = Walked()

    def folders(self) -> list[Path]:
        return [self._home]

    def files(self) -> Iterator[tuple[Path, int]]:
        self.walked = Walked()
        for path in sorted(self._home.glob("opencode*.db")):
            if path.is_file() and (path.stem == "opencode" or path.stem.startswith("opencode-")):
                yield path, 0
        for kind in ("session", "message"):
            yield from ((path, 1) for path in tree(self._home / "storage" / kind, (".json",), self.walked))

    def unchanged(self, path: Path, place: Place) -> bool:
        return unchanged(path, place) and (path.suffix != ".db" or _log_of(path) == place.check)

    def read(self, path: Path, before: File | None) -> Found:
        return _read_database(path, before) if path.suffix == ".db" else _read_copy(path)

    def answers(self, known: Answers, session: str, facts: Facts) -> list[Answer]:
        messages = known.of(session)
        facts["messages"] = len(messages)
        return sorted((_answer(data) for data in messages if data[1] != TALK), key=lambda answer: answer.at)


def _read_copy(path: Path) -> Found:
    """One JSON file: a session's head or one message. Raises ValueError for what is neither."""
    found = os.stat(path)
    if found.st_size > LARGEST:
        raise ValueError("too large")
    result = Found(Place(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns), anew=True)
    try:
        entry = json.loads(path.read_bytes())
    except RecursionError:
        raise ValueError("too deep") from None
    if not isinstance(entry, dict):
        raise ValueError("no object")
    if path.parent.parent.name == "session":
        _take_session(result, untidy.text(entry.get("id"), 100) or pathtext.shown(path.stem), entry)
    else:
        _take_message(result, untidy.text(entry.get("sessionID"), 100) or pathtext.shown(path.parent.name), untidy.text(entry.get("id"), 100) or pathtext.shown(path.stem), entry)
    return result


def _read_database(path: Path, before: File | None) -> Found:
    """What was written to a database since the last look. Raises ValueError if it cannot be read now."""
    found = os.stat(path)
    since = untidy.count((before.state if before else {}).get("until"))
    if before and (before.place.device, before.place.inode) != (found.st_dev, found.st_ino):
        since = 0
    place = Place(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, check=_log_of(path))
    result = Found(place, state={"until": since}, skipped=dict(before.skipped) if before and since else {})
    try:
        with closing(sqlite3.connect(f"file:{quote(os.fsencode(path.absolute()))}?mode=ro", uri=True, timeout=0.25, isolation_level=None)) as database:
            database.text_factory = lambda text: text.decode("utf-8", "replace")
            database.execute("PRAGMA query_only=1")
            database.execute("PRAGMA trusted_schema=OFF")
            _take_database(database, result, since)
    except sqlite3.Error as error:
        raise (Later if is_locked(error) else ValueError)(str(error)) from None
    return result


def _take_database(database: sqlite3.Connection, result: Found, since: int) -> None:
    columns = {row[1] for row in database.execute("PRAGMA table_xinfo(session)")}
    wanted = [name for name in ("id", "title", "directory", "time_created", "time_updated") if name in columns]
    changed = "max(time_created, coalesce(time_updated, 0))"
    until, after = since, since - BACK_MS
    database.execute("BEGIN")
    for row in database.execute(f"SELECT {', '.join(wanted)}, {changed} FROM session WHERE {changed} > ?", (after,)):
        head = dict(zip(wanted, row, strict=False))
        _take_session(result, untidy.text(head.get("id"), 100), head | {"time": {"created": head.get("time_created"), "updated": head.get("time_updated")}})
        until = max(until, untidy.count(row[-1]))
    for session, id, at, data, moved in database.execute(
        f"SELECT session_id, id, time_created, data, {changed} FROM message WHERE {changed} > ?", (after,)
    ):
        until = max(until, untidy.count(moved))
        entry = untidy.json_object(data)
        if not entry:
            result.skipped["damaged row"] = result.skipped.get("damaged row", 0) + (untidy.count(moved) > since)
            continue
        _take_message(result, untidy.text(session, 100), untidy.text(id, 100), {"time": {"created": at}} | entry)
    database.rollback()
    result.state = {"until": until}


def _take_session(result: Found, session: str, entry: Mapping[str, object]) -> None:
    time = entry.get("time")
    times = time if isinstance(time, dict) else {}
    result.facts[session] = _facts(result, session) | {
        "title": untidy.text(entry.get("title")), "project": untidy.last_part(entry.get("directory")),
        "start": untidy.moment(times.get("created")), "last": untidy.moment(times.get("updated")),
    }


def _take_message(result: Found, session: str, id: str, entry: Mapping[str, object]) -> None:
    facts = result.facts[session] = _facts(result, session)
    path = entry.get("path")
    if isinstance(path, dict) and not facts.get("project"):
        facts["project"] = untidy.last_part(path.get("root") if path.get("root") not in (None, "", "/") else path.get("cwd"))
    time, tokens = entry.get("time"), entry.get("tokens")
    at = untidy.moment(time.get("created")) if isinstance(time, dict) else None
    if at is None:
        result.skipped["no time"] = result.skipped.get("no time", 0) + 1
        return
    model, counts, cost = TALK, [0, 0, 0, 0, 0], None
    if entry.get("role") == "assistant" and isinstance(tokens, dict):
        cached = tokens.get("cache")
        cache: dict[str, object] = cached if isinstance(cached, dict) else {}
        counts = [untidy.count(each) for each in (tokens.get("input"), tokens.get("output"), tokens.get("reasoning"), cache.get("write"), cache.get("read"))]
        model, cost = untidy.pathless(entry.get("modelID")) or UNKNOWN, untidy.first_positive(entry.get("cost")) or None
    result.answers.setdefault(session, {})[id] = [at, model, *counts, cost]


def _facts(result: Found, session: str) -> dict[str, object]:
    return result.facts.get(session, {})


def _answer(data: Data) -> Answer:
    at, model, reading, writing, reasoning, written, cached, cost = data
    return Answer(
        untidy.count(at), str(model), input=untidy.count(reading), output=untidy.count(writing) + untidy.count(reasoning),
        cache_write_5m=untidy.count(written), cache_read=untidy.count(cached), reported_cost=untidy.amount(cost),
    )


def _log_of(path: Path) -> str:
    """What the write-ahead log looks like: commits go there first, and leave the database itself as it is."""
    try:
        found = os.stat(path.with_name(path.name + "-wal"))
    except OSError:
        return ""
    return f"{found.st_size}:{found.st_mtime_ns}"
