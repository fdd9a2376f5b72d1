"""The page's budgets, taken with Chrome's own protocol on a real agent and a real relay.

    python -m bench page --no-write

A phone is a 390 px page on slow 4G (1.6 Mb/s, 150 ms) with the processor slowed four times. Processor figures are
main-thread time, which repeats within a tenth whatever else the machine does; times by the wall do not.
"""
from __future__ import annotations

import os
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.homes import ROOT, Homes
from bench.table import Figure

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome") or ""
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
FIRST_VISIT = """const fs = require('fs'), later = /^(detail|empty|sample|pairing|popovers|push|sealed|notes|panel|search|query|export)\\.js$/;
const all = ['index.html', 'css/app.css', 'vendor/preact.js', ...fs.readdirSync('js').filter((f) => f.endsWith('.js') && !later.test(f)).map((f) => 'js/' + f)];
console.log(all.reduce((sum, f) => sum + require('zlib').brotliCompressSync(fs.readFileSync(f)).length, fs.statSync('vendor/geist-latin.woff2').size));"""
"""The bytes of all files that a first visit loads unasked, compressed as a static host does it. Run by node in dashboard/."""
SLOW_4G = {"offline": False, "latency": 150, "downloadThroughput": 1.6e6 / 8, "uploadThroughput": 0.75e6 / 8}
SESSIONS, USUAL = 10_000, 300
ROUNDS = 5
WATCH = """() => { window.seen = { lcp: 0, cls: 0, numbers: 0, states: [] };
  new MutationObserver((l, o) => { if (document.querySelector('.big b')) { seen.numbers = performance.now(); o.disconnect(); } }).observe(document, { childList: true, subtree: true });
  new MutationObserver(() => { const state = document.querySelector('.badge')?.dataset.state; if (state && state !== seen.states.at(-1)?.[1]) seen.states.push([Date.now(), state]); })
    .observe(document, { childList: true, subtree: true, attributes: true, attributeFilter: ['data-state'] });
  new PerformanceObserver((l) => { for (const e of l.getEntries()) seen.lcp = e.startTime; }).observe({ type: 'largest-contentful-paint', buffered: true });
  new PerformanceObserver((l) => { for (const e of l.getEntries()) if (!e.hadRecentInput) seen.cls += e.value; }).observe({ type: 'layout-shift', buffered: true }); }"""


class Visit:
    """One page in a browser context of its own, with what Chrome measures of it."""

    def __init__(self, browser: Any, *, width: int = 1440, height: int = 900, slow: float = 1, net: dict[str, Any] | None = None) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": height})
        self.page = self.context.new_page()
        self.page.add_init_script(f"({WATCH})()")
        self.cdp = self.context.new_cdp_session(self.page)
        self.cdp.send("Network.enable")
        self.bytes: dict[str, float] = {}
        self._urls: dict[str, str] = {}
        self.cdp.on("Network.requestWillBeSent", lambda e: self._urls.update({e["requestId"]: e["request"]["url"]}))
        self.cdp.on("Network.loadingFinished", lambda e: self.bytes.update({self._urls.get(e["requestId"], "?"): e["encodedDataLength"]}))
        if slow != 1:
            self.cdp.send("Emulation.setCPUThrottlingRate", {"rate": slow})
        if net:
            self.cdp.send("Network.emulateNetworkConditions", net)

    def go(self, url: str, wait: str = ".sessions") -> None:
        self.page.goto(url)
        self.page.wait_for_selector(wait, timeout=60_000)

    def paints(self) -> tuple[float, float, float]:
        """First and largest contentful paint in ms, and the layout shift."""
        self.page.wait_for_timeout(300)
        fcp = self.page.evaluate("() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0")
        seen = self.page.evaluate("() => seen")
        return fcp, seen["lcp"], seen["cls"]

    def busy(self) -> float:
        """Seconds of main-thread time so far."""
        return next(m["value"] for m in self.cdp.send("Performance.getMetrics")["metrics"] if m["name"] == "TaskDuration")

    def heap(self) -> float:
        for _ in range(2):
            self.cdp.send("HeapProfiler.collectGarbage")
        return float(next(m["value"] for m in self.cdp.send("Performance.getMetrics")["metrics"] if m["name"] == "JSHeapUsedSize"))

    def state(self, wanted: str, timeout: float = 20_000) -> None:
        self.page.wait_for_selector(wanted, timeout=timeout)

    def until(self, wanted: str, act: Callable[[], object]) -> float:
        """Seconds from the end of an act until the page shows a state that begins with *wanted*, by the page's own record: who asks it
        from outside asks every half second."""
        act()
        begun = time.time()
        self.state(f'[data-state^="{wanted}"]')
        return max(0.0, next(at for at, state in reversed(self.page.evaluate("() => seen.states")) if state.startswith(wanted)) / 1000 - begun)

    def close(self) -> None:
        self.context.close()


