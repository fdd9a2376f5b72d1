"""What is left of sessions that are older than a relay keeps."""
from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.record import Record, Ref
from ledger.times import DAY
from local_agent.archive import LOCAL, Archive
from local_agent.push.horizon import Aged, DayHorizon, days_of, oldest_kept
from local_agent.push.mirror import Mirror

TODAY = 1_795_000_000_000
HOUR = 3_600_000


def a_session(at: int, *, tokens: int = 100, project: str = "shop", more: int | None = None) -> str:
    body = {"id": "x", "session_type": "claude_code", "start_time": at, "last_activity": at + HOUR, "project": project,
            "usage": [[at - at % 900_000, at, at + 5, "opus", "standard", tokens, 1, 0, 2, 3, 1, None]]}  # fmt: skip
    return json.dumps(body | ({"more": more} if more else {}), separators=(",", ":"))


class Laptop:
    def __init__(self, folder: Path) -> None:
        self.archive = Archive(folder / "archive.db", source="me", clock=lambda: TODAY)
        self.mirror = Mirror(self.archive.store, tenant=LOCAL, source="me")
        self.horizon = DayHorizon(self.archive.store, self.mirror, tenant=LOCAL, source="me", tz="Europe/Berlin")

    def write(self, id: str, body: str, kind: str = "session") -> None:
        with self.archive.step() as step:
            step.put(Record(kind, id, body))

    def truth(self, now: int = TODAY) -> dict[tuple[str, str], str | None]:
        self.horizon.refresh(now)
        return {(change.ref.kind, change.ref.id): change.body for change in self.mirror.difference(1000)}

    def kinds(self, now: int = TODAY) -> list[tuple[str, str]]:
        return sorted(self.truth(now))


@pytest.fixture
def laptop(tmp_path: Path) -> Iterator[Laptop]:
    made = Laptop(tmp_path)
    yield made
    made.archive.close()


def test_a_relay_that_keeps_everything_gets_everything(laptop: Laptop) -> None:
    laptop.write("old", a_session(TODAY - 900 * DAY))
    laptop.mirror.note(keep_days=None)
    assert laptop.kinds() == [("session", "old")]


def test_what_the_tool_said_it_cost_is_added_up_by_day_and_stays_unknown_where_nobody_said() -> None:
    def row(hour: int, reported: float | None, model: str = "opus") -> tuple[object, ...]:
        at = TODAY + hour * HOUR
        return at, at, at, model, "standard", 1, 0, 0, 0, 0, 1, reported

    [rows] = days_of([Aged("claude_code", "shop", (row(0, 0.1), row(1, 0.2), row(2, None), row(3, None, "haiku")))], "UTC").values()
    assert {one[1]: one[-1] for one in rows} == {"opus": 0.3, "haiku": None}


def test_an_old_session_becomes_a_day(laptop: Laptop) -> None:
    laptop.write("old", a_session(TODAY - 40 * DAY))
    laptop.write("new", a_session(TODAY - 3 * DAY))
    laptop.mirror.note(keep_days=30)
    found = laptop.truth()
    [day] = [ref for ref in found if ref[0] == "day"]
    assert sorted(found) == sorted([day, ("session", "new")])
    assert json.loads(found[day] or "") == {
        "date": day[1], "tz": "Europe/Berlin", "rows": [["claude_code", "opus", "standard", "shop", 100, 1, 0, 2, 3, 1, None]]
    }  # fmt: skip


def test_what_the_relay_had_of_it_is_deleted_in_the_ordinary_way(laptop: Laptop) -> None:
    laptop.write("old", a_session(TODAY - 40 * DAY))
    with laptop.archive.store.transaction() as sql:
        sql.execute("INSERT INTO mirror_rows SELECT kind, id, hash FROM ledger_rows")
    assert laptop.truth() == {}
    laptop.mirror.note(keep_days=30)
    found = laptop.truth()
    assert found[("session", "old")] is None
    assert len(found) == 2


