"""One part of the bench in a process of its own: a program's peak memory begins with that of whoever started it."""
from __future__ import annotations

import importlib
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from bench.table import Figure


def figures_of(part: str) -> list[Figure]:
    """The figures of *part*. Raises what it raised."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        return alone.submit(_figures, part).result()


def _figures(part: str) -> list[Figure]:
    found: list[Figure] = importlib.import_module(f"bench.{part}").figures()
    return found
