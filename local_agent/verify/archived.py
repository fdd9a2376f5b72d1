"""What an archive holds of Claude Code's sessions, at ccusage's prices."""
from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ledger.account import DEFAULT
from ledger.blocks import windows_of
from local_agent.archive import LOCAL, Archive
from local_agent.verify.ccusage import Prices
from local_agent.verify.units import Piece

TYPE = "claude_code"
Session = tuple[str, str, list[list[Any]]]
"""(its name, its account, its usage rows)"""
Windows = Mapping[str, list[tuple[int, int]]]
"""By account, the five-hour windows whose resets the tool reported."""


def sessions(archive: Archive) -> list[Session]:
    """Every session that was read from transcripts, with all its usage."""
    older: dict[str, list[list[Any]]] = {}
    for row in archive.store.rows(LOCAL, archive.source, kind="usage"):
        body = json.loads(row.body)
        older.setdefault(body["session"], []).extend(body["usage"])
    found = []
    for row in archive.store.rows(LOCAL, archive.source, kind="session"):
        body = json.loads(row.body)
        if body.get("session_type") == TYPE and body.get("provenance") == "observed":
            found.append((body["id"], body.get("account") or DEFAULT, [*older.get(row.ref.id, []), *body.get("usage", [])]))
    return found


def windows(archive: Archive) -> Windows:
    resets: dict[str, set[int]] = {}
    for row in archive.store.rows(LOCAL, archive.source, kind="limit"):
        body = json.loads(row.body)
        if body.get("tool") == TYPE and body.get("window") == "five_hour":
            resets.setdefault(body.get("account") or DEFAULT, set()).update(body.get("earlier", ()), [body["resets_at"]])
    return {account: windows_of(found) for account, found in resets.items()}


def models(found: list[Session]) -> Iterator[tuple[str, bool]]:
    return ((row[3], "fast" in row[4].split("+")) for _, _, rows in found for row in rows)


def pieces(found: list[Session], prices: Prices) -> list[Piece]:
    return [_piece(name, row, prices) for name, _, rows in found for row in rows]


def _piece(name: str, row: list[Any], prices: Prices) -> Piece:
    _, first, last, model, price_class, *counts, _, _ = row
    flags = price_class.split("+")
    five = (counts[0], counts[1], counts[2], counts[3], counts[4])
    cost = prices.plain(model, "fast" in flags, five, long=any(flag.startswith("long:") for flag in flags))
    return Piece(first, last, name, five, cost)
