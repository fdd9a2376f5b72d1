"""Delivery step by step against a relay that follows the rules, over a network that breaks them."""
from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from ledger.record import Record, Ref
from ledger.sizes import MAX_BODY
from local_agent.archive import LOCAL, Archive
from local_agent.delivery import Delivery, Outcome, Relay
from local_agent.push.batch import Place, compose
from local_agent.push.mirror import Mirror
from local_agent.push.transport import Reply
from tests.agent.relays import KEY_ID, SECRET, SOURCE, URL, ModelRelay, Network

NOW = 1_700_000_000_000


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Laptop:
    """An agent's archive and delivery, and the relay at the other end."""

    def __init__(self, folder: Path) -> None:
        self.relay, self.clock, self.now = ModelRelay(), Clock(), NOW
        self.network = Network(self.relay)
        self.archive = Archive(folder / "archive.db", source="me", clock=lambda: self.now)
        self.restart()

    def restart(self) -> None:
        """As after a crash: only what is on the disk is known."""
        self.mirror = Mirror(self.archive.store, tenant=LOCAL, source="me")
        place = Relay(URL, URL, SOURCE, KEY_ID, (SECRET,))
        self.delivery = Delivery(self.mirror, self.network, place, monotonic=self.clock, roll=lambda: 1.0)

    def write(self, *ids: str, body: str = '{"n":1}', kind: str = "session") -> None:
        with self.archive.step() as step:
            for id in ids:
                step.put(Record(kind, id, body))

    def delete(self, *ids: str) -> None:
        with self.archive.step() as step:
            for id in ids:
                step.delete(Ref("session", id))

    def step(self, *, ask: bool = False) -> Outcome:
        return self.delivery.push_once(self.now, ask=ask)

    def settle(self, most: int = 60) -> Outcome:
        """Steps, with all the waiting they ask for, until the relay agrees."""
        for _ in range(most):
            outcome = self.step(ask=True)
            if outcome.agreed:
                return outcome
            self.clock.now += outcome.wait_s
        raise AssertionError(f"no agreement after {most} steps: {outcome}")

    def truth(self) -> dict[tuple[str, str], str]:
        return {(row.ref.kind, row.ref.id): row.body for row in self.archive.store.rows(LOCAL, "me")}

    def check(self) -> None:
        assert self.relay.visible() == self.truth()
        assert self.mirror.check()


@pytest.fixture
def laptop(tmp_path: Path) -> Iterator[Laptop]:
    made = Laptop(tmp_path)
    yield made
    made.archive.close()


def test_a_first_push_asks_for_a_lease_and_fills_the_relay(laptop: Laptop) -> None:
    laptop.write("a", "b", "c")
    assert [laptop.step().state, laptop.step().state] == ["behind", "synced"]
    laptop.check()
    assert laptop.relay.head is not None and laptop.relay.head.committed


def test_an_empty_archive_is_committed_too(laptop: Laptop) -> None:
    laptop.settle()
    assert laptop.relay.head is not None and laptop.relay.head.committed


def test_in_the_steady_state_a_change_is_one_message_and_nothing_is_none(laptop: Laptop) -> None:
    laptop.write("a", "b")
    laptop.settle()
    sent = len(laptop.network.sent)
    assert laptop.step() == Outcome("synced")
    laptop.write("a", body='{"n":2}')
    assert laptop.step().state == "synced"
    assert len(laptop.network.sent) == sent + 1
    assert [change["id"] for change in laptop.relay.log[-1]["put"]] == ["a"]
    laptop.check()


def test_two_hundred_records_take_four_messages(laptop: Laptop) -> None:
    laptop.write(*(f"s{n}" for n in range(200)))
    laptop.settle()
    laptop.check()
    assert len(laptop.network.sent) == 4
    assert [message["commit"] for message in laptop.relay.log[1:]] == [False, False, True]


def test_a_deletion_travels(laptop: Laptop) -> None:
    laptop.write("a", "b")
    laptop.settle()
    laptop.delete("a")
    laptop.settle()
    assert list(laptop.relay.visible()) == [("session", "b")]
    laptop.check()


