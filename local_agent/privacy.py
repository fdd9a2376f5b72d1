"""How much of its names a session may tell: all of them, aliases that only this machine can make, or none.

Prompts and whole paths are never part of a body, so there is nothing of them to hide here.
"""
from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

NAMES, ALIASES, NONE = "names", "aliases", "none"
SECRET_FIELDS = {"project": "project", "title": "session", "git_branch": "branch"}
"""Fields that name things, and the word that an alias of each begins with."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ][\d:.]+(Z|[+-]\d\d:\d\d)?")
LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Privacy:
    """*key* is known to this machine alone, so an alias cannot be guessed by hashing likely names."""

    mode: str = NAMES
    key: bytes = field(default=b"", repr=False)

    def applied(self, body: Mapping[str, object]) -> dict[str, object]:
        """The body as it may leave this machine."""
        shown = dict(body)
        for name, word in SECRET_FIELDS.items():
            text = clean(shown.pop(name, None))
            if text and self.mode != NONE:
                shown[name] = text if self.mode == NAMES else self.alias(word, text)
        if self.mode != NAMES:
            for name in ("metadata", "columns"):
                shown[name] = _without_text(shown.pop(name, None))
        return {name: value for name, value in shown.items() if value not in (None, "", {}, [])}

    def alias(self, word: str, text: str) -> str:
        """The alias of a name; an alias stays what it is."""
        if re.fullmatch(word + "-[0-9a-f]{8}", text):
            return text
        told = f"{word} {text}".encode("utf-8", "replace")
        return f"{word}-{blake2b(told, key=self.key[:64], digest_size=4).hexdigest()}"


def clean(value: object) -> str:
    """A name on one line, without what terminals and pages would take for more than a name."""
    return _CONTROL.sub(" ", value).strip()[:LONGEST_NAME] if isinstance(value, str) else ""


def _without_text(value: object) -> object:
    """Numbers and times tell no names; text may."""
    if not isinstance(value, Mapping):
        return None
    return {name: each for name, each in value.items() if isinstance(each, (bool, int, float)) or (isinstance(each, str) and _TIME.fullmatch(each))}
