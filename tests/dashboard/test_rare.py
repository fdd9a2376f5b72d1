"""What is rarely combined: other zones than the tests' own, two tabs, a browser that keeps nothing, keys that change while something is under way."""
from __future__ import annotations

import pytest

from tests.dashboard.conftest import wait_state
from tests.dashboard.test_states import kept

pytestmark = pytest.mark.browser
KEY = "sr_read_abcdefgh2345_secret1234567890_0badc0de"
OTHER = "sr_read_zyxwvuts9876_secret1234567890_0badc0de"


@pytest.fixture
def somewhere(chromium, visit):
    """Open a page in a browser of its own: somewhere(url, timezone_id="Asia/Tokyo")."""
    contexts = []

    def open_page(url, *, script="", wait=".calendar", **options):
        context = chromium.new_context(locale="en-GB", **options)
        contexts.append(context)
        if script:
            context.add_init_script(script)
        return visit(url, context=context, wait=wait)
    yield open_page
    for context in contexts:
        context.close()


def total(page):
    return page.inner_text("#h-sess + .quiet")


def says_total(page, n):
    page.wait_for_function("(n) => document.querySelector('#h-sess + .quiet')?.textContent === n", arg=n)


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Asia/Tokyo"])
def test_a_session_of_today_is_of_today_in_the_list_too(agent, somewhere, zone):
    page = somewhere(agent.url, timezone_id=zone)
    wait_state(page, "live")
    shown = page.evaluate("""async () => { const { sessions, clockNow } = await import('./js/store.js'), { when } = await import('./js/format.js');
      const rows = sessions.value.slice(0, 12).map((s) => (s.is_active ? 'Active' : when(s.last, clockNow.value)));
      return [rows, [...document.querySelectorAll('.list .when')].slice(1).map((e) => e.textContent)]; }""")
    assert shown[0] == shown[1]


def test_a_browser_that_refuses_to_keep_anything_shows_the_page_all_the_same(agent, somewhere):
    page = somewhere(agent.url, script="for (const name of ['localStorage', 'indexedDB', 'caches']) Object.defineProperty(window, name, { get() { throw new DOMException('The operation is insecure.', 'SecurityError'); } });")
    wait_state(page, "live")
    page.click(".badge")
    page.wait_for_selector("#source .chain")


def test_a_key_that_is_forgotten_in_one_tab_is_gone_from_the_other(server, visit):
    relay = server("--home", "relay", "--key", KEY)
    one = visit(f"{relay.url}#key={KEY}", wait=".calendar")
    two = visit(relay.url, context=one.context, wait=".calendar")
    wait_state(two, "relay-live")
    one.click(".badge")
    one.click("#source >> text=Forget")
    wait_state(one, "none")
    wait_state(two, "none")
    kept(two)
    assert two.query_selector(".block") is None
    for page in (one, two):
        page.reload()
        wait_state(page, "none")
        assert page.query_selector(".block") is None and page.evaluate("() => JSON.stringify(localStorage)").find("secret1234567890") < 0


def test_two_tabs_that_pair_lose_no_key(server, visit):
    host, first, second = server("--static"), server("--home", "relay", "--key", KEY), server("--home", "relay", "--key", OTHER)
    one = visit(host.url, wait=".empty")
    two = visit(host.url, context=one.context, wait=".empty")
    one.evaluate("(link) => { location.hash = link; }", f"#relay={first.url}&key={KEY}")
    wait_state(one, "relay-live")
    wait_state(two, "relay-live")
    two.evaluate("(link) => { location.hash = link; }", f"#relay={second.url}&key={OTHER}")
    two.wait_for_function("() => JSON.parse(localStorage['session-relay.pairs']).length === 2")
    one.reload()
    one.wait_for_selector(".calendar")
    one.click(".badge")
    one.wait_for_selector(".pairs li >> nth=1")


