"""A view that began from a checkpoint shows what one shows that read everything."""
from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ledger.errors import Full
from ledger.prices import PriceBook
from ledger.views import checkpoint
from ledger.views.search import Query
from ledger.views.tenants import Views
from ledger.views.view import BREATH, View
from tests.ledger.ledgerkit import ALICE, DAY, HOUR, MINUTE, NOW, QUARTER, House, a_session, ms, use
from tests.ledger.test_blocks import limit
from tests.ledger.test_fold import a_house, happens, histories
from tests.processes import until


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints of few sessions, so that the others are left out."""
    monkeypatch.setattr(checkpoint, "KEPT_SESSIONS", 1)
    monkeypatch.setattr(checkpoint, "WORTH_IT", 1)


@pytest.fixture(autouse=True)
def scaled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the real numbers, where the real ones are not what is tested."""
    if "slow" not in request.keywords and "small" not in request.fixturenames:
        monkeypatch.setattr(checkpoint, "KEPT_SESSIONS", 50)
        monkeypatch.setattr(checkpoint, "WORTH_IT", 100)


def cold(house: House) -> View:
    """The view of a process that starts anew and has the shelf."""
    return Views(house.store, house.book, house.clock, shelf=house.store).view(ALICE)


def shown(view: View, tz: str = "UTC", sessions: int = 1) -> dict:
    feed = view.feed(None, tz, sessions)
    return {"records": feed["records"], "summary": feed["summary"], "machines": feed["machines"], "cursor": feed["cursor"]}


@pytest.mark.usefixtures("small")
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories, st.integers(0, 6), st.sampled_from([0, 12 * HOUR, 40 * DAY]), st.sampled_from([1, 200]))
@example([("part", "studio", "s1", [use(NOW - 1)] * 3), ("gone", "mbp", "s1"), ("more", "studio", "s1", [use(NOW - 1)])], 2, 0, 1)
def test_from_a_checkpoint_on_all_is_as_without_one(history, moment, pause, sessions):
    house, laptops = a_house()
    for number in range(1, 5):
        laptops["mbp"].pushes(a_session(f"s{number}", use(NOW - number * 50 * DAY)))
    for number, what in enumerate(history):
        if number == moment:
            house.clock.goes(pause)
            views = Views(house.store, house.book, house.clock, shelf=house.store)
            views.view(ALICE).summary("UTC")
            views.checkpoint(ALICE)
        happens(house, laptops, what)
    assert shown(cold(house), sessions=sessions) == shown(house.anew(), sessions=sessions)
    assert [held.key for held in cold(house).sessions(Query()).sessions] == [held.key for held in house.anew().sessions(Query()).sessions]


