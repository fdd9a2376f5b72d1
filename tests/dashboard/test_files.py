"""The page's files: vendored bytes as locked, generated lines up to date, served whole or packed, nothing else served."""
from __future__ import annotations

import gzip
import json
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from bench.page import FIRST_VISIT
from ledger.http import page

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD, JS = ROOT / "dashboard", ROOT / "tests/js"


def run(*command, cwd=ROOT):
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_vendored_files_are_what_the_lock_says():
    done = run(sys.executable, "dashboard/tools/vendor.py", "--check")
    assert done.returncode == 0, done.stderr


def test_a_changed_vendored_file_is_noticed(tmp_path):
    copy = shutil.copytree(DASHBOARD, tmp_path / "dashboard")
    (copy / "vendor/preact.js").write_text("export default 1")
    done = run(sys.executable, str(copy / "tools/vendor.py"), "--check")
    assert done.returncode == 1 and "preact.js was changed" in done.stderr


def test_generated_lines_are_up_to_date():
    done = run(sys.executable, "dashboard/tools/preload.py", "--check")
    assert done.returncode == 0, done.stderr


def test_the_manifest_names_icons_that_are_what_it_says():
    manifest = json.loads((DASHBOARD / "manifest.webmanifest").read_text())
    for icon in manifest["icons"]:
        data = (DASHBOARD / icon["src"]).read_bytes()
        if icon["type"] == "image/png":
            assert "x".join(map(str, struct.unpack(">II", data[16:24]))) == icon["sizes"]


def test_no_module_bears_a_style_or_inline_script_that_the_policy_forbids():
    for path in DASHBOARD.rglob("*.js"):
        text = path.read_text()
        assert "innerHTML" not in text or path.parent.name == "vendor", path
        assert "eval(" not in text and "new Function" not in text, path
        assert ' style="' not in text, path


def test_a_browser_that_takes_gzip_gets_the_same_file_smaller():
    plain, packed = page.find("js/now.js"), page.find("js/now.js", accept="gzip, br")
    assert plain and packed
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body) / 2
    assert packed.headers["content-encoding"] == "gzip" and packed.headers["etag"] != plain.headers["etag"]


@pytest.mark.parametrize("path", ["tools/vendor.py", "vendor.lock.json/..", "../pyproject.toml", "tools/sample.py", ".npmrc", "js/", "js/types.d.ts"])
def test_nothing_but_the_page_is_served(path):
    assert page.find(path) is None


def test_every_origin_of_numbers_that_a_session_explains_is_one_that_a_reader_names():
    explained = set(re.findall(r"^  (\w+): ", (DASHBOARD / "js/detail.js").read_text().split("const PROVENANCE = {")[1].split("};")[0], re.MULTILINE))
    code = "".join(path.read_text() for part in ("ledger", "local_agent", "relay") for path in (ROOT / part).rglob("*.py"))
    assert explained and not {word for word in explained if f'"{word}"' not in code}


NODE = pytest.mark.skipif(not shutil.which("node"), reason="node is not installed: it runs the checks of the page's pure modules")


@NODE
def test_a_first_visit_fits_its_budget():
    """Every file that loads unasked, as a host with brotli sends it: what grows must be wanted."""
    done = run("node", "-e", FIRST_VISIT, cwd=DASHBOARD)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= 80_000


@NODE
def test_the_pure_modules_pass_their_own_tests():
    done = run("node", "--test", cwd=JS)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.skipif(not (JS / "node_modules/.bin/tsc").exists(), reason="TypeScript is not installed: npm ci in tests/js")
def test_the_types_agree():
    done = run("node_modules/.bin/tsc", "-p", ".", cwd=JS)
    assert done.returncode == 0, done.stdout[-3000:]
