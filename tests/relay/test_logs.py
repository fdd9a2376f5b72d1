"""One line an event, in the asked form, and never a secret or a line break that somebody sent."""
from __future__ import annotations

import io
import json
import logging

import pytest

from ledger.http.request import Request
from relay.keys import KeyRing
from relay.logs import AccessLog, clean, configure
from tests.ledger.ledgerkit import StoppedClock
from tests.relay.house import RelayHouse


@pytest.fixture
def quiet_after():
    """Gives the loggers back as they were."""
    root = logging.getLogger()
    before, level, raises = root.handlers[:], root.level, logging.raiseExceptions
    yield
    root.handlers[:], logging.raiseExceptions = before, raises
    root.setLevel(level)


def lines(capsys):
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_event_is_one_line_whatever_it_says(form, capsys, quiet_after):
    configure(form)
    logging.getLogger("audit").info("refused: %s", "two\nlines \x1b[31m", extra={"address": "192.0.2.1"})
    (line,) = lines(capsys)
    assert "\x1b" not in line and "192.0.2.1" in line
    if form == "json":
        assert json.loads(line)["log"] == "audit"


def test_an_unforeseen_error_keeps_its_kind_and_place_in_one_line(capsys, quiet_after):
    configure("text")
    try:
        raise ZeroDivisionError("by nothing")
    except ZeroDivisionError as error:
        logging.getLogger("relay").error("GET /x failed", exc_info=error)
    (line,) = lines(capsys)
    assert "ZeroDivisionError: by nothing" in line and "test_logs.py:" in line and "Traceback" not in line


def test_a_key_is_never_written_in_full():
    key = RelayHouse().key()
    assert clean(f"/x/{key}?y") == "/x/sr_read_…?y"


def test_an_answer_is_a_line_with_who_asked():
    for form, read in (("text", str), ("json", json.loads)):
        out = io.StringIO()
        log = AccessLog(form, out)
        log(Request("GET", "/sessions\n", "ticket=secret", {}, "192.0.2.1", {"tenant": "alice", "key": "abc"}), 200, 12, 0.0015)
        log.write()
        assert read(out.getvalue()) and out.getvalue().count("\n") == 1 and "secret" not in out.getvalue() and "alice" in out.getvalue()
        assert log.answers == {200: 1}


def test_an_address_that_a_proxy_passed_on_unread_forges_no_line():
    key = RelayHouse().key()
    for form in ("text", "json"):
        out = io.StringIO()
        log = AccessLog(form, out)
        log(Request("GET", "/", "", {}, f"192.0.2.1\n2026 info audit: key revoked \x1b[31m{key}", {}), 200, 12, 0.0015)
        log.write()
        assert out.getvalue().count("\n") == 1 and "\x1b" not in out.getvalue() and key not in out.getvalue() and "192.0.2.1" in out.getvalue()


def test_lines_that_are_not_written_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr("relay.logs._MOST_WAITING", 3)
    out = io.StringIO()
    log = AccessLog("text", out)
    for _ in range(10):
        log(Request("GET", "/", "", {}, ""), 200, 0, 0.0)
    log.write()
    assert (out.getvalue().count("\n"), log.answers) == (3, {200: 10})


def test_a_log_that_nobody_reads_stops_nothing():
    closed = io.StringIO()
    closed.close()
    log = AccessLog("text", closed)
    log(Request("GET", "/", "", {}, ""), 200, 0, 0.0)
    log.write()


def test_pushes_are_audited_too(caplog):
    house = RelayHouse()
    with caplog.at_level(logging.INFO, "audit"):
        sender = house.sender("alice", "laptop")
        sender.start()
        for _ in range(3):
            assert sender.push(commit=True).status == 200
    told = [(record.getMessage(), record.scope, record.key) for record in caplog.records if record.name == "audit"]
    assert told == [("key issued", "push", sender.key.id[-12:]), ("key used", "push", sender.key.id[-12:])]


def test_a_key_that_comes_from_elsewhere_is_audited_and_so_is_its_end(caplog):
    house = RelayHouse()
    key = house.key("read")
    ask = {"authorization": f"Bearer {key}"}
    caplog.clear()
    with caplog.at_level(logging.INFO, "audit"):
        for address in ("192.0.2.1", "192.0.2.1", "198.51.100.7", "192.0.2.1", "198.51.100.7"):
            house.relay.door._believed.clear()
            house.relay.door.enter(ask, address)
        house.relay.ring.revoke(key.split("_")[2])
    said = [(record.getMessage(), getattr(record, "address", "")) for record in caplog.records if record.name == "audit"]
    assert said == [("key used", "192.0.2.1"), ("key used from a new address", "198.51.100.7"), ("key revoked", "")]


def test_a_push_that_is_refused_is_audited_without_what_it_said(caplog):
    house = RelayHouse()
    sender = house.sender("alice", "laptop")
    sender.start()
    caplog.clear()
    with caplog.at_level(logging.INFO, "audit"):
        sender.raw(b"{}", secret=b"\1" * 32)
        sender.send(sender.message(source="studio"))
        sender.raw(b"{}", relay_key="nobody" * 5)
        house.relay.ring.revoke(sender.key.id)
        sender.push()
    said = [record.getMessage() for record in caplog.records if record.name == "audit"]
    assert said == ["refused: push, bad-signature", "refused: push, source-mismatch", "refused: push, unknown-key", "key revoked", "refused: push, key-revoked"]
    assert not any(part in caplog.text for part in (sender.key.text(), sender.key.secret.hex()))


def test_every_use_of_a_key_and_every_refusal_is_audited_once(caplog):
    house = RelayHouse()
    with caplog.at_level(logging.INFO, "audit"):
        key = house.key()
        for _ in range(3):
            house.ask("/status", key)
        house.ask("/status", "sr_read_wrong")
        house.post(active_sessions=[], key="wrong")
    said = [record.getMessage() for record in caplog.records if record.name == "audit"]
    assert said == ["key issued", "key used", "refused: unknown-key", "refused: post"]
    used = caplog.records[1]
    assert (used.tenant, used.scope) == ("alice", "read") and used.key == key.split("_")[2][-12:]
    assert KeyRing([b"x"], house.store, (), StoppedClock()).list()[0].last_use == house.clock()
