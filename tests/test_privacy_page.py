"""The published list of what leaves the laptop is the schemas' own."""
from __future__ import annotations

from tools import privacy


def test_the_list_of_fields_is_what_the_schemas_say() -> None:
    assert privacy.main(["--check"]) == 0, "run python -m tools.privacy"