@contextmanager
def opened() -> Iterator[Any]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise RuntimeError("the playwright package is not installed") from None
    if not CHROMIUM:
        raise RuntimeError("no Chromium on this machine: set CHROMIUM")
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield browser
        browser.close()


@contextmanager
def homes(count: int) -> Iterator[tuple[Homes, str]]:
    with tempfile.TemporaryDirectory() as folder:
        both = Homes(Path(folder), count)
        try:
            both.start_relay()
            read = both.key("read")
            both.pair(both.key("push"))
            both.start_agent()
            yield both, read
        finally:
            both.close()


def filled(visit: Visit, count: int) -> None:
    """Wait until all sessions were read and sent."""
    visit.page.wait_for_function(f"() => document.querySelector('#h-sess + .quiet')?.textContent.startsWith('{count:,}')", timeout=180_000)


def settled(browser: Any, both: Homes, read: str, count: int) -> None:
    """Return when agent and relay have everything: from then on they are quiet."""
    for url in (both.agent_url, f"{both.relay_url}#key={read}"):
        visit = Visit(browser)
        visit.go(url)
        filled(visit, count)
        visit.close()


def loading(browser: Any, both: Homes, read: str) -> list[Figure]:
    settled(browser, both, read, USUAL)
    found = []
    visit = Visit(browser, width=390, height=844)
    visit.go(f"{both.relay_url}#key={read}")
    visit.page.wait_for_timeout(1500)
    data = sum(size for url, size in visit.bytes.items() if "/api/" in url)
    whole = sum(visit.bytes.values())
    visit.close()
    if shutil.which("node"):
        found.append(Figure("page: the files of a first visit, with brotli", int(subprocess.run(["node", "-e", FIRST_VISIT], cwd=ROOT / "dashboard", capture_output=True, text=True, check=True).stdout) / 1000, "kB", "80 kB"))
    found += [Figure("page: the same from a relay, with gzip and all headers", (whole - data) / 1000, "kB"), Figure("page: the first feed", data / 1000, "kB", "60 kB")]
    runs = [one_load(browser, f"{both.relay_url}#key={read}", width=390, height=844, slow=4, net=SLOW_4G) for _ in range(ROUNDS)]
    found += [Figure("page: first paint, slow 4G, processor ÷ 4", statistics.median(r[0] for r in runs) / 1000, "s", "1.2 s"),
              Figure("page: largest paint, slow 4G, processor ÷ 4", statistics.median(r[1] for r in runs) / 1000, "s", "1.8 s"),
              Figure("page: layout shift while loading", max(r[2] for r in runs), "", "0.1")]
    runs = [one_load(browser, both.agent_url) for _ in range(ROUNDS)]
    found.append(Figure("page: largest paint on localhost", statistics.median(r[1] for r in runs) / 1000, "s", "0.5 s"))
    return found


def one_load(browser: Any, url: str, **how: Any) -> tuple[float, float, float]:
    visit = Visit(browser, **how)
    visit.go(url)
    paints = visit.paints()
    visit.close()
    return paints


def working(browser: Any, both: Homes) -> list[Figure]:
    """What a message and a keystroke cost at ten thousand sessions."""
    visit = Visit(browser)
    visit.cdp.send("Performance.enable", {"timeDomain": "threadTicks"})
    visit.go(both.agent_url)
    filled(visit, SESSIONS)
    visit.state('[data-state="live"]')
    visit.page.wait_for_timeout(6000)
    rest = per_second(visit, 6, lambda: None)
    messages = per_second(visit, 12, both.say)
    visit.page.focus(".search input")
    keys = []
    for letter in "payouts retry":
        before = visit.busy()
        visit.page.keyboard.type(letter)
        visit.page.wait_for_timeout(60)
        keys.append((visit.busy() - before) * 1000)
    visit.close()
    return [Figure("page: processor for a message at 10,000 sessions", max(0, messages - rest), "ms", "16 ms"),
            Figure("page: processor for a keystroke in the search at 10,000 sessions", statistics.median(keys), "ms", "16 ms"),
            Figure("page: processor at rest, each second", rest, "ms")]


