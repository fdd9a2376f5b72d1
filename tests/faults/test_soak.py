"""A long life, made short: a cycle a second of the clocks, and every tenth of them a fault, of any kind, on either side."""
from __future__ import annotations

import random
import resource
from collections.abc import Callable

import pytest

from local_agent.push.transport import Reply
from tests.faults.hands import a_world, raises, says
from tests.journeys.lives import Walk
from tests.journeys.world import BODIES, IDS, Message, World
from tests.long import FACTOR, counted, shares

LONGEST_GROWTH_KB = 40_000


def faulty_network(chance: random.Random) -> Callable[[World, Message], Reply]:
    kinds = (*World.FAULTS, says(502), says(302), says(503, retry_after="30"), says(511), raises(lambda: ConnectionResetError()), raises(lambda: TimeoutError(), delivered=True))
    return chance.choice(kinds)


def trouble(world: World, walk: Walk, chance: random.Random) -> None:
    """One fault: of the network three times in four, else of a side."""
    if chance.random() < 0.75:
        world.step(faulty_network(chance))
        return
    chance.choice([world.crash_agent, world.relay_loses_everything, walk.lose_row, walk.keep, walk.older, world.relay_sweeps, world.delivery.wake, lambda: world.time_passes(90_000)])()


@pytest.mark.parametrize("store", ["memory:", "sqlite:///{folder}/relay.db"], ids=["memory", "sqlite"])
@pytest.mark.parametrize("cycles", shares("soak", 2), ids=str)
def test_a_long_life_with_a_fault_every_ten_cycles_stays_true(cycles: range, store: str) -> None:
    chance = random.Random(cycles.start)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with counted("soak", len(cycles)), a_world(store, cycles.start) as world:
        walk = Walk(world)
        for cycle in cycles:
            if chance.random() < 0.5:
                world.write((chance.choice(IDS), chance.choice([*BODIES, f'{{"cycle":{cycle}}}'])))
            if chance.random() < 0.05:
                world.delete(chance.choice(IDS))
            world.time_passes(1)
            if cycle % 10 == 9:
                trouble(world, walk, chance)
            else:
                world.step()
            del world.recorded[:-200]
            if cycle % 60 == 59:
                world.converge()
        world.converge()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < LONGEST_GROWTH_KB or not FACTOR, f"{grown} KB more after {len(cycles)} cycles"
