"""Pages of a search stay in step while other threads write: what stays as it is comes exactly once."""
from __future__ import annotations

import threading

import pytest

from tests.ledger.ledgerkit import MINUTE, NOW, House, Laptop, a_session, use
from tests.ledger.stores import STORES

STEADY, PAGES = 120, 40


@pytest.mark.parametrize(("name", "sort"), [("sqlite", "-last_activity"), ("sqlite", "start_time"), ("sqlite", "-tokens"), ("sqlite", "cost"), ("postgres", "-last_activity"), ("memory", "duration")])
def test_what_stays_as_it_is_comes_exactly_once_however_much_changes_meanwhile(name, sort, tmp_path):
    with STORES[name](tmp_path) as store:
        house = House(store)
        laptop = house.laptop()
        for place in range(0, STEADY, 60):
            # Many are equal in what they are sorted by: then the key decides.
            laptop.pushes(*(a_session(f"steady{number:03}", use(NOW - number // 7 * MINUTE, input=number // 9)) for number in range(place, place + 60)))
        turned, stop, trouble = threading.Event(), threading.Event(), []

        def change() -> None:
            try:
                writer, step = Laptop(store, clock=house.clock), 0
                while not stop.is_set():
                    step += 1
                    busy = a_session(f"busy{step % 20:02}", use(NOW - step % 30 * MINUTE, input=step % 50), title=f"turn {step}")
                    writer.pushes(busy, gone=[("session", f"busy{(step + 7) % 20:02}")])
                    turned.set()
            except Exception as error:
                trouble.append(error)
                turned.set()

        thread = threading.Thread(target=change)
        thread.start()
        try:
            seen, cursor, pages = [], {}, 0
            while True:
                assert turned.wait(60)
                turned.clear()
                page = house.get("/sessions", sort=sort, limit=9, **cursor)
                seen += [session["key"] for session in page["sessions"]]
                pages += 1
                if page["next"] is None or pages > PAGES:
                    break
                cursor = {"cursor": page["next"]}
        finally:
            stop.set()
            thread.join(60)
        assert not trouble
        steady = [key for key in seen if key.startswith("steady")]
        assert len(steady) == STEADY == len(set(steady))
