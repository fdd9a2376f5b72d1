"""What a relay does without being asked: one step each, run by a thread, a schedule or `python -m relay upkeep`.

- *sweep*: rows that a newer copy superseded, and deletions older than a day, leave the store;
- *forget again*: what came of a project within the minute in which it was forgotten;
- *retire*: what old clients posted, and sessions of sources that never came again, end at the horizon of their tenant; of the
  latter the totals of their days stay, as long as those are kept. Rows of living agents are never dropped here: the horizon is told
  to them, and they delete;
- *scrub*: the digest of one source a round is recomputed from its rows. Where it differs the head is forgotten,
  and the agent's next beat refills the source;
- *silent*: pages hear of machines that stopped talking.
"""
from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC

import msgspec

from ledger import record
from ledger.day_totals import date_of
from ledger.errors import Conflict, LedgerError
from ledger.store import AT_ONCE, Head, Tombstone
from ledger.stores import Ledger
from ledger.times import DAY
from ledger.words import many
from relay.keys import KeyRing
from relay.people.aging import drop_days, fold_away
from relay.people.forget import Forgetting
from relay.people.tenants import Tenants
from relay.people.terms import days
from relay.scrub import scrub

WELL_BEHIND_DAYS = 30
"""So long after the horizon a source that never came again is forgotten."""
AGAIN_MS = 3600_000
"""How long after a project was forgotten what came of it meanwhile is looked for."""
_ROUNDS = 50
_DRAWER, _PLACE = "upkeep", "scrubbed"
log = logging.getLogger("upkeep")


@dataclass(frozen=True, slots=True)
class Done:
    """One round. *scrubbed* is "tenant/source: ok" or what was wrong, "" where there was nothing to look at."""

    swept: int = 0
    retired: int = 0
    forgotten: int = 0
    silent: int = 0
    scrubbed: str = ""
    trouble: str = ""

    def __str__(self) -> str:
        parts = [
            f"swept {many(self.swept, 'row')}", f"let {many(self.retired, 'old record')} go", f"forgot {many(self.forgotten, 'source')}", f"{many(self.silent, 'source')} silent",
        ]  # fmt: skip
        return ", ".join([*parts, *(text for text in (self.scrubbed and f"looked through {self.scrubbed}", self.trouble) if text)])


