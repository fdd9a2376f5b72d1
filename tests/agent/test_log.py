from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from local_agent.log import one_line, set_up, where


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_an_event_is_one_line_whatever_is_in_it(out: io.StringIO) -> None:
    set_up("text", stream=out)
    logging.getLogger("agent").warning("bad\nname \x1b[31m of a %s", "thing\u2028")
    assert out.getvalue().count("\n") == 1 and "\x1b" not in out.getvalue()


def test_json_lines_are_json(out: io.StringIO) -> None:
    set_up("json", stream=out)
    logging.getLogger("agent").info('with "quotes"')
    event = json.loads(out.getvalue())
    assert (event["level"], event["logger"], event["message"]) == ("info", "agent", 'with "quotes"')
    assert event["time"].endswith("Z")


def test_a_traceback_is_never_written(out: io.StringIO) -> None:
    set_up("text", stream=out)
    try:
        raise ZeroDivisionError("ours")
    except ZeroDivisionError:
        logging.getLogger("agent").exception("it failed")
    assert "Traceback" not in out.getvalue()
    assert "ZeroDivisionError: ours at test_log.py" in out.getvalue()


def test_a_key_is_never_written() -> None:
    assert "secret" not in one_line("the key sr_push_abc_secret_00000000 was refused")


def test_where_tells_file_and_line() -> None:
    try:
        raise ValueError("x")
    except ValueError as error:
        assert where(error).startswith("ValueError: x at test_log.py:")
