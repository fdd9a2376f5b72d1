"""Gemini CLI: one file for each chat, as one JSON document or as lines of JSON.

In lines the last one of a message is right. The prompt's count contains what was cached; thoughts are
billed as output. Gemini does not say where it was used, so these sessions have no project.
"""
from __future__ import annotations

import json
import os
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

from ledger import untidy
from local_agent.readers import pathtext
from local_agent.readers.answers import Answers, Data, File, Found
from local_agent.readers.lines import Place, read_on, unchanged
from local_agent.readers.tool import Facts, Walked, tree
from local_agent.readers.usage import UNKNOWN, Answer

TALK = ""
"""Stands for the model of a message that used none; it is counted among the messages only."""
LARGEST = 64 << 20
"""A document must be held whole to be read; a larger one is no chat."""


class Gemini:
    """The chats below a Gemini home (the folder that holds `tmp`)."""

    name = "gemini"

    def __init__(self, home: Path) -> None:
        self._home = home
        self.walked = Walked()

    def folders(self) -> list[Path]:
        return [self._home / "tmp"]

    def files(self) -> Iterator[tuple[Path, int]]:
        self.walked = Walked()
        for path in tree(self._home / "tmp", (".json", ".jsonl"), self.walked):
            if path.parent.name == "chats":
                # Where a chat was written both ways, the lines are the newer way.
                yield path, 0 if path.suffix == ".jsonl" else 1

    def unchanged(self, path: Path, place: Place) -> bool:
        return unchanged(path, place)

    def read(self, path: Path, before: File | None) -> Found:
        chat = Chat(pathtext.shown(path.stem), deepcopy(dict(before.state)) if before else {})
        if path.suffix == ".json":
            place = _read_document(path, chat)
            return Found(place, True, chat.state, *chat.told(), chat.skipped)
        reading = read_on(path, before.place if before else Place(), chat.take_line, chat.begin)
        if reading.long:
            chat.skip("long line", reading.long)
        skipped = chat.skipped if reading.anew or not before else _added(before.skipped, chat.skipped)
        return Found(reading.place, reading.anew, chat.state, *chat.told(), skipped)

    def answers(self, known: Answers, session: str, facts: Facts) -> list[Answer]:
        messages = known.of(session)
        facts["messages"] = len(messages)
        return sorted((_answer(data) for data in messages if data[1] != TALK), key=lambda answer: answer.at)


class Chat:
    """One chat while it is read."""

    def __init__(self, stem: str, state: Facts) -> None:
        self._stem, self._kept = stem, state
        self.begin(anew=not state)

    def begin(self, anew: bool) -> None:
        self.state: Facts = {} if anew else self._kept
        self.answers: dict[str, Data] = {}
        self.skipped: dict[str, int] = {}

    @property
    def session(self) -> str:
        return str(self.state.get("id") or self._stem)[:100]

    def told(self) -> tuple[dict[str, Facts], dict[str, dict[str, Data]]]:
        """The facts and the answers of the session, if the file says anything yet."""
        facts = {name: value for name, value in self.state.items() if name != "id"}
        return ({self.session: facts}, {self.session: self.answers}) if facts else ({}, {})

    def skip(self, reason: str, n: int = 1) -> None:
        self.skipped[reason] = self.skipped.get(reason, 0) + n

    def take_line(self, line: bytes) -> None:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            self.skip("damaged line")
            return
        if isinstance(entry, dict):
            self.take(entry)

    def take(self, entry: Facts) -> None:
        """A whole document, its head alone, or one message."""
        if id := untidy.text(entry.get("sessionId"), 100):
            self.state.setdefault("id", id)
        self._time("start", untidy.moment(entry.get("startTime")), earliest=True)
        self._time("last", untidy.moment(entry.get("lastUpdated")))
        messages = entry.get("messages")
        for message in messages if isinstance(messages, list) else [entry]:
            if isinstance(message, dict) and message.get("type"):
                self._message(message)

    def _message(self, message: Facts) -> None:
        at, id = untidy.moment(message.get("timestamp")), untidy.text(message.get("id"), 100)
        self._time("start", at, earliest=True)
        self._time("last", at)
        if message["type"] not in ("user", "gemini"):
            return
        if at is None or not id:
            self.skip("no time" if id else "no id")
            return
        tokens = message.get("tokens")
        if message["type"] == "user" or not isinstance(tokens, dict):
            self.answers[id] = [at, TALK]
            return
        counts = [untidy.count(tokens.get(kind)) for kind in ("input", "output", "cached", "thoughts", "tool", "total")]
        self.answers[id] = [at, untidy.pathless(message.get("model")) or UNKNOWN, *counts]

    def _time(self, name: str, at: int | None, *, earliest: bool = False) -> None:
        known = self.state.get(name)
        if at is not None:
            self.state[name] = at if not isinstance(known, int) else min(known, at) if earliest else max(known, at)


def _read_document(path: Path, chat: Chat) -> Place:
    """A document is written anew as a whole, so it is read anew as a whole. Raises ValueError if it is none (yet)."""
    found = os.stat(path)
    if found.st_size > LARGEST:
        raise ValueError("too large")
    chat.begin(anew=True)
    try:
        document = json.loads(path.read_bytes())
    except RecursionError:
        raise ValueError("too deep") from None
    if not isinstance(document, dict):
        raise ValueError("no chat")
    chat.take(document)
    return Place(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _answer(data: Data) -> Answer:
    prompt, writing, cached, thoughts, tool, total = (untidy.count(each) for each in data[2:])
    apart = cached > 0 and total == prompt + writing + thoughts + tool + cached
    reading = prompt if apart else max(0, prompt - cached)
    return Answer(untidy.count(data[0]), str(data[1]), input=reading + tool, output=writing + thoughts, cache_read=cached)


def _added(before: object, more: dict[str, int]) -> dict[str, int]:
    found = dict(before) if isinstance(before, dict) else {}
    for reason, n in more.items():
        found[reason] = found.get(reason, 0) + n
    return found
