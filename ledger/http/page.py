"""The page's files, as they lie in the dashboard's folder: nothing else in it, nothing above it, and a strict policy on the document."""
from __future__ import annotations

import gzip
import mimetypes
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path, PurePosixPath

FOLDER = Path(__file__).resolve().parents[2] / "dashboard"
SERVED = {".html", ".css", ".js", ".json", ".svg", ".png", ".woff2", ".webmanifest", ".txt"}
NOT_SERVED = {"tools"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; manifest-src 'self'; worker-src 'self'; "
    "connect-src 'self' http://localhost:* ws://localhost:* http://127.0.0.1:* ws://127.0.0.1:* https: wss:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types app"
)
PACKED = {".html", ".css", ".js", ".json", ".svg", ".webmanifest", ".txt"}
"""What gets smaller on its way; pictures and fonts are small already."""
TYPES = {".js": "text/javascript; charset=utf-8", ".webmanifest": "application/manifest+json", ".woff2": "font/woff2", ".html": "text/html; charset=utf-8",
         ".css": "text/css; charset=utf-8"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class File:
    body: bytes
    headers: dict[str, str]


def find(path: str, folder: Path = FOLDER, accept: str = "") -> File | None:
    """The file that a request path names; "/" is the page. None for everything that is no part of the page.

    *accept* is the request's accept-encoding: who takes gzip gets a third of the bytes.
    """
    name = PurePosixPath(path.lstrip("/") or "index.html")
    if name.suffix not in SERVED or name.parts[0] in NOT_SERVED or any(part.startswith(".") or "\\" in part or "\0" in part for part in name.parts):
        return None
    place = (folder / name).resolve()
    if not place.is_relative_to(folder.resolve()) or not place.is_file():
        return None
    return _file(place, place.stat().st_mtime_ns, name.suffix in PACKED and "gzip" in accept)


@lru_cache(maxsize=256)
def _file(place: Path, changed: int, packed: bool) -> File:
    """Read, and packed, once for each state of the file."""
    body = place.read_bytes()
    headers = {"content-type": TYPES.get(place.suffix) or mimetypes.guess_type(place.name)[0] or "application/octet-stream",
               "etag": f'"{sha256(body).hexdigest()[:20]}{"-gz" if packed else ""}"', "cache-control": "no-cache"}  # fmt: skip
    if place.suffix in PACKED:
        headers["vary"] = "accept-encoding"
    if place.suffix == ".html" or place.name == "sw.js":
        headers["content-security-policy"] = POLICY
    if packed:
        headers["content-encoding"] = "gzip"
    return File(gzip.compress(body, 9, mtime=0) if packed else body, headers)
