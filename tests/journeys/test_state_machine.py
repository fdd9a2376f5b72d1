"""The protocol on the real agent and the real relay, through everything that can happen to either or between them.

The same world is driven three ways: by lives that once went wrong, by chance, and by hypothesis, which shrinks what it finds.
Then the rules are broken one by one, and the tests must notice. `make test-long` gives chance more time.
"""
from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.journeys.lives import SCENARIOS, Walk
from tests.journeys.mutants import MUTANTS, REDUNDANT, Mutant, broken
from tests.journeys.world import BODIES, IDS, World, folder_for
from tests.ledger.stores import STORES as CONTRACT
from tests.ledger.stores import postgres_server
from tests.long import FACTOR, count, counted, shares

STORES = {"memory": "memory:", "sqlite": "sqlite:///{folder}/relay.db", "postgres": "", "dynamodb": "dynamodb://ledger"}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@contextmanager
def a_world(store: str = "memory", seed: int = 0) -> Iterator[World]:
    with ExitStack() as stack:
        folder = folder_for(stack, Path("/tmp"))
        if store in ("postgres", "dynamodb"):
            stack.enter_context(CONTRACT[store](folder))
        world = World(folder, STORES[store] or postgres_server(), seed)
        stack.callback(world.close)
        yield world


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("life", SCENARIOS, ids=lambda life: life.__name__)
def test_a_life_that_is_known_to_be_hard_ends_well(life: Callable[[World], None], store: str) -> None:
    with a_world(store) as world:
        life(world)
        world.converge()


WALKS = {"memory": "walks", "sqlite": "walks-sqlite", "postgres": "walks-postgres", "dynamodb": "walks-dynamodb"}


@pytest.mark.parametrize("store, seeds", [(store, seeds) for store, name in WALKS.items() for seeds in shares(name, min(20, count(name) // 4 or 1))], ids=str)
def test_a_life_by_chance_ends_well(store: str, seeds: range) -> None:
    with counted(WALKS[store], len(seeds)):
        for seed in seeds:
            try:
                with a_world(store, seed) as world:
                    Walk(world).run(60)
            except AssertionError as error:
                error.add_note(f"seed {seed}")
                raise


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("loss", ["everything", "back to an older copy", "one row"])
def test_what_was_acknowledged_and_lost_is_back_within_two_beats(loss: str, store: str) -> None:
    with a_world(store) as world:
        world.write(*((id, BODIES[0]) for id in IDS[:3]))
        world.converge()
        older = world.copy_relay()
        world.write(*((id, BODIES[1]) for id in IDS))
        world.converge()
        {"everything": world.relay_loses_everything, "one row": lambda: world.relay_loses_a_row(0.5),
         "back to an older copy": lambda: world.relay_goes_back_to(older)}[loss]()  # fmt: skip
        began = world.monotonic
        while world.visible() != world.shown_truth():
            world.time_passes(1)
            while world.delivery.push_once(world.clock()).state == "behind":
                pass
            assert world.monotonic - began <= 2 * 60, "I7: not back within two beats"


# -- hypothesis

ids, bodies, faults, places = st.sampled_from(IDS), st.sampled_from(BODIES), st.sampled_from(World.FAULTS), st.floats(0, 1, exclude_max=True)


class Life(RuleBasedStateMachine):
    """One life, event by event."""

    store = "memory"

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.stack = ExitStack()
        self.world = self.stack.enter_context(a_world(self.store, seed))
        self.archives: list[Path] = []
        self.relays: list[list[object]] = []

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            try:
                self.world.converge()
            finally:
                self.stack.close()

    @rule(changes=st.lists(st.tuples(ids, bodies), min_size=1, max_size=3))
    def write(self, changes: list[tuple[str, str]]) -> None:
        self.world.write(*changes)

    @rule(id=ids)
    def delete(self, id: str) -> None:
        self.world.delete(id)

    @rule(fault=st.none() | faults)
    def step(self, fault: Callable[..., object] | None) -> None:
        self.world.step(fault)

    @rule(place=places)
    def replay(self, place: float) -> None:
        self.world.replay(place)

    @rule()
    def crash(self) -> None:
        self.world.crash_agent()

    @rule()
    def keep_copies(self) -> None:
        self.archives.append(self.world.copy_archive())
        self.relays.append(self.world.copy_relay())

    @rule(place=places)
    def agent_goes_back(self, place: float) -> None:
        if self.archives:
            self.world.restart_with_older_archive(self.archives[int(place * len(self.archives))])

    @rule(place=places)
    def relay_goes_back(self, place: float) -> None:
        if self.relays:
            self.world.relay_goes_back_to(self.relays[int(place * len(self.relays))])

    @rule()
    def relay_loses_everything(self) -> None:
        self.world.relay_loses_everything()

    @rule(place=places)
    def relay_loses_a_row(self, place: float) -> None:
        self.world.relay_loses_a_row(place)

    @rule()
    def sweep(self) -> None:
        self.world.relay_sweeps()

    @rule(seconds=st.sampled_from([1, 60, 400, 90_000]))
    def wait(self, seconds: int) -> None:
        self.world.time_passes(seconds)

    @rule()
    def converge(self) -> None:
        self.world.converge()

    @invariant()
    def the_digest_is_the_sum(self) -> None:
        if hasattr(self, "world"):
            self.world.check_digest()


class LifeOnSqlite(Life):
    store = "sqlite"


class LifeOnPostgres(Life):
    store = "postgres"


class LifeOnDynamoDb(Life):
    store = "dynamodb"


PATIENT = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


LIVES = {Life: "stateful", LifeOnSqlite: "stateful-sqlite", LifeOnPostgres: "stateful-postgres", LifeOnDynamoDb: "stateful-dynamodb"}


@pytest.mark.parametrize("life, share", [(life, share) for life, name in LIVES.items() for share in shares(name, 4 if FACTOR else 1)], ids=str)
def test_no_sequence_of_events_ends_badly(life: type[Life], share: range) -> None:
    many = settings(max_examples=len(share), stateful_step_count=100 if FACTOR else 50, deadline=None, suppress_health_check=PATIENT)
    with counted(LIVES[life], len(share)):
        run_state_machine_as_test(life, settings=many)


# -- broken rules


def what_notices(mutant: Mutant, walks: int) -> str:
    with broken(mutant):
        for life in SCENARIOS:
            if complaint := complaint_of(lambda world, life=life: life(world)):
                return complaint
        for seed in range(walks):
            if complaint := complaint_of(lambda world: Walk(world).run(60), seed):
                return complaint
    return ""


def complaint_of(life: Callable[[World], None], seed: int = 0) -> str:
    with a_world(seed=seed) as world:
        try:
            life(world)
        except AssertionError as noticed:
            return str(noticed) or "noticed"
    return ""


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.rule.replace(" ", "-"))
def test_a_broken_rule_is_noticed(mutant: Mutant) -> None:
    assert what_notices(mutant, walks=10), f"nobody noticed that {mutant.rule!r} was broken"


@pytest.mark.parametrize("mutant", REDUNDANT, ids=lambda mutant: mutant.rule.replace(" ", "-"))
def test_a_rule_that_another_one_covers_may_break(mutant: Mutant) -> None:
    assert what_notices(mutant, walks=0) == ""