def test_its_older_usage_goes_with_it(laptop: Laptop) -> None:
    at = TODAY - 40 * DAY
    laptop.write("old", a_session(at, more=1))
    usage = {"session": "old", "usage": [[at - DAY, at - DAY, at, "haiku", "standard", 7, 0, 0, 0, 0, 1, 0.25]]}
    laptop.write("old/1", json.dumps(usage), kind="usage")
    laptop.mirror.note(keep_days=30)
    found = laptop.truth()
    assert [kind for kind, _ in sorted(found)] == ["day", "day"]
    assert sorted(json.loads(body or "")["rows"][0][1] for body in found.values()) == ["haiku", "opus"]


def test_a_resumed_session_comes_back_and_its_day_goes(laptop: Laptop) -> None:
    laptop.write("old", a_session(TODAY - 40 * DAY))
    laptop.mirror.note(keep_days=30)
    assert [kind for kind, _ in laptop.kinds()] == ["day"]
    laptop.write("old", a_session(TODAY - DAY))
    assert laptop.kinds() == [("session", "old")]


def test_a_forgotten_old_session_leaves_its_day_too(laptop: Laptop) -> None:
    laptop.write("old", a_session(TODAY - 40 * DAY))
    laptop.write("older", a_session(TODAY - 40 * DAY, project="secret"))
    laptop.mirror.note(keep_days=30)
    laptop.truth()
    laptop.archive.forget(Ref("session", "older"))
    [body] = laptop.truth().values()
    assert "secret" not in (body or "")


def test_sessions_age_as_days_pass_with_no_change_at_all(laptop: Laptop) -> None:
    laptop.write("s", a_session(TODAY))
    laptop.mirror.note(keep_days=30)
    assert laptop.kinds(TODAY) == [("session", "s")]
    assert [kind for kind, _ in laptop.kinds(TODAY + 32 * DAY)] == ["day"]
    laptop.mirror.note(keep_days=400)
    assert laptop.kinds(TODAY + 32 * DAY) == [("session", "s")]


def test_a_session_found_later_that_is_already_old_is_aged_at_once(laptop: Laptop) -> None:
    laptop.mirror.note(keep_days=30)
    laptop.truth()
    laptop.write("old", a_session(TODAY - 40 * DAY))
    assert [kind for kind, _ in laptop.kinds()] == ["day"]


def test_records_that_are_no_sessions_stay(laptop: Laptop) -> None:
    laptop.write("me", "{}", kind="machine")
    laptop.write("l", '{"resets_at":5}', kind="limit")
    laptop.mirror.note(keep_days=1)
    assert laptop.kinds() == [("limit", "l"), ("machine", "me")]


def test_days_are_those_of_the_machines_zone() -> None:
    late = 1_760_000_000_000 - 1_760_000_000_000 % DAY + 23 * HOUR
    aged = [Aged("codex", "p", ((late, late, late, "m", "standard", 1, 0, 0, 0, 0, 1, None),))]
    assert list(days_of(aged, "UTC")) == ["2025-10-09"]
    assert list(days_of(aged, "Asia/Tokyo")) == ["2025-10-10"]


def test_the_edge_moves_once_a_day() -> None:
    assert oldest_kept(10 * DAY, 3) == oldest_kept(11 * DAY - 1, 3) == 7 * DAY


def test_day_totals_have_a_horizon_of_their_own(laptop: Laptop) -> None:
    laptop.write("old", a_session(TODAY - 40 * DAY))
    laptop.write("older", a_session(TODAY - 400 * DAY))
    laptop.mirror.note(keep_days=30, keep_totals_days=None)
    assert [kind for kind, _ in laptop.kinds()] == ["day", "day"]
    laptop.mirror.note(keep_totals_days=90)
    [(kind, date)] = laptop.kinds()
    assert (kind, date) == ("day", days_date(TODAY - 40 * DAY))
    laptop.mirror.note(keep_totals_days=None)
    assert len(laptop.kinds()) == 2  # nothing was lost: the archive keeps everything


def days_date(at: int) -> str:
    [date] = days_of([Aged("claude_code", "shop", ((at, at, at, "opus", "standard", 1, 1, 0, 0, 0, 1, None),))], "Europe/Berlin")
    return date
