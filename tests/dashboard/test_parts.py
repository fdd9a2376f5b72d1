"""What is loaded on use: a session opened where it stands, sealed names, a shared view, the relay's alerts."""
from __future__ import annotations

import json
import re

import pytest

from tests.dashboard.conftest import Server, wait_state

pytestmark = pytest.mark.browser
KEY = "sr_read_abcdefgh2345_secret1234567890_0badc0de"
ADMIN = KEY.replace("read", "admin")
SEAL = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"


def test_a_session_that_runs_opens_where_it_stands_by_pointer_and_by_keyboard(agent, visit):
    page = visit(agent.url, wait=".calendar")
    page.click(".active .line >> nth=1")
    page.wait_for_selector(".active .cost-lines")
    assert page.get_attribute(".active li:nth-child(2) button", "aria-expanded") == "true"
    page.click(".active .opened")
    assert page.is_visible(".active .cost-lines"), "what is open is not a button"
    page.focus(".active li:nth-child(1) button")
    page.keyboard.press("Enter")
    page.wait_for_selector(".active li:nth-child(1) .cost-lines")
    assert page.locator(".active .opened").count() == 1
    page.keyboard.press("Enter")
    page.wait_for_function("() => !document.querySelector('.active .opened')")


def test_what_a_machine_used_today_is_what_the_day_says_at_every_frame(server, visit):
    relay = server()
    page = visit(relay.url, wait=".calendar")
    wait_state(page, "live")
    page.evaluate("""() => { window.seen = []; const look = () => {
      const number = (e) => parseFloat(e.textContent.replace(/[^\\d.]/g, '') || '0'), machines = [...document.querySelectorAll('.machines li .r .sub')].filter((e) => /today/.test(e.textContent));
      seen.push(machines.reduce((sum, e) => sum + number(e), -number(document.querySelector('.totals tfoot td'))).toFixed(2)); requestAnimationFrame(look); }; look(); }""")
    before = page.inner_text(".stats .cost dd >> nth=0")
    for _ in range(5):
        relay.tell(change=4)
    page.wait_for_function("(t) => parseFloat(document.querySelector('.stats .cost dd').textContent.slice(1)) > parseFloat(t.slice(1)) + 0.9", arg=before)
    assert set(page.evaluate("() => seen")) <= {"0.00", "-0.00"}


@pytest.fixture(scope="module")
def sealed():
    server = Server("--home", "relay", "--key", KEY, "--seal", SEAL)
    yield server
    server.kill()


def test_sealed_names_open_with_the_key_from_the_link_which_nobody_else_gets(sealed, visit):
    page = visit("about:blank", wait=None)
    asked = []
    page.on("request", lambda request: asked.append(request.url + (request.post_data or "") + json.dumps(request.headers)))
    page.goto(f"{sealed.url}#key={KEY}&seal={SEAL}")
    page.wait_for_selector(".active button >> text=Batch relay uploads")
    page.wait_for_selector(".list .proj >> text=payments-api")
    assert "seal" not in page.url and page.locator(".sealed").count() == 0
    page.click(".seg >> text=Project")
    page.wait_for_selector(".totals >> text=payments-api")
    page.fill(".search input", "scheduler")
    page.wait_for_function("() => / of 240, among the newest 120$/.test(document.querySelector('#h-sess + .quiet').textContent)")
    page.fill(".search input", "")
    page.select_option("select[aria-label=Project]", "docs-site")
    page.wait_for_function("() => [...document.querySelectorAll('.list tbody .proj')].every((e) => e.textContent === 'docs-site')")
    with page.expect_response(lambda r: "project=sealed1." in r.url):
        page.select_option("select[aria-label=Project]", "relay")
    page.click(".list tbody th button >> nth=0")
    page.wait_for_selector(".cost-lines")
    assert not [each for each in asked if SEAL in each]
    page.reload()
    page.wait_for_selector(".list .proj >> text=payments-api")


def test_without_the_key_sealed_names_say_so_and_stay_apart(sealed, visit, picture):
    page = visit(f"{sealed.url}#key={KEY}", wait=".calendar")
    page.wait_for_selector(".list .proj .sealed")
    names = page.locator(".list tbody .proj").all_inner_texts()
    assert all(name.startswith("sealed ") and len(name) == 11 for name in names) and 2 < len(set(names)) < 10
    assert "sealed1." not in page.inner_text("body")
    page.wait_for_selector(".strip >> text=Some names are sealed")
    page.click(".seg >> text=Project")
    picture(page, "sealed", full=True)
    page.evaluate("(hash) => { location.hash = hash; }", f"#seal={SEAL}")
    page.wait_for_selector(".list .proj >> text=payments-api")
    assert page.url.endswith("/")
    page.wait_for_function("() => !document.querySelector('.strip')")
    page.evaluate("(hash) => { location.hash = hash; }", "#seal=" + "B" * 43)
    page.wait_for_selector(".list .proj .sealed")