class Meanwhile:
    """A rule for what leaves that changes nothing; once, while a record is on its way out, it does *this*, as another thread or a command might."""

    kinds = ()

    def __init__(self, this: Callable[[], None]) -> None:
        self.this: Callable[[], None] | None = this

    def outward(self, kind: str, id: str, body: str, hash: int) -> tuple[str, int]:
        this, self.this = self.this, None
        if this:
            this()
        return body, hash


@pytest.mark.parametrize("was_there", [False, True])
def test_what_is_deleted_while_a_push_is_put_together_leaves_the_relay_too(laptop: Laptop, was_there: bool) -> None:
    if was_there:
        laptop.write("a")
    laptop.settle()
    laptop.write("a", "b", body='{"n":2}')
    laptop.mirror = laptop.delivery.mirror = Mirror(laptop.archive.store, tenant=LOCAL, source="me", leaving=Meanwhile(lambda: laptop.delete("a")))
    laptop.settle()
    assert list(laptop.relay.visible()) == [("session", "b")]
    assert all({change["id"] for change in message["put"]}.isdisjoint(change["id"] for change in message["del"]) for message in laptop.relay.log)
    laptop.check()


def test_a_beat_is_sent_when_it_is_due(laptop: Laptop) -> None:
    laptop.settle()
    laptop.clock.now += 59
    assert laptop.step() == Outcome("synced")
    laptop.clock.now += 1
    assert laptop.step().agreed
    assert laptop.relay.log[-1]["type"] == "beat"


def test_a_lost_request_is_sent_again_with_the_same_bytes_and_a_fresh_signature(laptop: Laptop) -> None:
    laptop.settle()
    laptop.write("a")
    laptop.network.faults.append(laptop.network.lost_request)
    waiting = laptop.step()
    laptop.clock.now += waiting.wait_s
    laptop.now += 90_000
    laptop.step()
    (first, body), (second, again) = laptop.network.sent[-2:]
    assert body == again
    assert first["webhook-id"] == second["webhook-id"]
    assert first["webhook-timestamp"] != second["webhook-timestamp"]
    laptop.check()


def test_a_lost_answer_costs_one_harmless_repeat(laptop: Laptop) -> None:
    laptop.settle()
    laptop.write("a")
    laptop.network.faults.append(laptop.network.lost_answer)
    laptop.settle()
    laptop.check()
    assert laptop.relay.head is not None and laptop.relay.head.seq == 2


def test_changes_during_a_wait_add_no_requests(laptop: Laptop) -> None:
    laptop.settle()
    laptop.write("a")
    laptop.network.faults.append(laptop.network.lost_request)
    laptop.step()
    sent = len(laptop.network.sent)
    for n in range(5):
        laptop.write(f"b{n}")
        assert laptop.step().state == "waiting"
    assert len(laptop.network.sent) == sent


def test_a_relay_that_lost_everything_is_refilled_at_the_next_beat(laptop: Laptop) -> None:
    laptop.write("a", "b")
    laptop.settle()
    laptop.relay.lose_everything()
    laptop.clock.now += 60
    assert laptop.step().state == "behind"
    laptop.step()
    laptop.check()


def test_a_relay_that_went_back_in_time_is_refilled_and_shows_the_old_rows_meanwhile(laptop: Laptop) -> None:
    laptop.write(*(f"s{n}" for n in range(100)))
    laptop.settle()
    head, rows = laptop.relay.head, dict(laptop.relay.rows)
    laptop.write(*(f"t{n}" for n in range(100)))
    laptop.settle()
    laptop.relay.head, laptop.relay.rows = head, rows
    laptop.write("u")
    states = []
    while not laptop.step(ask=True).agreed:
        states.append(len(laptop.relay.visible()))
    assert min(states) >= 100
    laptop.check()


def crash_after_launch(laptop: Laptop) -> None:
    """The batch is saved, and the process dies before a byte of it leaves."""
    def die(headers: object, body: object) -> Reply:
        raise KeyboardInterrupt

    laptop.network.faults.append(die)
    with pytest.raises(KeyboardInterrupt):
        laptop.step()
    laptop.restart()


