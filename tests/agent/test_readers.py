from __future__ import annotations

from pathlib import Path

import pytest

from local_agent.archive import Archive
from local_agent.readers import build_readers, desktop_sessions
from local_agent.settings import Settings
from tests.agent.trackers import NOW, Tracker, a_row


def names(settings: Settings) -> list[str]:
    return [reader.name for reader in build_readers(settings)]


def test_nothing_is_read_but_what_was_named(tmp_path):
    assert names(Settings(home=tmp_path, no_defaults=True)) == ["statusline", "imports"]
    assert names(Settings(home=tmp_path, codex=tmp_path, no_defaults=True)) == ["codex", "statusline", "imports"]
    assert names(Settings(home=tmp_path, transcripts=(tmp_path,), no_defaults=True)) == ["claude_code", "statusline", "imports"]


def test_readers_have_names_of_their_own(tmp_path):
    files = [tmp_path / "a" / "t.db", tmp_path / "b" / "t.db", tmp_path / "u.db"]
    found = names(Settings(home=tmp_path, trackers=tuple(files), no_defaults=True))
    assert found == ["tracker t.db", "tracker t.db 2", "tracker u.db", "statusline", "imports"]


def test_every_reader_looks_at_an_empty_machine_without_complaint(tmp_path):
    archive = Archive(tmp_path / "archive.db", source="laptop", clock=lambda: NOW)
    nowhere = tmp_path / "nowhere"
    settings = Settings(home=tmp_path, trackers=(nowhere / "t.db",), transcripts=(nowhere,), codex=nowhere, gemini=nowhere, opencode=nowhere)
    for reader in build_readers(settings, user=nowhere):
        report = reader.poll(archive, NOW)
        assert (report.state, report.changed) == ("absent", 0), reader.name
        assert all(isinstance(path, Path) for path in reader.watch_paths())
    archive.close()


def test_a_trackers_zone_is_the_one_that_was_set(tmp_path):
    archive = Archive(tmp_path / "archive.db", source="laptop", clock=lambda: NOW)
    tracker = Tracker(tmp_path / "t.db")
    tracker.write(**a_row(1, start_time="2026-07-01T12:00:00", end_time=None))
    [reader, *_] = build_readers(Settings(home=tmp_path, trackers=(tracker.path,), tracker_tz="Asia/Kathmandu", no_defaults=True))
    reader.poll(archive, NOW)
    [row] = archive.store.rows("local", "laptop", kind="session")
    assert '"start_time":1782886500000' in row.body
    archive.close()


@pytest.mark.parametrize(("system", "place"), [
    ("Darwin", "Library/Application Support/Claude/local-agent-mode-sessions"), ("Linux", ".config/Claude/local-agent-mode-sessions"),
    ("Windows", "AppData/Roaming/Claude/local-agent-mode-sessions"),
])
def test_claude_desktop_is_looked_for_where_each_system_has_it(system, place):
    assert desktop_sessions(Path("/home/ada"), system) == Path("/home/ada") / place