def opens_names(page):
    page.wait_for_selector(".list .proj >> text=payments-api")


def seals_names(page):
    page.wait_for_selector(".list .proj .sealed")
    page.wait_for_function("() => [...document.querySelectorAll('.list tbody .proj bdi')].every((e) => e.textContent === '–' || e.className === 'sealed')")


def test_a_key_to_names_that_came_alone_is_forgotten_alone_in_every_tab(server, visit, picture):
    agent = server("--seal", SEAL)
    page = visit(f"{agent.url}#seal={SEAL}", wait=".calendar")
    opens_names(page)
    other = visit(agent.url, context=page.context, wait=".calendar")
    opens_names(other)
    page.bring_to_front()
    page.click(".badge")
    page.wait_for_selector(".pairs >> text=Key to sealed names")
    picture(page, "seal-forget")
    page.focus("[aria-label='Forget the key to sealed names']")
    page.keyboard.press("Enter")
    seals_names(page)
    assert page.locator(".pairs").count() == 0 and page.evaluate("() => !!document.activeElement.closest('#source')"), "the focus stays where it was"
    seals_names(other)
    assert SEAL not in page.evaluate("() => JSON.stringify(localStorage)")
    page.reload()
    seals_names(page)


def test_a_key_to_names_that_a_read_key_keeps_is_forgotten_without_it(sealed, visit):
    page = visit(f"{sealed.url}#key={KEY}", wait=".calendar")
    page.evaluate("(hash) => { location.hash = hash; }", f"#seal={SEAL}")
    opens_names(page)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.select_option("select[aria-label=Project]", "relay")
    page.click(".badge")
    page.click("[aria-label='Forget the key to sealed names']")
    seals_names(page)
    wait_state(page, "relay-live")
    page.select_option("select[aria-label=Model]", index=1)
    page.wait_for_function("() => document.querySelector('.list tbody tr') && !document.querySelector('.more')?.disabled")
    assert page.input_value("select[aria-label=Project]") == "" and not [url for url in asked if "project=relay" in url]
    stored = page.evaluate("() => JSON.stringify(localStorage)")
    assert KEY in stored and SEAL not in stored


def test_a_read_key_takes_its_key_to_names_with_it(sealed, visit):
    other = KEY.replace("abcdefgh2345", "zyxwvuts9876")
    page = visit(f"{sealed.url}#key={other}&seal={SEAL}&name=old", wait=".badge")
    page.evaluate("(hash) => { location.hash = hash; }", f"#key={KEY}&name=new")
    opens_names(page)
    page.click(".badge")
    page.click("[aria-label^='Forget the key for old']")
    seals_names(page)


def test_words_in_sealed_names_are_asked_of_nobody_also_for_more(sealed, visit):
    page = visit(f"{sealed.url}#key={KEY}&seal={SEAL}", wait=".calendar")
    opens_names(page)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.fill(".search input", "main")
    page.wait_for_function("() => / of 240, among/.test(document.querySelector('#h-sess + .quiet').textContent)")
    said = page.inner_text("#h-sess + .quiet")
    page.click(".more")
    page.wait_for_function("() => document.querySelectorAll('.list tbody tr').length > 12")
    page.select_option("select[aria-label=Model]", index=1)
    page.wait_for_function("(t) => document.querySelector('#h-sess + .quiet').textContent !== t", arg=said)
    assert not [url for url in asked if "q=" in url]


def test_names_are_sealed_again_offline_and_open_from_what_this_browser_kept(server, visit):
    relay = server("--home", "relay", "--key", KEY, "--seal", SEAL)
    page = visit(f"{relay.url}#key={KEY}&seal={SEAL}", wait=".calendar")
    page.wait_for_selector(".list .proj >> text=payments-api")
    page.wait_for_function("() => navigator.serviceWorker.ready.then((r) => r.active.state === 'activated')")
    page.evaluate("() => dispatchEvent(new Event('pagehide'))")
    page.wait_for_function("""() => new Promise((ok) => { const open = indexedDB.open('session-relay'); open.onsuccess = () => { const get = open.result.transaction('last').objectStore('last').get('state');
      get.onsuccess = () => { open.result.close(); ok(!!get.result?.sessions.length && get.result.sessions.every((s) => !s.project || s.project.startsWith('sealed1.'))); }; }; })""")
    relay.kill()
    page.reload()
    page.wait_for_selector(".list .proj >> text=payments-api")