class Upkeep:
    """*keep_days* of sessions and *totals_days* of what is left of them; None keeps for ever, and a tenant's own settings come first.
    *on_change* hears of tenants with something to show."""

    def __init__(self, store: Ledger, *, keep_days: int | None, clock: Callable[[], int], on_change: Callable[[str], object] = lambda tenant: None,
                 totals_days: int | None = None, tenants: Tenants | None = None) -> None:  # fmt: skip
        self._store, self._clock, self._on_change = store, clock, on_change
        self._usual, self._tenants = (keep_days, totals_days), tenants or Tenants(store, clock)
        self._looked_at: int | None = None

    def round(self) -> Done:
        """Everything once. A step that fails is told, and does not stop the others."""
        done, trouble = Done(), []
        for step in (self._sweep_all, self._forget_again, self._retire_all, self._scrub_next, self._count_silent):
            try:
                done = step(done)
            except LedgerError as error:
                trouble.append(f"{step.__name__.strip('_')}: {error}")
        return replace(done, trouble="; ".join(trouble))

    def tell_silent(self) -> list[str]:
        """Tenants with a machine that fell silent (or was noticed again) since this was last asked; each is told to on_change."""
        now = self._clock()
        since, self._looked_at = self._looked_at, now
        if since is None:
            return []
        found = sorted({tenant for tenant, head in self._heads() if since < head.silent_from <= now})
        for tenant in found:
            self._on_change(tenant)
        return found

    def _heads(self) -> Iterator[tuple[str, Head]]:
        return ((tenant, head) for tenant in self._store.tenants() for head in self._store.heads(tenant))

    def _sweep_all(self, done: Done) -> Done:
        return replace(done, swept=sum(self._sweep(tenant, head.source) for tenant, head in self._heads()))

    def _sweep(self, tenant: str, source: str) -> int:
        total = 0
        for _ in range(_ROUNDS):
            removed = self._store.sweep(tenant, source, now=self._clock())
            total += removed
            if not removed:
                break
        return total

    def _forget_again(self, done: Done) -> Done:
        """A process that had not yet heard that a project was forgotten may have taken some of it in."""
        forgetting = Forgetting(self._store, KeyRing((), self._store, (), self._clock), self._tenants, self._clock)
        for tenant in self._tenants.all():
            if tenant.forgotten and 0 <= self._clock() - tenant.forgotten_at < AGAIN_MS and (count := forgetting.again(tenant.name)):
                self._on_change(tenant.name)
                done = replace(done, retired=done.retired + count)
        return done

    def _retire_all(self, done: Done) -> Done:
        now = self._clock()
        for tenant, head in list(self._heads()):
            chosen = self._tenants.get(tenant)
            keep, totals = days(chosen.keep_days, self._usual[0]), days(chosen.keep_totals_days, self._usual[1])
            if keep is None:
                continue
            posted = head.source.startswith("~")  # what an old client posted has no days worth keeping
            longest = keep if posted else totals and max(keep, totals)
            if longest is not None and head.last_seen < now - (longest + WELL_BEHIND_DAYS) * DAY:
                self._store.forget(tenant, head.source)
                self._on_change(tenant)
                done = replace(done, forgotten=done.forgotten + 1)
            elif posted:
                done = replace(done, retired=done.retired + self._retire(tenant, head, now - keep * DAY))
            elif head.last_seen < now - (keep + WELL_BEHIND_DAYS) * DAY:
                done = replace(done, retired=done.retired + self._fold(tenant, head, now - keep * DAY, totals))
        return done

    def _fold(self, tenant: str, head: Head, horizon: int, totals: int | None) -> int:
        """Of a source that never came again the totals stay."""
        now = self._clock()
        try:
            count = fold_away(self._store, tenant, head, horizon, now=now)
            if totals is not None and (there := self._store.head(tenant, head.source)) is not None:
                first = date_of((now // DAY - totals) * DAY, UTC)
                count += drop_days(self._store, tenant, there, first, now=now)
        except Conflict:
            return 0  # it came back
        if count:
            self._on_change(tenant)
        return count

    def _retire(self, tenant: str, head: Head, horizon: int) -> int:
        """Drop what an old client posted and is over since before *horizon*."""
        old = [row for row in self._store.rows(tenant, head.source) if row.ref.kind in ("session", "block") and _ended(row.body) < horizon][:AT_ONCE]
        if not old or head.lease is None:
            return 0
        after = replace(head, seq=head.seq + 1, digest=record.add(head.digest, gone=[row.hash for row in old]))
        try:
            self._store.apply(tenant, head, after, (), [Tombstone(row.ref, head.lease, after.seq, self._clock()) for row in old])
        except Conflict:
            return 0  # it is being posted to: next round
        self._on_change(tenant)
        return len(old)

    def _scrub_next(self, done: Done) -> Done:
        """One source a round, in the order of their names, and again from the first."""
        now = self._clock()
        names = sorted((tenant, head.source) for tenant, head in self._heads())
        if not names:
            return done
        place = self._store.take(_DRAWER, _PLACE, now=now)
        last = (str(place.value["tenant"]), str(place.value["source"])) if place else ("", "")
        tenant, source = next((name for name in names if name > last), names[0])
        sound = scrub(self._store, tenant, source, now=now)
        if not sound:
            log.warning("the rows of %s/%s are not what was acknowledged: its agent will send them again", tenant, source)
            self._on_change(tenant)
        self._store.put(_DRAWER, _PLACE, {"tenant": tenant, "source": source}, now=now)
        return replace(done, scrubbed=f"{tenant}/{source}: {'ok' if sound else 'not what was acknowledged, refilling'}")

    def _count_silent(self, done: Done) -> Done:
        now = self._clock()
        return replace(done, silent=sum(head.silent_from <= now for _, head in self._heads()))


def _ended(body: str) -> int:
    """When a posted session or block was last alive."""
    told = msgspec.json.decode(body)
    times = [told.get(name) for name in ("last_activity", "end_time", "start_time")]
    return max((at for at in times if isinstance(at, int)), default=0)
