"""The page's files, as they lie in the dashboard's folder: nothing else in it, nothing above it, and a strict policy on the document."""
from __future__ import annotations

import mimetypes
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath

FOLDER = Path(__file__).resolve().parent.parent / "dashboard"
SERVED = {".html", ".css", ".js", ".json", ".svg", ".png", ".woff2", ".webmanifest", ".txt"}
NOT_SERVED = {"tools"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; manifest-src 'self'; worker-src 'self'; "
    "connect-src 'self' http://localhost:* ws://localhost:* http://127.0.0.1:* ws://127.0.0.1:* https: wss:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types app"
)
TYPES = {".js": "text/javascript; charset=utf-8", ".webmanifest": "application/manifest+json", ".woff2": "font/woff2", ".html": "text/html; charset=utf-8",
         ".css": "text/css; charset=utf-8"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class File:
    body: bytes
    headers: dict[str, str]


def find(path: str, folder: Path = FOLDER) -> File | None:
    """The file that a request path names; "/" is the page. None for everything that is no part of the page."""
    name = PurePosixPath(path.lstrip("/") or "index.html")
    if name.suffix not in SERVED or name.parts[0] in NOT_SERVED or any(part.startswith(".") or "\\" in part or "\0" in part for part in name.parts):
        return None
    place = (folder / name).resolve()
    if not place.is_relative_to(folder.resolve()) or not place.is_file():
        return None
    body = place.read_bytes()
    headers = {"content-type": TYPES.get(name.suffix) or mimetypes.guess_type(name.name)[0] or "application/octet-stream",
               "etag": f'"{sha256(body).hexdigest()[:20]}"', "cache-control": "no-cache"}  # fmt: skip
    if name.suffix == ".html" or name.name == "sw.js":
        headers["content-security-policy"] = POLICY
    return File(body, headers)
