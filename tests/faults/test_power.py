"""The power goes: what was acknowledged is on the disk, and what was not is there whole or not at all."""
from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from ledger.stores import sqlite_file
from tests.faults.power import NAME, Disk, LosingVFS
from tests.long import count, counted, shares

ROWS = 20


def life(folder: Path, seed: int, synchronous: str) -> tuple[int, int, bool]:
    """Commits, and the power goes at one of their writes: how many were acknowledged by then, how many are there afterwards, and
    whether all that is there is whole and in order."""
    disk = Disk(seed)
    vfs = LosingVFS(disk)
    before, after = folder / f"before{seed}", folder / f"after{seed}"
    before.mkdir()
    after.mkdir()
    with closing(apsw.Connection(str(before / "ledger.db"), vfs=NAME)) as database, closing(apsw.Connection(str(before / "ledger.db"), vfs=NAME)) as settling:
        work(database, settling, disk, synchronous)
    disk.lose_power(after)
    vfs.unregister()
    with closing(apsw.Connection(str(after / "ledger.db"))) as found:
        try:
            sound = found.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            rows = found.execute("SELECT seq, count(*) FROM ledger_rows GROUP BY seq ORDER BY seq").fetchall()
        except apsw.SQLError:  # the power went before there was a table
            rows = []
        except apsw.Error:
            return disk.then, 0, False
    return disk.then, len(rows), sound and rows == [(n, ROWS) for n in range(1, len(rows) + 1)]


def work(database: apsw.Connection, settling: apsw.Connection, disk: Disk, synchronous: str) -> None:
    """The ledger's own schema and settings, but for a log that is written back far more often, also by another connection."""
    database.execute("PRAGMA journal_mode = WAL")
    settling.execute(f"PRAGMA synchronous = {synchronous}")
    for pragma in (*sqlite_file._PRAGMAS, f"synchronous = {synchronous}", "wal_autocheckpoint = 20"):
        database.execute(f"PRAGMA {pragma}")
    database.execute("BEGIN IMMEDIATE")
    for statement in sqlite_file.SCHEMA.split(";"):
        database.execute(statement)
    database.execute("COMMIT")
    chance = disk.chance
    for seq in range(1, chance.randint(2, 30)):
        database.execute("BEGIN IMMEDIATE")
        for n in range(ROWS):
            database.execute(
                "INSERT INTO ledger_rows(tenant, source, kind, id, body, hash, lease, seq, code) VALUES('local', 'me', 'session', ?, ?, ?, 'l', ?, NULL)",
                (f"{seq}-{n}", "x" * chance.randint(10, 400), b"\0" * 32, seq),
            )
        database.execute("COMMIT")
        disk.acknowledged = seq
        if chance.random() < 0.3:
            settling.execute("PRAGMA wal_checkpoint(PASSIVE)")


@pytest.mark.fault(27)
@pytest.mark.parametrize("seeds", shares("power"), ids=str)
def test_what_was_acknowledged_survives_every_power_loss(seeds: range) -> None:
    with counted("power", len(seeds)), tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            acknowledged, survived, sound = life(Path(folder), seed, "FULL")
            assert sound and acknowledged <= survived <= acknowledged + 1, f"seed {seed}: {survived} of {acknowledged} survived, sound: {sound}"


@pytest.mark.fault(27)
def test_the_simulated_loss_is_real() -> None:
    """With NORMAL commits are lost, which a second reading mends; with OFF files are damaged too. So FULL is what saves them."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "normal").mkdir()
        (Path(folder) / "off").mkdir()
        normal = [life(Path(folder) / "normal", seed, "NORMAL") for seed in range(40)]
        off = [life(Path(folder) / "off", seed, "OFF") for seed in range(20)]
    assert all(sound for _, _, sound in normal) and sum(max(0, had - kept) for had, kept, _ in normal) > 5
    assert not all(sound for _, _, sound in off)


def test_as_many_losses_are_tried_as_are_said() -> None:
    assert sum(len(seeds) for seeds in shares("power")) == count("power")
