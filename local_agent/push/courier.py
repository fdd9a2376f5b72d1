"""The thread that lets delivery take its steps: after changes, when a beat is due, after a sleep, and once more at the end.

It decides nothing about the relay; it only knows when the next step is due.
"""
from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from ledger.errors import LedgerError
from local_agent.delivery import Delivery, Outcome
from local_agent.log import where
from local_agent.push.pace import Pace, Slumber

log = logging.getLogger("agent.courier")

LONGEST_NAP_S = 15.0
"""How late a sleep of the computer is noticed at most."""
FAREWELL_S = 2.0


class Courier:
    """*outcome* is the latest step's; *on_outcome* hears of each."""

    def __init__(
        self, delivery: Delivery, *, clock: Callable[[], int], monotonic: Callable[[], float] = time.monotonic,
        slumber: Slumber | None = None, on_outcome: Callable[[Outcome], None] | None = None, on_wake: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        self.outcome = Outcome("waiting", "not tried yet")
        self.agreed = 0
        """How often the relay itself said that it holds the whole truth."""
        self._delivery, self._clock, self._monotonic = delivery, clock, monotonic
        self._slumber = slumber or Slumber()
        self._on_outcome, self._on_wake = on_outcome or (lambda _: None), on_wake or (lambda: None)
        self._pace, self._news = Pace(), threading.Condition()
        self._stopping = self._asked = False
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)

    @property
    def clock_offset_ms(self) -> int:
        """How far this computer's clock is from the relay's."""
        return self._delivery.clock_offset_ms

    def start(self) -> None:
        self._thread.start()

    def changed(self) -> None:
        """Something was read; called from any thread."""
        with self._news:
            self._pace.changed(self._monotonic())
            self._news.notify()

    def hurry(self) -> None:
        """Push now, and hear from the relay itself: a person asked."""
        with self._news:
            self._asked = True
            self._pace.hurry(self._monotonic())
            self._delivery.hurry()
            self._news.notify()

    def stop(self, patience_s: float) -> None:
        """Finish what is under way, push what is left, say goodbye; all of it only as long as patience lasts."""
        with self._news:
            self._stopping = True
            self._news.notify()
        self._thread.join(patience_s)

    def _run(self) -> None:
        while not self._stopping:
            self._step(self._wait_for_reason())
        self._farewell()

    def _wait_for_reason(self) -> bool:
        """Sleep until something is due; False if it was only a nap."""
        with self._news:
            nap = self._seconds_left()
            if nap > 0 and not self._stopping:
                self._news.wait(min(nap, LONGEST_NAP_S))
            return self._seconds_left() <= 0 and not self._stopping

    def _seconds_left(self) -> float:
        now, due = self._monotonic(), self._pace.due_at()
        soon = self._delivery.beat_in_s if due is None else min(due - now, self._delivery.beat_in_s)
        return max(soon, self._delivery.wait_s)

    def _step(self, due: bool) -> None:
        if self._slumber.slept():
            log.info("the computer slept: starting afresh")
            self._delivery.wake()
            self._on_wake()
        elif due:
            self._push()

    def _push(self) -> None:
        with self._news:
            self._pace.pushed(self._monotonic())
        while not self._stopping and self._once().state == "behind":
            pass
        self._pace.apart_s = self._delivery.apart_s

    def _once(self) -> Outcome:
        try:
            self.outcome = self._delivery.push_once(self._clock(), ask=self._asked)
            self.agreed += self.outcome.agreed
            self._asked = self._asked and not self.outcome.agreed
        except LedgerError as error:  # our own disk, not the relay
            self.outcome = self._delivery.pause(str(error))
        except Exception as error:  # whatever it is, the next try may be better; readers and the page go on
            log.error("a step of delivery failed: %s", where(error))
            self.outcome = self._delivery.pause(f"{type(error).__name__} (please report this)")
        try:
            self._on_outcome(self.outcome)
        except Exception as error:  # telling is a courtesy
            log.warning("how delivery fares could not be noted: %s", where(error))
        return self.outcome

    def _farewell(self) -> None:
        until = self._monotonic() + FAREWELL_S
        while self._delivery.wait_s <= 0 and self._monotonic() < until and self._once().state == "behind":
            pass
        if self.outcome.state == "synced" and self._monotonic() < until:
            self._delivery.bye(self._clock())