@pytest.mark.parametrize("shows,there,gone", [
    ("totals,blocks,limits,sessions,machines,projects", [".block", ".limits", ".active", ".machines", ".usage", ".sessions"], []),
    ("limits", [".limits"], [".block", ".active", ".machines", ".usage", ".sessions", ".empty"]),
    ("totals,sessions,titles,projects,costs", [".active", ".usage", ".sessions"], [".block", ".limits", ".machines"]),
    ("blocks,limits,machines,costs", [".block", ".limits", ".machines"], [".active", ".usage", ".sessions"]),
], ids=["no names, no costs", "limits", "no machines", "no sessions"])
def test_a_shared_view_says_so_and_shows_only_what_was_chosen(server, visit, picture, shows, there, gone):
    relay = server("--home", "relay", "--key", KEY, "--shows", shows)
    page = visit(f"{relay.url}#key={KEY}", wait="text=Shared view")
    assert "Shared view · until 5 Jan 2031" in page.inner_text(".strip")
    for part in there:
        page.wait_for_selector(part)
    assert not [part for part in gone if page.query_selector(part)]
    wait_state(page, "relay-live")
    text = page.inner_text("main")
    assert ("$" in text) == ("costs" in shows) and "NaN" not in text and "null" not in text and "undefined" not in text
    assert page.evaluate("() => [...document.querySelectorAll('.grid')].every((g) => [...g.children].reduce((a, c) => a + c.offsetWidth * c.offsetHeight, 0) > g.offsetWidth * g.offsetHeight * 0.98)"), "no cell is missing from a grid"
    picture(page, "shared-" + shows.replace(",", "-"), full=True)


def visible(page, selector):
    return [each.inner_text() for each in page.query_selector_all(selector) if each.is_visible()]


def test_what_a_shared_view_hides_leaves_no_empty_column(server, visit, picture):
    relay = server("--home", "relay", "--key", KEY, "--shows", "sessions,titles,costs")
    page = visit(f"{relay.url}#key={KEY}", wait="text=Shared view")
    page.wait_for_selector(".list")
    assert "projects and machines hidden" in page.inner_text(".strip")
    assert visible(page, ".list thead th") == ["Last active↓", "Session", "Model", "Length", "Tokens", "Cost"]
    assert visible(page, ".heads span") == ["Activity", "Context", "Tokens", "Cost", "Time"]
    assert "no project" not in page.inner_text("main")
    assert page.query_selector(".list .model i:not(.c-other)"), "models have their colours where no total is shown"
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.inner_text(".list .phone >> nth=0").strip() in ("Opus 4.5", "Sonnet 4.5", "Haiku 4.5"), "the second line is the model where project and machine are hidden"
    picture(page, "shared-sessions-390", full=True)


def test_who_views_a_team_is_no_stranger_with_a_link(server, visit):
    relay = server("--home", "relay", "--key", KEY, "--shows", "totals,blocks,limits,projects,machines,costs", "--role", "viewer")
    page = visit(f"{relay.url}#key={KEY}", wait=".strip")
    assert page.inner_text(".strip") == "Viewer · until 5 Jan 2031 · titles hidden"
    assert not page.query_selector(".sessions")


def test_a_shared_view_without_costs_fills_its_width_and_tells_tokens_on_a_phone(server, visit, picture):
    relay = server("--home", "relay", "--key", KEY, "--shows", "totals,blocks,sessions")
    page = visit(f"{relay.url}#key={KEY}", wait="text=Shared view")
    page.wait_for_selector(".list")
    assert page.inner_text("#h-limits") == "Recent blocks" and "No plan limit" not in page.inner_text(".limits")
    assert page.evaluate("() => [...document.querySelectorAll('.keys em')].every((e) => e.parentElement.scrollWidth <= e.parentElement.clientWidth)"), "no model's name is cut"
    assert page.evaluate("() => document.querySelector('.mix').getBoundingClientRect().right > document.querySelector('.block-chart').getBoundingClientRect().right - 2")
    assert visible(page, ".usage .seg label") == ["Model", "Tool"]
    page.set_viewport_size({"width": 390, "height": 844})
    assert re.fullmatch(r"[\d.]+[kM]", page.inner_text(".list tbody .tok >> nth=0"))
    assert page.is_visible(".list tbody .tok >> nth=0") and page.is_visible(".active .line .tok >> nth=0")


