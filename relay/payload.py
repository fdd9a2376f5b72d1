"""What a function answers with: compressed for whoever takes it so, and never more than Lambda carries.

There is no server in front of a function that would compress, and for an answer above six megabytes Lambda sends an error of its own, which says nothing.
"""
from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from typing import Any

from ledger.errors import Problem
from ledger.serving.cache import weakened

LARGEST = 6_000_000
"""Lambda's limit is 6,291,556 bytes of JSON, the headers among them."""
_WORTH_COMPRESSING = 800
_PLAIN = ("text/", "application/json", "application/x-ndjson")
Payload = Mapping[str, Any]


def fitting(answer: Payload, accept: str) -> Payload:
    """*answer* as it may go to a caller who accepts these encodings."""
    if answer["statusCode"] == 200 and "gzip" in accept and "body" in answer:
        answer = _packed(answer)
    return answer if _size(answer) <= LARGEST else _refused(answer)


def _packed(answer: Payload) -> Payload:
    headers = {name.lower(): value for name, value in answer["headers"].items()}
    body = base64.b64decode(answer["body"]) if answer["isBase64Encoded"] else answer["body"].encode()
    if "content-encoding" in headers or len(body) < _WORTH_COMPRESSING or not headers.get("content-type", "").startswith(_PLAIN):
        return answer
    headers |= {"content-encoding": "gzip", "vary": ", ".join(filter(None, [headers.get("vary"), "Accept-Encoding"]))}
    headers.pop("content-length", None)
    if "etag" in headers:
        headers["etag"] = weakened(headers["etag"].encode()).decode()
    return {**answer, "headers": headers, "body": base64.b64encode(gzip.compress(body, 5, mtime=0)).decode(), "isBase64Encoded": True}


def _size(answer: Payload) -> int:
    body = answer.get("body", "")
    # Text grows when it is quoted; only where that may matter is it looked at.
    return len(body) if answer.get("isBase64Encoded") or len(body) < LARGEST // 6 else len(json.dumps(body))


def _refused(answer: Payload) -> Payload:
    problem = Problem(413, "too-large", "this is more than a function may answer at once: ask for it compressed (curl --compressed), or for less with since and until")
    kept = {name: value for name, value in answer["headers"].items() if not name.lower().startswith(("content-", "etag", "cache-"))}
    headers = {**kept, "content-type": "application/problem+json", "cache-control": "no-store"}
    return {"statusCode": 413, "headers": headers, "body": problem.document().decode(), "isBase64Encoded": False}
