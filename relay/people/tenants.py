"""Tenants: what each of them chose (how long things are kept, how much may be, its zone), and who its members are.

A tenant without a document here is one with the relay's usual settings, as all were before there were any.
"""
from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256

from ledger.errors import Conflict, Misuse
from ledger.keytext import NAME
from ledger.store import Shelf
from ledger.times import is_zone

TENANTS, MEMBERS = "tenants", "members"
BELIEVED_MS = 45_000
ROLES = ("admin", "member", "viewer")
MOST_DAYS, MOST_RECORDS, MOST_MACHINES = 36_500, 10_000_000, 10_000
_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Tenant:
    """What a tenant chose. Days: 0 keeps for ever; None anywhere is the relay's own setting. *forgotten* are hashes of project names."""

    name: str
    keep_days: int | None = None
    keep_totals_days: int | None = None
    max_records: int | None = None
    max_machines: int | None = None
    zone: str | None = None
    badge: str | None = None
    badge_shows: tuple[str, ...] = ()
    created: int = 0
    salt: str = ""
    forgotten: frozenset[str] = frozenset()
    forgotten_at: int = 0

    def forgets(self, project: str) -> bool:
        """Whether a project of that name was forgotten."""
        return bool(self.forgotten) and self.mark(project) in self.forgotten

    def mark(self, project: str) -> str:
        """A hash that stands for a project's name, which must not stand here itself."""
        return sha256(f"{self.salt}\0{project}".encode()).hexdigest()[:32]

    def public(self) -> dict[str, object]:
        return {
            "tenant": self.name, "keep_days": self.keep_days, "keep_totals_days": self.keep_totals_days, "max_records": self.max_records,
            "max_machines": self.max_machines, "zone": self.zone, "badge": self.badge, "badge_shows": list(self.badge_shows),
            "created": self.created, "forgotten_projects": len(self.forgotten),
        }  # fmt: skip


LIMITS = {"keep_days": MOST_DAYS, "keep_totals_days": MOST_DAYS, "max_records": MOST_RECORDS, "max_machines": MOST_MACHINES}
LEAST = {"keep_days": 0, "keep_totals_days": 0, "max_records": 1, "max_machines": 1}


def checked(changes: Mapping[str, object]) -> dict[str, object]:
    """Settings that make sense. Raises Misuse for the first that does not."""
    for name, value in changes.items():
        if value is None:
            continue
        if name in LIMITS:
            if isinstance(value, bool) or not isinstance(value, int) or not LEAST[name] <= value <= LIMITS[name]:
                raise Misuse(f"{name} is a number from {LEAST[name]} to {LIMITS[name]}, or null for the relay's own setting")
        elif name == "zone":
            if not isinstance(value, str) or not is_zone(value):
                raise Misuse("zone is the name of a time zone, such as Europe/Berlin")
        else:
            raise Misuse(f"a tenant has no setting {name[:40]!r}: there are {', '.join((*LIMITS, 'zone'))}")
    return dict(changes)


@dataclass(frozen=True, slots=True)
class Member:
    """A person with a role, the ids of the keys that were made for them, and the machines that are theirs."""

    name: str
    role: str
    keys: tuple[str, ...] = ()
    machines: tuple[str, ...] = ()

    def public(self) -> dict[str, object]:
        return {"name": self.name, "role": self.role, "keys": list(self.keys), "machines": list(self.machines)}


@dataclass(slots=True)
class _Known:
    at: int
    tenant: Tenant


