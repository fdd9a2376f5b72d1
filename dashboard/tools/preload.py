"""Write the only generated lines of the page: its modulepreload list, and the service worker's file list.

    python dashboard/tools/preload.py            write them
    python dashboard/tools/preload.py --check    fail when that would change anything

The first list is every module that the first paint needs; without it a browser finds them one import
after another. The second is every file the page can ever need, under a version made of their bytes.
"""
from __future__ import annotations

import argparse
import hashlib
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STATIC = re.compile(r'\bfrom\s*"(\.[^"]+)"')
DYNAMIC = re.compile(r'\bimport\(\s*"(\.[^"]+)"\s*\)')
SHELL = ["./", "css/app.css", "css/more.css", "js/theme.js", "js/main.js"]
ASSETS = ["vendor/geist-latin.woff2", "icons/icon.svg", "icons/icon-192.png", "manifest.webmanifest", "sample.json"]


def imports(path: str, *patterns: re.Pattern[str]) -> list[str]:
    """What one module imports, as paths below the page's folder."""
    code = (ROOT / path).read_text()
    return [(ROOT / path).parent.joinpath(found[1]).resolve().relative_to(ROOT).as_posix()
            for pattern in patterns for found in pattern.finditer(code)]


def reach(start: str, *patterns: re.Pattern[str]) -> list[str]:
    """Every module that *start* leads to, each once, in the order they are found."""
    seen: list[str] = []
    todo = [start]
    while todo:
        for path in imports(todo.pop(0), *patterns):
            if path not in seen and path != start:
                seen.append(path)
                todo.append(path)
    return seen


def page(html: str) -> str:
    # The largest first: a browser asks for six at a time, and the last one decides.
    first = sorted(["js/main.js", *reach("js/main.js", STATIC)], key=lambda path: -(ROOT / path).stat().st_size)
    lines = "".join(f'<link rel="modulepreload" href="{path}">\n' for path in first)
    return re.sub(r'(<!-- modulepreload: .*? -->\n)(?:<link rel="modulepreload"[^\n]*\n)*', lambda m: m[1] + lines, html)


def worker(code: str, html: str) -> str:
    files = [*SHELL, *reach("js/main.js", STATIC, DYNAMIC), *ASSETS]
    data = [html.encode() if path == "./" else (ROOT / path).read_bytes() for path in files]
    version = hashlib.sha256(b"".join(data)).hexdigest()[:12]
    code = re.sub(r"const VERSION = .*", f'const VERSION = "{version}";', code)
    return re.sub(r"const FILES = .*", "const FILES = [" + ", ".join(f'"{path}"' for path in files) + "];", code)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write the page's generated lines.")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(argv)
    html = page((ROOT / "index.html").read_text())
    wanted = {"index.html": html, "sw.js": worker((ROOT / "sw.js").read_text(), html)}
    stale = [name for name, text in wanted.items() if (ROOT / name).read_text() != text]
    if options.check:
        for name in stale:
            print(f"preload: {name} is not up to date; run dashboard/tools/preload.py", file=sys.stderr)  # noqa: T201
        return 1 if stale else 0
    for name in stale:
        (ROOT / name).write_text(wanted[name])
    return 0


if __name__ == "__main__":
    sys.exit(main())
