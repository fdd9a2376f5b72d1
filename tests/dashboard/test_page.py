"""The page itself: safe, reachable with a keyboard, readable by everyone, whole at every width and with every name."""
from __future__ import annotations

from pathlib import Path

import pytest

from tests.dashboard.conftest import ARGS, CHROMIUM, wait_state

pytestmark = pytest.mark.browser
AXE = Path(__file__).resolve().parents[1] / "js/node_modules/axe-core/axe.min.js"
KEY = "sr_read_abcdefgh2345_secret1234567890_0badc0de"


@pytest.fixture(scope="module")
def odd():
    from tests.dashboard.conftest import Server
    server = Server("--odd", "--count", "60")
    yield server
    server.kill()


@pytest.mark.parametrize("width", [320, 390, 560, 561, 820, 821, 1040, 1041, 1440, 1920])
def test_nothing_sticks_out_at_any_width_with_any_name(odd, visit, width):
    page = visit(odd.url, width=width, wait=".calendar")
    page.click(".list tbody th button >> nth=3")
    page.wait_for_selector(".cost-lines")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    assert page.evaluate("() => Math.max(...[...document.querySelectorAll('.top button')].map((e) => e.getBoundingClientRect().right))") <= width - 14
    out = page.evaluate("""() => [...document.querySelectorAll('main *')].filter((e) => {
      const r = e.getBoundingClientRect(), panel = e.closest('.panel');
      if (!r.width || e.closest('.sr') || r.right <= (panel ?? document.body).getBoundingClientRect().right + 1) return false;
      for (let p = e.parentElement; p && p !== panel; p = p.parentElement) if (getComputedStyle(p).overflowX !== 'visible') return false; // cut off on purpose
      return true; }).slice(0, 5).map((e) => e.outerHTML.slice(0, 120))""")
    assert not out, out


FRAMES = """window.widest = 0; (function look() { const root = document.documentElement; if (root) window.widest = Math.max(window.widest, root.scrollWidth - innerWidth); requestAnimationFrame(look); })()"""


def test_no_frame_is_wider_than_a_small_phone_while_charts_learn_their_width(odd, chromium, visit):
    context = chromium.new_context(viewport={"width": 320, "height": 700})
    context.add_init_script(FRAMES)
    page = visit(odd.url, context=context, wait=".calendar")
    page.click(".list tbody th button >> nth=3")
    page.wait_for_selector(".cost-lines")
    page.evaluate("() => new Promise((ok) => requestAnimationFrame(() => requestAnimationFrame(ok)))")
    assert page.evaluate("() => widest") == 0
    context.close()


def test_names_are_text_whatever_they_contain(odd, visit):
    page = visit(odd.url, wait=".calendar")
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    assert page.query_selector("main img, main script, main iframe") is None
    assert "<img src=x onerror=alert(1)>" in page.inner_text(".list")
    assert "Untitled" in page.inner_text(".list")
    assert "40d" in page.inner_text(".list")
    assert "≈10.0M" in page.inner_text(".list")
    page.click(".seg >> text=Tokens")
    assert "others" in page.inner_text(".totals")


def test_the_policy_holds_without_a_message(agent, visit):
    page = visit(agent.url, wait=".calendar")
    broken = page.evaluate("""async () => {
      const seen = []; document.addEventListener('securitypolicyviolation', (e) => seen.push(e.violatedDirective));
      try { document.body.innerHTML = '<p>x</p>'; seen.push('sink open'); } catch (e) { seen.push(e.name); }
      return seen; }""")
    assert broken == ["TypeError"], "Trusted Types refuse markup from strings"
    assert [text for text in visit.wrong if "TrustedHTML" not in text] == []
    visit.wrong.clear()


ALL_RULES = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]}
CONTRAST = {"type": "rule", "values": ["color-contrast"]}


