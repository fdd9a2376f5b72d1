"""What is kept to be answered again, how long, and how much of it."""
from __future__ import annotations

import pytest

from ledger.serving.cache import Answer, AnswerCache, Headers, prepared

GOOD: Headers = [(b"etag", b'"1"'), (b"cache-control", b"private, no-cache"), (b"content-type", b"application/json")]


def kept(*names: str, body: bytes = b"x" * 700, **how: int) -> AnswerCache:
    """Answers under these names, of version 1, kept at the moment 0."""
    made = AnswerCache(**how)
    for name in names:
        found = prepared(Answer(200, GOOD, body))
        assert found is not None
        made.keep(name, 1, 0, found, [])
    return made


def look(answers: AnswerCache, name: str, *, version: int = 1, now: int = 0) -> bool:
    return answers.look(name, version, now, if_none_match=b"", gzip_ok=False) is not None


def test_an_answer_is_true_for_its_version_and_its_second_only() -> None:
    answers = kept("a")
    assert look(answers, "a", now=999) and not look(answers, "a", now=1000) and not look(answers, "a", version=2) and not look(answers, "b")


def test_the_least_used_makes_room() -> None:
    answers = kept("a", "b", room=5000)
    assert look(answers, "a")
    again = prepared(Answer(200, GOOD, b"x" * 700))
    assert again is not None
    answers.keep("c", 1, 0, again, [])
    assert [name for name in "abc" if look(answers, name)] == ["a", "c"]


@pytest.mark.parametrize(
    ("status", "headers", "size"),
    [
        (404, GOOD, 1), (200, [(b"content-type", b"application/json")], 1), (200, [*GOOD, (b"content-encoding", b"gzip")], 1), (200, GOOD, (2 << 20) + 1),
        (200, [(b"etag", b'"1"'), (b"cache-control", b"no-store")], 1),
    ],
)  # fmt: skip
def test_only_whole_answers_that_may_be_kept_are(status: int, headers: Headers, size: int) -> None:
    assert prepared(Answer(status, headers, b"x" * size)) is None
    assert prepared(Answer(200, GOOD, b"x" * 1000)) is not None
