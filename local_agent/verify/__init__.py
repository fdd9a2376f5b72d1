"""Our numbers beside ccusage's: day by day, session by session, block by block, every difference with its reason.

    python -m local_agent verify [--ccusage PATH] [--json]

0: everything is equal or explained by a named rule. 1: something is not, or ccusage is not there.
"""
from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from local_agent.verify import archived, transcript
from local_agent.verify.ccusage import PINNED, Ccusage, NoCcusage, Total, find
from local_agent.verify.compare import RULES, UNEXPLAINED, Difference, Evidence, differences
from local_agent.verify.shown import Shown
from local_agent.verify.unseen import unseen

if TYPE_CHECKING:
    from ledger.prices import PriceBook
    from local_agent.archive import Archive
    from local_agent.settings import Settings

SHOWN = 10
NOTHING = "there are no Claude Code transcripts to compare: name their folder with --transcripts DIR"


def main(settings: Settings, named: str | None, *, as_json: bool = False) -> int:
    """Compare and say so; *named* is ccusage's path. Raises NoCcusage where it cannot be asked."""
    program = Ccusage(find(named), roots_of(settings))
    if not program.roots:
        raise NoCcusage(NOTHING)
    result = compare(settings, program)
    sys.stdout.write((json.dumps(as_document(result), indent=2) if as_json else in_words(result)) + "\n")
    return 1 if any(UNEXPLAINED in each.rules for each in result.differences) else 0


def roots_of(settings: Settings) -> list[Path]:
    there = [folder for folder in settings.transcripts if (folder / "projects").is_dir() or (folder.name == "projects" and folder.is_dir())]
    return list({os.path.realpath(transcript.projects_of(folder)): folder for folder in reversed(there)}.values())[::-1]


class Result:
    """What was compared and what differed."""

    def __init__(self, version: str, reports: Mapping[str, Mapping[str, Total]], found: list[Difference]) -> None:
        self.version, self.reports, self.differences = version, reports, found


def compare(settings: Settings, program: Ccusage) -> Result:
    """Read what is new, ask ccusage, compare. What was written in between is looked at a second time."""
    from ledger.clock import now_ms
    from ledger.prices import PriceBook
    from local_agent.archive import Archive
    from local_agent.identity import open_identity

    archive = Archive(settings.archive, source=open_identity(settings.home).source, clock=now_ms)
    try:
        result = _once(settings, program, archive, PriceBook.load())
        if any(UNEXPLAINED in each.rules for each in result.differences):
            result = _once(settings, program, archive, PriceBook.load())
        return result
    finally:
        archive.close()


def _once(settings: Settings, program: Ccusage, archive: Archive, book: PriceBook) -> Result:
    _read(settings, archive)
    theirs = {"day": program.days(settings.tz), "session": program.sessions(), "block": program.blocks()}
    held, lines, anew = archived.sessions(archive), list(transcript.lines(program.roots)), _anew(program.roots, book)
    prices = program.prices({*archived.models(held), *archived.models(anew), *((line.model, line.fast) for line in lines)})

    def is_long(model: str, at: int, prompt: int) -> bool:
        threshold = book.long_threshold(model, at)
        return threshold is not None and prompt > threshold

    shown = Shown({name: account for name, account, _ in held}, archived.windows(archive))
    evidence = Evidence(
        lines, archived.pieces(held, prices), archived.pieces(anew, prices), unseen(archive.store.connection(), program.roots, lines), shown,
        prices, ZoneInfo(settings.tz), is_long,
    )  # fmt: skip
    return Result(program.version(), theirs, differences(evidence, theirs))


def _anew(roots: Sequence[Path], book: PriceBook) -> list[archived.Session]:
    """The sessions as somebody has them who reads the transcripts for the first time."""
    from ledger.clock import now_ms
    from local_agent.archive import Archive
    from local_agent.readers.claude_code import ClaudeReader

    with TemporaryDirectory() as folder, closing(Archive(Path(folder) / "anew.db", source="verify", clock=now_ms)) as archive:
        ClaudeReader(roots, book=book).poll(archive, now_ms())
        return archived.sessions(archive)


def _read(settings: Settings, archive: Archive) -> None:
    """Bring the archive up to date, unless a running agent does so anyway."""
    from local_agent.lock import HomeLock, Taken
    from local_agent.readers import build_readers

    try:
        with HomeLock(settings.home):
            for reader in build_readers(settings):
                if reader.name == archived.TYPE:
                    reader.poll(archive, archive.clock())
    except Taken:
        return


def in_words(result: Result) -> str:
    """The outcome for people."""
    lines = [f"compared with ccusage {result.version}" + ("" if result.version == PINNED else f" (the rules are those of {PINNED})")]
    for report, units in result.reports.items():
        found = [each for each in result.differences if each.report == report]
        open_ = sum(UNEXPLAINED in each.rules for each in found)
        equal = len(units.keys() - {each.unit for each in found})
        lines.append(f"  {report + 's':<9}{equal} equal, {len(found) - open_} explained, {open_} unexplained")
    counts = Counter(rule for each in result.differences for rule in each.rules if rule != UNEXPLAINED)
    lines += [f"  {count:>5} x {RULES[rule]}" for rule, count in counts.most_common()]
    unexplained = [each for each in result.differences if UNEXPLAINED in each.rules]
    lines += [f"  unexplained: {each.report} {each.unit}: ours {_said(each.ours)}, ccusage {_said(each.theirs)}" for each in unexplained[:SHOWN]]
    if unexplained:
        lines.append("please report what is unexplained; no prompt or path is in these lines")
    return "\n".join(lines)


def _said(total: Total) -> str:
    reading, writing, written, cached = total.tokens
    return f"{reading} in, {writing} out, {written} cache writes, {cached} cache reads, ${total.cost:.6f}"


def as_document(result: Result) -> dict[str, object]:
    return {
        "ccusage": result.version,
        "compared": {report: len(units) for report, units in result.reports.items()},
        "differences": [
            {"report": each.report, "unit": each.unit, "rules": list(each.rules), "ours": _document(each.ours), "ccusage": _document(each.theirs)}
            for each in result.differences
        ],
    }


def _document(total: Total) -> dict[str, object]:
    return {**dict(zip(("input", "output", "cache_write", "cache_read"), total.tokens, strict=True)), "cost": total.cost}