def test_what_came_with_one_key_is_not_shown_under_another(server, visit):
    """Two tenants: switched on line, with pages of sessions fetched, a filter and an open row; then off line and back."""
    host, first, second = server("--static"), server("--home", "relay", "--key", KEY), server("--home", "relay", "--key", OTHER, "--count", "40")
    page = visit(f"{host.url}#relay={first.url}&key={KEY}", wait=".calendar")
    wait_state(page, "relay-live")
    page.click(".list thead .cost button")
    page.click("text=Show 50 more")
    page.wait_for_function("() => document.querySelectorAll('.list > tbody > tr').length > 50")
    page.evaluate("(link) => { location.hash = link; }", f"#relay={second.url}&key={OTHER}")
    says_total(page, "40")
    page.click("text=Show 28 more")
    page.wait_for_function("() => document.querySelectorAll('.list > tbody > tr').length === 40")
    kept(page)
    second.kill()
    first.kill()
    wait_state(page, "stored")
    page.click(".badge")
    page.click(".pairs li:first-child button >> nth=0")
    says_total(page, "240, the newest 120 are kept here")
    assert "As of Today" in page.inner_text(".strip") and "in use" in page.evaluate("() => getComputedStyle(document.querySelector('.pairs li:first-child b'), '::after').content")
    page.click(".pairs li:nth-child(2) button >> nth=0")
    says_total(page, "40")


def test_the_sample_is_never_kept_as_if_it_were_the_persons(server, visit):
    agent = server("--count", "0")
    page = visit(agent.url, wait=".empty")
    wait_state(page, "live")
    page.click("text=Look around with sample data")
    page.wait_for_selector(".calendar")
    kept(page)
    agent.kill()
    page.wait_for_timeout(200)
    assert page.evaluate("""() => new Promise((ok) => { const open = indexedDB.open('session-relay', 1);
      open.onsuccess = () => { const all = open.result.transaction('last').objectStore('last').getAll(); all.onsuccess = () => ok(all.result.map((s) => s.sessions.length)); }; })""") in ([], [0])


def test_a_shared_view_is_left_when_the_whole_key_is_chosen(server, visit):
    host = server("--static")
    shared, whole = server("--home", "relay", "--key", KEY, "--shows", "sessions,totals"), server("--home", "relay", "--key", OTHER)
    page = visit(f"{host.url}#relay={shared.url}&key={KEY}", wait=".sessions")
    page.wait_for_selector(".strip >> text=Shared view")
    page.evaluate("(link) => { location.hash = link; }", f"#relay={whole.url}&key={OTHER}")
    page.wait_for_selector(".block")
    page.wait_for_function("() => !document.querySelector('.strip')")


def test_a_broken_link_says_so_also_where_there_is_something_to_see(agent, visit):
    page = visit(f"{agent.url}#key={KEY[:-4]}", wait=".calendar")
    page.wait_for_selector("[role=alert] >> text=Copy the whole link")
    page.evaluate("(link) => { location.hash = link; }", f"#key={KEY.replace('read', 'push')}")
    page.wait_for_selector("[role=alert] >> text=read key")


def test_what_was_searched_while_nobody_answered_is_asked_when_somebody_does(server, visit):
    agent = server()
    page = visit(agent.url, wait=".calendar")
    wait_state(page, "live")
    agent.kill()
    wait_state(page, "stored")
    page.click("#search")
    page.select_option("select[aria-label=Model]", index=1)
    agent.start()
    wait_state(page, "live")
    whole = page.evaluate("async (model) => (await (await fetch('api/sessions?limit=1&model=' + encodeURIComponent(model))).json()).total", page.input_value("select[aria-label=Model]"))
    says_total(page, f"{whole} of 240")


def test_an_open_row_stays_when_newer_sessions_push_it_down(server, visit):
    agent = server()
    page = visit(agent.url, wait=".calendar")
    wait_state(page, "live")
    page.click(".list > tbody > tr:nth-child(12) th button")
    page.wait_for_selector(".detail .opened")
    title = page.inner_text(".list > tbody > tr.open th button")
    agent.tell(change=-3)
    page.wait_for_function("(t) => [...document.querySelectorAll('.list > tbody > tr')].findIndex((r) => r.classList.contains('open')) > 12", arg=title)
    assert page.inner_text(".list > tbody > tr.open th button") == title and page.query_selector(".detail .opened")


def test_keys_work_after_a_choice_was_made_with_the_arrows(agent, visit):
    page = visit(agent.url, wait=".calendar")
    page.focus(".usage .seg input >> nth=0")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("/")
    assert page.evaluate("() => document.activeElement.id") == "search"
    page.keyboard.type("1t?")
    assert page.input_value("#search") == "1t?"
    page.keyboard.press("Escape")
    assert page.input_value("#search") == "" and page.evaluate("() => document.activeElement.id") == ""


def test_at_four_hundred_percent_nothing_stands_in_front_of_the_text(agent, visit):
    page = visit(agent.url, width=320, height=256, wait=".calendar")
    page.evaluate("() => scrollTo(0, 900)")
    assert page.evaluate("() => [...document.querySelectorAll('.top, .tabs')].filter((e) => { const r = e.getBoundingClientRect(); return r.bottom > 0 && r.top < innerHeight; }).length") == 0
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 320


