"""What is remembered of one tenant's alerts: one small document, replaced only by whoever read it last.

Telling is in two parts. What must be told is written down together with the fact that it was noticed; then whoever keeps
house takes what is due, marks it as taken, sends it, and strikes it out. So a restart loses nothing, and of two
instances one tells. Only a process that dies between sending and striking out sends twice, with the same id.
"""
from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import Any

from ledger.errors import Conflict
from ledger.store import Shelf
from ledger.times import MINUTE
from relay.alerts.episodes import MOST_PAST, Episode, Finding, follow
from relay.alerts.quiet import is_quiet, passes
from relay.alerts.wishes import LEVELS, WEB_PUSH, Wishes

DRAWER = "alerts"
TRIES = 5
TOGETHER = 5
"""More news than this at once comes as one message."""
MOST_WAITING, MOST_HELD = 60, 50
LONGEST_SUMMARY = 2000
LARGEST = 200_000
"""Bytes of the whole; the oldest that is over makes room."""
WAITS = (30_000, 2 * MINUTE, 8 * MINUTE, 32 * MINUTE, 128 * MINUTE)
"""How long after each failure the next try is; after the last of them the message is given up."""
TAKEN_MS = 5 * MINUTE
"""So long nobody else sends what was taken; longer than any sending lasts."""
Memory = dict[str, Any]
"""episodes, past, windows, usual, held (told after quiet hours), waiting (messages for channels), ways (how channels fare)."""


def fresh() -> Memory:
    return {"episodes": {}, "past": [], "windows": {}, "usual": {}, "held": [], "waiting": [], "ways": {}}


def read(shelf: Shelf, tenant: str, now: int) -> tuple[Memory, int]:
    """The memory and its version; what an earlier version of us wrote counts as nothing."""
    found = shelf.take(DRAWER, tenant, now=now)
    if found is None or "episodes" not in found.value:
        return fresh(), found.version if found else 0
    return {**fresh(), **deepcopy(dict(found.value))}, found.version


def change(shelf: Shelf, tenant: str, now: int, step: Callable[[Memory], Any]) -> Any:
    """Let *step* change the memory, and keep it if it did; returns what *step* returned. Raises Conflict when others always came first."""
    for _ in range(TRIES):
        memory, version = read(shelf, tenant, now)
        before = deepcopy(memory)
        said = step(memory)
        if memory == before:
            return said
        _bound(memory)
        try:
            shelf.put(DRAWER, tenant, memory, now=now, expect=version)
        except Conflict:
            continue
        return said
    raise Conflict("the alerts of this tenant are being worked on elsewhere")


def _bound(memory: Memory) -> None:
    while len(json.dumps(memory)) > LARGEST and (memory["past"] or memory["waiting"]):
        (memory["past"] or memory["waiting"]).pop()


def notice(memory: Memory, found: Iterable[Finding], wishes: Wishes, *, ways: Mapping[str, str], tz: str, now: int) -> int:
    """Take *found* in and write down what must be told; how many alerts that are. *ways* are the open channels with the
    least level that each carries."""
    memory["episodes"], due, over = follow(memory["episodes"], found, now)
    _end(memory, over)
    quiet = is_quiet(wishes.quiet, now, tz)
    due_now = [id for id in due if not quiet or passes(wishes.quiet, memory["episodes"][id]["level"])]
    memory["held"] = (memory["held"] + [id for id in due if id not in due_now])[:MOST_HELD]
    alerts = [{**memory["episodes"][id], "id": id} for id in due_now]
    if len(alerts) > TOGETHER:
        _send(memory, _summary(alerts, f"{len(alerts)} alerts", now), ways)
    else:
        for alert in alerts:
            _send(memory, _message(alert, now), ways)
    if not quiet and memory["held"]:
        _tell_held(memory, ways, now)
    return len(due)


def _end(memory: Memory, over: Iterable[Episode]) -> None:
    ended = [{name: one[name] for name in ("id", "rule", "level", "text", "since", "told", "gone")} for one in over if not one.get("part")]
    if ended:
        memory["past"] = (sorted(ended, key=lambda one: -one["gone"]) + memory["past"])[:MOST_PAST]