def crash_before_answer(laptop: Laptop) -> None:
    """The relay took the batch, and the process dies before it hears of it."""
    def die(headers: dict[str, str], body: bytes) -> Reply:
        laptop.relay.receive(headers, body)
        raise KeyboardInterrupt

    laptop.network.faults.append(die)
    with pytest.raises(KeyboardInterrupt):
        laptop.step()
    laptop.restart()


@pytest.mark.parametrize("crash", [crash_after_launch, crash_before_answer])
def test_after_a_crash_the_relay_ends_equal_to_the_truth(laptop: Laptop, crash: Callable[[Laptop], None]) -> None:
    laptop.write("a", "b")
    laptop.settle()
    laptop.write("c")
    crash(laptop)
    laptop.delete("a")
    laptop.write("c", body='{"n":3}')
    laptop.settle()
    laptop.check()


def test_a_number_that_may_have_been_used_is_burnt_even_if_nothing_changed(laptop: Laptop) -> None:
    laptop.write("a")
    laptop.settle()
    laptop.write("b")
    crash_after_launch(laptop)
    delayed = laptop.network.sent[-1]
    laptop.delete("b")
    laptop.settle()
    shown = laptop.relay.visible()
    assert laptop.relay.receive(*delayed).status == 409
    assert laptop.relay.visible() == shown
    laptop.check()


def test_a_change_taken_back_while_its_first_push_was_unanswered_is_not_forgotten(laptop: Laptop) -> None:
    laptop.write("a", body='{"n":1}')
    laptop.settle()
    laptop.write("a", body='{"n":2}')
    crash_before_answer(laptop)
    laptop.write("a", body='{"n":1}')
    assert laptop.mirror.difference(9) == []
    laptop.settle()
    laptop.check()


def test_a_deletion_older_than_what_is_kept_of_it_still_travels(laptop: Laptop) -> None:
    laptop.write("a", "b")
    laptop.settle()
    laptop.delete("a")
    laptop.write("c")
    assert laptop.archive.store.sweep(LOCAL, "me", now=NOW + 10**9) == 1
    laptop.settle()
    laptop.check()


def test_an_archive_that_went_back_in_time_is_compared_anew(laptop: Laptop) -> None:
    for n in range(5):
        laptop.write(f"s{n}")
    laptop.settle()
    with laptop.archive.store.transaction() as sql:
        sql.execute("UPDATE ledger_heads SET seq = 1")
        sql.execute("UPDATE ledger_rows SET seq = 1")
    laptop.write("s0", body='{"n":7}')
    laptop.settle()
    laptop.check()


@pytest.mark.parametrize("crashes", [2, 4, 5, 9])
def test_several_crashes_in_a_row_end_well(laptop: Laptop, crashes: int) -> None:
    laptop.write("a")
    laptop.settle()
    for n in range(crashes):
        laptop.write(f"b{n}")
        (crash_before_answer if n % 3 == 1 else crash_after_launch)(laptop)
    assert len(laptop.mirror.flights()) <= 4
    laptop.settle()
    laptop.check()


def test_a_rolled_back_agent_notices_and_sends_everything_anew(laptop: Laptop, tmp_path: Path) -> None:
    laptop.write("a")
    laptop.settle()
    place, rows = laptop.mirror.place(), laptop.mirror.difference(10)
    laptop.write("b")
    laptop.settle()
    with laptop.archive.store.transaction() as sql:
        sql.execute("UPDATE mirror_place SET seq = ?, digest = ?", (place.seq, f"{place.digest:064x}"))
        sql.execute("DELETE FROM mirror_rows WHERE id = 'b'")
    assert rows == []
    laptop.settle()
    laptop.check()


