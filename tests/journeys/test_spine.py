"""The whole way of a session: from tracker rows and transcript lines to the answers of both homes."""
from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ledger.stores import open_store
from tests.ledger.stores import empty, postgres_server
from tests.processes import Running, Site, get, site, until

KINDS = ("input", "output", "cache_write", "cache_read")


def empty_postgres() -> str:
    """The address of the tests' PostgreSQL, with nothing in it."""
    url = postgres_server()
    with closing(open_store(url)) as store:
        empty(store)
    return url


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def journey(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, generate: Callable[..., None]) -> Iterator[tuple[Site, Running, Running, str]]:
    store = empty_postgres() if request.param == "postgres" else None
    folder = tmp_path_factory.mktemp("spine")
    generate("gen_transcripts.py", 4711, "6MB", folder / "claude", "--no-edge")
    generate("make_trackers.py", 4711, folder / "trackers", "--tz", "America/New_York")
    with site(folder) as place:
        relay = place.relay(store=store)
        trackers = [word for path in sorted((folder / "trackers").glob("*.db")) for word in ("--tracker", str(path))]
        agent = place.agent(
            relay, place.key(relay, "push", source="laptop"), "agent", "--transcripts", str(folder / "claude"), "--tracker-tz", "America/New_York", *trackers
        )
        key = place.key(relay, "read")
        until(lambda: same_heads(agent, relay, key), "the relay agreeing with the agent", seconds=60)
        yield place, agent, relay, key


def same_heads(agent: Running, relay: Running, key: str) -> bool:
    ours, theirs = (get(f"{at.url}/api/sessions?limit=1", key=k)["total"] for at, k in ((agent, None), (relay, key)))
    return bool(ours) and ours == theirs


def all_sessions(url: str, key: str | None) -> list[dict[str, Any]]:
    found, cursor = [], ""
    while True:
        page = get(f"{url}/api/sessions?limit=500{cursor}", key=key)
        found += page["sessions"]
        if not page["next"]:
            return found
        cursor = f"&cursor={page['next']}"


@pytest.fixture(params=["agent", "relay"])
def home(request: pytest.FixtureRequest, journey: tuple[Site, Running, Running, str]) -> tuple[Path, str, str | None]:
    place, agent, relay, key = journey
    return (place.folder, agent.url, None) if request.param == "agent" else (place.folder, relay.url, key)


def test_every_transcript_token_is_counted_once_by_day_and_model(home: tuple[Path, str, str | None]) -> None:
    folder, url, key = home
    truth = json.loads((folder / "claude" / "truth.json").read_text())["randomSessions"]["byUtcDayAndModel"]
    expected = {(row["date"], row["model"]): tuple(row[n] for n in ("answers", "inputTokens", "outputTokens", "cacheCreationTokens", "cacheReadTokens")) for row in truth}
    counted: dict[tuple[str, str], list[int]] = {}
    for session in all_sessions(url, key):
        if session["provenance"] != "observed":
            continue
        for row in get(f"{url}/api/sessions/{session['key']}", key=key)["usage"]:
            model = row["model"] + ("-fast" if "fast" in row["price_class"] else "")
            total = counted.setdefault((row["at"][:10], model), [0] * 5)
            for place, amount in enumerate((row["requests"], row["input"], row["output"], row["cache_write_5m"] + row["cache_write_1h"], row["cache_read"])):
                total[place] += amount
    assert {name: tuple(values) for name, values in counted.items() if any(values)} == expected


def test_every_tracker_row_of_all_four_dialects_is_shown_as_it_is(home: tuple[Path, str, str | None]) -> None:
    folder, url, key = home
    truth = json.loads((folder / "trackers" / "truth.json").read_text())["databases"]
    expected = Counter(declared(row, row["tokens"]) for database in truth.values() for row in database["sessions"])
    shown = Counter(
        declared(row, {**row["tokens"], "cache_write": row["tokens"]["cache_write_5m"] + row["tokens"]["cache_write_1h"]})
        for row in all_sessions(url, key)
        if row["provenance"] == "declared"
    )
    assert shown == expected


def declared(row: dict[str, Any], tokens: dict[str, int]) -> tuple[object, ...]:
    split = tuple(tokens[kind] for kind in KINDS)
    return (
        row["id"], row["session_type"], row["start_time"], row["end_time"], row["total_messages"], tuple(sorted(row["models_used"])), row["estimated_tokens"],
        split, round(row["reported_cost"] or 0, 6), row["project"],
    )  # fmt: skip


def test_every_declared_block_is_shown(home: tuple[Path, str, str | None]) -> None:
    folder, url, key = home
    truth = json.loads((folder / "trackers" / "truth.json").read_text())["databases"]
    expected = Counter((b["id"], b["start_time"], b["total_tokens"], bool(b["is_complete"])) for database in truth.values() for b in database["blocks"])
    blocks = get(f"{url}/api/five-hour-blocks?limit=500", key=key)
    shown = Counter((b["id"], b["start_time"], b["total_tokens"], bool(b["is_complete"])) for b in blocks)
    assert not expected - shown


def test_skipped_rows_are_counted_and_named(home: tuple[Path, str, str | None]) -> None:
    folder, url, key = home
    truth = json.loads((folder / "trackers" / "truth.json").read_text())["databases"]
    readers = get(f"{url}/api/machines", key=key)
    machine = (readers["machines"] if isinstance(readers, dict) else readers)[0]
    skipped: Counter[str] = Counter()
    for name, report in machine["readers"].items():
        if "tracker" in name:
            skipped.update(report.get("skipped", {}))
    expected: Counter[str] = Counter()
    for database in truth.values():
        expected.update(database["skipped"])
    assert {reason: skipped[reason] for reason in expected} == dict(expected)


def test_a_stranger_sees_nothing(journey: tuple[Site, Running, Running, str]) -> None:
    place, _, relay, _ = journey
    stranger = place.key(relay, "read", tenant="charlie")
    assert get(f"{relay.url}/api/sessions", key=stranger)["total"] == 0
    assert get(f"{relay.url}/v1/feed", key=stranger)["records"] == []
