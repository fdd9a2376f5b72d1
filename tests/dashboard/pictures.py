"""The README's pictures, taken of the page on made-up data.

    python -m tests.dashboard.pictures        writes docs/pictures
"""
from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from playwright.sync_api import sync_playwright

from tests.dashboard.conftest import ARGS, CHROMIUM, ROOT, Server

OUT = ROOT / "docs/pictures"
ZONE = ZoneInfo("Europe/Berlin")
ADMIN = "sr_admin_abcdefgh2345_secret1234567890_0badc0de"


def take(browser: Any, url: str, name: str, width: int, height: int, *, dark: bool = False, act: Any = None) -> None:
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", timezone_id="Europe/Berlin", locale="en-GB", reduced_motion="reduce")
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector(".calendar")
    page.wait_for_selector('.badge:is([data-state="live"], [data-state="relay-live"])')
    page.evaluate("() => document.fonts.ready")
    if act:
        act(page)
    page.wait_for_timeout(400)
    page.screenshot(path=OUT / f"{name}.png")
    context.close()


def session(page: Any) -> None:
    page.click(".list tbody th button >> nth=2")
    page.wait_for_selector(".cost-lines")
    page.wait_for_selector(".opened .bars rect")
    page.evaluate("() => document.querySelector('.list tbody tr').scrollIntoView()")
    page.evaluate("() => scrollBy(0, -60)")


def usage(page: Any) -> None:
    page.evaluate("() => document.querySelector('#usage').closest('.panel').scrollIntoView()")


def bell(page: Any) -> None:
    page.click(".bell")
    page.wait_for_selector(".rules")
    page.check("[aria-label='Quiet hours']")
    page.fill(".pop form [name=name]", "phone")
    page.fill(".pop form [name=url]", "https://example.com/hook")
    page.keyboard.press("Enter")
    page.wait_for_selector(".channels")
    page.evaluate("() => document.activeElement.blur()")


def morning() -> list[str]:
    """The servers' clocks show the last working day at four minutes to eleven, so that the block began at eight."""
    now = datetime.now(ZONE)
    then = now.replace(hour=10, minute=56, second=0) - timedelta(days=max(0, now.weekday() - 4))
    return ["--offset", str((then - now).total_seconds())]


def main() -> None:
    agent, relay = Server("--home", "agent", *morning()), Server("--home", "relay", "--key", ADMIN, "--scope", "admin", *morning())
    OUT.mkdir(parents=True, exist_ok=True)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
            take(browser, agent.url, "desk", 1280, 820)
            take(browser, agent.url, "phone-dark", 390, 780, dark=True)
            take(browser, agent.url, "usage-dark", 1280, 690, dark=True, act=usage)
            take(browser, agent.url, "session", 1280, 720, act=session)
            take(browser, f"{relay.url}#key={ADMIN}", "alerts", 1280, 880, act=bell)
            browser.close()
    finally:
        agent.kill()
        relay.kill()


if __name__ == "__main__":
    main()
