"""The thread that lets delivery step: when it does, when it does not, and how it ends."""
from __future__ import annotations

import threading
from typing import Any

from ledger.errors import Full
from local_agent.delivery import Outcome
from local_agent.push.courier import Courier
from local_agent.push.pace import Slumber


class Steps:
    """A delivery that answers as told and lets the test wait for what it was asked."""

    def __init__(self, *outcomes: Outcome | Exception) -> None:
        self.outcomes, self.asked, self.said = list(outcomes), [], threading.Condition()
        self.wait_s, self.beat_in_s, self.apart_s = 0.0, 3600.0, 2

    def _note(self, what: str) -> None:
        with self.said:
            self.asked.append(what)
            self.said.notify_all()

    def push_once(self, now: int, *, ask: bool = False) -> Outcome:
        self._note("push and ask" if ask else "push")
        outcome = self.outcomes.pop(0) if self.outcomes else Outcome("synced")
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def bye(self, now: int) -> Outcome:
        self._note("bye")
        return Outcome("synced")

    def pause(self, detail: str) -> Outcome:
        self._note(f"pause: {detail}")
        self.wait_s = 3600.0
        return Outcome("waiting", detail, wait_s=3600.0)

    def wake(self) -> None:
        self._note("wake")

    def hurry(self) -> None:
        self._note("hurry")
        self.wait_s = 0.0

    def heard(self, what: str, times: int = 1) -> bool:
        with self.said:
            return self.said.wait_for(lambda: sum(what in each for each in self.asked) >= times, 5)


def begun(steps: Steps, **more: Any) -> Courier:
    courier = Courier(steps, clock=lambda: 0, **more)  # type: ignore[arg-type]
    courier.start()
    return courier


def test_a_change_is_pushed_and_the_rest_at_once_after_it() -> None:
    steps = Steps(Outcome("behind"), Outcome("behind"), Outcome("synced"))
    courier = begun(steps)
    courier.hurry()
    assert steps.heard("push", 3)
    courier.stop(5)


def test_a_person_who_asks_hears_what_the_relay_itself_says() -> None:
    steps = Steps(Outcome("behind"), Outcome("synced", agreed=True))
    courier = begun(steps)
    courier.hurry()
    assert steps.heard("push", 2)
    courier.stop(5)
    assert "push and ask" in steps.asked
    assert courier.agreed == 1


def test_nothing_is_sent_while_nothing_happens() -> None:
    steps = Steps()
    courier = begun(steps)
    courier.stop(5)
    assert steps.asked.count("push") <= 1  # the farewell's own


def test_it_says_goodbye_when_all_is_told() -> None:
    steps = Steps(Outcome("synced"))
    begun(steps).stop(5)
    assert steps.asked[-1] == "bye"


def test_it_leaves_without_a_word_while_the_relay_cannot_be_reached() -> None:
    steps = Steps(Outcome("offline", wait_s=15.0))
    begun(steps).stop(5)
    assert "bye" not in steps.asked


def test_a_full_disk_is_a_pause_and_not_an_end() -> None:
    steps = Steps(Full("no room on the disk"))
    heard: list[Outcome] = []
    courier = begun(steps, on_outcome=heard.append)
    courier.hurry()
    assert steps.heard("pause: no room")
    courier.hurry()
    assert steps.heard("push", 2)
    courier.stop(5)
    assert heard[0].state == "waiting"


def test_a_mistake_of_ours_is_a_pause_and_not_an_end() -> None:
    steps = Steps(ZeroDivisionError("ours"))
    courier = begun(steps)
    courier.hurry()
    assert steps.heard("pause: ZeroDivisionError")
    courier.hurry()
    assert steps.heard("push", 2)
    courier.stop(5)


def test_nobody_being_able_to_hear_is_no_end_either() -> None:
    def deaf(outcome: Outcome) -> None:
        raise RuntimeError("no ears")

    steps = Steps()
    courier = begun(steps, on_outcome=deaf)
    courier.hurry()
    assert steps.heard("push")
    courier.hurry()
    assert steps.heard("push", 2)
    courier.stop(5)


def test_after_a_sleep_everything_starts_afresh() -> None:
    steps, woken = Steps(), threading.Event()
    clock = {"always": 0.0}
    slumber = Slumber(lambda: 0.0, lambda: clock["always"])
    courier = begun(steps, slumber=slumber, on_wake=woken.set)
    clock["always"] = 3600.0
    courier.changed()
    assert steps.heard("wake")
    assert woken.wait(5)
    courier.stop(5)


def test_stopping_is_quick() -> None:
    steps = Steps()
    courier = begun(steps)
    courier.stop(5)
    assert not alive(courier)


def alive(courier: Courier) -> bool:
    thread: threading.Thread = courier._thread
    return thread.is_alive()


def test_every_outcome_is_heard() -> None:
    heard: list[Outcome] = []
    steps = Steps(Outcome("behind"), Outcome("synced"))
    courier = begun(steps, on_outcome=heard.append)
    courier.hurry()
    assert steps.heard("push", 2)
    courier.stop(5)
    assert [outcome.state for outcome in heard[:2]] == ["behind", "synced"]


