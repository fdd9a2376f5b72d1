"""What happens to a world: lives that once went wrong or that chance seldom finds, told step by step, and lives by chance."""
from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from ledger.record import Ref
from tests.journeys.world import AT_ONCE, BODIES, IDS, World


def a_first_copy_without_trouble(world: World) -> None:
    """One question for a lease, then the records; the last of them completes the copy."""
    world.write(*((id, BODIES[0]) for id in IDS))
    assert world.converge() == 1 + len(IDS) // AT_ONCE, "I10: a detour where nothing went wrong"


def an_old_message_after_everything_was_lost(world: World) -> None:
    """The first draft let the agent choose its lease: a replayed first push then re-created the past."""
    world.write(("s0", BODIES[0]))
    world.converge()
    world.write(("s0", BODIES[1]))
    world.delete("s1")
    world.converge()
    world.relay_loses_everything()
    for place in (0.0, 0.4, 0.8):
        world.replay(place)
        assert world.visible() == {}, "I2: the past came back"
    world.converge()


def a_delayed_batch_after_a_crash(world: World) -> None:
    """The second draft burnt no number: a batch that was kept back arrived after both sides had agreed."""
    world.write(("s0", BODIES[0]))
    world.converge()
    world.write(("s0", BODIES[1]))
    world.step(World.keep_back)
    world.crash_agent()
    world.write(("s0", BODIES[0]))
    world.converge()
    world.replay(_kept_back(world))
    assert world.visible() == world.shown_truth(), "I2: a delayed batch undid what both had agreed on"


def a_commit_that_got_lost(world: World) -> None:
    """The third draft did not compare the commit: a copy stayed incomplete though both believed it complete."""
    world.write(("s0", BODIES[0]))
    world.converge()
    world.relay_loses_everything()
    world.step()
    world.step(World.lose_answer)
    world.crash_agent()
    world.step(World.keep_back)
    world.crash_agent()
    world.converge()
    head = world.head()
    assert head is not None and head.committed, "I1: the copy was never completed"


def both_sides_go_back_and_meet_again(world: World) -> None:
    """The fourth draft counted without a digest: one side went back, overtook its old number, and nobody noticed."""
    world.write(("s0", BODIES[0]))
    world.converge()
    archive, relay_then = world.copy_archive(), world.copy_relay()
    world.write(("s0", BODIES[1]))
    world.converge()
    relay_later = world.copy_relay()
    world.restart_with_older_archive(archive)
    world.relay_goes_back_to(relay_then)
    world.write(("s0", BODIES[2]))
    world.converge()
    world.relay_goes_back_to(relay_later)
    world.converge()


def a_refused_message_fits_after_both_went_back(world: World) -> None:
    """A relay that was put back refuses what comes next, catches up by an old message, and then the refused one comes again; the agent
    was put back too and knows of none of it. Only the agreement that follows can find that."""
    world.write(("s0", BODIES[0]))
    world.converge()
    relay_then = world.copy_relay()
    world.write(("s1", BODIES[0]))
    world.converge()
    archive, caught_up = world.copy_archive(), len(world.recorded) - 1
    world.delete("s0")
    world.relay_goes_back_to(relay_then)
    world.step()
    refused = len(world.recorded) - 1
    world.replay((caught_up + 0.5) / len(world.recorded))
    world.restart_with_older_archive(archive)
    world.replay((refused + 0.5) / len(world.recorded))
    assert set(world.visible()) == {Ref("session", "s1")}, "the refused message did not fit: this life is not what it says"


def a_rolled_back_agent_overtakes_its_old_number(world: World) -> None:
    world.write(("s0", BODIES[0]))
    world.converge()
    archive = world.copy_archive()
    for body in BODIES[1:3]:
        world.write(("s0", body))
        world.converge()
    world.restart_with_older_archive(archive)
    for body in (BODIES[3], BODIES[1], BODIES[3]):
        world.write(("s1", body))
        world.step(World.lose_answer)
    world.converge()