def test_a_relay_that_nobody_reported_to_yet_is_not_old(server, visit):
    relay = server("--home", "relay", "--key", KEY, "--count", "0")
    relay.tell(summary={}, machines=[])
    page = visit(f"{relay.url}#key={KEY}", wait=".empty")
    wait_state(page, "relay-live")
    assert page.query_selector(".strip") is None and "none has reported yet" in page.inner_text(".checks")


def test_an_admin_key_changes_what_the_relay_tells(server, visit, picture):
    relay = server("--home", "relay", "--key", ADMIN, "--scope", "admin")
    page = visit(f"{relay.url}#key={ADMIN}", wait=".calendar")
    page.click(".bell")
    page.wait_for_selector(".past >> text=Week, Opus: at this rate")
    page.fill(".rules input.steps >> nth=0", "95, 60")
    page.keyboard.press("Tab")
    page.wait_for_selector(".say >> text=Saved.")
    assert page.input_value(".rules input.steps >> nth=0") == "60, 95"
    page.fill(".rules input.steps >> nth=0", "sixty")
    page.keyboard.press("Tab")
    page.wait_for_selector(".say >> text=Numbers only")
    assert page.input_value(".rules input.steps >> nth=0") == "60, 95"
    page.fill(".rules input.steps >> nth=0", "600")
    page.keyboard.press("Tab")
    page.wait_for_selector(".say >> text=rules.block.steps")
    page.check("[aria-label='Quiet hours']")
    page.wait_for_selector("[aria-label='Tell what is urgent all the same']")
    page.fill(".pop form [name=name]", "phone")
    page.fill(".pop form [name=url]", "https://example.com/hook")
    page.keyboard.press("Enter")
    page.wait_for_selector(".channels >> text=phone")
    picture(page, "alerts")
    page.click(".channels >> text=Test")
    page.wait_for_selector(".say >> text=its name is not known")
    page.click(".channels >> text=Remove")
    page.wait_for_function("() => !document.querySelector('.channels')")
    page.reload()
    page.wait_for_selector(".calendar")
    page.click(".bell")
    page.wait_for_function("() => document.querySelector('.rules input.steps')?.value === '60, 95' && document.querySelector(\"[aria-label='Quiet hours']\").checked")


def test_a_key_that_may_only_read_is_not_offered_what_it_may_not_change(server, visit):
    relay = server("--home", "relay", "--key", KEY)
    page = visit(f"{relay.url}#key={KEY}", wait=".calendar")
    page.click(".bell")
    page.wait_for_selector(".past")
    assert page.query_selector(".rules") is None


@pytest.mark.parametrize("kind,name", [("session", "Sessions"), ("usage", "Usage by quarter-hour"), ("block", "Five-hour blocks"), ("day", "Days of sessions no longer kept")])
def test_each_kind_of_export_is_asked_for_with_the_filters_that_it_knows(server, visit, kind, name):
    relay = server("--home", "relay", "--key", KEY)
    page = visit(f"{relay.url}#key={KEY}", wait=".calendar")
    wait_state(page, "relay-live")
    page.select_option("select[aria-label=Machine]", "thinkpad")
    page.click(".sessions header >> text=Export")
    page.wait_for_selector("#exported select")
    page.select_option("#exported select >> nth=0", label=name)
    page.select_option("#exported select >> nth=1", "jsonl")
    with page.expect_download() as download:
        page.click("text=Download")
    assert download.value.suggested_filename == f"{kind}s.jsonl"
    asked = json.loads(download.value.path().read_text())
    assert asked == {"kind": [kind], "format": ["jsonl"], **({"machine": ["thinkpad"]} if kind in ("session", "usage") else {})}
    page.wait_for_selector("#exported .say >> text=Saved")


def test_the_page_offers_every_kind_that_the_server_exports():
    from ledger.export import COLUMNS
    from tests.dashboard.stand_in import PAGE
    assert all(f'["{kind}", ' in (PAGE / "js/export.js").read_text() for kind in COLUMNS)
