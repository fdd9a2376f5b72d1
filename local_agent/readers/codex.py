"""Codex CLI: rollout files, whose token counts are running totals of a session.

What an answer used is the difference between two totals; `last_token_usage` is written again unchanged and
would be counted twice. A forked session and a sub-agent begin with a copy of their parent's history: those
totals are the parent's, and the child starts from the last of them.
"""
from __future__ import annotations

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

from ledger import untidy
from local_agent.readers import limits, pathtext
from local_agent.readers.answers import Answers, Data, File, Found
from local_agent.readers.lines import Place, read_on, unchanged
from local_agent.readers.tool import Facts, Walked, tree
from local_agent.readers.usage import UNKNOWN, Answer

BURST_MS = 2000
"""A copied history is written in one go; a child's own first answer takes longer."""

WANTED = re.compile(rb'"(?:session_meta|turn_context|token_count|user_message|agent_message)"')
NAME = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$")
KINDS = ("input_tokens", "cached_input_tokens", "cache_write_input_tokens", "output_tokens")

Totals = tuple[int, int, int, int]
NOTHING: Totals = (0, 0, 0, 0)


class Codex:
    """The files below a Codex home."""

    name = "codex"

    def __init__(self, home: Path) -> None:
        self._home = home
        self.walked = Walked()

    def folders(self) -> list[Path]:
        return [self._home / "sessions", self._home / "archived_sessions"]

    def files(self) -> Iterator[tuple[Path, int]]:
        self.walked = Walked()
        for rank, folder in enumerate(self.folders()):
            yield from ((path, rank) for path in tree(folder, (".jsonl",), self.walked))

    def unchanged(self, path: Path, place: Place) -> bool:
        return unchanged(path, place)

    def read(self, path: Path, before: File | None) -> Found:
        rollout = Rollout(pathtext.shown(path.stem), deepcopy(dict(before.state)) if before else {})
        reading = read_on(path, before.place if before else Place(), rollout.take, rollout.begin)
        skipped = rollout.skipped(reading.long, None if reading.anew or not before else before.skipped)
        return Found(reading.place, reading.anew, rollout.state, *rollout.told(), skipped)

    def answers(self, known: Answers, session: str, facts: Facts) -> list[Answer]:
        parent = str(facts.get("parent") or "")
        began = facts.get("start")
        return count(known.of(session), known.of(parent) if parent else [], is_child=bool(parent), began=began if isinstance(began, int) else 0)


class Rollout:
    """One rollout file while it is read: what stands at its head, and its totals in their order."""

    def __init__(self, stem: str, state: dict[str, object]) -> None:
        self._stem = stem
        self._kept = state
        self.begin(anew=not state)

    def begin(self, anew: bool) -> None:
        self.state: dict[str, object] = {} if anew else self._kept
        self.answers: dict[str, Data] = {}
        self._damaged = 0

    @property
    def session(self) -> str:
        """The first meta line names the session; those that follow are its ancestors'."""
        named = NAME.search(self._stem)
        return str(self.state.get("id") or (named.group(1) if named else self._stem))[:100]

    def told(self) -> tuple[dict[str, Facts], dict[str, dict[str, Data]]]:
        """The facts and the answers of the session, if the file says anything yet."""
        facts = {name: value for name, value in self.state.items() if name not in ("id", "model", "n")}
        return ({self.session: facts}, {self.session: self.answers}) if facts else ({}, {})

    def skipped(self, long: int, before: object) -> dict[str, int]:
        found = {"damaged line": self._damaged, "long line": long}
        for name, n in before.items() if isinstance(before, dict) else ():
            found[name] = found.get(name, 0) + n
        return {name: n for name, n in found.items() if n}

    def take(self, line: bytes) -> None:
        if not WANTED.search(line):
            return
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            self._damaged += 1
            return
        payload = entry.get("payload") if isinstance(entry, dict) else None
        if not isinstance(payload, dict):
            return
        at = untidy.moment(entry.get("timestamp"))
        kind = entry.get("type")
        if kind == "session_meta":
            self._meta(payload, at)
        elif kind == "turn_context":
            self.state["model"] = untidy.pathless(payload.get("model")) or self.state.get("model")
        elif kind == "event_msg" and at is not None:
            self._event(payload, at)

    def _meta(self, payload: Facts, at: int | None) -> None:
        id = untidy.text(payload.get("id"), 100)
        if self.state.get("id"):
            # An ancestor's meta, copied with its history.
            if id != self.state["id"]:
                self.state.setdefault("parent", id)
            return
        git = payload.get("git")
        source = payload.get("source")
        self.state |= {
            "id": id, "start": at or untidy.moment(payload.get("timestamp")), "project": untidy.last_part(payload.get("cwd")),
            "branch": untidy.text(git.get("branch")) if isinstance(git, dict) else "",
        }
        parent = payload.get("forked_from_id") or payload.get("parent_thread_id") or _spawned_by(source)
        if parent:
            self.state["parent"] = untidy.text(parent, 100)

    def _event(self, payload: Facts, at: int) -> None:
        kind = payload.get("type")
        self.state["last"] = max(at, untidy.count(self.state.get("last")))
        if kind in ("user_message", "agent_message"):
            self.state["messages"] = untidy.count(self.state.get("messages")) + 1
        elif kind == "token_count":
            self._limits(payload.get("rate_limits"), at)
            self._total(payload.get("info"), at)

    def _total(self, info: object, at: int) -> None:
        total = _totals(info.get("total_token_usage")) if isinstance(info, dict) else None
        if total is None or not isinstance(info, dict):
            return
        number = untidy.count(self.state.get("n")) + 1
        self.state["n"] = number
        window = untidy.count(info.get("model_context_window"))
        last = _totals(info.get("last_token_usage"))
        if last and window:
            self.state["context"] = {"used": last[0], "size": window}
        self.answers[f"{number:08}"] = [at, self.state.get("model") or UNKNOWN, total, last]

    def _is_copied(self, at: int) -> bool:
        """Whether a line was written with a copied history: its time is the copy's, and what it says is old."""
        began = self.state.get("start")
        return bool(self.state.get("parent")) and isinstance(began, int) and at - began <= BURST_MS

    def _limits(self, found: object, at: int) -> None:
        if not isinstance(found, dict) or self._is_copied(at):
            return
        known = self.state.setdefault("limits", {})
        assert isinstance(known, dict)
        for field, otherwise in (("primary", "five_hour"), ("secondary", "seven_day")):
            window = found.get(field)
            if not isinstance(window, dict):
                continue
            seconds = untidy.amount(window.get("resets_in_seconds"))
            resets_at = window.get("resets_at") if seconds is None else at / 1000 + seconds
            name = limits.window_name(window.get("window_minutes"), otherwise)
            reading = limits.reading(name, window.get("used_percent"), resets_at, at)
            if reading:
                known[name] = [reading.observed_at, reading.resets_at, reading.used_percent]


