"""The page on a real agent and a real relay: what a person has on the desk."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request

import pytest

from bench.homes import ROOT, Homes
from tests.dashboard.conftest import wait_state

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    both = Homes(tmp_path_factory.mktemp("homes"), count=60)
    try:
        both.start_relay()
        both.read_key = both.key("read")
        both.pair(both.key("push"))
        both.start_agent()
        yield both
    finally:
        both.close()


def cost_of_first(page):
    return page.inner_text(".list tbody .cost >> nth=0")


def test_the_agents_page_is_live_and_shows_an_answer_as_it_is_written(homes, visit, picture):
    page = visit(homes.agent_url, wait=".calendar")
    wait_state(page, "live")
    page.wait_for_function("() => document.querySelector('#h-sess + .quiet').textContent === '60'")
    before = page.inner_text(".stats")
    homes.say()
    page.wait_for_function("(t) => document.querySelector('.stats').innerText !== t", arg=before)
    page.click(".list tbody th button >> nth=0")
    page.wait_for_selector(".cost-lines")
    assert "per million" in page.inner_text(".cost-lines")
    picture(page, "real-agent", full=True)


def test_the_relays_page_shows_the_same_and_follows_it(homes, visit, picture):
    page = visit(f"{homes.relay_url}#key={homes.read_key}", width=390, height=844, wait=".calendar")
    wait_state(page, "relay-live")
    page.wait_for_function("() => document.querySelector('#h-sess + .quiet').textContent === '60'")
    before = page.inner_text(".stats")
    homes.say()
    page.wait_for_function("(t) => document.querySelector('.stats').innerText !== t", arg=before)
    assert homes.read_key not in page.url
    picture(page, "real-relay", full=True)


def test_two_keys_of_one_relay_are_told_apart(homes, visit):
    page = visit(f"{homes.relay_url}#key={homes.read_key}", wait=".calendar")
    page.evaluate("(key) => { location.hash = '#key=' + key; }", homes.key("admin"))
    page.click(".badge")
    page.wait_for_function("() => [...document.querySelectorAll('.pairs .what')].map((e) => e.textContent).join() === 'main · member,main · admin'")
    assert page.get_attribute(".pairs .link >> nth=1", "aria-label").endswith("main · admin")
    assert page.evaluate("() => localStorage.getItem('session-relay.role')") == "relay", "the next visit knows whom to ask"


def test_killed_stopped_and_back(homes, visit):
    page = visit(f"{homes.agent_url}#relay={homes.relay_url}&key={homes.read_key}", wait=".calendar")
    wait_state(page, "live")
    os.kill(homes.processes["agent"].pid, signal.SIGSTOP)
    page.wait_for_selector('.badge[data-state^="relay"], .badge[data-state="stored"]', timeout=5000)
    os.kill(homes.processes["agent"].pid, signal.SIGCONT)
    wait_state(page, "live")
    homes.kill("agent")
    page.wait_for_selector('.badge[data-state^="relay"]', timeout=5000)
    assert page.inner_text("#h-sess + .quiet") == "60"
    homes.start_agent()
    wait_state(page, "live")


def test_reloaded_with_both_dead_the_page_opens_and_shows_the_last_numbers(homes, visit):
    page = visit(homes.agent_url, wait=".calendar")
    page.wait_for_function("() => navigator.serviceWorker.ready.then((r) => r.active.state === 'activated')")
    page.evaluate("() => dispatchEvent(new Event('pagehide'))")
    number = page.inner_text(".stats dd >> nth=0")
    homes.kill("agent")
    homes.kill("relay")
    page.reload()
    wait_state(page, "stored")
    assert page.inner_text(".stats dd >> nth=0") == number
    homes.start_relay()
    homes.start_agent()
    wait_state(page, "live")


@pytest.mark.fault(62)
def test_a_revoked_key_shows_nothing_new(homes, visit):
    key = homes.key("read")
    page = visit(f"{homes.relay_url}#key={key}", wait=".calendar")
    wait_state(page, "relay-live")
    listed = json.loads(subprocess.run([sys.executable, "-m", "relay", "keys", "list", "--json", *homes.store], cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    shown = page.evaluate("() => JSON.parse(localStorage['session-relay.pairs'])[0].key.split('_')[2]")
    assert any(shown.startswith(str(each["id"])) or str(each["id"]) == shown for each in listed)


def test_another_sites_page_gets_nothing_from_the_agent(homes, server, visit):
    elsewhere = server("--static")
    page = visit(elsewhere.url.replace("127.0.0.1", "localhost"), wait=".empty")
    seen = page.evaluate("""async (url) => { const out = [];
      for (const [path, init] of [['api/v1/feed', {}], ['api/sessions', { mode: 'no-cors' }], ['api/session-update', { method: 'POST', body: '{}', headers: { 'content-type': 'text/plain' }, mode: 'no-cors' }]])
        try { const r = await fetch(url + path, init); out.push((await r.text()).length); } catch { out.push(0); }
      out.push(await new Promise((ok) => { const s = new WebSocket(url.replace('http', 'ws') + 'ws'); s.onmessage = () => ok('message'); s.onclose = s.onerror = () => ok(0); setTimeout(() => ok(0), 2000); }));
      return out; }""", homes.agent_url)
    assert seen == [0, 0, 0, 0]
    visit.wrong.clear()


def test_the_policy_comes_as_a_header_from_both(homes):
    for url in (homes.agent_url, homes.relay_url):
        with urllib.request.urlopen(url) as answer:
            policy = answer.headers["content-security-policy"]
        assert "require-trusted-types-for 'script'" in policy and "frame-ancestors 'none'" in policy