@pytest.mark.parametrize(
    ("status", "content", "kind"),
    [(200, b"<html>log in</html>", "text/html"), (200, b'{"seq":1}', "application/json"), (302, b"", "text/html"), (511, b"", "text/html"), (404, b"no", "text/plain"),
     (409, b'{"type":"lease","lease":"00000000000000000000000000000000","status":409}', "application/problem+json"),
     (422, b'{"type":"digest-mismatch","status":422}', "application/problem+json"), (400, b'{"type":"malformed","status":400}', "application/problem+json"), (500, b"", "")],
)  # fmt: skip
def test_an_answer_of_somebody_else_changes_nothing(laptop: Laptop, status: int, content: bytes, kind: str) -> None:
    laptop.write("a")
    laptop.settle()
    laptop.write("b")
    before = laptop.mirror.place()
    laptop.network.faults.append(laptop.network.says(status, content, content_type=kind))
    outcome = laptop.step()
    assert outcome.state in ("waiting", "portal")
    assert (laptop.mirror.place(), laptop.mirror.stubs()) == (before, [])
    laptop.settle()
    laptop.check()


def test_our_own_message_thrown_back_is_no_answer(laptop: Laptop) -> None:
    laptop.settle()
    laptop.write("a")
    laptop.network.faults.append(lambda headers, body: Reply(200, dict(headers), body))
    assert laptop.step().state == "portal"
    laptop.settle()
    laptop.check()


def test_an_old_answer_is_no_answer_to_a_new_message(laptop: Laptop) -> None:
    laptop.write("a")
    laptop.settle()
    laptop.clock.now += 60
    old = laptop.relay.receive(*laptop.network.sent[-1])
    laptop.network.faults.append(lambda headers, body: old)
    assert laptop.step().state == "portal"


def test_the_relays_word_under_another_status_is_not_believed(laptop: Laptop) -> None:
    laptop.settle()
    laptop.write("a")

    def state_as_success(headers: dict[str, str], body: bytes) -> Reply:
        told = laptop.relay.signed(headers["webhook-id"], 409, {"type": "state", "status": 409, "seq": 7, "digest": "00" * 32})
        return Reply(200, told.headers, told.body)

    laptop.network.faults.append(state_as_success)
    assert laptop.step().state == "portal"


@pytest.mark.parametrize(
    ("status", "type", "state", "wait"),
    [(401, "key-revoked", "halted", 900), (403, "scope", "halted", 900), (426, "upgrade-required", "upgrade", 3600), (400, "wrong-audience", "halted", 900)],
)
def test_a_refused_key_keeps_everything_and_asks_again_after_a_while(laptop: Laptop, status: int, type: str, state: str, wait: float) -> None:
    laptop.settle()
    laptop.write("a")
    laptop.network.faults.append(laptop.network.signed(status, type=type))
    outcome = laptop.step()
    assert (outcome.state, outcome.wait_s) == (state, wait)
    assert outcome.detail
    laptop.clock.now += wait
    laptop.settle()
    laptop.check()


def test_an_unknown_key_cannot_be_signed_and_is_believed_as_a_reason_to_wait(laptop: Laptop) -> None:
    laptop.network.faults.append(laptop.network.says(401, b'{"type":"unknown-key","status":401}', content_type="application/problem+json"))
    outcome = laptop.step()
    assert (outcome.state, outcome.detail) == ("halted", "the relay does not know this key")


@pytest.mark.parametrize(("header", "wait"), [("120", 120), ("0", 2), ("soon", 2), ("1000000", 3600), ("Tue, 14 Nov 2023 22:14:20 GMT", 60)])
def test_a_throttled_agent_waits_as_long_as_it_is_asked_to(laptop: Laptop, header: str, wait: float) -> None:
    laptop.network.faults.append(laptop.network.says(503, b"", retry_after=header))
    outcome = laptop.step()
    assert (outcome.state, outcome.wait_s) == ("throttled", wait)


def test_a_person_who_hurries_ends_a_wait_after_a_failure_and_no_pause_that_the_relay_asked_for(laptop: Laptop) -> None:
    laptop.network.faults.append(laptop.network.lost_request)
    laptop.step()
    assert laptop.delivery.wait_s > 0
    laptop.delivery.hurry()
    assert laptop.delivery.wait_s <= 0
    laptop.network.faults.append(laptop.network.says(503, b"", retry_after="120"))
    laptop.step()
    laptop.delivery.hurry()
    assert laptop.delivery.wait_s == 120


