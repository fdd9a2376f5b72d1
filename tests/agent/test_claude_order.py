"""Any order of files and any split of a file into increments gives the same result as one full reading."""
from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local_agent.readers.claude.rank import ECHO, MAIN, SIDE, Rival, settle
from tests.agent.transcripts import NOW, Desk, Home, echo, line, raw, read_alone, usage

SESSIONS = ("11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222")
FILES = (
    f"{SESSIONS[0]}.jsonl", f"{SESSIONS[1]}.jsonl", f"{SESSIONS[0]}/subagents/agent-1.jsonl", "agent-2.jsonl", f"{SESSIONS[1]}/chat.jsonl",
)  # fmt: skip


@st.composite
def lines(draw: Callable[..., Any]) -> bytes:
    """One line: an answer, an echo of one, or damage."""
    what = draw(st.sampled_from(("answer", "answer", "answer", "answer", "echo", "noise", "damage", "glued")))
    if what == "noise":
        return b'{"type":"summary","summary":"told %d","leafUuid":"x"}\n' % draw(st.integers(1, 3))
    if what == "damage":
        return draw(st.sampled_from((b'{"message":{"usage":{"input_tok\x00\n', b"\n", b"  \r\n", b'{"a":1}\n')))
    found = line(
        draw(st.sampled_from(("msg_a", "msg_b", "msg_c", None))), used=usage(o=draw(st.integers(1, 4)), **draw(st.sampled_from(({}, {"speed": "fast"})))),
        request=draw(st.sampled_from(("req_1", "req_2", None))), session=draw(st.sampled_from(SESSIONS)), at=NOW - 900_000 * draw(st.integers(0, 3)) - draw(st.integers(0, 2)),
        side=draw(st.booleans()), cwd=draw(st.sampled_from(("/a/one", "/a/two"))),
        **draw(st.sampled_from(({}, {}, {"version": "dev"}, {"timestamp": "2026-02-30T10:00:00.000Z"}, {"costUSD": 0.25}))),
    )  # fmt: skip
    text = raw(echo(found) if what == "echo" else found)
    return text[:-1] + b"{}\n" if what == "glued" else text


Contents = dict[str, bytes]
contents = st.dictionaries(st.sampled_from(FILES), st.lists(lines(), min_size=1, max_size=7).map(b"".join), min_size=1, max_size=4)


def whole(folder: Path, files: Contents) -> Any:
    home = Home(folder / "whole")
    for name, text in files.items():
        home.write(name=name).write_bytes(text)
    return read_alone(folder / "whole.db", home.folder)


def differences(ours: Any, theirs: Any, where: str = "") -> list[str]:
    """What differs, in few words: whole states are too long to read."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [found for key in sorted(ours.keys() | theirs.keys(), key=str) for found in differences(ours.get(key), theirs.get(key), f"{where}/{key}")]
    if isinstance(ours, tuple) and isinstance(theirs, tuple) and len(ours) == len(theirs):
        return [found for n, pair in enumerate(zip(ours, theirs, strict=True)) for found in differences(*pair, f"{where}/{n}")]
    return [] if ours == theirs else [f"{where}: {ours!r}, not {theirs!r}"]


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(files=contents, seed=st.integers(0, 1 << 30))
def test_any_split_and_any_order_gives_the_same_as_one_full_reading(files: Contents, seed: int) -> None:
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        expected = whole(folder, files)
        home = Home(folder / "pieces")
        desk = Desk(folder / "pieces.db", home.folder)
        left = dict(files)
        while left:
            path = rng.choice(sorted(left))
            cut = rng.randint(1, len(left[path])) if rng.random() < 0.7 else len(left[path])
            with home.write(name=path).open("ab") as file:
                file.write(left[path][:cut])
            left[path] = left[path][cut:]
            left = {each: text for each, text in left.items() if text}
            desk.reader.touched(str(home.path(path)))
            desk.look()
            if rng.random() < 0.2:
                desk = desk.again()
        with closing(desk):
            desk.look()
            assert differences(desk.state(), expected) == []


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(files=contents, second=contents)
def test_reading_a_rewritten_file_ends_where_its_last_state_and_what_was_read_before_lead(files: Contents, second: Contents) -> None:
    """Files are replaced by others of the same name: what the first said stays, what the second says is added once."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        home = Home(folder / "home")
        with closing(Desk(folder / "archive.db", home.folder)) as desk:
            for round in (files, second, second):
                for path, text in round.items():
                    place = home.write(name=path)
                    place.unlink()
                    place.write_bytes(text)
                    desk.reader.touched(str(place))
                desk.look()
            again = desk.state()
            for path, text in second.items():
                place = home.path(path)
                place.unlink()
                place.write_bytes(text)
                desk.reader.touched(str(place))
            desk.look()
            assert desk.state() == again


RIVALS = st.lists(
    st.builds(
        Rival, kind=st.sampled_from((MAIN, SIDE, ECHO)), request=st.integers(0, 2), tokens=st.integers(0, 3), speed=st.sampled_from((0, 1)),
        path=st.sampled_from("ab"), offset=st.integers(0, 9), place=st.just(0),
    ), min_size=1, max_size=8, unique_by=lambda rival: (rival.path, rival.offset),
)  # fmt: skip


@given(rivals=RIVALS, seed=st.integers(0, 999))
def test_the_rule_does_not_ask_for_an_order(rivals: list[Rival], seed: int) -> None:
    mixed = random.Random(seed).sample(rivals, len(rivals))
    assert sorted(settle(rivals)) == sorted(settle(mixed))


@given(rivals=RIVALS)
def test_the_best_of_each_file_decide_as_all_lines_would(rivals: list[Rival]) -> None:
    best: dict[tuple[Any, ...], Rival] = {}
    for rival in sorted(rivals, key=lambda each: (-each.tokens, -each.speed, each.offset)):
        best.setdefault((rival.path, rival.request, rival.kind), rival)
    assert sorted(settle(list(best.values()))) == sorted(settle(rivals))
