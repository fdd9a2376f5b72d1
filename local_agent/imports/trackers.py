"""A predecessor's database, taken over once instead of being followed."""
from __future__ import annotations

from collections.abc import Iterator
from datetime import tzinfo
from pathlib import Path

from ledger.account import DEFAULT
from ledger.errors import Misuse
from ledger.views.accounts import family
from local_agent.imports.items import BLOCK, SESSION, Item, LeftOut
from local_agent.readers.tracker import understand
from local_agent.readers.tracker_dialects import Unreadable
from local_agent.readers.tracker_file import TrackerFile
from local_agent.readers.tracker_rows import key_of, qualified

ORIGIN = "imported from a tracker"
PATIENCE_S = 5.0


def read(path: Path, zone: tzinfo | None, tracker: str, now_ms: int) -> Iterator[Item | LeftOut]:
    """Every session and block. *tracker* names the database where ids are unique only within it. Raises Misuse."""
    file = TrackerFile(path, patience_s=PATIENCE_S)
    try:
        scan = file.look()
    except Unreadable as error:
        raise Misuse(f"{path.name} cannot be imported: {error}") from None
    finally:
        file.close()
    assert scan is not None
    found = understand(scan.contents, zone, DEFAULT)
    for session in found.sessions.values():
        body = {**session.body(now_ms), "is_active": False, "origin": ORIGIN}
        body.pop("stale", None)
        start, last = int(str(body["start_time"])), int(str(body.get("last_activity") or body["start_time"]))
        yield Item(SESSION, key_of(tracker, session.id), family(str(body["session_type"])), start, max(start, last), body, session.id)
    for block in found.blocks.values():
        start = int(str(block.facts["start_time"]))
        columns = block.facts.get("columns")
        body = {**block.facts, "tracker": tracker, "columns": {**(columns if isinstance(columns, dict) else {}), "origin": ORIGIN}}
        yield Item(BLOCK, qualified(tracker, block.id), family(str(body.get("session_type") or "claude_code")), start, start, body, block.id)
    for why, count in found.skipped.items():
        for _ in range(count):
            yield LeftOut(f"a row with {why}")