def axe(page, rules):
    page.evaluate(AXE.read_text())
    found = page.evaluate("(rules) => axe.run({ runOnly: rules })", rules)
    return [(v["id"], v["nodes"][0]["html"][:200], v["nodes"][0]["failureSummary"][:300]) for v in found["violations"]]


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: npm ci in tests/js")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_wrong_in_any_view(server, visit, agent, dark):
    wrong, rules = {}, CONTRAST if dark else ALL_RULES  # in the dark only the colours differ

    def look(name, page):
        if found := axe(page, rules):
            wrong[name] = found
    over = server("--percent", "81")
    page = visit(over.url, dark=dark, wait=".calendar", bypass_csp=True)
    look("desk", page)
    page.click(".list tbody th button >> nth=1")
    page.wait_for_selector(".cost-lines")
    look("detail", page)
    page.click(".badge")
    look("source", page)
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    look("keys", page)
    over.kill()
    wait_state(page, "stored")
    look("stored", page)
    page = visit(agent.url, width=390, height=844, dark=dark, wait=".calendar", bypass_csp=True)
    look("phone", page)
    look("waiting", visit(server("--count", "0").url, dark=dark, wait=".empty", bypass_csp=True))
    relay = server("--home", "relay", "--key", KEY)
    look("not paired", visit(relay.url, dark=dark, wait=".empty", bypass_csp=True))
    guess = visit(server("--odd", "--sample").url, dark=dark, wait=".calendar", bypass_csp=True)
    look("odd", guess)
    admin = KEY.replace("read", "admin")
    page = visit(server("--home", "relay", "--key", admin, "--scope", "admin", "--seal", "A" * 43).url + f"#key={admin}", dark=dark, wait=".list .proj .sealed", bypass_csp=True)
    page.click(".active .line >> nth=0")
    page.wait_for_selector(".active .cost-lines")
    look("sealed, opened", page)
    page.click(".bell")
    page.wait_for_selector(".past")
    page.check("[aria-label='Quiet hours']")
    page.wait_for_selector("[aria-label='Tell what is urgent all the same']")
    look("alerts", page)
    look("shared", visit(server("--home", "relay", "--key", KEY, "--shows", "totals,sessions").url + f"#key={KEY}", dark=dark, wait="text=Shared view", bypass_csp=True))
    assert not wrong, wrong


def test_everything_can_be_reached_and_worked_with_the_keyboard(agent, visit):
    page = visit(agent.url, wait=".calendar")
    names = []
    for _ in range(60):
        page.keyboard.press("Tab")
        at = page.evaluate("() => { const e = document.activeElement; return e === document.body ? '' : (e.getAttribute('aria-label') || e.textContent || e.name || e.tagName).trim().slice(0, 40); }")
        if not at:
            break
        names.append(at)
    text = " | ".join(names)
    for wanted in ("Session Relay, to the top", "Usage", "Data source", "Theme", "Keyboard shortcuts", "Dismiss", "Stacked bars", "Calendar of daily cost", "Last active", "Project", "Show 50 more"):
        assert wanted in text, (wanted, text)
    page.keyboard.press("/")
    page.keyboard.type("relay")
    page.wait_for_function("() => document.querySelector('#h-sess + .quiet').textContent.includes(' of ')")
    page.keyboard.press("Escape")
    assert page.input_value(".search input") == ""
    page.keyboard.press("t")
    page.wait_for_function("() => document.documentElement.dataset.theme === 'light'")
    page.keyboard.press("?")
    assert page.is_visible("#keys")
    page.focus(".bars svg")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert page.query_selector(".totals .hot") is not None
    page.keyboard.press("3")
    page.wait_for_function("() => document.querySelector('#sessions').getBoundingClientRect().top < 600")


def test_targets_are_large_enough_to_hit(agent, visit):
    page = visit(agent.url, width=390, height=844, wait=".calendar")
    small = page.evaluate("""() => [...document.querySelectorAll('button, a, select, input:not([type=radio])')].filter((e) => e.offsetParent && !e.closest('[popover]')).map((e) => [e, e.getBoundingClientRect()]).filter(([, r]) => r.width < 24 || r.height < 24).map(([e, r]) => `${e.textContent} ${r.width}x${r.height}`)""")
    assert not small, small


def test_nothing_moves_for_those_who_want_it_still(agent, visit):
    page = visit(agent.url, wait=".calendar", reduced_motion="reduce")
    assert page.evaluate("() => document.getAnimations().length") == 0


