"""The generators of inputs with known truth, which lie outside of this checkout; suites that need them skip where they are missing."""
from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GENERATORS = Path(os.environ.get("SESSION_RELAY_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def generate() -> Callable[..., None]:
    """Run one of the input generators: generate("gen_transcripts.py", seed, size, folder)."""
    if not GENERATORS.is_dir():
        pytest.skip(f"no input generators in {GENERATORS}: name their folder in SESSION_RELAY_DATA")

    def run(script: str, *words: object) -> None:
        subprocess.run([sys.executable, str(GENERATORS / script), *map(str, words)], check=True, capture_output=True)

    return run
