"""How much of its names a machine tells a relay: all of them, aliases that only it can make, sealed text, or none.

The archive on this machine holds plain names, and localhost shows them. What is decided here is applied where a record
leaves. Prompts, answers and whole paths are in no record, so there is nothing of them to hide here.
"""
from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b
from typing import Any

from ledger.record import hash_of
from local_agent.fastjson import MsgspecError, decode, encode
from local_agent.push.sealing import Seal
from local_agent.tidy import SECRET_FIELDS, clean

NAMES, ALIASES, SEALED, NONE = "names", "aliases", "sealed", "none"
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ][\d:.]+(Z|[+-]\d\d:\d\d)?")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_FOLDED_PATH = re.compile(r"(?<!\S)-\S+")
"""Claude Code names a project's folder after its whole path, every separator written as a dash."""
TRACKER = "tracker "
"""How a reader's name begins where there are several trackers; then comes the name of its file."""
LONGEST_SEALED = 336
"""Bytes of a name that is sealed: with nonce, tag and base64 no longer than relays let a name be."""


@dataclass(frozen=True, slots=True)
class Privacy:
    """*key* is known to this machine alone, so an alias cannot be guessed by hashing likely names. *seal* is there if names are sealed."""

    mode: str = NAMES
    key: bytes = field(default=b"", repr=False)
    seal: Seal | None = field(default=None, repr=False)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of records that may not leave as they are."""
        return ("machine",) if self.mode == NAMES else tuple(TELL)

    def outward(self, kind: str, id: str, body: str, hash: int) -> tuple[str, int]:
        """The record's text as it may leave this machine, and its hash."""
        if kind not in self.kinds:
            return body, hash
        before = readable(body)
        known = fields(kind)
        after = {name: value for name, value in TELL[kind](self, before).items() if name in known}
        if after == before:
            return body, hash
        text = encode(after).decode()
        return text, hash_of(kind, id, text)

    def name(self, field: str, text: str | None) -> str | None:
        """One name as it may leave; None: not at all."""
        if not text or self.mode == NONE:
            return None
        if self.mode == ALIASES:
            return self.alias(SECRET_FIELDS[field], text)
        if self.mode == SEALED:
            assert self.seal is not None
            return self.seal.sealed(field, cut(text, LONGEST_SEALED))
        return text

    def alias(self, word: str, text: str) -> str:
        """The alias of a name; an alias stays what it is."""
        if re.fullmatch(word + "-[0-9a-f]{8}", text):
            return text
        told = f"{word} {text}".encode("utf-8", "replace")
        return f"{word}-{blake2b(told, key=self.key[:64], digest_size=4).hexdigest()}"

    def session(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Names by the rule; a tracker's free text, and an id that could be anything, not at all."""
        shown = {name: value for name, value in body.items() if name not in (*SECRET_FIELDS, "metadata", "columns")}
        shown |= {name: self.name(name, clean(body.get(name))) for name in SECRET_FIELDS}
        shown["columns"] = without_text(body.get("columns"))
        if not _UUID.fullmatch(str(body.get("conversation_id") or "")):
            shown.pop("conversation_id", None)
        return {name: value for name, value in shown.items() if value not in (None, "", {}, [])}

    def block(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A tracker's block without its free text."""
        shown = {**body, "columns": without_text(body.get("columns"))}
        return {name: value for name, value in shown.items() if value != {}}

    def day(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A day that was imported, its projects by the rule."""
        rows = body.get("rows")
        return {**body, "rows": [self._day_row(row) for row in rows if isinstance(row, list)] if isinstance(rows, list) else []}

    def _day_row(self, row: list[Any]) -> list[Any]:
        name = row[3] if len(row) > 3 else None
        return [*row[:3], self.name("project", clean(name)), *row[4:]] if name else row

    def machine(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """What readers say of trouble names files and folders; what state they are in does not."""
        reports = mapping(body.get("readers"))
        called = self.readers(reports)
        readers = {called[name]: self._reader(report) for name, report in reports.items()}
        return {**body, "readers": readers} if readers else dict(body)

    def readers(self, names: Iterable[str]) -> dict[str, str]:
        """What all these readers are called elsewhere. Of several trackers each is named after its file, which may not leave."""
        told = {name: name for name in names}
        if self.mode == NAMES:
            return told
        return told | {name: f"{TRACKER}{number}" for number, name in enumerate(sorted(name for name in told if name.startswith(TRACKER)), 1)}

    def _reader(self, report: object) -> dict[str, Any]:
        shown = {name: value for name, value in mapping(report).items() if name != "detail"}
        detail = mapping(report).get("detail")
        return shown | {"detail": _FOLDED_PATH.sub("a project's folder", str(detail))} if detail and self.mode == NAMES else shown


TELL = {"session": Privacy.session, "block": Privacy.block, "day": Privacy.day, "machine": Privacy.machine}
"""Records that may name things."""


@cache
def fields(kind: str) -> frozenset[str]:
    """What the schema of a kind names; whatever else stands in a body stays here."""
    from ledger.bodies import KINDS

    return frozenset(KINDS[kind].__struct_fields__)


def readable(body: str) -> dict[str, Any]:
    """A body's members; of what is damaged nothing is told."""
    try:
        found = decode(body)
    except MsgspecError:
        return {}
    return mapping(found)


def mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def cut(text: str, most: int) -> str:
    """*text* in at most *most* bytes of UTF-8, no letter torn."""
    return text.encode("utf-8", "replace")[:most].decode("utf-8", "ignore")


def without_text(value: object) -> dict[str, object]:
    """Numbers and times tell no names; text may."""
    if not isinstance(value, Mapping):
        return {}
    return {name: each for name, each in value.items() if isinstance(each, (bool, int, float)) or (isinstance(each, str) and _TIME.fullmatch(each))}