def test_high_contrast_keeps_what_colours_say(agent, visit, picture):
    page = visit(agent.url, wait=".calendar", forced_colors="active")
    picture(page, "forced-colors")
    assert page.evaluate("() => getComputedStyle(document.querySelector('.meter span')).backgroundColor") != page.evaluate("() => getComputedStyle(document.querySelector('.meter')).backgroundColor")


def test_sessions_are_searched_filtered_sorted_paged_and_opened(server, visit):
    page = visit(server("--count", "1000").url, wait=".calendar")
    page.wait_for_function("() => document.querySelector('#h-sess + .quiet').textContent === '1,000'")
    for _ in range(5):
        page.click(".more:not([disabled])")
        page.wait_for_function("() => !document.querySelector('.more').disabled")
    page.wait_for_function("() => document.querySelectorAll('.list > tbody > tr').length === 262")
    page.fill(".search input", "webhook")
    page.wait_for_function("() => { const m = document.querySelector('#h-sess + .quiet').textContent.match(/^(\\d+) of 1,000$/); return m && +m[1] > 30; }")
    page.fill(".search input", "")
    page.select_option("select[aria-label=Machine]", "thinkpad")
    page.wait_for_function("() => [...document.querySelectorAll('.list tbody .mach')].every((e) => e.textContent === 'thinkpad')")
    page.click("thead >> text=Cost")
    page.wait_for_function("() => document.querySelector('th.cost').ariaSort === 'descending'")
    page.wait_for_timeout(500)
    costs = [float(each.strip("$")) for each in page.locator(".list tbody .cost").all_inner_texts()]
    assert costs == sorted(costs, reverse=True)
    page.click(".list tbody th button >> nth=0")
    page.wait_for_selector(".cost-lines")
    assert "Read from the tool's own log" in page.inner_text(".opened")
    assert page.locator(".opened .bars rect").count() > 0


def test_the_page_is_an_app_with_a_gauge_for_an_icon(agent, visit):
    page = visit(agent.url, wait=".calendar")
    wait_state(page, "live")
    assert page.title().startswith("58% · ") and page.title().endswith(" left")
    assert "stroke-dasharray" in page.get_attribute("link[rel=icon]", "href").replace("%3D", "=")
    client = page.context.new_cdp_session(page)
    manifest = client.send("Page.getAppManifest")
    assert not manifest["errors"] and "Session Relay" in manifest["data"]
    errors = client.send("Page.getInstallabilityErrors")["installabilityErrors"]
    assert [e["errorId"] for e in errors] in ([], ["in-incognito"]), errors


def test_the_apps_icon_carries_the_blocks_percent_where_it_is_official(server, visit):
    """What the icon was asked to carry: a browser shows it only where the app is installed."""
    agent = server("--percent", "81.6")
    page = visit(agent.url, wait=".calendar", permissions=["notifications"], bypass_csp=True)
    page.add_init_script("navigator.setAppBadge = async (n) => { window.badge = n; }; navigator.clearAppBadge = async () => { window.badge = null; }")
    page.reload()
    page.wait_for_selector(".calendar")
    assert page.evaluate("window.badge === undefined"), "nobody asked for notifications yet"
    page.click(".bell")
    page.click(".toggle")
    page.wait_for_function("window.badge === 82")
    agent.tell(summary={"block": None})
    page.wait_for_function("window.badge === null")


def test_notifications_are_off_until_somebody_switches_them_on(agent, visit):
    page = visit(agent.url, wait=".calendar", permissions=["notifications"])
    page.click(".bell")
    page.wait_for_selector('.toggle[aria-checked="false"]:has-text("Off until you switch them on")')
    page.click(".toggle")
    page.wait_for_selector('.toggle[aria-checked="true"]:has-text("While this page is open")', timeout=20_000)
    page.click(".toggle")
    page.wait_for_selector('.toggle[aria-checked="false"]')