def many(count: int) -> House:
    """A tenant with *count* sessions over a year, on four machines, with limits."""
    chance, house = random.Random(7), House()
    house.views = Views(house.store, house.book, house.clock, shelf=house.store)
    for machine in range(4):
        laptop = house.laptop(f"m{machine}")
        laptop.pushes(limit(40, ms("2026-11-22T13:00Z")))
        for start in range(0, count // 4, 500):
            laptop.pushes(*[a_typical_session(chance, machine, start + number) for number in range(min(500, count // 4 - start))])
    return house


def a_typical_session(chance: random.Random, machine: int, number: int) -> tuple:
    at = NOW - chance.randint(60, 371 * 96) * QUARTER
    rows = [
        use(at + step * QUARTER + chance.randint(0, 800_000), model=chance.choice(["claude-opus-5", "claude-sonnet-5", "claude-haiku-4-5"]),
            input=chance.randint(1, 9_999), output=chance.randint(1, 9_999), read=chance.randint(0, 10**6), w1=chance.randint(0, 10**5), requests=9)
        for step in range(chance.randint(1, 12))
    ]  # fmt: skip
    return a_session(
        f"{chance.getrandbits(128):032x}", *rows, project=chance.choice("abcdefghij") * 7, title=f"A title of usual length, number {number}",
        git_branch=f"feat/{number % 50}", machine=f"m{machine}", account="default",
    )  # fmt: skip


class Counting:
    """Counts what is read of rows."""

    def __init__(self, house: House) -> None:
        self.rows, self._inner = 0, house.store.rows
        house.store.rows = self

    def __call__(self, *words, **more):
        for row in self._inner(*words, **more):
            self.rows += 1
            yield row


def test_a_cold_start_reads_no_session_and_shows_the_same():
    house = many(200)
    house.view().summary("Europe/Berlin")
    assert house.views.checkpoint(ALICE) > 0
    house.laptop("m1").pushes(a_session("live", use(NOW - MINUTE)))
    counting = Counting(house)
    view = cold(house)
    found = shown(view, "Europe/Berlin", 50)
    assert counting.rows == 0 and view.rest is not None
    assert found == shown(house.anew(), "Europe/Berlin", 50)


def test_what_touches_an_old_session_reads_everything():
    house = many(200)
    house.view().summary("UTC")
    house.views.checkpoint(ALICE)
    old = house.view().order[0][2]
    house.laptop(old.source).pushes(a_session(old.key, use(old.start, input=5)))
    counting = Counting(house)
    assert shown(cold(house)) == shown(house.anew())
    assert counting.rows >= 200


@pytest.mark.parametrize("query", [{"q": "number 3"}, {"sort": "cost"}, {"until": NOW - 100 * DAY}])
def test_a_search_has_every_session(query):
    house = many(120)
    house.views.checkpoint(ALICE)
    house.view()
    view = cold(house)
    assert [held.key for held in view.sessions(Query(**query)).sessions] == [held.key for held in house.anew().sessions(Query(**query)).sessions]


def test_a_session_left_out_is_found_by_its_id():
    house = many(120)
    house.views.checkpoint(ALICE)
    old = house.view().order[0][2]
    assert cold(house).session(old.key) is not None
    assert cold(house).session("nobody") is None


@pytest.mark.parametrize("harm", ["no piece", "other bytes", "another's piece", "other prices", "old form"])
def test_a_checkpoint_that_does_not_fit_is_passed_over(harm, monkeypatch):
    house = many(120)
    house.view().summary("UTC")
    house.views.checkpoint(ALICE)
    head = house.store.take("view", ALICE, now=NOW).value
    if harm == "no piece":
        house.store.drop("view", f"{ALICE}/{head['name']}/0")
    elif harm == "other bytes":
        house.store.put("view", f"{ALICE}/{head['name']}/0", {"z": "AAAA"}, now=NOW)
    elif harm == "another's piece":
        other = many(121)
        other.view().summary("UTC")
        other.views.checkpoint(ALICE)
        name = other.store.take("view", ALICE, now=NOW).value["name"]
        house.store.put("view", f"{ALICE}/{head['name']}/0", other.store.take("view", f"{ALICE}/{name}/0", now=NOW).value, now=NOW)
    elif harm == "other prices":
        house.book = PriceBook({"rows": [], "date": "2026-01-01"})
    else:
        monkeypatch.setattr(checkpoint, "FORM", 99)
    counting = Counting(house)
    assert shown(cold(house)) == shown(house.anew())
    assert counting.rows >= 120


def test_a_shelf_that_is_full_does_no_harm(monkeypatch):
    house = many(120)
    monkeypatch.setattr(house.store, "put", lambda *words, **more: (_ for _ in ()).throw(Full("no room")))
    assert house.views.checkpoint(ALICE) == 0
    assert shown(cold(house)) == shown(house.anew())


def test_a_view_of_few_sessions_keeps_no_checkpoint():
    house = many(40)
    house.view()
    assert house.store.take("view", ALICE, now=NOW) is None


def test_where_a_house_is_kept_whoever_asks_does_not_wait_for_a_checkpoint():
    house = many(120)
    house.views.saves = False
    house.view()
    assert house.store.take("view", ALICE, now=NOW) is None
    house.views.save_due()
    assert house.store.take("view", ALICE, now=NOW) is None
    house.view().saved -= checkpoint.DUE_AFTER
    house.views.save_due()
    first = house.store.take("view", ALICE, now=NOW).value["name"]
    house.views.save_due()
    assert house.store.take("view", ALICE, now=NOW).value["name"] == first, "nothing changed since"
    assert shown(cold(house)) == shown(house.anew())


def kept_house() -> House:
    """Much came in, somebody looked at it, and nobody but the housekeeper keeps checkpoints."""
    house = many(2 * checkpoint.DUE_AFTER)
    house.views.saves = False
    house.view().summary("UTC")
    return house


def test_while_very_much_changes_one_is_kept_every_ten_minutes_only():
    house = kept_house()
    kept = []
    for minute in range(12):
        house.views.save_due()
        kept.append(house.store.take("view", ALICE, now=NOW) is not None)
        house.clock.goes(MINUTE)
        if minute < 10:
            house.laptop("m1").pushes(*[a_session(f"{minute}-{number}", use(NOW - MINUTE)) for number in range(checkpoint.DUE_AFTER)])
            house.view()
    assert kept == [False] * 10 + [True] * 2


def test_a_clock_that_was_set_back_keeps_none_from_being_kept():
    house = kept_house()
    house.clock.now -= 365 * DAY
    house.views.save_due()
    assert house.store.take("view", ALICE, now=house.clock()) is not None


def test_after_very_much_changed_one_is_kept_as_soon_as_it_is_calm():
    house = kept_house()
    house.views.save_due()
    assert house.store.take("view", ALICE, now=NOW) is None
    house.views.save_due()
    assert house.store.take("view", ALICE, now=NOW) is not None


def test_what_changes_little_by_little_is_kept_as_soon_as_it_is_much():
    house = kept_house()
    names = []
    for minute in range(5):
        house.views.save_due()
        kept = house.store.take("view", ALICE, now=NOW)
        names.append(kept and kept.value["name"])
        if minute:
            house.laptop("m1").pushes(*[a_session(f"{minute}-{number}", use(NOW - MINUTE)) for number in range(checkpoint.DUE_AFTER // 3)])
            house.view()
    first, *rest = names
    assert first is None and rest[0] and rest[:3] == [rest[0]] * 3 and rest[3] != rest[0]


def test_blocks_that_a_checkpoint_needs_are_worked_out_with_pauses_unless_somebody_waits(monkeypatch):
    house = kept_house()
    view, slept = house.view(), []
    house.views.pause = slept.append
    monkeypatch.setattr(checkpoint, "is_calm", lambda view, now: True)
    view.lock.waiting = 1
    house.views.save_due()
    assert slept == []
    view.begin()
    view.lock.waiting = 0
    view.advance()
    assert slept == [], "a reader never pauses"
    house.views.save_due()
    assert len(slept) >= view.tally.sessions // BREATH - 1
    assert shown(cold(house)) == shown(house.anew())


def test_whoever_needs_the_view_for_anything_makes_gentle_work_hurry():
    view = many(40).view()
    with ThreadPoolExecutor(1) as another:
        with view.gently(lambda seconds: None):
            needs = another.submit(view.feed, None, "UTC", 1)
            until(lambda: view.lock.waiting == 1, "waiting")
            assert not needs.done()
        assert needs.result()["records"] and view.lock.waiting == 0


def test_a_later_checkpoint_replaces_the_one_before():
    house = many(120)
    house.view().summary("UTC")
    house.views.checkpoint(ALICE)
    first = house.store.take("view", ALICE, now=NOW).value["name"]
    house.laptop("m1").pushes(*[a_session(f"live{number}", use(NOW - MINUTE)) for number in range(20)])
    Views(house.store, house.book, house.clock, shelf=house.store).checkpoint(ALICE)
    second = house.store.take("view", ALICE, now=NOW).value["name"]
    assert first != second and house.store.take("view", f"{ALICE}/{first}/0", now=NOW) is None
    assert shown(cold(house)) == shown(house.anew())


@pytest.mark.slow
def test_a_cold_start_with_twenty_thousand_sessions_reads_a_megabyte():
    house = many(20_000)
    house.view().summary("Europe/Berlin")
    house.view().summary("UTC")
    house.views.checkpoint(ALICE)
    size = sum(len(str(document.value)) for _, document in house.store.list("view", now=NOW))
    assert size <= 1_000_000
    counting = Counting(house)
    assert shown(cold(house), "Europe/Berlin", 200) == shown(house.anew(), "Europe/Berlin", 200)
    assert counting.rows == 20_004, "only the one that read everything on purpose"


@pytest.mark.parametrize("what", ["changed", "deleted", "older part"])
def test_a_trackers_old_session_that_changes_is_noticed_though_it_opens_no_block(what):
    house = many(120)
    laptop = house.laptop("m9")
    tracked = [a_session(f"t{number}", use(NOW - 360 * DAY), provenance="declared") for number in range(3)]
    laptop.pushes(*tracked, ("block", "b", {"id": "b", "start_time": NOW - 360 * DAY}))
    house.view().summary("UTC")
    house.views.checkpoint(ALICE)
    if what == "changed":
        laptop.pushes(a_session("t1", use(NOW - 360 * DAY, input=7), provenance="declared"))
    elif what == "deleted":
        laptop.pushes(gone=[("session", "t1")])
    else:
        laptop.pushes(("usage", "t1/1", {"session": "t1", "usage": [use(NOW - 361 * DAY)]}))
    assert shown(cold(house)) == shown(house.anew())


def test_a_process_that_answers_one_page_spares_the_next_one_everything() -> None:
    house = House()
    house.laptop().pushes(*[a_session(f"s{n}", use(NOW - n * DAY)) for n in range(150)])
    shown(cold(house), "Europe/Berlin")
    after = cold(house)
    shown(after, "Europe/Berlin")
    assert after.rest is not None, "the second process read all sessions again"
