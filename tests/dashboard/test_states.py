"""Where the data comes from, seen in a browser: live, relay, cached, stored, none, and back."""
from __future__ import annotations

import os
import signal
import time
from urllib.parse import unquote

import pytest

from tests.dashboard.conftest import ARGS, CHROMIUM, free_port, state, wait_state

pytestmark = pytest.mark.browser
GREY = 'stroke="#9aa0a8"'
KEY = "sr_read_abcdefgh2345_secret1234567890_0badc0de"


def took(page, wanted, limit_ms):
    """Milliseconds until the badge says so."""
    begun = time.monotonic()
    wait_state(page, wanted, timeout=limit_ms)
    return (time.monotonic() - begun) * 1000


def kept(page):
    """Let the page write what it knows, as it does every five seconds and when it is left."""
    page.evaluate("() => dispatchEvent(new Event('pagehide'))")
    page.wait_for_timeout(150)


def test_a_killed_agent_leaves_the_last_numbers_and_their_time_and_its_return_is_noticed(server, visit):
    agent = server()
    page = visit(agent.url, wait=".calendar")
    wait_state(page, "live")
    number = page.inner_text(".big b >> nth=0")
    agent.kill()
    assert took(page, "stored", 3000) < 1500
    assert page.inner_text(".big b >> nth=0") == number
    assert "As of Today" in page.inner_text(".strip")
    assert page.inner_text("#h-active").startswith("Active at")
    assert page.title().startswith("(old)") and unquote(page.get_attribute("link[rel=icon]", "href")).count(GREY) == 1
    agent.start()
    assert took(page, "live", 6000) < 4000
    assert page.query_selector(".strip") is None
    assert unquote(page.get_attribute("link[rel=icon]", "href")).count(GREY) == 0


def test_a_stopped_agent_is_noticed_by_its_silence(server, visit):
    agent = server()
    page = visit(agent.url, wait=".calendar")
    wait_state(page, "live")
    os.kill(agent.process.pid, signal.SIGSTOP)
    try:
        assert took(page, "stored", 4000) < 2500
    finally:
        os.kill(agent.process.pid, signal.SIGCONT)
    wait_state(page, "live")


def test_without_the_agent_the_relay_takes_over_and_hands_back(server, visit):
    agent, relay = server(), server("--home", "relay", "--key", KEY, "--count", "40")
    page = visit(f"{agent.url}#relay={relay.url}&key={KEY}", wait=".calendar")
    wait_state(page, "live")
    assert "key" not in page.url and KEY not in page.content()
    agent.kill()
    assert took(page, "relay-live", 4000) < 2000
    assert page.inner_text("#h-sess + .quiet") == "40"
    agent.start()
    wait_state(page, "live")
    page.wait_for_function("() => document.querySelector('#h-sess + .quiet').textContent === '240'")


def test_reloaded_with_everything_down_the_page_shows_what_this_browser_saw(server, visit):
    agent = server()
    page = visit(agent.url, wait=".calendar")
    wait_state(page, "live")
    page.wait_for_function("() => navigator.serviceWorker.ready.then((r) => r.active.state === 'activated')")
    kept(page)
    number = page.inner_text(".big b >> nth=0")
    agent.kill()
    page.reload()
    page.wait_for_selector(".big b")
    assert page.inner_text(".big b >> nth=0") == number
    wait_state(page, "stored")
    assert "As of" in page.inner_text(".strip")
    agent.start()
    wait_state(page, "live")


def test_a_home_that_was_away_when_the_shell_was_to_be_kept_is_asked_again(agent, visit):
    page = visit(agent.url, wait=".calendar")
    page.add_init_script("""const keep = navigator.serviceWorker.register.bind(navigator.serviceWorker); window.asked = 0;
      navigator.serviceWorker.register = (url) => (window.asked++ ? keep(url) : Promise.reject(new TypeError('away')));""")
    page.clock.install()
    page.reload()
    page.wait_for_selector(".calendar")
    page.clock.run_for(4_000)
    assert page.evaluate("() => asked") == 1
    page.clock.run_for(61_000)
    page.wait_for_function("() => navigator.serviceWorker.ready.then((r) => !!r.active)")


def test_a_relay_wants_its_key_keeps_it_out_of_the_address_and_forgets_it_when_told(server, visit):
    relay = server("--home", "relay", "--key", KEY)
    page = visit(relay.url, wait=".empty")
    wait_state(page, "none")
    assert "Not paired" in page.inner_text(".badge")
    page.fill("input[name=link]", "sr_push_abcdefgh2345_secret1234567890_0badc0de")
    page.click("text=Connect >> nth=-1")
    page.wait_for_selector("[role=alert]:has-text('read key')")
    page.fill("input[name=link]", KEY)
    page.keyboard.press("Enter")
    wait_state(page, "relay-live")
    assert "key" not in page.url
    page.reload()
    wait_state(page, "relay-live")
    page.click(".badge")
    page.click("#source >> text=Forget")
    wait_state(page, "none")
    assert page.evaluate("() => JSON.stringify(localStorage)").find("secret1234567890") < 0
    page.reload()
    wait_state(page, "none")
    assert page.query_selector(".block") is None


def test_a_key_that_is_refused_says_so(server, visit):
    relay = server("--home", "relay", "--key", KEY)
    page = visit(f"{relay.url}#key={KEY.replace('secret', 'zecret')}", wait=".empty")
    page.wait_for_selector("text=Key refused")


