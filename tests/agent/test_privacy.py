"""What of its names a record tells when it leaves; the archive itself holds them plainly."""
from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ledger import bodies
from ledger.record import Record, Ref, hash_of
from ledger.times import DAY
from local_agent.archive import LOCAL, Archive
from local_agent.push.horizon import DayHorizon
from local_agent.push.mirror import Mirror
from local_agent.push.privacy import Privacy
from local_agent.push.sealing import Seal

NOW = 1_780_000_000_000
KEY = bytes(range(32))
SEAL = Seal(KEY)
RULES = {"names": Privacy("names"), "aliases": Privacy("aliases", key=KEY), "sealed": Privacy("sealed", seal=SEAL), "none": Privacy("none")}
SESSION = {
    "id": "s", "session_type": "claude_code", "start_time": NOW - 5000, "last_activity": NOW, "conversation_id": "the secret one",
    "metadata": {"description": "a secret plan", "efficiency": 0.5}, "columns": {"cost_estimate": 0.5, "updated_at": "2026-01-01T00:00:00.000Z", "note": "my secret"},
    "provenance": "observed", "usage": [[NOW - NOW % 900_000, NOW, NOW, "opus", "standard", 1, 2, 0, 0, 0, 1, None]],
    "project": "atlas", "title": "Mend the relay", "git_branch": "main",
}  # fmt: skip


class Laptop:
    """An archive and what the relay has of it."""

    def __init__(self, path: Path, privacy: str) -> None:
        self.archive = Archive(path, source="me", clock=lambda: NOW)
        rule = RULES[privacy]
        self.mirror = Mirror(self.archive.store, tenant=LOCAL, source="me", leaving=rule)
        self.horizon = DayHorizon(self.archive.store, self.mirror, tenant=LOCAL, source="me", tz="UTC", project=lambda name: rule.name("project", name))

    def keep(self, body: dict[str, Any], kind: str = "session", id: str = "s") -> None:
        with self.archive.step() as step:
            step.put(Record(kind, id, json.dumps(body)))

    def leaves(self) -> dict[tuple[str, str], dict[str, Any]]:
        """What would be pushed now; then it counts as pushed."""
        self.horizon.refresh(NOW)
        changes = self.mirror.difference(90)
        with self.archive.store.transaction() as sql:
            for change in changes:
                assert change.body is None or change.hash == hash_of(change.ref.kind, change.ref.id, change.body)
                sql.execute("INSERT OR REPLACE INTO mirror_rows VALUES(?, ?, ?)", (change.ref.kind, change.ref.id, change.hash.to_bytes(32, "big")))
        assert self.mirror.difference(90) == [], "what was pushed is pushed once"
        return {(change.ref.kind, change.ref.id): json.loads(change.body or "null") for change in changes}

    def close(self) -> None:
        self.archive.close()


def opened(path: Path, privacy: str) -> Any:
    return closing(Laptop(path, privacy))


@pytest.fixture(params=sorted(RULES))
def laptop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Laptop]:
    with opened(tmp_path / "archive.db", request.param) as found:
        yield found


def test_the_archive_holds_plain_names_whatever_leaves(laptop: Laptop) -> None:
    laptop.keep(SESSION)
    laptop.leaves()
    assert json.loads(laptop.archive.get(Ref("session", "s")) or "") == SESSION


def test_names_leave_by_the_rule(tmp_path: Path) -> None:
    told = {}
    for privacy in RULES:
        with opened(tmp_path / privacy, privacy) as laptop:
            laptop.keep(SESSION)
            told[privacy] = laptop.leaves()["session", "s"]
    assert told["names"] == SESSION
    assert [told["aliases"][name].partition("-")[0] for name in ("project", "title", "git_branch")] == ["project", "session", "branch"]
    assert {name: SEAL.opened(name, told["sealed"][name]) for name in ("project", "title", "git_branch")} == {
        "project": "atlas", "title": "Mend the relay", "git_branch": "main"
    }  # fmt: skip
    assert not {"project", "title", "git_branch"} & told["none"].keys()


@pytest.mark.parametrize("privacy", ["aliases", "sealed", "none"])
def test_free_text_of_trackers_does_not_leave_at_all(tmp_path: Path, privacy: str) -> None:
    with opened(tmp_path / "a.db", privacy) as laptop:
        laptop.keep(SESSION)
        laptop.keep({"id": "b", "start_time": NOW, "columns": {"note": "my secret", "n": 1}}, "block", "b")
        found = laptop.leaves()
    assert found["session", "s"]["columns"] == {"cost_estimate": 0.5, "updated_at": "2026-01-01T00:00:00.000Z"}
    assert found["block", "b"]["columns"] == {"n": 1}
    assert not any(word in str(found) for word in ("secret", "atlas", "Mend", "main"))


@pytest.mark.parametrize("privacy", sorted(RULES))
def test_a_conversation_keeps_its_id_where_it_is_one(tmp_path: Path, privacy: str) -> None:
    with opened(tmp_path / "a.db", privacy) as laptop:
        laptop.keep(SESSION | {"conversation_id": "11111111-1111-4111-8111-111111111111"})
        assert laptop.leaves()["session", "s"]["conversation_id"] == "11111111-1111-4111-8111-111111111111"


