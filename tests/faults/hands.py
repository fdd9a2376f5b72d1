"""What every fault is tried on: a laptop and a relay in the middle of their work, in three states that differ in what a loss could cost."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from local_agent.delivery import Outcome
from local_agent.push.transport import Reply
from tests.journeys.world import BODIES, IDS, Message, World, folder_for

Fault = Callable[[World, Message], Reply]
CALM = ("synced", "behind")


@contextmanager
def a_world(store: str = "memory:", seed: int = 0) -> Iterator[World]:
    with ExitStack() as stack:
        world = World(folder_for(stack, Path("/tmp")), store, seed)
        stack.callback(world.close)
        yield world


def at_work(world: World) -> None:
    """Acknowledged records, and one more change and one deletion to send."""
    world.write(*((id, BODIES[0]) for id in IDS[:4]))
    world.converge()
    world.write((IDS[0], BODIES[1]))
    world.delete(IDS[3])


def survives(fault: Fault, *, times: int = 2, outcome: Callable[[Outcome], bool] = lambda outcome: outcome.state not in CALM, seed: int = 0) -> list[Outcome]:
    """*fault* meets the first copy, a change and a deletion, and an agent that crashed meanwhile; each ends with the relay
    equal to the truth, and in as few exchanges as ever. What the agent said of the faults is what *outcome* wants."""
    said: list[Outcome] = []
    for begin in (first_copy, at_work, crashed):
        with a_world(seed=seed) as world:
            begin(world)
            for _ in range(times):
                acknowledged = world.visible()
                said.append(world.step(fault))
                assert outcome(said[-1]), said[-1]
                kept(world, acknowledged)
            world.converge()
    return said


def first_copy(world: World) -> None:
    world.write(*((id, BODIES[0]) for id in IDS))


def crashed(world: World) -> None:
    at_work(world)
    world.step(World.lose_answer)
    world.crash_agent()
    world.write((IDS[1], BODIES[2]))


def kept(world: World, acknowledged: dict[Any, str]) -> None:
    """Nothing that was acknowledged is gone, but for what the laptop deleted."""
    assert {ref for ref in acknowledged if ref in world.truth()} <= set(world.visible())


def says(status: int, body: bytes = b"", **headers: str) -> Fault:
    """Somebody who is not the relay answers, and the relay never sees the request."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda world, message: Reply(status, named, body)


def altered(change: Callable[[Reply], Reply]) -> Fault:
    """The relay's answer, changed on its way."""
    return lambda world, message: change(world.deliver(message))


def raises(error: Callable[[], Exception], *, delivered: bool = False) -> Fault:
    """No answer, for this reason."""

    def fault(world: World, message: Message) -> Reply:
        if delivered:
            world.deliver(message)
        raise error()

    return fault
