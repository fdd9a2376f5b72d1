"""What an administrator can do, by command and by HTTP alike: one act each, noted in the audit trail."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ledger.errors import Conflict, LedgerError, Misuse
from ledger.keytext import KeyText
from ledger.stores import Ledger
from ledger.views.share import Shown
from relay.keys import KeyRing
from relay.people import badge
from relay.people.audit import Audit
from relay.people.badge import Badges
from relay.people.forget import Forgetting, Report, machine_name
from relay.people.shares import HOLDER, Share, Shares
from relay.people.tenants import ROLES, Member, Tenant, Tenants

HOLDERS = {"admin": "~admin", "member": "~member", "viewer": "~viewer"}


class Office:
    """*who* is noted as whoever did it: the end of a key's id, or "command"."""

    def __init__(self, store: Ledger, ring: KeyRing, tenants: Tenants, badges: Badges, clock: Callable[[], int],
                 forgotten: Callable[[str], object] = lambda tenant: None) -> None:  # fmt: skip
        self._store, self._ring, self._tenants, self._badges, self._clock = store, ring, tenants, badges, clock
        self._audit, self._shares = Audit(store, clock), Shares(store, ring, clock)
        self._forgetting = Forgetting(store, ring, tenants, clock, forgotten)

    # -- tenants

    def create(self, who: str, name: str, **settings: object) -> str:
        """A new tenant; the key of its first administrator. Raises Misuse, or LedgerError for a name that is taken."""
        try:
            if any(one.tenant == name and one.state == "in force" for one in self._ring.list()) or self._store.heads(name):
                raise Conflict
            self._tenants.create(name, **settings)
        except Conflict:
            raise LedgerError(f"there is a tenant {name!r} already: `python -m relay tenants set {name}` changes it") from None
        self._audit.note(name, who, "tenant created")
        return self._ring.issue("admin", name, name="first admin")

    def change(self, who: str, name: str, settings: Mapping[str, Any]) -> Tenant:
        """Raises Misuse."""
        settings = dict(settings)
        shows = settings.pop("badge", None)
        changed = self._tenants.change(name, **settings) if settings else self._tenants.get(name)
        if shows is not None:
            changed = self._open_badge(name, shows)
        self._audit.note(name, who, "settings changed", settings={**settings, **({"badge": list(changed.badge_shows)} if shows is not None else {})})
        return changed

    def _open_badge(self, name: str, shows: Any) -> Tenant:
        if not isinstance(shows, list) or (unknown := [one for one in shows if one not in badge.SHOWS]):
            raise Misuse(f"a badge shows {', '.join(badge.SHOWS)}; an empty list closes it" if not isinstance(shows, list) else f"a badge cannot show {str(unknown[0])[:40]!r}: choose from {', '.join(badge.SHOWS)}")
        before = self._tenants.get(name)
        changed = self._tenants.open_badge(name, tuple(one for one in badge.SHOWS if one in shows))
        if changed.badge:
            self._badges.open(name, changed.badge, changed.badge_shows)
        elif before.badge:
            self._badges.close(before.badge)
        return changed

    def names(self) -> list[str]:
        """Every tenant: with settings, with a machine, or with a key that is in force."""
        keyed = {one.tenant for one in self._ring.list() if one.state == "in force"}
        return sorted({*(tenant.name for tenant in self._tenants.all()), *self._store.tenants(), *keyed})

    def describe(self, name: str) -> dict[str, object]:
        """Raises LedgerError where there is no such tenant."""
        heads = self._store.heads(name)
        keys = [one for one in self._ring.list() if one.tenant == name and one.state == "in force"]
        if not heads and not keys and not self._tenants.exists(name):
            raise LedgerError(f"there is no tenant {name!r}: `python -m relay tenants list` names them")
        return {
            **self._tenants.get(name).public(), "machines": [head.source for head in heads], "keys": len(keys),
            "members": [member.public() for member in self._tenants.members(name)], "shares": len(self._shares.all(name)),
        }  # fmt: skip

    # -- members

    def members(self, tenant: str) -> list[Member]:
        return self._tenants.members(tenant)

    def add_member(self, who: str, tenant: str, name: str, role: str, *, expires_s: int = 0, machine: str = "") -> tuple[Member, str]:
        """The member with one key more: of their role, or the push key of their *machine*. Raises Misuse."""
        known = self._tenants.member(tenant, name)
        if role not in ROLES:
            raise Misuse(f"a member's role is {', '.join(ROLES[:-1])} or {ROLES[-1]}")
        if known is not None and known.role != role:
            raise Misuse(f"{name} is {known.role} already: remove them first, so that the keys of that role end")
        if machine and role == "viewer":
            raise Misuse("a viewer has no machine: make them a member")
        self._tenants.keep_member(tenant, known or Member(name, role))  # is the name one?
        expires = self._clock() // 1000 + expires_s if expires_s else 0
        if machine:
            key = self._ring.issue("push", tenant, machine, expires, name=f"{machine} of {name}")
        else:
            if role == "viewer":
                self._shares.allow_viewers(tenant)
            key = self._ring.issue("admin" if role == "admin" else "read", tenant, f"{HOLDERS[role]}/{name}", expires, name=name)
        before = known or Member(name, role)
        machines = tuple(dict.fromkeys((*before.machines, *([machine] if machine else []))))
        member = replace(before, keys=(*before.keys, KeyText.parse(key).id), machines=machines)
        self._tenants.keep_member(tenant, member)
        self._audit.note(tenant, who, "member's key made", member=name, role=role, machine=machine)
        return member, key

    def remove_member(self, who: str, tenant: str, name: str) -> Member:
        """Their keys end, those of their machines too. Raises LedgerError where there is no such member."""
        member = self._tenants.member(tenant, name)
        if member is None:
            raise LedgerError(f"{tenant} has no member {name!r}: `python -m relay members list --tenant {tenant}` names them")
        for source in (f"{HOLDERS.get(member.role, '~viewer')}/{name}", *member.machines):
            self._ring.marks.note(tenant, source)  # also of keys that were lost from the list
        for id in member.keys:
            self._ring.revoke(id)
        self._tenants.drop_member(tenant, name)
        self._audit.note(tenant, who, "member removed", member=name, role=member.role)
        return member

    # -- shares

    def share(self, who: str, tenant: str, shows: Any, *, project: str | None = None, machine: str | None = None, expires_s: int = 0, label: str = "") -> str:
        """The key of a new link. Raises Misuse."""
        source = self._source(tenant, machine) if machine else None
        try:
            shown = Shown.of(shows, project, source)
        except (ValueError, TypeError) as error:
            raise Misuse(str(error)) from None
        key = self._shares.create(tenant, shown, expires_s=expires_s, label=label)
        self._audit.note(tenant, who, "share made", shows=shown.listed(), project=project, machine=source, label=label)
        return key

    def _source(self, tenant: str, machine: str) -> str:
        for head in self._store.heads(tenant):
            if machine in (head.source, machine_name(self._store, tenant, head.source)):
                return head.source
        raise Misuse(f"{tenant} has no machine {machine[:60]!r}: `python -m relay tenants show {tenant}` names them")

    def shares(self, tenant: str) -> list[Share]:
        return self._shares.all(tenant)

    def unshare(self, who: str, tenant: str, id: str) -> None:
        """Raises LedgerError where there is no such link."""
        if not self._shares.revoke(tenant, id):
            raise LedgerError(f"{tenant} has no such share: `python -m relay share list --tenant {tenant}` shows them")
        self._audit.note(tenant, who, "share revoked", share=id[:20])

    # -- keys, the trail, forgetting

    def keys(self, tenant: str) -> list[Any]:
        """The tenant's own keys; links are with the shares."""
        return [one for one in self._ring.list() if one.tenant == tenant and one.role != HOLDER[1:]]

    def revoke(self, who: str, tenant: str, id: str) -> None:
        """Raises LedgerError where the tenant has no such key."""
        if not any(one.id == id for one in self._ring.list() if one.tenant == tenant):
            raise LedgerError(f"{tenant} has no key of that id: `python -m relay keys list` shows the ids")
        self._ring.revoke(id)
        self._audit.note(tenant, who, "key revoked", id=id[-12:])

    def trail(self, tenant: str) -> list[dict[str, object]]:
        return self._audit.all(tenant)

    def recall(self, who: str, tenant: str, project: str) -> list[str]:
        """Take a forgotten project in again. Raises LedgerError where it was not forgotten."""
        found = self._forgetting.recall(tenant, project)
        self._audit.note(tenant, who, "project recalled")
        return found

    def forget(self, who: str, what: str, name: str, tenant: str, *, dry_run: bool = False) -> Report:
        """Raises LedgerError where there is no such machine or tenant."""
        if what == "machine":
            report = self._forgetting.machine(tenant, name, dry_run=dry_run)
        elif what == "project":
            report = self._forgetting.project(tenant, name, dry_run=dry_run)
        else:
            report = self._forgetting.tenant(name, dry_run=dry_run)
        if not dry_run and what != "tenant":
            self._audit.note(tenant, who, f"{what} forgotten", records=report.records)
        return report