@pytest.mark.parametrize("privacy", sorted(RULES))
def test_readers_tell_what_state_they_are_in_and_no_path_of_a_project(tmp_path: Path, privacy: str) -> None:
    report = {"state": "unreadable", "detail": "cannot read -home-alice-atlas: check their permissions", "skipped": {"no permission": 1}}
    with opened(tmp_path / "a.db", privacy) as laptop:
        laptop.keep({"name": "laptop", "readers": {"claude_code": report}}, "machine", "me")
        told = laptop.leaves()["machine", "me"]["readers"]["claude_code"]
    assert told["state"] == "unreadable" and told["skipped"] == {"no permission": 1}
    assert "atlas" not in str(told) and ("detail" in told) == (privacy == "names")


def test_of_several_trackers_the_files_are_named_only_if_names_may_leave(tmp_path: Path) -> None:
    for privacy in sorted(RULES):
        with opened(tmp_path / f"{privacy}.db", privacy) as laptop:
            laptop.keep({"name": "laptop", "readers": {"codex": {"state": "ok"}, "tracker b.db": {"state": "ok"}, "tracker a.db": {"state": "unreadable"}}}, "machine", "me")
            told = {name: report["state"] for name, report in laptop.leaves()["machine", "me"]["readers"].items()}
        files = {"tracker a.db": "unreadable", "tracker b.db": "ok"} if privacy == "names" else {"tracker 1": "unreadable", "tracker 2": "ok"}
        assert told == {"codex": "ok", **files}


@pytest.mark.parametrize("privacies", list(itertools.permutations(sorted(RULES), 2)))
def test_another_rule_tells_every_session_anew_and_nothing_else(tmp_path: Path, privacies: tuple[str, str]) -> None:
    with opened(tmp_path / "a.db", privacies[0]) as laptop:
        laptop.keep(SESSION)
        laptop.keep({"window": "five_hour", "used_percent": 1, "observed_at": NOW}, "limit", "l")
        before = laptop.leaves()
    with opened(tmp_path / "a.db", privacies[1]) as laptop:
        after = laptop.leaves()
    assert len(before) == 2 and list(after) == [("session", "s")]
    assert after["session", "s"].get("project") != before["session", "s"].get("project")


def test_only_this_machine_can_tell_which_name_an_alias_stands_for() -> None:
    """Whoever could make an alias of a likely name could find out which projects there are."""
    ours, theirs, nobody_s = (Privacy("aliases", key=key).alias("project", "atlas") for key in (KEY, bytes(32), b""))
    assert ours == Privacy("aliases", key=KEY).alias("project", "atlas")
    assert len({ours, theirs, nobody_s}) == 3, "without the key the same name leads to another alias"


def test_an_alias_stays_one_and_names_that_were_none_stay_none(tmp_path: Path) -> None:
    with opened(tmp_path / "a.db", "aliases") as laptop:
        laptop.keep(SESSION | {"project": "project-0123abcd", "title": ""})
        told = laptop.leaves()["session", "s"]
    assert told["project"] == "project-0123abcd" and "title" not in told


@pytest.mark.parametrize("privacy", sorted(RULES))
def test_days_of_old_sessions_name_projects_by_the_rule(tmp_path: Path, privacy: str) -> None:
    at = NOW - 40 * DAY
    with opened(tmp_path / "a.db", privacy) as laptop:
        laptop.mirror.note(keep_days=30)
        laptop.keep(SESSION | {"start_time": at, "last_activity": at})
        [day] = laptop.leaves().values()
        assert day["rows"][0][3] == (RULES[privacy].name("project", "atlas") or "")
        assert ("atlas" in str(day)) == (privacy == "names")


@pytest.mark.parametrize("privacy", sorted(RULES))
def test_days_that_were_imported_name_projects_by_the_rule(tmp_path: Path, privacy: str) -> None:
    row = ["claude_code", "opus", "standard", "atlas", 1, 2, 0, 0, 0, 1, None]
    with opened(tmp_path / "a.db", privacy) as laptop:
        laptop.keep({"date": "2026-01-01", "tz": "UTC", "rows": [row, [*row[:3], None, *row[4:]]]}, "day", "imported")
        told = laptop.leaves()["day", "imported"]["rows"]
    assert [each[3] for each in told] == [RULES[privacy].name("project", "atlas"), None]
    assert all(each[:3] + each[4:] == row[:3] + row[4:] for each in told)


@pytest.mark.parametrize("text", ["会" * 200, "🚀" * 200, "é" * 200, "x" * 200, "a\u0300" * 100])
@pytest.mark.parametrize("name", ["project", "title", "git_branch"])
def test_the_longest_sealed_name_is_one_that_relays_take(name: str, text: str) -> None:
    sealed = RULES["sealed"].name(name, text) or ""
    assert len(sealed) <= 512
    assert bodies.read("day", json.dumps({"date": "2026-01-01", "rows": [["t", "m", "c", sealed, 0, 0, 0, 0, 0, 0, None]]}))
    assert text.startswith(SEAL.opened(name, sealed)) and len(SEAL.opened(name, sealed)) >= 84


@pytest.mark.parametrize("body", ["", "[]", "7", "null", "{", '{"title": 5, "project": ["atlas"], "columns": "secret", "readers": 3}'])
@pytest.mark.parametrize("privacy", ["aliases", "sealed", "none"])
def test_of_a_damaged_record_nothing_is_told(privacy: str, body: str) -> None:
    for kind in ("session", "block"):
        text, _ = RULES[privacy].outward(kind, "s", body, 0)
        assert "atlas" not in text and "secret" not in text
