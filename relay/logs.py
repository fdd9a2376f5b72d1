"""One line per event, to stderr, as text or as JSON, and never a secret.

The access log is collected and written about once a second: a line costs less than the call that writes it. It is put together at
once, because a thread that did so for a second's lines would keep callers waiting for the interpreter meanwhile.
"""
from __future__ import annotations

import json
import logging
import re
import sys
import threading
import time
from typing import IO

from ledger.http.request import Request
from ledger.times import iso

_KEY = re.compile(r"sr_(push|read|admin)_[A-Za-z0-9_]*")
_EXTRA = ("key", "scope", "tenant", "address")
_MOST_WAITING = 20_000


def clean(text: str) -> str:
    """One printable line without keys."""
    shown = text if text.isprintable() else text.encode("unicode_escape").decode()
    return _KEY.sub(r"sr_\1_…", shown) if "sr_" in shown else shown


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        extra = "".join(f" {name}={getattr(record, name)}" for name in _EXTRA if hasattr(record, name))
        return clean(f"{iso(int(record.created * 1000))} {record.levelname.lower()} {record.name}: {_message(record)}{extra}")


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        extra = {name: getattr(record, name) for name in _EXTRA if hasattr(record, name)}
        return json.dumps({"time": iso(int(record.created * 1000)), "level": record.levelname.lower(), "log": record.name, "message": clean(_message(record)), **extra})


def _message(record: logging.LogRecord) -> str:
    """An unforeseen error keeps its kind and place on the same line; who reads logs line by line loses nothing."""
    text = record.getMessage()
    if record.exc_info and record.exc_info[1] is not None:
        error = record.exc_info[1]
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
        text += f": {type(error).__name__}: {error}{place}"
    return text


def configure(form: str) -> None:
    """Everything to stderr in the asked form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("audit").setLevel(logging.INFO)
    logging.getLogger("relay").setLevel(logging.INFO)
    logging.raiseExceptions = False


class AccessLog:
    """Called by the shell for every answer; write() puts what was collected into *out*."""

    def __init__(self, form: str, out: IO[str] | None = None) -> None:
        self._json, self._out = form == "json", out or sys.stderr
        self._lines: list[str] = []
        self._lock = threading.Lock()
        self.answers: dict[int, int] = {}
        self.seconds = 0.0

    def __call__(self, asked: Request, status: int, size: int, seconds: float) -> None:
        self.answers[status] = self.answers.get(status, 0) + 1
        if status != 101 and not asked.path.endswith("/v1/live"):
            self.seconds += seconds  # a channel that stays open is not an answer that takes long
        if len(self._lines) < _MOST_WAITING:
            self._lines.append(self._line(time.time(), asked, status, size, seconds))

    def write(self) -> None:
        with self._lock:
            lines, self._lines = self._lines, []
            if lines:
                try:
                    self._out.write("".join(lines))
                    self._out.flush()
                except (OSError, ValueError):
                    return  # nobody reads our log any more

    def _line(self, at: float, asked: Request, status: int, size: int, seconds: float) -> str:
        when, path, address, took = iso(int(at * 1000)), clean(asked.path[:300]), clean(asked.client[:100]), round(seconds * 1000, 2)
        who = [(name, asked.note[name]) for name in ("tenant", "key") if name in asked.note]
        if self._json:
            facts = {"method": asked.method, "path": path, "status": status, "bytes": size, "ms": took, "address": address}
            return json.dumps({"time": when, "log": "access", **facts, **dict(who)}) + "\n"
        return f"{when} access: {asked.method} {path} {status} {size} {took} {address}{''.join([f' {name}={value}' for name, value in who])}\n"
