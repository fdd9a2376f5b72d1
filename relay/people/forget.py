"""Forgetting a machine, a project or a tenant, everywhere, and saying what went.

A machine's keys end with it, so it cannot push again. A project's name is kept as a hash, and what comes of it is not taken in: the
agents keep their own copy, and the relay stays as it was asked to be. Backups that were made before are files of yours.
"""
from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace

from ledger import bodies, record
from ledger.errors import Busy, Conflict, LedgerError
from ledger.keytext import claims_of
from ledger.record import Ref, hash_of
from ledger.store import AT_ONCE, Head, Row, Store, Tombstone
from ledger.stores import Ledger
from ledger.views.gather import FORGOTTEN, part_of
from ledger.views.share import BETWEEN
from ledger.words import many
from relay.keys import KeyRing
from relay.people import audit, intake, shares, tenants
from relay.people.tenants import Tenant, Tenants
from relay.scrub import forget_head

TRIES = 20
OF_TENANT = ("view", "shares", "members", "tenants", "audit", "alerts", "alert-wishes", "crowds", "watchers")
"""Drawers whose documents are called by the tenant's name, alone or before a | or a /."""
SAYING_TENANT = ("connections", "tickets", "upkeep", "badges")
"""Drawers whose documents say whose they are."""
TOLD = ("alerts", "audit")
"""Drawers whose documents may name machines and projects."""


@dataclass
class Report:
    """What went, or with *dry_run* would go. *documents* by drawer; *erased*: nothing of it is left in the store's files."""

    what: str
    name: str
    tenant: str
    dry_run: bool = False
    machines: list[str] = field(default_factory=list)
    records: int = 0
    trimmed: int = 0
    keys: int = 0
    documents: dict[str, int] = field(default_factory=dict)
    erased: bool = True

    def public(self) -> dict[str, object]:
        return asdict(self)

    def __str__(self) -> str:
        papers = ", ".join(f"{count} of {drawer}" for drawer, count in sorted(self.documents.items()))
        did = "would forget" if self.dry_run else "forgot"
        return "; ".join(filter(None, (
            f"{did} {self.what} {self.name}: {many(self.records, 'record')} of {many(len(self.machines), 'machine')}",
            f"{many(self.trimmed, 'day')} without it" if self.trimmed else "", f"{many(self.keys, 'key')} ended" if self.keys else "", f"documents: {papers}" if papers else "",
            "" if self.erased else "its place on the disk is overwritten later: run `python -m relay forget` again when nobody reads",
        )))  # fmt: skip


