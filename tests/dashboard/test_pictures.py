"""Pictures of every state, phone to desk, light and dark, for a person to look at; nothing may stick out."""
from __future__ import annotations

import pytest

from tests.dashboard.conftest import wait_state

pytestmark = pytest.mark.browser
SIZES = [(390, 844), (820, 1180), (1440, 900)]


@pytest.fixture(scope="module")
def read_key() -> str:
    return "sr_read_abcdefgh2345_secret1234567890_0badc0de"


@pytest.mark.parametrize("width,height", SIZES)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_whole_page_is_drawn(agent, visit, picture, width, height, dark):
    page = visit(agent.url, width=width, height=height, dark=dark, wait=".sessions")
    page.wait_for_timeout(150)
    picture(page, f"page-{width}-{'dark' if dark else 'light'}", full=True)
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("width", [390, pytest.param(1440, marks=pytest.mark.slow)])
def test_every_other_state_is_drawn(server, visit, picture, read_key, width):
    tall = 844 if width == 390 else 900

    def shot(name, page, full=False):
        page.wait_for_timeout(120)
        picture(page, f"{name}-{width}", full=full)
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), name

    over = server("--percent", "81")
    page = visit(over.url, width=width, height=tall, wait=".calendar")
    shot("over", page)
    page.click(".badge")
    shot("source", page)
    page.keyboard.press("Escape")
    page.click(".sessions tbody th button >> nth=1")
    page.wait_for_selector(".cost-lines")
    page.locator("#sessions").scroll_into_view_if_needed()
    page.evaluate("() => document.querySelector('#sessions').scrollIntoView()")
    shot("session", page)
    page.fill(".search input", "relay")
    shot("search", page)
    page.fill(".search input", "nothing like it")
    shot("search-none", page)
    page.fill(".search input", "")
    page.click(".seg >> text=Project")
    page.evaluate("() => document.querySelector('#usage').scrollIntoView()")
    page.focus(".bars svg")
    for _ in range(9):
        page.keyboard.press("ArrowLeft")
    shot("by-project", page)
    page.evaluate("() => scrollTo(0, 0)")
    over.tell(beats=False)
    over.kill()
    wait_state(page, "stored")
    shot("stored", page)

    guess = server()
    block = {"percent": None, "percent_basis": None, "unit": "tokens", "limit": None}
    page = visit(guess.url, width=width, height=tall, wait=".calendar")
    now = page.evaluate("() => Date.now()")
    curve = [[page.evaluate("(t) => new Date(t).toISOString()", now - (176 - 8 * n) * 60000), n * 2_104_000] for n in range(23)]
    whole = made_block(now, page) | block | {"basis": "derived", "curve": curve}
    guess.tell(summary={"block": whole, "limits": [], "alerts": []})
    page.wait_for_selector(".by-guess")
    shot("no-limit-known", page)
    guess.tell(summary={"block": whole | {"percent": 58, "percent_basis": "largest earlier block", "limit": 79_800_000}, "limits": [], "alerts": []})
    page.wait_for_selector(".limit.guess", state="attached")
    shot("against-largest", page)
    guess.tell(summary={"block": None})
    page.wait_for_selector("text=No block is open")
    shot("no-block", page)

    page = visit(server("--odd").url, width=width, height=tall, wait=".calendar")
    shot("odd-names", page, full=True)
    page = visit(server("--count", "0").url, width=width, height=tall, wait=".empty")
    shot("waiting", page)
    page.click("text=Look around with sample data")
    page.wait_for_selector(".strip.sample")
    shot("sample", page)
    page = visit(server("--sample").url, width=width, height=tall, wait=".calendar")
    shot("source-is-sample", page)

    relay = server("--home", "relay", "--key", read_key)
    page = visit(relay.url, width=width, height=tall, wait=".empty")
    shot("not-paired", page)
    page = visit(relay.url + f"#key={read_key}", width=width, height=tall, wait=".calendar")
    wait_state(page, "relay-live")
    shot("relay-live", page)
    relay.tell(quiet_since=1600)
    page.reload()
    wait_state(page, "relay-cached")
    page.wait_for_selector(".calendar")
    shot("relay-cached", page)
    nobody = server("--static")
    page = visit(nobody.url, width=width, height=tall, wait=".empty")
    wait_state(page, "none")
    shot("none", page)


def made_block(now, page):
    def iso(at):
        return page.evaluate("(t) => new Date(t).toISOString()", at)
    return {"id": "b", "start": iso(now - 176 * 60000), "end": iso(now + 124 * 60000), "tokens": {"input": 1_280_000, "output": 318_000, "cache_write": 2_400_000, "cache_read": 42_302_000, "total": 46_300_000},
            "cost": 18.42, "requests": 431, "sessions": 5, "burn": {"tokens_per_minute": 94_200, "cost_per_hour": 6.71, "series": [n % 9 * 9000 for n in range(60)]},
            "projection": {"percent": None, "low": None, "high": None, "cost": 33.1, "tokens": 78_900_000, "hit_at": None}, "models": [{"model": "claude-opus-4-5-20251101", "tokens": 46_300_000, "cost": 18.42}]}
