"""One line per event, to stderr, for people or for machines; never a traceback, a control character or a key."""
from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import TextIO

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
KEY = re.compile(r"\bsr_(push|read|admin)_\w+")


def set_up(style: str = "text", *, stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Log to *stream* (stderr), as text or as JSON."""
    logging.raiseExceptions = False  # a log that cannot be written is no reason for a traceback
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLine() if style == "json" else TextLine())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for chatty in ("urllib3", "uvicorn.access", "uvicorn.error", "asyncio", "websockets"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


class TextLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"{_time(record)} {record.levelname.lower()} {record.name}: {_message(record)}"


class JsonLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps({"time": _time(record), "level": record.levelname.lower(), "logger": record.name, "message": _message(record)}, ensure_ascii=False)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(record: logging.LogRecord) -> str:
    error = record.exc_info[1] if record.exc_info else None
    return one_line(record.getMessage() + (f" ({where(error)})" if error else ""))


def one_line(text: str) -> str:
    return KEY.sub(r"sr_\1_…", CONTROL.sub(" ", text))[:2000]


def where(error: BaseException) -> str:
    """An error of our own making in a few words: what, and at which line."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    at = f" at {place.tb_frame.f_code.co_filename.rpartition('/')[2]}:{place.tb_lineno}" if place else ""
    return one_line(f"{type(error).__name__}: {error}{at}")