def _tell_held(memory: Memory, ways: Mapping[str, str], now: int) -> None:
    """Quiet hours are over: what was noticed in them, in one message."""
    past = {one["id"]: {**one, "text": f"{one['text']} (over)"} for one in reversed(memory["past"])}
    known = past | {id: {**one, "id": id} for id, one in memory["episodes"].items()}
    alerts = [known[id] for id in dict.fromkeys(memory["held"]) if id in known]
    memory["held"] = []
    if alerts:
        _send(memory, _summary(alerts, f"While it was quiet: {len(alerts)} alert{'s' if len(alerts) > 1 else ''}", now), ways)


def _message(alert: Mapping[str, Any], now: int) -> dict[str, Any]:
    return {"type": "alert", "id": alert["id"], "rule": alert["rule"], "level": alert["level"], "text": alert["text"], "at": now}


def _summary(alerts: list[dict[str, Any]], title: str, now: int) -> dict[str, Any]:
    level = max((alert["level"] for alert in alerts), key=LEVELS.index)
    text = "\n".join([f"{title}:", *(alert["text"] for alert in alerts[:20]), *([f"and {len(alerts) - 20} more"] if len(alerts) > 20 else [])])
    return {"type": "summary", "id": f"summary/{now}", "rule": "summary", "level": level, "text": text[:LONGEST_SUMMARY], "at": now}


def _send(memory: Memory, message: dict[str, Any], ways: Mapping[str, str]) -> None:
    for name, least in ways.items():
        if LEVELS.index(message["level"]) >= LEVELS.index(least) and len(memory["waiting"]) < MOST_WAITING:
            memory["waiting"].append({"to": name, "message": message, "tries": 0, "due": 0})


def number_of(tenant: str, message: Mapping[str, Any], to: str) -> str:
    """The same for every try of one message to one channel, and for no other."""
    return "msg_" + hashlib.sha256(f"{tenant}\0{message['id']}\0{message['at']}\0{to}".encode()).hexdigest()[:32]


# -- the messages that wait


def take_due(memory: Memory, now: int) -> list[dict[str, Any]]:
    """What is to be sent now, marked as taken."""
    due = [one for one in memory["waiting"] if one["due"] <= now]
    for one in due:
        one["due"], one["tries"] = now + TAKEN_MS, one["tries"] + 1
    return deepcopy(due)


def put_back(memory: Memory, sent: Iterable[tuple[Mapping[str, Any], bool | None, str]], now: int) -> None:
    """Note how sending went: (what was taken, True done · False failed · None not tried, the reason)."""
    for taken, done, why in sent:
        mine = next((one for one in memory["waiting"] if one["to"] == taken["to"] and one["message"] == taken["message"]), None)
        if mine is None:
            continue
        if done is None:
            mine["tries"], mine["due"] = mine["tries"] - 1, now + WAITS[0]
            continue
        way = memory["ways"].setdefault(taken["to"], {})
        gives_up = not done and mine["tries"] > len(WAITS)
        if done:
            way |= {"ok": now, "error": "", "lost": way.get("lost", 0)}
        else:
            way |= {"failed": now, "error": why[:200], "lost": way.get("lost", 0) + gives_up}
        if done or gives_up:
            memory["waiting"].remove(mine)
        else:
            mine["due"] = now + WAITS[mine["tries"] - 1]


def next_due(memory: Memory) -> int | None:
    """When the next waiting message is due; None: nothing waits."""
    return min((one["due"] for one in memory["waiting"]), default=None)


def keep_only(memory: Memory, names: Iterable[str]) -> None:
    """Forget channels that are no more, and what waits for them."""
    known = {*names, WEB_PUSH}
    memory["waiting"] = [one for one in memory["waiting"] if one["to"] in known]
    memory["ways"] = {name: way for name, way in memory["ways"].items() if name in known}