def test_with_a_relay_alerts_come_while_the_page_is_closed(server, visit, chromium):
    relay = server("--home", "relay", "--key", KEY)
    context = chromium.new_context(permissions=["notifications"])
    context.add_init_script("""PushManager.prototype.subscribe = async (how) => ({ unsubscribe: async () => true,
      toJSON: () => ({ endpoint: 'https://fcm.googleapis.com/x', keys: { p256dh: how.applicationServerKey, auth: 'a' } }) });""")
    page = visit(f"{relay.url}#key={KEY}", context=context, wait=".calendar")
    wait_state(page, "relay-live")
    page.click(".bell")
    page.click(".toggle")
    page.wait_for_selector('.toggle:has-text("Also while this page is closed")', timeout=20_000)
    assert page.evaluate("() => localStorage['session-relay.push']") == "browser-1"
    client = context.new_cdp_session(page)
    versions = []
    client.on("ServiceWorker.workerRegistrationUpdated", lambda e: versions.extend(r["registrationId"] for r in e["registrations"]))
    client.send("ServiceWorker.enable")
    page.wait_for_timeout(300)
    told = '{"id": "pace/claude/1", "level": "warn", "text": "Week, Opus: ahead of its pace."}'
    client.send("ServiceWorker.deliverPushMessage", {"origin": relay.url.rstrip("/"), "registrationId": versions[-1], "data": told})
    page.wait_for_function("() => navigator.serviceWorker.ready.then((r) => r.getNotifications()).then((all) => all.some((n) => n.body === 'Week, Opus: ahead of its pace.' && n.tag === 'pace'))")
    context.close()


def test_an_alert_that_was_dismissed_stays_away(agent, visit):
    page = visit(agent.url, wait=".alerts p")
    page.click(".alerts button")
    page.wait_for_function("() => !document.querySelector('.alerts p')")
    page.reload()
    page.wait_for_selector(".calendar")
    assert page.query_selector(".alerts p") is None


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_prints_as_dark_ink_on_paper_without_its_controls(agent, visit, dark):
    page = visit(agent.url, wait=".calendar", dark=dark)
    page.emulate_media(media="print")
    assert not page.is_visible(".top") and not page.is_visible("text=Export") and page.is_visible(".block")
    assert page.evaluate("() => getComputedStyle(document.body).color") == "oklch(0.235 0.012 265)"


CROSSING = """() => [...document.querySelectorAll('.stats > div, .active .line > span, .totals tr > *, .figures > *, .tabs a')].filter((e) => e.offsetWidth && getComputedStyle(e).overflow === 'visible' && !e.querySelector('.meter') && [...e.parentElement.children].some((o) => {
  const range = document.createRange(), r = (range.selectNodeContents(e), range.getBoundingClientRect()), next = e.nextElementSibling?.getBoundingClientRect();
  return o === e && next?.width && next.top < r.bottom && next.bottom > r.top && next.left > r.left && r.right > next.left + 1; })).map((e) => e.innerText)"""


CUT_OFF = """() => [...document.querySelectorAll('.tabs a, .seg label, .big :is(b, span), .totals td, .sessions select')].filter((e) => {
  const range = document.createRange(), r = (range.selectNodeContents(e), range.getBoundingClientRect()), cell = (e.closest('.cell') ?? document.body).getBoundingClientRect();
  return e.offsetWidth && (r.right > cell.right || (e.matches('select') && parseFloat(getComputedStyle(e).fontSize) * 1.3 > e.clientHeight)); }).map((e) => e.innerText)"""


@pytest.mark.parametrize("size,width", [(20, 320), (24, 390), (32, 390), (24, 1440), (32, 1440)])
def test_who_sets_larger_letters_gets_the_layout_of_a_smaller_screen(agent, chromium, visit, size, width):
    larger = chromium.browser_type.launch(executable_path=CHROMIUM, args=[*ARGS, f"--blink-settings=defaultFontSize={size}"])
    context = larger.new_context(viewport={"width": width, "height": 900})
    page = visit(agent.url, context=context, wait=".calendar")
    assert page.evaluate("() => getComputedStyle(document.documentElement).fontSize") == f"{size}px"
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    assert not page.evaluate(CROSSING)
    assert not page.evaluate(CUT_OFF)
    larger.close()


