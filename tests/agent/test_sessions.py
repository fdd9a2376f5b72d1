"""One record a session, whoever tells of it and in whichever order; and how much of its names it tells."""
from __future__ import annotations

import itertools
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ledger.record import Ref
from local_agent.archive import LOCAL, Archive, Step
from local_agent.readers import sessions
from tests.agent.transcripts import NOW, Desk, Home, line

UUID = "11111111-1111-4111-8111-111111111111"
ROW = [NOW, NOW + 1, NOW + 2, "claude-opus-4-7", "standard", 1, 2, 3, 4, 5, 1, None]
SEEN = {"id": UUID, "session_type": "claude_code", "start_time": NOW, "estimated_tokens": 15, "project": "relay", "provenance": "observed", "usage": [ROW]}
TRACKED = {
    "id": "session_1", "session_type": "claude_code", "start_time": NOW - 5, "estimated_tokens": 999, "conversation_id": UUID, "title": "Mend it",
    "is_active": True, "columns": {"efficiency_score": 0.5}, "metadata": {"description": "told"}, "provenance": "declared", "usage": [],
}  # fmt: skip
KEY = "abcd1234:session_1"


def held(archive: Archive) -> dict[str, dict[str, Any]]:
    return {row.ref.id: json.loads(row.body) for row in archive.store.rows(LOCAL, "laptop", kind="session")}


def in_one_step(archive: Archive, *acts: Any) -> None:
    with archive.step() as step:
        for act in acts:
            act(step)


def see(step: Step) -> None:
    sessions.observe(step, UUID, SEEN)


def track(step: Step) -> None:
    sessions.declare(step, "abcd1234", KEY, TRACKED)


def track_by_id(step: Step) -> None:
    sessions.declare(step, "ffff0000", UUID, {**TRACKED, "id": UUID, "conversation_id": None, "git_branch": "main"})


def together(step: Step) -> None:
    see(step)
    track(step)


@pytest.mark.parametrize("acts", list(itertools.permutations((see, track, track_by_id))))
@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_forgotten_session_is_gone_whoever_told_of_it_and_whoever_tells_again(archive: Archive, acts: tuple[Any, ...], after: int) -> None:
    """Forgotten when so many of its sources had told of it; then all tell once more."""
    in_one_step(archive, *acts[:after])
    for name in held(archive):
        archive.forget(Ref("session", name))
    for act in acts:
        in_one_step(archive, act)
    assert held(archive) == {}
    archive.close()
    kept = archive.path.read_bytes()
    assert b"Mend it" not in kept and b"claude-opus-4-7" not in kept


@pytest.mark.parametrize("acts", list(itertools.permutations((see, track, track_by_id))))
@pytest.mark.parametrize("steps", [1, 3])
def test_a_session_seen_and_tracked_is_one_and_the_order_does_not_matter(archive: Archive, acts: tuple[Any, ...], steps: int) -> None:
    if steps == 1:
        in_one_step(archive, *acts)
    else:
        for act in acts:
            in_one_step(archive, act)
    found = held(archive)
    assert list(found) == [UUID]
    body = found[UUID]
    assert (body["estimated_tokens"], body["usage"], body["provenance"], body["project"]) == (15, [ROW], "observed", "relay")
    assert (body["title"], body["conversation_id"], body["columns"], body["is_active"]) == ("Mend it", UUID, {"efficiency_score": 0.5}, True)
    assert body["git_branch"] == "main"


def test_a_tracker_that_deletes_its_row_takes_back_only_what_it_told(archive: Archive) -> None:
    in_one_step(archive, see, track)
    in_one_step(archive, lambda step: sessions.withdraw(step, "abcd1234", KEY))
    assert held(archive) == {UUID: SEEN}


def test_a_row_that_only_its_tracker_knows_goes_with_its_tracker(archive: Archive) -> None:
    in_one_step(archive, track)
    assert list(held(archive)) == [KEY]
    in_one_step(archive, lambda step: sessions.withdraw(step, "abcd1234", KEY))
    assert held(archive) == {}


def test_a_row_that_two_trackers_have_stays_while_one_of_them_has_it(archive: Archive) -> None:
    for tracker, title in (("aaaa0001", "first"), ("bbbb0002", "second")):
        in_one_step(archive, lambda step, tracker=tracker, title=title: sessions.declare(step, tracker, UUID, {**TRACKED, "conversation_id": None, "title": title}))
    in_one_step(archive, lambda step: sessions.withdraw(step, "aaaa0001", UUID))
    assert held(archive)[UUID]["title"] == "second"
    in_one_step(archive, lambda step: sessions.withdraw(step, "bbbb0002", UUID))
    assert held(archive) == {}


def test_what_was_seen_may_turn_out_to_be_anothers_and_leaves_the_trackers_row(archive: Archive) -> None:
    in_one_step(archive, see, track)
    in_one_step(archive, lambda step: sessions.unobserve(step, UUID))
    assert list(held(archive)) == [KEY]


def test_a_row_that_names_another_conversation_is_moved_there(archive: Archive) -> None:
    in_one_step(archive, see, track)
    in_one_step(archive, lambda step: sessions.declare(step, "abcd1234", KEY, {**TRACKED, "conversation_id": "elsewhere"}))
    assert set(held(archive)) == {UUID, KEY}
    assert "title" not in held(archive)[UUID]


def test_a_tracker_adds_to_a_long_session_without_losing_its_older_usage(archive: Archive) -> None:
    rows = [[NOW + n, *ROW[1:]] for n in range(400)]
    in_one_step(archive, lambda step: sessions.observe(step, UUID, {**SEEN, "usage": rows}))
    in_one_step(archive, track)
    older = [json.loads(row.body)["usage"] for row in archive.store.rows(LOCAL, "laptop", kind="usage")]
    assert sorted([each for part in older for each in part] + held(archive)[UUID]["usage"]) == rows


def test_a_session_that_shrinks_leaves_no_older_usage_behind(archive: Archive) -> None:
    in_one_step(archive, lambda step: sessions.observe(step, UUID, {**SEEN, "usage": [ROW] * 400}))
    in_one_step(archive, see)
    assert list(archive.store.rows(LOCAL, "laptop", kind="usage")) == []


def test_a_forgotten_session_stays_forgotten_however_it_is_told(archive: Archive) -> None:
    in_one_step(archive, see)
    archive.forget(Ref("session", UUID))
    in_one_step(archive, see, track_by_id)
    assert held(archive) == {}


# -- names


@pytest.fixture
def home(tmp_path: Path) -> Home:
    found = Home(tmp_path / "claude")
    found.write(b'{"type":"summary","summary":"Mend the relay","leafUuid":"x"}', line("msg_a"))
    return found


def test_a_name_is_one_line_without_what_terminals_obey(home: Home, tmp_path: Path) -> None:
    home.write(b'{"type":"summary","summary":"red \\u001b[31m\\u2028 text\\n","leafUuid":"x"}')
    with closing(Desk(tmp_path / "a.db", home.folder)) as desk:
        desk.look()
        assert desk.bodies()[UUID]["title"] == "red  [31m  text"