def test_the_name_of_a_low_limit_does_not_stand_on_the_curve(server, visit):
    agent = server()
    page = visit(agent.url, wait=".calendar")
    block = page.evaluate("""() => { const at = (h) => new Date(Date.now() + h * 36e5).toISOString();
      return { id: 'b', start: at(-1), end: at(4), tokens: { total: 2e6 }, cost: 3, percent: 1700, percent_basis: 'largest earlier block', basis: 'derived', unit: 'tokens', limit: 1.2e5,
               curve: [[at(-1), 0], [at(-0.5), 1e6], [at(0), 2e6]], projection: { tokens: 1.8e7, percent: 15000, low: 9000, high: 20000 }, burn: { series: [] }, models: [] }; }""")
    agent.tell(summary={"block": block})
    page.wait_for_selector(".block-chart text >> text=Largest earlier block")
    assert page.evaluate("""() => { const name = [...document.querySelectorAll('.block-chart text')].find((t) => /Largest/.test(t.textContent)).getBoundingClientRect();
      return ['.line', '.dot'].every((s) => { const r = document.querySelector('.block-chart ' + s).getBoundingClientRect(); return r.right < name.left || r.left > name.right || r.bottom < name.top || r.top > name.bottom; }); }""")


def test_with_forced_colours_an_alert_keeps_its_mark(agent, visit):
    page = visit(agent.url, wait=".alerts i", forced_colors="active")
    assert page.evaluate("() => getComputedStyle(document.querySelector('.alerts i')).backgroundColor !== getComputedStyle(document.body).backgroundColor")


def test_what_a_machine_cost_on_another_day_is_not_called_todays(server, visit):
    agent = server()
    page = visit(agent.url, wait=".calendar")
    page.wait_for_selector(".machines >> text=today")
    agent.kill()
    wait_state(page, "stored")
    page.evaluate("async () => { const { asOf } = await import('./js/store.js'); asOf.value -= 864e5; }")
    page.wait_for_selector(".machines >> text=that day")
    assert "today" not in page.inner_text(".machines") and "," in page.inner_text("#h-active")


@pytest.mark.parametrize("broken", ["x", "null", '{"a":1}', "7"])
def test_what_another_program_on_this_origin_left_in_the_storage_stops_nothing(agent, somewhere, broken):
    page = somewhere(agent.url, script=f"for (const k of ['dismissed', 'pairs', 'pair', 'role', 'theme']) localStorage.setItem('session-relay.' + k, {broken!r});")
    wait_state(page, "live")


def test_the_arrows_begin_to_read_the_calendar_at_today(agent, visit):
    page = visit(agent.url, wait=".calendar")
    page.focus(".heat svg")
    page.keyboard.press("ArrowLeft")
    today = page.evaluate("async () => { const { today } = await import('./js/store.js'), { dayName } = await import('./js/format.js'); return dayName(today.value); }")
    page.wait_for_selector(f".readout >> text={today}")


def test_an_agent_that_takes_a_relays_port_is_live_without_a_reload(server, visit):
    relay = server("--home", "relay", "--key", KEY, "--count", "40")
    page = visit(f"{relay.url}#key={KEY}", wait=".calendar")
    wait_state(page, "relay-live")
    relay.kill()
    wait_state(page, "stored")
    server("--count", "77", port=relay.port)
    wait_state(page, "live", timeout=20_000)
    says_total(page, "77")


def test_a_key_for_another_relay_says_on_a_relays_page_that_it_is_not_used_there(server, visit, picture):
    relay, elsewhere = server("--home", "relay", "--key", KEY), server("--home", "relay", "--key", OTHER)
    page = visit(f"{relay.url}#key={KEY}&name=mine", wait=".calendar")
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate("(hash) => { location.hash = hash; }", f"#relay={elsewhere.url}&key={OTHER}&name=theirs")
    page.click(".badge")
    page.wait_for_selector(".pairs li:nth-child(2) >> text=not used here")
    picture(page, "pair-elsewhere")
    assert page.locator(".pairs [aria-pressed]").all_inner_texts()[0].startswith("mine") and page.locator(".pairs [aria-pressed]").count() == 1
    assert not [url for url in asked if url.startswith(elsewhere.url)], "its key goes nowhere"
    page.click("[aria-label^='Forget the key for theirs']")
    page.wait_for_function("() => document.querySelectorAll('.pairs li').length === 1")
    wait_state(page, "relay-live")
