"""Finding by columns is finding one by one, whatever changed since the columns were made."""
from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.views.search import SORTS, VALUES, Query, fits
from tests.ledger.ledgerkit import HOUR, NOW, House, a_session, use

WORDS = ["fix", "webhooks", "the", "relay", "x\0y", "ß", "FIX"]
sessions = st.builds(
    lambda age, title, project, model, machine, kind: (
        [use(NOW - age * HOUR // 4, model=model, input=age)],
        {"title": " ".join(title), "project": project, "machine": machine, "session_type": kind},
    ),
    st.integers(0, 40), st.lists(st.sampled_from(WORDS), max_size=3), st.sampled_from([None, "relay", "page"]),
    st.sampled_from(["claude-opus-5", "nimbus"]), st.sampled_from([None, "mbp", "studio"]), st.sampled_from(["claude_code", "codex"]),
)  # fmt: skip
queries = st.builds(
    Query, q=st.lists(st.sampled_from(WORDS), max_size=2).map(" ".join), project=st.sampled_from([None, "relay"]), model=st.sampled_from([None, "nimbus"]),
    machine=st.sampled_from([None, "mbp", "mbp-16", "laptop"]), session_type=st.sampled_from([None, "codex"]), active=st.sampled_from([None, True, False]),
    since=st.sampled_from([None, NOW - 5 * HOUR]), until=st.sampled_from([None, NOW - 2 * HOUR]),
    sort=st.sampled_from([sign + name for name in SORTS for sign in ("", "-")]), limit=st.integers(1, 6),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(sessions, min_size=1, max_size=20), queries, st.lists(st.tuples(st.integers(0, 24), st.none() | sessions), max_size=6))
def test_columns_find_what_looking_at_each_session_finds(made, query, changes):
    house = House()
    laptop = house.laptop()
    laptop.pushes(("machine", "mbp-16", {"name": "laptop"}), *[a_session(f"s{n}", *rows, **more) for n, (rows, more) in enumerate(made)])
    house.view().sessions(Query())  # the columns are made here
    for number, change in changes:
        if change is None:
            laptop.pushes(gone=[("session", f"s{number}")])
        else:
            laptop.pushes(a_session(f"s{number}", *change[0], **change[1]))
    view = house.view()
    active = {held.key for held in view.active(NOW)}
    wanted = [held for held in view.winners.values() if fits(view, query, held) and (query.active is None or (held.key in active) is query.active)]
    value = VALUES[query.sort.removeprefix("-")]
    wanted.sort(key=lambda held: (value(held), held.key), reverse=query.sort.startswith("-"))
    page = view.sessions(query)
    assert [held.key for held in page.sessions] == [held.key for held in wanted[: query.limit]]
    assert page.total == len(wanted)
    assert (page.next is not None) is (len(wanted) > query.limit)


def test_a_session_that_changed_or_went_is_found_only_as_it_is_now():
    house = House()
    laptop = house.laptop()
    laptop.pushes(*[a_session(key, use(NOW - 5 * HOUR), title="alpha") for key in ("changed", "gone", "same")])
    assert house.view().sessions(Query(q="alpha")).total == 3  # the columns are made here
    laptop.pushes(a_session("changed", use(NOW - 5 * HOUR), title="beta"), gone=[("session", "gone")])
    for query, keys in ((Query(), ["same", "changed"]), (Query(q="alpha"), ["same"]), (Query(q="beta"), ["changed"]), (Query(project="relay", q="beta"), ["changed"])):
        page = house.view().sessions(query)
        assert ([held.key for held in page.sessions], page.total) == (keys, len(keys))


def test_columns_are_made_anew_after_many_changes():
    house = House()
    laptop = house.laptop()
    laptop.pushes(*[a_session(f"s{n}") for n in range(3)])
    house.view().sessions(Query())
    for number in range(450):
        laptop.pushes(a_session(f"t{number}"))
        house.view()
    assert house.view().sessions(Query()).total == 453
    assert len(house.view().columns().helds) == 453


def test_words_are_not_found_in_names_that_the_laptop_sealed():
    house = House()
    laptop = house.laptop()
    sealed = json.loads((Path(__file__).parent.parent / "vectors" / "sealed.json").read_text("utf-8"))[0]["sealed"]
    laptop.pushes(a_session("s1", project=sealed, title=sealed, git_branch="main"), a_session("s2", project="sealed1", title="open"))
    view = house.view()

    def found(**query):
        return [held.key for held in view.sessions(Query(**query)).sessions]

    assert not [start for start in range(len(sealed) - 2) if "s1" in found(q=sealed[start : start + 3])]
    assert found(q="sealed1") == ["s2"] and found(q="main") == ["s1"] and found(project=sealed) == ["s1"]


VECTORS = json.loads((Path(__file__).resolve().parents[1] / "vectors/search.json").read_text())


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["why"] for vector in VECTORS])
def test_words_find_what_the_page_finds_with_them(vector):
    """The same vectors are the page's: tests/js/pure.test.js."""
    house = House()
    house.laptop().pushes(a_session("key-of-it", use(NOW - 5 * HOUR), **vector["session"]))
    for q in vector["found"] + vector["missed"]:
        assert house.view().sessions(Query(q=q)).total == (q in vector["found"]), q
