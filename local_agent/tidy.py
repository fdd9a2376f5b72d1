"""Names as the archive keeps them: on one line, not too long, without what terminals and pages would take for more than a name."""
from __future__ import annotations

import re
from collections.abc import Mapping

SECRET_FIELDS = {"project": "project", "title": "session", "git_branch": "branch"}
"""Fields that name things, and the word that an alias of each begins with."""
LONGEST_NAME = 200
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


def tidy(body: Mapping[str, object]) -> dict[str, object]:
    """A session's body as the archive keeps it: names on one line, nothing that is empty."""
    shown = dict(body)
    for name in SECRET_FIELDS:
        shown[name] = clean(shown.pop(name, None))
    return {name: value for name, value in shown.items() if value not in (None, "", {}, [])}


def clean(value: object) -> str:
    """A name on one line."""
    if not isinstance(value, str):
        return ""
    plain = value if value.isprintable() else _CONTROL.sub(" ", value)
    return plain.strip()[:LONGEST_NAME]