def per_second(visit: Visit, seconds: int, act: Callable[[], None]) -> float:
    """Main-thread ms a second, over some seconds with one act in each."""
    before = visit.busy()
    for _ in range(seconds):
        act()
        visit.page.wait_for_timeout(1000)
    return (visit.busy() - before) * 1000 / seconds


def falling(browser: Any, both: Homes, read: str) -> list[Figure]:
    """How fast the page notices that the agent stopped, died, and came back: the slowest of some rounds, each at another moment of its beat."""
    visit = Visit(browser)
    visit.go(f"{both.agent_url}#relay={both.relay_url}&key={read}")
    visit.state('[data-state="live"]')
    visit.page.wait_for_function("() => navigator.serviceWorker.ready")
    stopped, killed, back = [], [], []
    for turn in range(ROUNDS):
        visit.page.wait_for_timeout(1000 + turn * 500 / ROUNDS)
        stopped.append(visit.until("relay", lambda: os.kill(both.processes["agent"].pid, signal.SIGSTOP)))
        os.kill(both.processes["agent"].pid, signal.SIGCONT)
        visit.state('[data-state="live"]')
        killed.append(visit.until("relay", lambda: both.kill("agent")))
        visit.page.wait_for_timeout(2000)
        back.append(visit.until("live", both.start_agent))
    visit.page.wait_for_timeout(6000)
    both.kill("agent")
    both.kill("relay")
    visit.cdp.send("Emulation.setCPUThrottlingRate", {"rate": 4})
    visit.page.reload()
    visit.state(".big b")
    numbers = visit.page.evaluate("() => seen.numbers")
    visit.close()
    return [Figure("page: agent killed, until the relay's numbers", max(killed), "s", "1 s"), Figure("page: agent stopped, until the relay's numbers", max(stopped), "s", "1 s"),
            Figure("page: agent back, until live again", max(back), "s", "2 s"), Figure("page: reload with everything down, processor ÷ 4, until numbers", numbers / 1000, "s", "1 s")]


def lasting(browser: Any, both: Homes) -> list[Figure]:
    """What an hour of messages, one each second, leaves in memory. The messages come at once: memory knows no clock."""
    visit = Visit(browser)
    visit.cdp.send("Performance.enable")
    visit.go(both.agent_url)
    visit.state('[data-state="live"]')
    replay(visit, 300)
    before = visit.heap()
    replay(visit, 3600)
    grown = visit.heap() - before
    visit.close()
    return [Figure("page: heap after an hour of messages", grown / 1e6, "MB more", "2 MB")]


def replay(visit: Any, count: int) -> None:
    """Hand the page *count* real feeds through its own door, each drawn before the next."""
    visit.page.evaluate("""async (count) => {
      const S = await import('/js/store.js'), base = new URL('./', location.href).href;
      const whole = await (await fetch('api/v1/feed?sessions=20')).json(), record = whole.records[0];
      for (let i = 0; i < count; i++) {
        const v = { ...record.value, estimated_tokens: record.value.estimated_tokens + i, cost: (record.value.cost ?? 0) + i / 100, last_activity: new Date().toISOString() };
        S.apply({ since: S.cursor(base), cursor: S.cursor(base), records: [{ ...record, value: v }], removed: [], reset: [], summary: { block: structuredClone(whole.summary.block), totals: {} }, server_time: new Date().toISOString() }, base, true);
        if (i % 4 === 0) await new Promise((ok) => requestAnimationFrame(ok));
      } }""", count)


def figures() -> list[Figure]:
    with opened() as browser:
        with homes(USUAL) as (both, read):
            found = [*loading(browser, both, read), *falling(browser, both, read)]
        with homes(SESSIONS) as (both, _):
            return [*found, *working(browser, both), *lasting(browser, both)]
