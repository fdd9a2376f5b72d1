"""The views of all tenants: each made when it is first asked for, read on, kept as a checkpoint and forgotten again."""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from threading import Lock
from time import sleep

from ledger.prices import PriceBook
from ledger.store import Shelf, Store
from ledger.views import checkpoint
from ledger.views.view import Pause, View

MOST_VIEWS = 200


class Views:
    """The views of all tenants: made when first asked for, the least used forgotten.

    With a *shelf*, views of many sessions are kept there as checkpoints, so that a new process need not read them all.
    *also* are other names by which a machine may be asked for, with the source that each means.
    """

    def __init__(self, store: Store, book: PriceBook, clock: Callable[[], int], *, shelf: Shelf | None = None,
                 also: Mapping[str, str] | None = None, zone_of: Callable[[str], str | None] | None = None) -> None:  # fmt: skip
        self._store, self._book, self._clock, self._shelf = store, book, clock, shelf
        self._also, self._zone_of = also, zone_of
        self.saves = True
        """Whether whoever asks also writes a checkpoint that is due, as in a function; else save_due() is called now and then."""
        self.pause: Pause = sleep
        """How the pauses of gentle work are made: who may be told to stop makes none from then on."""
        self._views: OrderedDict[str, View] = OrderedDict()
        self._lock = Lock()

    def view(self, tenant: str) -> View:
        """The tenant's view, read on to what the store has now."""
        with self._lock:
            view = self._views.get(tenant)
            if view is None:
                view = self._views[tenant] = View(tenant, self._store, self._book, self._clock, self._also)
                view.zone_of = self._zone_of
            self._views.move_to_end(tenant)
            while len(self._views) > MOST_VIEWS:
                self._views.popitem(last=False)
        with view.lock:
            if self._shelf is None:
                view.advance()
                return view
            if not view.sources:
                checkpoint.load(view, self._shelf, self._clock())
            view.advance()
            view.keep = partial(self._keep, view, self._shelf)
            if view.zones:  # before that it would hold nobody's days, and be read in vain
                view.keep()
        return view

    def _keep(self, view: View, shelf: Shelf) -> None:
        if self.saves and checkpoint.is_due(view):
            checkpoint.save(view, shelf, self._clock())

    def read_on(self, tenant: str) -> None:
        """Read on to what the store has now, gently, if somebody asked for the tenant's view and it was not forgotten since."""
        view = self._views.get(tenant)
        if view is None:
            return
        with view.gently(self.pause):
            view.advance()

    def save_due(self) -> None:
        """Keep on the shelf what changed enough since it was kept: for whoever keeps house, every minute or so, where askers do not save."""
        if self._shelf is None:
            return
        with self._lock:
            views = list(self._views.values())
        for view in views:
            with view.gently(self.pause):
                if checkpoint.is_calm(view, self._clock()) and checkpoint.is_due(view):
                    checkpoint.save(view, self._shelf, self._clock())

    def forget(self, tenants: Iterable[str]) -> None:
        """These are read anew when they are asked for next."""
        with self._lock:
            for name in tenants:
                self._views.pop(name, None)

    def checkpoint(self, tenant: str) -> int:
        """Keep the tenant's view on the shelf now; returns its size in bytes, 0 without a shelf."""
        view = self.view(tenant)
        if self._shelf is None:
            return 0
        with view.lock:
            return checkpoint.save(view, self._shelf, self._clock())