def _spawned_by(source: object) -> object:
    for name in ("subagent", "thread_spawn"):
        source = source.get(name) if isinstance(source, dict) else None
    return source.get("parent_thread_id") if isinstance(source, dict) else None


def _totals(usage: object) -> Totals | None:
    if not isinstance(usage, dict):
        return None
    reading, cached, written, writing = (untidy.count(usage.get(kind)) for kind in KINDS)
    return reading, cached, written, writing


def count(events: list[Data], parent: list[Data], *, is_child: bool, began: int) -> list[Answer]:
    """The answers of a session from its running totals, *parent*'s being its own history only."""
    copied = _copied(events, parent, began) if is_child else 0
    before = _as_totals(events[copied - 1][2]) if copied else _baseline(events, parent, is_child)
    found = []
    for at, model, total_, last_ in events[copied:]:
        total, last = _as_totals(total_), _as_totals(last_) if last_ else None
        used = tuple(now - then for now, then in zip(total, before, strict=True))
        if min(used) < 0:
            # The totals began anew; the answer's own usage is the most that is certain.
            used = last if last and sum(last) <= sum(total) else total
        before = total
        if any(used):
            found.append(_answer(int(str(at)), str(model), *used))
    return found


def _copied(events: list[Data], parent: list[Data], began: int) -> int:
    """How many of a child's first totals are its parent's."""
    totals = {_as_totals(event[2]) for event in parent}
    for n, event in enumerate(events):
        known = _as_totals(event[2]) in totals if parent else int(str(event[0])) - began <= BURST_MS
        if not known:
            return n
    return len(events)


def _baseline(events: list[Data], parent: list[Data], is_child: bool) -> Totals:
    """Where a child that copied no totals starts from: a first total that is more than its first answer goes on from its parent's."""
    if not (is_child and events):
        return NOTHING
    at, _, total_, last_ = events[0]
    total = _as_totals(total_)
    if last_:
        last = _as_totals(last_)
        return tuple(max(0, now - used) for now, used in zip(total, last, strict=True))  # type: ignore[return-value]
    before = [_as_totals(event[2]) for event in parent if int(str(event[0])) <= int(str(at))]
    return max((each for each in before if all(then <= now for then, now in zip(each, total, strict=True))), default=NOTHING)


def _as_totals(value: object) -> Totals:
    return tuple(value)  # type: ignore[arg-type, return-value]


def _answer(at: int, model: str, prompt: int, cached: int, written: int, writing: int) -> Answer:
    """Cached and newly cached tokens are part of the input, reasoning is part of the output."""
    cached = min(cached, prompt)
    written = min(written, prompt - cached)
    return Answer(at, model, input=prompt - cached - written, output=writing, cache_write_5m=written, cache_read=cached)