@pytest.mark.parametrize("width", [701, 760, 800, 820])
def test_between_phone_and_desk_the_search_says_what_it_searches(agent, visit, width):
    page = visit(agent.url, width=width, wait=".list")
    needed = page.evaluate("() => { const e = document.querySelector('.search input'), c = document.createElement('canvas').getContext('2d'); c.font = getComputedStyle(e).font; return c.measureText(e.placeholder).width + 24; }")
    assert page.locator(".search input").bounding_box()["width"] >= needed
    assert len({box["y"] for each in page.query_selector_all(".sessions select") if (box := each.bounding_box())}) == 1


def test_on_the_smallest_phone_every_filter_says_its_whole_name(agent, visit):
    page = visit(agent.url, width=320, wait=".list")
    for each in page.query_selector_all(".sessions select"):
        needed = each.evaluate("(e) => { const c = document.createElement('canvas').getContext('2d'), s = getComputedStyle(e); c.font = s.font; return c.measureText(e.options[0].text).width + parseFloat(s.paddingLeft) + parseFloat(s.paddingRight); }")
        assert each.bounding_box()["width"] >= needed


def test_the_focus_of_a_session_that_ends_goes_to_the_next_and_at_last_to_the_heading(agent, visit, picture):
    page = visit(agent.url, wait=".calendar")
    wait_state(page, "live")
    end = "async (keys) => { const S = await import('./js/store.js'); S.sessions.value = S.sessions.value.map((s) => (keys.includes(s.key) ? { ...s, is_active: false } : s)); }"
    keys = page.evaluate("async () => { const S = await import('./js/store.js'); return S.active.value.map((s) => s.key); }")
    titles = page.locator(".active li button").all_inner_texts()
    assert len(keys) == len(titles) >= 3
    focused = "() => document.activeElement.innerText"
    page.focus(".active li:nth-child(2) button")
    page.evaluate(end, keys[:1])
    page.wait_for_function("(n) => document.querySelectorAll('.active li').length === n", arg=len(keys) - 1)
    assert page.evaluate(focused) == titles[1], "another one's end moves nothing"
    page.evaluate(end, keys[1:2])
    page.wait_for_function("(n) => document.querySelectorAll('.active li').length === n", arg=len(keys) - 2)
    assert page.evaluate(focused) == titles[2]
    picture(page, "active-focus")
    page.evaluate(end, keys)
    page.wait_for_selector(".active >> text=Nothing is running")
    assert page.evaluate(focused) == "Active now"
    picture(page, "active-focus-heading")


@pytest.mark.parametrize("width", [320, 390, 700, 900, 1100, 1280, 1440])
def test_how_many_other_models_there_are_is_read_whole(agent, visit, width, picture):
    page = visit(agent.url, width=width, wait=".keys")
    wait_state(page, "live")
    for length in (6, 36):
        page.evaluate("""async (length) => { const S = await import('./js/store.js'), models = Array.from({ length: 60 }, (_, i) => ({ model: "m".repeat(length) + i, tokens: 1000 + i, cost: 3.5 }));
          S.summary.value = { ...S.summary.value, block: { ...S.summary.value.block, models } }; }""", length)
        page.wait_for_selector(".keys >> text=58 others")
        assert page.evaluate("() => { const e = document.querySelector('.keys span:last-child'), all = document.querySelector('.keys'); return e.scrollWidth <= e.clientWidth && all.scrollWidth <= all.clientWidth; }")
    picture(page, f"mix-{width}")


def test_more_alerts_than_fit_are_behind_a_button(agent, visit, picture):
    page = visit(agent.url, wait=".calendar")
    page.evaluate("""async () => { const S = await import('./js/store.js');
      S.summary.value = { ...S.summary.value, alerts: Array.from({ length: 5 }, (_, i) => ({ id: "a" + i, level: "warn", text: "Alert " + i, at: null })) }; }""")
    page.wait_for_selector(".alerts p >> nth=2")
    picture(page, "alerts-few")
    assert page.evaluate("() => { const e = document.querySelector('.alerts > .link'); return e.scrollWidth <= e.clientWidth && e.offsetHeight < 30; }"), "on one line"
    page.click(".alerts >> text=Show 2 more")
    assert page.locator(".alerts p").count() == 5
    page.click(".alerts >> text=Show fewer")
    assert page.locator(".alerts p").count() == 3
