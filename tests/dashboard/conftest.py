"""A browser, servers to look at, and the rule that no page may ever log an error."""
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes import free_port

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "build/pictures"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or ""
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--js-flags=--expose-gc"]
# What a browser logs when a server that a test has stopped does not answer: the test's doing, not the page's.
EXPECTED = ("net::ERR_", "WebSocket connection to", "Failed to load resource", "when fetching the script")


class Server:
    """A stand-in in a process of its own."""

    def __init__(self, *flags: str, port: int = 0) -> None:
        self.port, self.flags = port or free_port(), flags
        self.url = f"http://127.0.0.1:{self.port}/"
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-m", "tests.dashboard.stand_in", "--port", str(self.port), *self.flags], cwd=ROOT, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(self.url + "index.html", timeout=1).close()
                return
            except OSError:
                time.sleep(0.03)
        raise RuntimeError("the stand-in did not start")

    def tell(self, **what: Any) -> None:
        request = urllib.request.Request(self.url + "_test", json.dumps(what).encode(), {"content-type": "application/json"})
        urllib.request.urlopen(request, timeout=5).close()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """One browser for all tests of the page."""
    if not CHROMIUM:
        pytest.skip("no Chromium on this machine: set CHROMIUM or install it to run the page's browser tests")
    playwright = pytest.importorskip("playwright.sync_api", reason="the playwright package is not installed")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield browser
        browser.close()


@pytest.fixture
def server() -> Iterator[Callable[..., Server]]:
    """Start a stand-in: server("--home", "relay", …)."""
    started: list[Server] = []

    def start(*flags: str, port: int = 0) -> Server:
        started.append(Server(*flags, port=port))
        return started[-1]
    yield start
    for each in started:
        each.kill()


@pytest.fixture(scope="session")
def agent() -> Iterator[Server]:
    """An agent that nobody stops or changes."""
    server = Server("--home", "agent")
    yield server
    server.kill()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Open a page: visit(url, width=390, dark=True). Afterwards nothing may have been logged against it."""
    contexts: list[Any] = []
    wrong: list[str] = []

    def hear(message: Any) -> None:
        if message.type in ("error", "warning") and not any(sign in message.text for sign in EXPECTED):
            wrong.append(message.text)

    def open_page(url: str, *, width: int = 1440, height: int = 900, dark: bool = False, context: Any = None, wait: str | None = "main .panel", **options: Any) -> Any:
        if context is None:
            context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", timezone_id="Europe/Berlin", locale="en-GB", **options)
            context.set_default_timeout(10_000)
            contexts.append(context)
        page = context.new_page()
        page.on("console", hear)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(url)
        if wait:
            page.wait_for_selector(wait)
        return page
    open_page.wrong = wrong  # type: ignore[attr-defined]
    yield open_page
    for context in contexts:
        context.close()
    assert not wrong, wrong


@pytest.fixture
def picture() -> Callable[[Any, str], None]:
    """Write what a page shows to build/pictures, for a person to look at."""
    def take(page: Any, name: str, *, full: bool = False) -> None:
        PICTURES.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=PICTURES / f"{name}.png", full_page=full)
    return take


def state(page: Any) -> str:
    return str(page.get_attribute(".badge", "data-state"))


def wait_state(page: Any, wanted: str, timeout: int = 8000) -> None:
    page.wait_for_selector(f'.badge[data-state="{wanted}"]', timeout=timeout)
