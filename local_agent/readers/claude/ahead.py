"""A first look that begins before the archive is open: what must be read is known then, and reading can start."""
from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from local_agent.readers.claude import helper
from local_agent.readers.claude.pack import Threshold
from local_agent.readers.claude.scan import Scanner
from local_agent.readers.claude.walk import Walk, roots_of


class Ahead:
    """The transcripts below *folders*, for a reader that knows none of them yet. *helper* reads already, if there is one."""

    def __init__(self, folders: Iterable[str], *, threshold: Threshold = lambda model, at: None, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self.scanner = Scanner(threshold)
        self.walk = Walk(roots_of(folders), clock_ns=clock_ns)
        self.paths = self.walk.full()
        self.helper = helper.for_files(self.paths, self.scanner)

    def dismiss(self) -> None:
        """For whoever cannot go on with it."""
        if self.helper is not None:
            self.helper.dismiss()
