"""Tracker databases: what a session tracker wrote down, read as it stands and kept though its file may go.

A look at a tracker that nothing was committed to costs one question to SQLite. A look that fails changes
nothing: what is known stays, and only a complete scan of the same tracker can say that a row was deleted.
"""
from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path

from ledger.account import DEFAULT
from ledger.declared import ALIVE_MS
from local_agent.archive import Archive, Step
from local_agent.readers import handover, pathtext, sessions, tracker_known
from local_agent.readers.report import ABSENT, OK, UNREADABLE, Report
from local_agent.readers.tracker_dialects import Contents, Unreadable
from local_agent.readers.tracker_file import Scan, TrackerFile
from local_agent.readers.tracker_known import BLOCK, SESSION, Known, Verdict
from local_agent.readers.tracker_rows import Block, Session, block_of, body_of, key_of, qualified, session_of

STAYS = "what was known of it stays"


@dataclass(frozen=True, slots=True)
class Understood:
    """The rows of one scan, and how many of them make no sense by reason."""

    sessions: dict[str, Session]
    blocks: dict[str, Block]
    skipped: dict[str, int]

    def starts(self) -> Iterable[tuple[str, int]]:
        return ((each.id, int(str(each.facts["start_time"]))) for each in self.sessions.values())


class TrackerReader:
    """Reads one tracker database; *zone* is what its local times mean (None: this machine's zone), *account* whose sessions it tracks."""

    def __init__(
        self, path: Path, *, zone: tzinfo | None = None, name: str = "tracker", account: str = DEFAULT, file: TrackerFile | None = None
    ) -> None:
        self.name, self.path = name, path
        self._kept, self._shown = pathtext.kept(str(path)), pathtext.shown(path.name)
        self._zone, self._account = zone, account
        self._file = file or TrackerFile(path)
        self._prepared = False
        self._detail = ""
        self._tally: tuple[dict[str, int], dict[str, int]] | None = None

    def watch_paths(self) -> list[Path]:
        return [self.path.parent]

    def poll(self, archive: Archive, now_ms: int) -> Report:
        """Take over what changed. Never raises for anything that a tracker may hold or be."""
        if not self._prepared:
            with archive.step() as step:
                tracker_known.prepare(step.sql)
            self._prepared = True
        try:
            scan = self._file.look()
        except Unreadable as error:
            return self._blind(archive, now_ms, str(error))
        if scan is None:
            return self._report(archive, self._age(archive, now_ms), detail=self._detail)
        changed = self._take(archive, scan, now_ms)
        self._file.seen()
        self._tally = None
        return self._report(archive, changed, detail=self._detail)

    def close(self) -> None:
        self._file.close()

    def _blind(self, archive: Archive, now: int, why: str) -> Report:
        changed = self._age(archive, now)
        report = self._report(archive, changed, UNREADABLE, f"{self._shown}: {why}; {STAYS}")
        if report.counted or self.path.exists():
            return report
        return Report(state=ABSENT, detail=f"{self._shown}: {why}")

    def _report(self, archive: Archive, changed: int, state: str = OK, detail: str = "") -> Report:
        if changed or self._tally is None:
            database, path = archive.store.connection(), self._kept
            self._tally = tracker_known.counted(database, path), tracker_known.skipped(database, path)
        return Report(changed, state, detail, *self._tally)

    def _take(self, archive: Archive, scan: Scan, now: int) -> int:
        understood = understand(scan.contents, self._zone, self._account)
        path = self._kept
        with archive.step() as step:
            verdict = tracker_known.recognise(step.sql, archive.source, path, scan, understood.starts())
            known = tracker_known.rows_of(step.sql, verdict.tracker)
            changed = 0 if verdict.parted else _take_over(step, verdict, known, understood, now)
            tracker_known.keep_file(step.sql, verdict, path, scan.evidence.pages, understood.skipped)
        self._detail = f"{self._shown} holds no sessions any more; {STAYS}" if verdict.parted else ""
        return changed

    def _age(self, archive: Archive, now: int) -> int:
        """Rows that were shown as active for a day without a sign of life are stale from now on."""
        if not tracker_known.gone_stale(archive.store.connection(), self._kept, now):
            return 0
        with archive.step() as step:
            stale = tracker_known.gone_stale(step.sql, self._kept, now)
            for tracker, row in stale:
                facts = json.loads(row.facts)
                body = body_of(facts, claims=facts.pop("claims", False), alive=False)
                sessions.declare(step, tracker, key_of(tracker, row.id), body)
                tracker_known.keep(step.sql, tracker, Known(row.kind, row.id, row.start, None, row.facts))
        return len(stale)


def understand(contents: Contents, zone: tzinfo | None, account: str) -> Understood:
    """Every row as a right reader takes it; of two rows with one id the one in the newer table counts."""
    sessions: dict[str, Session] = {}
    blocks: dict[str, Block] = {}
    skipped: Counter[str] = Counter()
    for table, values in contents.sessions:
        session = session_of(values, table, zone, account)
        if isinstance(session, Session):
            sessions[session.id] = session
        else:
            skipped[session] += 1
    for table, values in contents.blocks:
        block = block_of(values, table, zone)
        if isinstance(block, Block):
            blocks[block.id] = block
        else:
            skipped[f"block with {block}"] += 1
    return Understood(sessions, blocks, dict(skipped))


def _take_over(
    step: Step, verdict: Verdict, known: Mapping[tuple[str, str], Known], understood: Understood, now: int
) -> int:
    changed = 0
    for session in understood.sessions.values():
        changed += _take_session(step, verdict.tracker, known.get((SESSION, session.id)), session, now)
    for block in understood.blocks.values():
        changed += _take_block(step, verdict.tracker, known.get((BLOCK, block.id)), block)
    if verdict.complete:
        changed += _delete_missing(step, verdict.tracker, known, understood)
    return changed


def _take_session(step: Step, tracker: str, before: Known | None, session: Session, now: int) -> bool:
    shown_until = session.sign + ALIVE_MS if session.alive(now) else None
    row = Known(SESSION, session.id, int(str(session.facts["start_time"])), shown_until, _text(session.facts, session.says_active))
    if row == before:
        return False
    sessions.declare(step, tracker, key_of(tracker, session.id), session.body(now))
    tracker_known.keep(step.sql, tracker, row)
    return True


def _take_block(step: Step, tracker: str, before: Known | None, block: Block) -> bool:
    row = Known(BLOCK, block.id, int(str(block.facts["start_time"])), None, _text(block.facts))
    if row == before:
        return False
    handover.put(step, BLOCK, qualified(tracker, block.id), {**block.facts, "tracker": tracker})
    tracker_known.keep(step.sql, tracker, row)
    return True


def _delete_missing(step: Step, tracker: str, known: Mapping[tuple[str, str], Known], understood: Understood) -> int:
    gone = [row for (kind, id), row in known.items() if id not in (understood.sessions if kind == SESSION else understood.blocks)]
    for row in gone:
        tracker_known.drop(step.sql, tracker, row)
        if row.kind == SESSION:
            sessions.withdraw(step, tracker, key_of(tracker, row.id))
        else:
            handover.delete(step, BLOCK, qualified(tracker, row.id))
    return len(gone)


def _text(facts: dict[str, object], claims: bool = False) -> str:
    return json.dumps({**facts, "claims": True} if claims else facts, separators=(",", ":"), ensure_ascii=False)