def test_a_paired_relay_that_does_not_answer_is_not_called_unpaired(server, visit):
    host, gone = server("--static"), free_port()
    page = visit(f"{host.url}#relay=http://127.0.0.1:{gone}/&key={KEY}", wait=".empty")
    wait_state(page, "none")
    assert page.inner_text("h1") == "The relay does not answer"
    assert "does not answer" in page.inner_text(".checks li >> nth=0") and "not paired" not in page.inner_text("main")


def test_a_hosted_page_that_finds_no_agent_here_says_what_an_agent_needs(server, chromium, visit):
    host = server("--static")
    elsewhere = f"http://page.test:{host.port}"
    # Whoever runs the tests may well have an agent on port 3001: localhost is a port where nobody is.
    public = chromium.browser_type.launch(executable_path=CHROMIUM, args=[*ARGS, f"--host-resolver-rules=MAP page.test 127.0.0.1, MAP localhost 127.0.0.1:{free_port()}", f"--unsafely-treat-insecure-origin-as-secure={elsewhere}", f"--ip-address-space-overrides=127.0.0.1:{host.port}=public"])
    page = visit(elsewhere, context=public.new_context(), wait=".empty")
    if page.evaluate("() => navigator.permissions.query({ name: 'loopback-network' }).then((p) => p.state, () => 'unknown')") == "unknown":
        pytest.skip("this Chromium asks nobody before a page reaches the computer that it runs on")
    page.click(".empty >> text=Connect to this computer")
    page.wait_for_selector(f".empty >> text=--origins {elsewhere}")
    public.close()


def test_a_link_that_lost_its_end_says_what_is_wrong(server, visit):
    relay = server("--home", "relay", "--key", KEY)
    page = visit(f"{relay.url}#key={KEY[:-4]}", wait=".empty")
    assert page.inner_text("[role=alert]") == "That is not a key of this product. Copy the whole link."
    assert page.url == relay.url


def test_a_relay_without_a_live_channel_is_polled(server, visit):
    relay = server("--home", "relay", "--key", KEY, "--no-live")
    page = visit(f"{relay.url}#key={KEY}", wait=".calendar")
    wait_state(page, "relay-live")
    before = page.inner_text(".active ul")
    relay.tell(change=3)
    page.wait_for_function("(t) => document.querySelector('.active ul').innerText !== t", arg=before, timeout=9000)


def test_a_relay_nobody_reports_to_is_cached_and_looks_old(server, visit):
    relay = server("--home", "relay", "--key", KEY)
    relay.tell(quiet_since=1600)
    page = visit(f"{relay.url}#key={KEY}", wait=".calendar")
    wait_state(page, "relay-cached")
    assert "No machine has reported since" in page.inner_text(".strip")
    assert page.evaluate("() => document.querySelector('main').classList.contains('stale')")


def test_sample_data_comes_only_when_asked_for_and_says_so(server, visit):
    page = visit(server("--static").url, wait=".empty")
    wait_state(page, "none")
    assert page.query_selector(".block") is None
    page.click("text=Look around with sample data")
    wait_state(page, "sample")
    page.wait_for_selector(".calendar")
    assert "Made-up numbers" in page.inner_text(".strip.sample")
    assert page.evaluate("() => document.querySelectorAll('.block-chart .line').length") == 1
    page.click("text=Leave the sample")
    wait_state(page, "none")


def test_a_source_that_runs_on_sample_data_is_marked(server, visit):
    page = visit(server("--sample").url, wait=".calendar")
    assert "made-up numbers" in page.inner_text(".strip.sample")


def test_blocks_whose_limit_nobody_told_are_compared_by_tokens_and_none_is_said_to_be_below_it(server, visit):
    agent = server()
    page = visit(agent.url, wait=".recent-note")
    assert page.inner_text(".recent-note") == "2 of 13 reached the limit"
    at = page.evaluate("() => new Date(Date.now() - 9e7).toISOString()")
    block = {"start": at, "end": at, "tokens": 4_000_000, "cost": 1, "gap": False}
    mixed = [block | {"percent": 20, "percent_basis": "largest earlier block", "reached": False}, block | {"percent": 100, "percent_basis": "official", "reached": True}]
    agent.tell(summary={"recent_blocks": mixed})
    page.reload()
    page.wait_for_selector("text=by tokens, up to 46.3M; 1 reached a limit")


@pytest.mark.fault(63)
def test_a_clock_ten_minutes_off_is_put_right(server, visit):
    page = visit(server("--offset", "-600").url, wait=".calendar")
    wait_state(page, "live")
    assert page.inner_text(".badge .age") == "now"
    assert page.inner_text(".figures").count("2h 0") == 1, "the time left follows the server's clock"


def test_a_hundred_messages_at_once_are_drawn_and_none_is_lost(server, visit):
    agent = server()
    page = visit(agent.url, wait=".calendar")
    wait_state(page, "live")
    before = page.inner_text(".stats div:nth-child(2) dd >> nth=0")
    for _ in range(100):
        agent.tell(change=1)
    dollars = float(before.strip("$")) + 5
    page.wait_for_function("(t) => document.querySelector('.stats div:nth-child(2) dd').textContent === t", arg=f"${dollars:.2f}")
    assert state(page) == "live"
