"""Much of everything: ten thousand sessions, an hour of messages, long absences."""
from __future__ import annotations

import pytest

from bench.page import replay
from tests.dashboard.conftest import wait_state

pytestmark = pytest.mark.browser


class Held:
    """What replay() wants: a page."""

    def __init__(self, page):
        self.page = page


def heap(client):
    for _ in range(2):
        client.send("HeapProfiler.collectGarbage")
    return next(m["value"] for m in client.send("Performance.getMetrics")["metrics"] if m["name"] == "JSHeapUsedSize")


def grown(visit, url, warm, count):
    page = visit(url, wait=".calendar")
    wait_state(page, "live")
    client = page.context.new_cdp_session(page)
    client.send("Performance.enable")
    replay(Held(page), warm)
    before = heap(client)
    replay(Held(page), count)
    return (heap(client) - before) / 1e6


def test_messages_leave_nothing_in_memory(server, visit):
    """A template library that keeps what it drew would leave 128 kB a message."""
    assert grown(visit, server("--count", "1000").url, 200, 600) < 1


@pytest.mark.slow
def test_an_hour_of_messages_leaves_nothing_in_memory(server, visit):
    assert grown(visit, server("--count", "10000").url, 300, 3600) < 2


def test_ten_thousand_sessions_cost_no_more_than_a_few(server, visit):
    page = visit(server("--count", "10000").url, wait=".calendar")
    wait_state(page, "live")
    assert page.inner_text("#h-sess + .quiet") == "10,000"
    assert page.evaluate("() => document.querySelectorAll('*').length") < 2500
    page.fill(".search input", "scheduler")
    page.wait_for_function("() => { const m = document.querySelector('#h-sess + .quiet').textContent.match(/^(\\d+) of 10,000$/); return m && +m[1] > 200; }")
    page.click(".more:not([disabled])")
    page.wait_for_function("() => document.querySelectorAll('.list > tbody > tr').length >= 62")


@pytest.mark.slow
def test_after_a_long_absence_the_agent_is_found_within_two_seconds(server, visit):
    agent = server()
    page = visit(agent.url, wait=".calendar")
    wait_state(page, "live")
    agent.kill()
    wait_state(page, "stored")
    page.wait_for_timeout(75_000)
    agent.start()
    wait_state(page, "live", timeout=2500)