def test_failures_wait_longer_each_time_and_success_forgets_them(laptop: Laptop) -> None:
    waits = []
    for _ in range(10):
        laptop.network.faults.append(laptop.network.lost_request)
        waits.append(laptop.step().wait_s)
        laptop.clock.now += waits[-1]
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60, 60, 60]
    laptop.settle()
    laptop.write("a")
    laptop.network.faults.append(laptop.network.lost_request)
    assert laptop.step().wait_s == 2


def test_a_wrong_clock_is_corrected_once_by_the_relays(laptop: Laptop) -> None:
    laptop.now = NOW + 3_600_000
    assert laptop.step().state == "behind"
    assert laptop.delivery.clock_offset_ms == -3_600_000
    laptop.settle()
    laptop.check()


def test_a_clock_that_stays_wrong_is_told_loudly(laptop: Laptop) -> None:
    skew = laptop.network.signed(401, type="clock-skew")
    laptop.network.faults += [skew, skew]
    laptop.step()
    outcome = laptop.step()
    assert (outcome.state, outcome.wait_s) == ("halted", 900)
    assert "clock" in outcome.detail


def test_a_wake_from_sleep_forgets_waits_connections_and_clock(laptop: Laptop) -> None:
    laptop.network.faults.append(laptop.network.signed(403, type="scope"))
    laptop.step()
    laptop.delivery.wake()
    assert laptop.network.dropped_connections == 1
    assert laptop.delivery.wait_s <= 5


def test_a_record_too_large_is_never_sent_and_named(laptop: Laptop) -> None:
    laptop.write("a", "z")
    laptop.write("huge", body='"' + "x" * MAX_BODY + '"')
    laptop.settle()
    assert [(stub.ref.id, stub.code, stub.held) for stub in laptop.mirror.stubs()] == [("huge", "too-large", True)]
    assert sorted(laptop.relay.visible()) == [("session", "a"), ("session", "z")]
    laptop.write("huge", body="{}")
    laptop.settle()
    laptop.check()
    assert laptop.mirror.stubs() == []


def test_a_record_that_grew_too_large_stays_at_the_relay_as_it_was(laptop: Laptop) -> None:
    laptop.write("a")
    laptop.settle()
    laptop.write("a", body='"' + "x" * MAX_BODY + '"')
    laptop.settle()
    assert laptop.relay.visible() == {("session", "a"): '{"n":1}'}


def test_one_bad_record_among_many_is_found_by_halving_and_set_aside(laptop: Laptop) -> None:
    laptop.relay.refuse[("session", "s37")] = "400"
    laptop.write(*(f"s{n}" for n in range(100)))
    laptop.settle()
    assert [(stub.ref.id, stub.held) for stub in laptop.mirror.stubs()] == [("s37", True)]
    assert len(laptop.relay.visible()) == 99


def test_a_relay_that_refuses_every_message_condemns_no_record(laptop: Laptop) -> None:
    laptop.settle()
    laptop.write("a", "b")
    laptop.network.faults += [laptop.network.signed(400, type="malformed")] * 3
    states = [laptop.step().state for _ in range(3)]
    assert states == ["behind", "behind", "halted"]
    assert laptop.mirror.stubs() == []
    laptop.clock.now += 900
    laptop.settle()
    laptop.check()


def test_a_message_too_large_for_the_relay_is_halved(laptop: Laptop) -> None:
    laptop.settle()
    laptop.write(*(f"s{n}" for n in range(80)))
    laptop.network.faults += [laptop.network.signed(413, type="too-large")] * 2
    laptop.settle()
    assert len(laptop.relay.log[-3]["put"]) == 20
    laptop.check()


def test_a_proxy_that_refuses_large_messages_gets_smaller_ones_and_condemns_nothing(laptop: Laptop) -> None:
    laptop.settle()
    laptop.write(*(f"s{n}" for n in range(80)))
    laptop.network.faults += [laptop.network.says(413, b"<html>", content_type="text/html")] * 7
    laptop.settle(100)
    assert laptop.mirror.stubs() == []
    laptop.check()
    laptop.write(*(f"t{n}" for n in range(10)))
    laptop.settle()
    assert max(len(message["put"]) for message in laptop.relay.log[-10:]) <= 4, "what passed once is not exceeded again"