class Tenants:
    """Every tenant's settings and members. Settings are believed for 45 s, so that a push asks the store for them no more often."""

    def __init__(self, shelf: Shelf, clock: Callable[[], int]) -> None:
        self._shelf, self._clock = shelf, clock
        self._known: dict[str, _Known] = {}
        self._lock = threading.Lock()

    # -- settings

    def get(self, name: str, *, anew: bool = False) -> Tenant:
        """The tenant as it was known within the last 45 s, or with *anew* as it is now."""
        now, known = self._clock(), self._known.get(name)
        if not anew and known is not None and 0 <= now - known.at < BELIEVED_MS:
            return known.tenant
        document = self._shelf.take(TENANTS, name, now=now)
        found = _tenant(name, document.value) if document else Tenant(name)
        with self._lock:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[name] = _Known(now, found)
        return found

    def exists(self, name: str) -> bool:
        return self._shelf.take(TENANTS, name, now=self._clock()) is not None

    def all(self) -> list[Tenant]:
        """Those that have settings of their own, by name."""
        return [_tenant(name, document.value) for name, document in self._shelf.list(TENANTS, now=self._clock())]

    def create(self, name: str, **settings: object) -> Tenant:
        """Raises Misuse for a name or a setting that cannot be, or Conflict for a name that is taken."""
        if not NAME.fullmatch(name):
            raise Misuse("a tenant's name is 1 to 63 letters, digits, dots, @, +, hyphens or underscores, and starts with a letter or digit")
        made = replace(Tenant(name, created=self._clock(), salt=secrets.token_hex(16)), **checked(settings))  # type: ignore[arg-type]
        self._write(made, expect=0)
        return made

    def change(self, name: str, **settings: object) -> Tenant:
        """The tenant with other settings; null gives one back to the relay. Raises Misuse."""
        return self._change(name, lambda tenant: replace(tenant, **checked(settings)))  # type: ignore[arg-type]

    def open_badge(self, name: str, shows: tuple[str, ...]) -> Tenant:
        """A badge under an id that nobody can guess, the same as before if there was one; no *shows* closes it."""
        return self._change(name, lambda tenant: replace(tenant, badge=(tenant.badge or secrets.token_urlsafe(16)) if shows else None, badge_shows=shows))

    def forget_project(self, name: str, project: str, *, again: bool = False) -> Tenant:
        """From now on nothing of that project is taken in; *again* takes it in again."""
        def change(tenant: Tenant) -> Tenant:
            mark = {tenant.mark(project)}
            return replace(tenant, forgotten=tenant.forgotten - mark if again else tenant.forgotten | mark, forgotten_at=self._clock())

        return self._change(name, change)

    def drop(self, name: str) -> None:
        self._shelf.drop(TENANTS, name)
        with self._lock:
            self._known.pop(name, None)

    def _change(self, name: str, change: Callable[[Tenant], Tenant]) -> Tenant:
        for attempt in range(5):
            document = self._shelf.take(TENANTS, name, now=self._clock())
            before = _tenant(name, document.value) if document else Tenant(name, created=self._clock())
            after = change(replace(before, salt=before.salt or secrets.token_hex(16)))
            try:
                self._write(after, expect=document.version if document else 0)
                return after
            except Conflict:
                if attempt == 4:
                    raise
        raise AssertionError("unreachable")

    def _write(self, tenant: Tenant, *, expect: int) -> None:
        value = tenant.public() | {"salt": tenant.salt, "forgotten": sorted(tenant.forgotten), "forgotten_at": tenant.forgotten_at}
        for name in ("tenant", "forgotten_projects"):
            del value[name]
        self._shelf.put(TENANTS, tenant.name, value, now=self._clock(), expect=expect)
        with self._lock:
            self._known[tenant.name] = _Known(self._clock(), tenant)

    # -- members

    def members(self, tenant: str) -> list[Member]:
        return [_member(name.partition("|")[2], document.value) for name, document in self._shelf.list(MEMBERS, f"{tenant}|", now=self._clock())]

    def member(self, tenant: str, name: str) -> Member | None:
        document = self._shelf.take(MEMBERS, f"{tenant}|{name}", now=self._clock())
        return _member(name, document.value) if document else None

    def keep_member(self, tenant: str, member: Member) -> None:
        """Raises Misuse for a name or a role that cannot be."""
        if member.role not in ROLES:
            raise Misuse(f"a member's role is {', '.join(ROLES[:-1])} or {ROLES[-1]}")
        if not NAME.fullmatch(member.name):
            raise Misuse("a member's name is 1 to 63 letters, digits, dots, @, +, hyphens or underscores, and starts with a letter or digit")
        value = {"role": member.role, "keys": list(member.keys), "machines": list(member.machines)}
        self._shelf.put(MEMBERS, f"{tenant}|{member.name}", value, now=self._clock())

    def drop_member(self, tenant: str, name: str) -> bool:
        return self._shelf.drop(MEMBERS, f"{tenant}|{name}")

    def owners(self, tenant: str) -> dict[str, str]:
        """Whose each machine is."""
        return {machine: member.name for member in self.members(tenant) for machine in member.machines}


def _tenant(name: str, value: Mapping[str, object]) -> Tenant:
    """What is kept, as far as it makes sense: a document that somebody damaged must not stop the pushes."""
    found: dict[str, object] = {}
    for setting, most in LIMITS.items():
        given = value.get(setting)
        if isinstance(given, int) and not isinstance(given, bool) and LEAST[setting] <= given <= most:
            found[setting] = given
    for setting in ("zone", "badge"):
        given = value.get(setting)
        if isinstance(given, str):
            found[setting] = given
    shows, forgotten, created, at = (value.get(part) for part in ("badge_shows", "forgotten", "created", "forgotten_at"))
    return Tenant(
        name, badge_shows=tuple(map(str, shows)) if isinstance(shows, list) else (), salt=str(value.get("salt") or ""),
        forgotten=frozenset(map(str, forgotten)) if isinstance(forgotten, list) else frozenset(), created=created if isinstance(created, int) else 0,
        forgotten_at=at if isinstance(at, int) else 0, **found,  # type: ignore[arg-type]
    )  # fmt: skip


def _member(name: str, value: Mapping[str, object]) -> Member:
    keys, machines = value.get("keys"), value.get("machines")
    return Member(name, str(value.get("role", "viewer")), tuple(map(str, keys)) if isinstance(keys, list) else (),
                  tuple(map(str, machines)) if isinstance(machines, list) else ())
