"""Looks at one tenant: is there news to tell? What is true comes from the view, what was told from the memory."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from ledger.store import Shelf
from ledger.times import iso, iso_or_none
from relay.alerts import memory, rules
from relay.alerts.channels import Book
from relay.alerts.episodes import Finding
from relay.alerts.facts import Facts, Usual
from relay.alerts.quiet import is_quiet
from relay.alerts.wishes import WEB_PUSH, Wishes

FactsOf = Callable[[str, "str | None", Usual], Facts]


class Watch:
    """Two instances may run: only one of them tells. *pushes_to* says whether a tenant's browsers asked to be told."""

    def __init__(self, facts_of: FactsOf, shelf: Shelf, book: Book, *, clock: Callable[[], int], pushes_to: Callable[[str], bool]) -> None:
        self._facts_of, self._shelf, self._book, self._clock, self._pushes_to = facts_of, shelf, book, clock, pushes_to

    def check(self, tenant: str) -> int:
        """Write down what must be told; how many alerts are new. Sends nothing."""
        now, wishes = self._clock(), self._book.read(tenant)
        facts = self._facts(tenant, wishes, now)
        ways = self._ways(tenant, wishes)

        def step(kept: memory.Memory) -> int:
            found = _findings(kept, facts, wishes)
            memory.keep_only(kept, [channel.name for channel in wishes.channels])
            return memory.notice(kept, found, wishes, ways=ways, tz=facts.tz, now=now)

        return int(memory.change(self._shelf, tenant, now, step))

    def _facts(self, tenant: str, wishes: Wishes, now: int) -> Facts:
        kept, _ = memory.read(self._shelf, tenant, now)
        return self._facts_of(tenant, wishes.tz, Usual(**kept["usual"]) if kept["usual"] else Usual())

    def _ways(self, tenant: str, wishes: Wishes) -> dict[str, str]:
        ways = {channel.name: channel.least for channel in wishes.channels if channel.on}
        return ways | ({WEB_PUSH: "info"} if self._pushes_to(tenant) else {})

    def shown(self, tenant: str) -> dict[str, Any]:
        """What is open now, what was told before, how channels and machines fare. Changes nothing."""
        now, wishes = self._clock(), self._book.read(tenant)
        facts = self._facts(tenant, wishes, now)
        kept, _ = memory.read(self._shelf, tenant, now)
        told = {id for id, one in kept["episodes"].items() if one["told"]}
        memory.notice(kept, _findings(kept, facts, wishes), wishes, ways={}, tz=facts.tz, now=now)
        ways = kept["ways"]
        known = [(id, one if id in told else {**one, "told": 0}) for id, one in kept["episodes"].items() if one["told"] and not one.get("part")]
        return {
            "at": iso(now), "quiet": is_quiet(wishes.quiet, now, facts.tz), "tz": facts.tz,
            "open": [_episode(id, one) for id, one in known if not one["gone"]],
            "past": [_episode(id, one) for id, one in known if one["gone"]] + [_episode(one["id"], one) for one in kept["past"]],
            "channels": [{"name": name, **_way(ways.get(name, {}), kept, name)} for name in self._ways(tenant, wishes)],
            "machines": [{"source": one.source, "name": one.name, "state": one.state, "why": one.detail, "last_seen": iso_or_none(one.last_seen or None)} for one in facts.machines],
        }  # fmt: skip


def _findings(kept: memory.Memory, facts: Facts, wishes: Wishes) -> list[Finding]:
    """What is true of *facts*; what must be remembered of them is."""
    kept["windows"], ended = rules.follow_windows(kept["windows"], facts.windows, facts.now)
    kept["usual"] = asdict(facts.usual)
    return rules.findings(wishes.rules, facts, kept["windows"], ended)


def _episode(id: str, one: dict[str, Any]) -> dict[str, Any]:
    return {"id": id, "rule": one["rule"], "level": one["level"], "text": one["text"], "since": iso(one["since"]), "told": iso_or_none(one["told"] or None),
            "over": iso_or_none(one["gone"] or None)}  # fmt: skip


def _way(way: dict[str, Any], kept: memory.Memory, name: str) -> dict[str, Any]:
    waiting = sum(one["to"] == name for one in kept["waiting"])
    return {"ok": iso_or_none(way.get("ok")), "failed": iso_or_none(way.get("failed")), "error": way.get("error") or None, "waiting": waiting, "lost": way.get("lost", 0)}
