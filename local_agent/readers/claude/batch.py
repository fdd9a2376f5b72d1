"""What one reading of a file found, as plain numbers and names: it may come from another process."""
from __future__ import annotations

from array import array

from local_agent.readers.claude.tables import WIDTH
from local_agent.readers.claude.tally import Run

Kind = tuple[str | None, str | None, str | None, str | None, int, bool]
"""Model, speed, tier, region, above how long a prompt (0: not so long), and whether no cost is reported."""
Part = tuple[str | None, str | None, int, int, int]
"""What a file says of a session beside its answers: folder, branch and when, and when its last prompt was made and how long it was."""


class Batch:
    """*end* is behind the last complete line; *more* says that there is more to read.

    *words* are the lines that may count, as tables.py has them, but sessions and classes are places in *sessions* (empty: the
    file's own) and *kinds*; *runs* is what they add up to. *loose* is an answer in a last line that has no end yet: it
    counts for now and is looked at again.
    """

    __slots__ = ("end", "errors", "head", "kinds", "loose", "more", "parts", "runs", "sessions", "skipped", "start", "tail", "title", "words")

    def __init__(self, start: int) -> None:
        self.start = self.end = start
        self.more = False
        self.words: array[int] = array("q")
        self.sessions: list[str] = []
        self.kinds: list[Kind] = []
        self.runs: list[Run] = []
        self.loose: array[int] | None = None
        self.parts: dict[str, Part] = {}
        self.title: str | None = None
        self.errors: list[bytes] = []
        self.skipped: dict[str, int] = {}
        self.head = self.tail = b""

    def skip(self, reason: str) -> None:
        self.skipped[reason] = self.skipped.get(reason, 0) + 1

    @property
    def lines(self) -> int:
        return len(self.words) // WIDTH

    def plain(self) -> tuple[object, ...]:
        """As values that any process understands."""
        return (
            self.start, self.end, self.more, self.words.tobytes(), self.sessions, self.kinds, self.runs,
            None if self.loose is None else self.loose.tobytes(), self.parts, self.title, self.errors, self.skipped, self.head, self.tail,
        )  # fmt: skip

    @classmethod
    def of(cls, plain: tuple) -> Batch:  # type: ignore[type-arg]
        batch = cls(0)
        (
            batch.start, batch.end, batch.more, words, batch.sessions, batch.kinds, batch.runs,
            loose, batch.parts, batch.title, batch.errors, batch.skipped, batch.head, batch.tail,
        ) = plain  # fmt: skip
        batch.words = array("q", words)
        batch.loose = None if loose is None else array("q", loose)
        return batch
