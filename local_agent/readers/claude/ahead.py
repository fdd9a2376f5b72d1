"""A first look at the folders that begins before the archive is open, so that reading can start as soon as it is."""
from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from local_agent.readers.claude import helper
from local_agent.readers.claude.pack import Threshold
from local_agent.readers.claude.scan import Scanner
from local_agent.readers.claude.walk import Walk, roots_of

if TYPE_CHECKING:
    from local_agent.days import Look


class Ahead:
    """The transcripts below *folders*, for a reader that knows none of them yet. *helper* reads already, if there is one."""

    whole = True
    """*paths* are all files that there are."""

    def __init__(self, folders: Iterable[str], *, threshold: Threshold = lambda model, at: None, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self.scanner = Scanner(threshold)
        self.walk = Walk(roots_of(folders), clock_ns=clock_ns)
        self.paths = self.walk.full()
        self.helper = helper.for_files(self.paths, self.scanner)

    def dismiss(self) -> None:
        """For whoever cannot go on with it."""
        if self.helper is not None:
            self.helper.dismiss()


class Since:
    """The same for a reader that knows them all, from a look that was shown nothing missing: only what changed since is listed."""

    whole = False
    helper = None

    def __init__(self, folders: Iterable[str], seen: Look, *, threshold: Threshold = lambda model, at: None, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self.scanner = Scanner(threshold)
        self.walk = Walk(roots_of(folders), clock_ns=clock_ns)
        self.walk.resume(seen.folders)
        self.paths = list(dict.fromkeys([*seen.changed_files, *self.walk.look_into(seen.changed_folders)]))

    def dismiss(self) -> None:
        """There is nothing to end."""
