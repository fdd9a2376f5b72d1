"""What a relay asks of one tenant's agents: its own terms, over which the tenant's settings are laid."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from ledger.store import Store
from ledger.wire import Push
from relay.people.tenants import Tenant, Tenants
from relay.protocol import Instead, Terms


def terms_of(tenants: Tenants, usual: Terms) -> Callable[[str, bool], Terms]:
    """The terms of a tenant by its name; the very same object for whoever chose nothing. A copy that begins is told what holds now:
    it may begin because something was forgotten."""

    def found(name: str, is_new: bool) -> Terms:
        tenant = tenants.get(name, anew=is_new)
        return usual if not tenant.created else laid_over(usual, tenant)

    return found


def laid_over(usual: Terms, tenant: Tenant) -> Terms:
    return replace(
        usual, keep_days=days(tenant.keep_days, usual.keep_days), keep_totals_days=days(tenant.keep_totals_days, usual.keep_totals_days),
        max_records=tenant.max_records or usual.max_records, max_machines=tenant.max_machines,
        instead=_instead(tenant) if tenant.forgotten else None,
    )  # fmt: skip


def _instead(tenant: Tenant) -> Callable[[Store, str, Push], Instead]:
    from relay.people.intake import instead

    return partial(instead, tenant)


def days(chosen: int | None, usual: int | None) -> int | None:
    """How many days that is; a tenant's 0 keeps for ever."""
    return usual if chosen is None else chosen or None
