from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from local_agent.archive import Archive
from tests.agent.trackers import NOW


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    """A laptop's archive, at the moment of which trackers and transcripts of these tests tell."""
    with closing(Archive(tmp_path / "archive.db", source="laptop", clock=lambda: NOW)) as opened:
        yield opened