class Forgetting:
    """*forgotten* hears of tenants whose views must be made anew."""

    def __init__(self, store: Ledger, ring: KeyRing, tenants: Tenants, clock: Callable[[], int], forgotten: Callable[[str], object] = lambda tenant: None) -> None:
        self._store, self._ring, self._tenants, self._clock, self._forgotten = store, ring, tenants, clock, forgotten

    def machine(self, tenant: str, name: str, *, dry_run: bool = False) -> Report:
        """Raises LedgerError where there is no such machine."""
        sources = [head.source for head in self._store.heads(tenant) if name in (head.source, machine_name(self._store, tenant, head.source))]
        keys = [one.id for one in self._ring.list() if one.tenant == tenant and one.scope == "push" and one.source in (name, *sources)]
        if not sources and not keys:
            raise LedgerError(f"{tenant} has no machine {name!r}: `python -m relay keys list` names them")
        report = Report("machine", name, tenant, dry_run, sources)
        names = {name, *sources, *(claims_of(id).source for id in keys)}
        report.records = sum(1 for source in sources for _ in self._store.rows(tenant, source))
        report.keys = len(keys)
        self._papers(report, "shares", (doc for doc in self._listed("shares", f"{tenant}{BETWEEN}") if doc[1].get("source") in names))
        self._told(report, names)
        if dry_run:
            return report
        for source in names:
            self._ring.marks.note(tenant, source)
        for source in sources:
            self._store.forget(tenant, source)
        self._drop_keys(keys)
        self._take_from_members(tenant, names)
        return self._finished(report)

    def project(self, tenant: str, name: str, *, dry_run: bool = False) -> Report:
        """From now on nothing of it is taken in either. It is no error if nothing of it is here."""
        report = Report("project", name, tenant, dry_run)
        chosen = self._tenants.get(tenant) if dry_run else self._tenants.forget_project(tenant, name)
        salt = chosen.salt or "none"
        wanted = replace(chosen, salt=salt, forgotten=frozenset({replace(chosen, salt=salt).mark(name)}))
        for head in self._store.heads(tenant):
            gone, trimmed = self._clear(tenant, head.source, wanted, dry_run)
            if gone or trimmed:
                report.machines.append(head.source)
            report.records += gone
            report.trimmed += trimmed
        self._papers(report, "shares", (doc for doc in self._listed("shares", f"{tenant}{BETWEEN}") if doc[1].get("project") == name))
        self._told(report, {name})
        return report if dry_run else self._finished(report)

    def recall(self, tenant: str, name: str) -> list[str]:
        """Take a project in again; the machines that will bring it back with their next sign of life. Raises LedgerError if it was not forgotten."""
        if not self._tenants.get(tenant, anew=True).forgets(name):
            raise LedgerError(f"{tenant} has forgotten no project {name!r}: names are told apart by every letter")
        self._tenants.forget_project(tenant, name, again=True)
        found = []
        for head in self._store.heads(tenant):
            if head.lease and any(row.code in (FORGOTTEN, intake.TRIMMED) for row in self._store.rows(tenant, head.source)):
                forget_head(self._store, tenant, head, [], self._clock())
                found.append(head.source)
        self._forgotten(tenant)
        return found

    def again(self, name: str) -> int:
        """Clear once more what a process that had not heard of it may have taken in; how many records."""
        tenant = self._tenants.get(name)
        found = [self._clear(name, head.source, tenant, dry_run=False) for head in self._store.heads(name)] if tenant.forgotten else []
        return sum(gone + trimmed for gone, trimmed in found)

    def tenant(self, name: str, *, dry_run: bool = False) -> Report:
        """All of it: records, keys, members, shares, badge, alerts. Raises LedgerError where there is none."""
        heads = self._store.heads(name)
        keys = [one.id for one in self._ring.list() if one.tenant == name]
        if not heads and not keys and not self._tenants.exists(name):
            raise LedgerError(f"there is no tenant {name!r}: `python -m relay tenants list` names them")
        report = Report("tenant", name, name, dry_run, [head.source for head in heads], keys=len(keys))
        report.records = sum(1 for head in heads for _ in self._store.rows(name, head.source))
        if not dry_run:
            self._ring.marks.note(name)
            for head in heads:
                self._store.forget(name, head.source)
            self._drop_keys(keys)
        for drawer in OF_TENANT:
            self._papers(report, drawer, (doc for doc in self._listed(drawer, name) if doc[0].replace("/", BETWEEN).partition(BETWEEN)[0] == name))
        for drawer in SAYING_TENANT:
            self._papers(report, drawer, (doc for doc in self._listed(drawer) if str(doc[1].get("tenant", "")).partition(BETWEEN)[0] == name))
        self._papers(report, f"webpush/{name}", self._listed(f"webpush/{name}"))
        self._papers(report, "webpush", (doc for doc in self._listed("webpush") if doc[0] == f"tenant:{name}"))
        if dry_run:
            return report
        self._tenants.drop(name)
        return self._finished(report)

    # -- records

    def _clear(self, tenant: str, source: str, wanted: Tenant, dry_run: bool) -> tuple[int, int]:
        """Take what is of the wanted projects out of one source; how many records went, and how many days were trimmed.

        The copy's number grows, so its agent finds it elsewhere and fills it again, without what is not taken in any more.
        """
        gone = trimmed = 0
        for _ in range(TRIES):
            try:
                while not dry_run and self._store.sweep(tenant, source, now=self._clock()):
                    pass  # what an older copy left would not be seen below
                head = self._store.head(tenant, source)
                if head is None:
                    return gone, trimmed
                for drop, put in self._changes(tenant, source, wanted):
                    if not dry_run:
                        head = self._apply(tenant, head, drop, put)
                    gone, trimmed = gone + len(drop), trimmed + len(put)
                return gone, trimmed
            except Conflict:
                continue  # it is being pushed to: look again
        raise Busy(f"{source} is being pushed to all the time: try again")

    def _changes(self, tenant: str, source: str, wanted: Tenant) -> Iterator[tuple[list[Row], list[tuple[Row, str]]]]:
        rows = list(self._store.rows(tenant, source))
        sessions = {row.ref.id for row in rows if row.ref.kind == "session" and row.body and intake.of_forgotten(wanted, row.body)}
        drop = [row for row in rows if (row.ref.kind == "session" and row.ref.id in sessions) or (row.ref.kind == "usage" and part_of(row.ref)[0] in sessions)]
        put = [(row, left) for row in rows if row.ref.kind == "day" and row.body and (left := intake.without(wanted, row.body)) is not None]
        for place in range(0, len(drop), AT_ONCE):
            yield drop[place : place + AT_ONCE], []
        for place in range(0, len(put), AT_ONCE):
            yield [], put[place : place + AT_ONCE]

    def _apply(self, tenant: str, head: Head, drop: list[Row], put: list[tuple[Row, str]]) -> Head:
        lease, seq = head.lease or "", head.seq + 1
        puts = [replace(row, body=body, code=None, hash=hash_of(row.ref.kind, row.ref.id, body), lease=lease, seq=seq) for row, body in put]
        before = [row for row in (*drop, *(row for row, _ in put)) if row.lease == lease]
        after = replace(head, seq=seq, digest=record.add(head.digest, put=[row.hash for row in puts], gone=[row.hash for row in before]))
        self._store.apply(tenant, head, after, puts, [Tombstone(row.ref, lease, seq, self._clock()) for row in drop])
        return after

    # -- documents

    def _listed(self, drawer: str, prefix: str = "") -> Iterator[tuple[str, dict[str, object]]]:
        return ((name, dict(document.value)) for name, document in list(self._store.list(drawer, prefix, now=self._clock())))

    def _papers(self, report: Report, drawer: str, found: Iterable[tuple[str, dict[str, object]]]) -> None:
        """Drop these documents; the key of a share ends with it."""
        for name, value in found:
            report.documents[drawer] = report.documents.get(drawer, 0) + 1
            if report.dry_run:
                continue
            if drawer == shares.DRAWER and value.get("key") and report.what != "tenant":
                self._ring.revoke(str(value["key"]))
            self._store.drop(drawer, name)

    def _told(self, report: Report, names: set[str]) -> None:
        """What was told of it: alerts and notes of acts that say its name."""
        for drawer in TOLD:
            found = (doc for doc in self._listed(drawer, report.tenant) if doc[0].partition(BETWEEN)[0] == report.tenant)
            self._papers(report, drawer, (doc for doc in found if any(_says(doc[1], name) for name in names)))

    def _take_from_members(self, tenant: str, machines: set[str]) -> None:
        for member in self._tenants.members(tenant):
            if machines & set(member.machines):
                self._tenants.keep_member(tenant, replace(member, machines=tuple(one for one in member.machines if one not in machines)))

    def _drop_keys(self, ids: Iterable[str]) -> None:
        for id in ids:
            self._store.drop("keys", id)

    def _finished(self, report: Report) -> Report:
        for name, _ in self._listed("view", report.tenant):
            if name.partition("/")[0] == report.tenant:  # sums of former views name projects and machines
                self._store.drop("view", name)
        scour = getattr(self._store, "scour", None)
        report.erased = scour() if scour else True
        self._forgotten(report.tenant)
        return report


def machine_name(store: Store, tenant: str, source: str) -> str:
    """What the machine calls itself; its source where it does not say, or nobody can read it."""
    row = store.get(tenant, source, Ref("machine", source))
    try:
        return (bodies.read("machine", row.body).name if row and row.body else None) or source
    except bodies.Unreadable:
        return source


def _says(value: object, name: str) -> bool:
    return json.dumps(name, ensure_ascii=True)[1:-1] in json.dumps(value, ensure_ascii=True)


DRAWERS = frozenset({*OF_TENANT, *SAYING_TENANT, "keys", "webpush", tenants.TENANTS, tenants.MEMBERS, audit.DRAWER, shares.DRAWER, "forgotten", "health"})
"""Every drawer that is known here; tests/relay/test_forget.py finds one that is not."""