def test_stubs_of_the_relay_are_remembered_until_the_record_is_taken(laptop: Laptop) -> None:
    laptop.relay.refuse[("session", "b")] = "quota"
    laptop.write("a", "b")
    laptop.settle()
    assert [(stub.ref.id, stub.code, stub.held) for stub in laptop.mirror.stubs()] == [("b", "quota", False)]
    laptop.relay.refuse.clear()
    laptop.write("b", body='{"n":2}')
    laptop.settle()
    assert laptop.mirror.stubs() == []
    laptop.check()


def test_a_difference_in_arithmetic_begins_a_new_copy_and_is_counted(laptop: Laptop) -> None:
    laptop.settle()
    laptop.write("a")
    laptop.network.faults.append(laptop.network.signed(422, type="digest-mismatch"))
    laptop.settle()
    laptop.check()
    assert laptop.mirror.notes()["bugs"] == "1"


@pytest.mark.parametrize("wrong", [{"digest": "1" * 64}, {"seq": 7}, {"lease": "e" * 32}, {"digest": None}], ids=["digest", "number", "lease", "nothing"])
def test_a_200_that_names_another_state_than_the_one_sent_acknowledges_nothing(laptop: Laptop, wrong: dict[str, object]) -> None:
    laptop.settle()
    laptop.write("a")

    def answers(headers: Mapping[str, str], body: bytes) -> Reply:
        sent = json.loads(gzip.decompress(body))
        right = {"lease": sent["lease"], "seq": sent["seq"], "digest": sent["after"], "committed": True}
        return laptop.network.signed(200, **(right | wrong))(headers, body)

    laptop.network.faults.append(answers)
    outcome = laptop.step()
    assert (outcome.state, outcome.agreed) == ("behind", False) and laptop.mirror.place() == Place(), "a new copy begins"
    assert laptop.mirror.notes()["bugs"] == "1"
    laptop.settle()
    laptop.check()


def test_a_relay_that_never_agrees_is_not_hammered(laptop: Laptop) -> None:
    laptop.write("a")
    laptop.settle()
    laptop.write("b")
    laptop.network.faults += [laptop.network.signed(422, type="digest-mismatch")] * 50
    waited = 0.0
    for _ in range(20):
        waited += laptop.step(ask=True).wait_s
        laptop.clock.now += laptop.delivery.wait_s
    assert waited > 60


def test_a_lease_that_is_taken_away_again_and_again_ends_in_waiting_not_in_a_loop(laptop: Laptop) -> None:
    laptop.network.faults += [laptop.network.signed(409, type="lease", lease=f"{n:032x}") for n in range(30)]
    assert sum(laptop.step().wait_s for _ in range(10)) > 0


def test_a_message_is_the_same_bytes_whenever_it_is_made(laptop: Laptop) -> None:
    laptop.write("a")
    laptop.settle()
    body = laptop.network.sent[-1][1]
    assert body[4:8] == b"\0\0\0\0"
    assert json.loads(gzip.decompress(body))["aud"] == URL


def test_an_archive_that_was_swapped_under_us_is_mirrored_anew(laptop: Laptop) -> None:
    laptop.write("a")
    laptop.settle()
    with laptop.archive.store.transaction() as sql:
        for (name,) in sql.execute("SELECT name FROM sqlite_master WHERE name LIKE 'mirror_%' AND type = 'table'").fetchall():
            sql.execute(f"DROP TABLE {name}")
    laptop.write("b")
    laptop.settle()
    laptop.check()


@pytest.mark.parametrize("type", ["push", "beat", "bye"])
def test_a_message_has_every_member_that_the_protocol_names(type: str) -> None:
    made = compose(type, id="msg_1", aud="https://relay.example.org", source="laptop", place=Place("a" * 32, 7, 5), agent={"version": "1.0.0"})
    assert json.loads(gzip.decompress(made.wire)) == {
        "v": 1, "type": type, "aud": "https://relay.example.org", "source": "laptop", "lease": "a" * 32, "seq": 8 if type == "push" else 7,
        "prev": f"{5:064x}", "after": f"{5:064x}", "commit": False, "put": [], "del": [], "agent": {"version": "1.0.0"},
    }  # fmt: skip
