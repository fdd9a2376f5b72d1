"""An answer of the relay is bounded in size and time, whoever gives it."""
from __future__ import annotations

import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from local_agent.push.transport import LONGEST_ANSWER, TOTAL_S, HttpTransport


class Answering:
    """A session whose one answer is these pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces, self.read = pieces, 0

    def request(self, *_: Any, **__: Any) -> Answering:
        return self

    def __enter__(self) -> Any:
        return SimpleNamespace(status_code=200, headers={"Content-Type": "text/plain"}, raw=self)

    def __exit__(self, *_: object) -> None:
        pass

    def read1(self, most: int, *, decode_content: bool) -> bytes:
        piece = next(self.pieces, b"")
        self.read += len(piece)
        return piece


def test_an_answer_comes_whole_with_its_headers_in_lower_case() -> None:
    reply = HttpTransport(Answering(iter([b"one ", b"two"]))).get("https://relay.example.org/v1/ping")  # type: ignore[arg-type]
    assert (reply.status, reply.headers, reply.body) == (200, {"content-type": "text/plain"}, b"one two")


def test_an_answer_without_an_end_is_not_read_to_its_end() -> None:
    endless = Answering(itertools.repeat(b"x" * 65_536, 1000))
    with pytest.raises(requests.exceptions.RequestException, match="too long"):
        HttpTransport(endless).get("https://relay.example.org/v1/ping")  # type: ignore[arg-type]
    assert endless.read <= LONGEST_ANSWER + 65_536


def test_an_answer_that_trickles_is_left_when_its_time_is_over() -> None:
    seconds = itertools.count(0, TOTAL_S / 4)
    trickle = Answering(itertools.repeat(b"x", 1000))
    with pytest.raises(requests.exceptions.Timeout, match="too long"):
        HttpTransport(trickle, monotonic=lambda: next(seconds)).get("https://relay.example.org/v1/ping")  # type: ignore[arg-type]
    assert trickle.read == 5