def three_copies_in_a_row(world: World) -> None:
    """What the second copy left out must not show again while the third is under way, and each is shown when it is whole."""
    world.write(*((id, BODIES[0]) for id in IDS))
    world.converge()
    for gone in IDS[:2]:
        world.delete(gone)
        world.mirror.begin(None)
        world.converge()


def a_first_push_that_comes_twice_in_pieces(world: World) -> None:
    """A copy of more than one batch, its first batch delivered late and again."""
    world.write(*((f"s{n}", BODIES[0]) for n in range(6)))
    world.step()
    world.step(World.keep_back)
    world.crash_agent()
    world.step()
    world.replay(_kept_back(world))
    world.step(World.lose_answer)
    world.replay(0.5)
    world.converge()


def the_same_state_at_a_later_number(world: World) -> None:
    """A change that is taken back leads to an earlier digest; the old message that fits it must not be applied again."""
    for body in (BODIES[0], BODIES[1], BODIES[0]):
        world.write(("s0", body))
        world.converge()
    for n in range(len(world.recorded)):
        world.replay(n / len(world.recorded))


def a_crash_that_two_numbers_could_explain(world: World) -> None:
    """A batch arrived unseen, the next one has the same number and another content."""
    world.write(("s0", BODIES[0]))
    world.converge()
    world.write(("s0", BODIES[1]))
    world.step(World.lose_answer)
    world.crash_agent()
    world.write(("s0", BODIES[2]))
    world.converge()


def _kept_back(world: World) -> float:
    """The place of the message that is still under way."""
    waiting = [n for n, (_, settled, _) in enumerate(world.recorded) if not settled]
    return (waiting[0] + 0.5) / len(world.recorded)


SCENARIOS = [
    a_first_copy_without_trouble, an_old_message_after_everything_was_lost, a_delayed_batch_after_a_crash, a_commit_that_got_lost,
    both_sides_go_back_and_meet_again, a_refused_message_fits_after_both_went_back,
    a_rolled_back_agent_overtakes_its_old_number, three_copies_in_a_row, a_first_push_that_comes_twice_in_pieces, the_same_state_at_a_later_number,
    a_crash_that_two_numbers_could_explain,
]  # fmt: skip


class Walk:
    """A random life of a world, the same for the same seed."""

    def __init__(self, world: World) -> None:
        self.world, self.chance = world, random.Random(world.chance.random())
        self.archives: list[Path] = []
        self.relays: list[list[Any]] = []

    def run(self, steps: int, *, converge_every: int = 12) -> None:
        for n in range(steps):
            self.event()
            if n % converge_every == converge_every - 1:
                self.world.converge()
        self.world.converge()

    def event(self) -> None:
        chance, world = self.chance, self.world
        what = chance.choices(
            [self.write, self.delete, self.step, self.bad_step, self.replay, world.crash_agent, self.keep, self.older, world.relay_loses_everything,
             self.lose_row, world.relay_sweeps, self.wait],
            [10, 4, 10, 16, 12, 6, 3, 2, 1, 1, 2, 2],
        )[0]  # fmt: skip
        what()

    def write(self) -> None:
        ids = self.chance.sample(IDS, self.chance.randint(1, 3))
        self.world.write(*((id, self.chance.choice(BODIES)) for id in ids))

    def delete(self) -> None:
        self.world.delete(self.chance.choice(IDS))

    def step(self) -> None:
        self.world.step()

    def bad_step(self) -> None:
        self.world.step(self.chance.choice(World.FAULTS))

    def replay(self) -> None:
        self.world.replay(self.chance.random())

    def keep(self) -> None:
        self.archives.append(self.world.copy_archive())
        self.relays.append(self.world.copy_relay())

    def older(self) -> None:
        if self.archives and self.chance.random() < 0.6:
            self.world.restart_with_older_archive(self.chance.choice(self.archives))
        elif self.relays:
            self.world.relay_goes_back_to(self.chance.choice(self.relays))

    def lose_row(self) -> None:
        self.world.relay_loses_a_row(self.chance.random())

    def wait(self) -> None:
        self.world.time_passes(self.chance.choice([1, 60, 400, 90_000]))
