"""What Netlify is told about the page must not fall behind what the relay says of it."""
from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ledger.http.page import POLICY

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def headers() -> str:
    if shutil.which("node") is None:
        pytest.skip("Netlify's files are made by Node.js, which is not here")
    program = "import('./netlify/build.mjs').then(({ files }) => console.log(files('https://relay.example', 'wss://live.example/prod')._headers))"
    return subprocess.run(["node", "-e", program], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def directives(policy: str) -> dict[str, str]:
    return {name: rest for name, _, rest in (part.strip().partition(" ") for part in policy.split(";"))}


def test_the_page_may_do_on_netlify_what_it_may_do_at_home(headers: str) -> None:
    there = directives(re.search(r"Content-Security-Policy: (.*)", headers)[1])
    here = directives(POLICY)
    assert {name for name in there if there[name] != here.get(name)} == {"connect-src"}
    assert set(there) == set(here)


def test_the_page_reaches_its_relay_there_and_no_other_host(headers: str) -> None:
    reach = directives(re.search(r"Content-Security-Policy: (.*)", headers)[1])["connect-src"].split()
    assert {place for place in reach if "localhost" not in place and "127.0.0.1" not in place} == {"'self'", "wss://live.example"}


def test_everything_that_the_page_needs_is_in_the_site(tmp_path: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("Netlify's files are made by Node.js, which is not here")
    env = {"PATH": str(Path(shutil.which("node") or "").parent), "RELAY_URL": "https://relay.example"}
    subprocess.run(["node", "netlify/build.mjs"], cwd=ROOT, env=env, check=True)
    site = ROOT / "build" / "netlify"
    assert {"index.html", "sw.js", "_redirects", "_headers"} <= {path.name for path in site.iterdir()}
    assert not list(site.rglob("*.py"))
