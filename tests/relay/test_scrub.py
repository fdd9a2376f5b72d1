"""A copy that no longer adds up is refilled by the agent; nobody mends it by guessing."""
from __future__ import annotations

from dataclasses import replace

from ledger.record import Ref
from ledger.store import Row
from relay.scrub import scrub

A, B = '{"id":"a"}', '{"id":"b"}'


def scrubbed(office) -> bool:
    return scrub(office.store, "alice", "laptop", now=office.clock())


def damage(office, ref: Ref, row: Row | None) -> None:
    """Change a row behind the head's back, as a bad disk or a partial restore would."""
    head = office.store.head("alice", "laptop")
    from ledger.store import Tombstone

    office.store.apply("alice", head, head, [row] if row else [], [] if row else [Tombstone(ref, head.lease, head.seq, office.clock())])


def test_a_sound_copy_is_left_alone(any_office):
    sender = any_office.begun(put={"a": A, "bad": "["})
    before = any_office.head(sender)
    assert scrubbed(any_office)
    assert any_office.head(sender) == before


def test_a_source_nobody_knows_is_sound(any_office):
    assert scrubbed(any_office)


def test_a_lost_row_is_noticed_and_the_next_beat_refills(any_office):
    sender = any_office.begun(put={"a": A, "b": B})
    damage(any_office, Ref("session", "a"), None)
    assert not scrubbed(any_office)
    assert any_office.visible(sender) == {"b": B}
    assert sender.send(sender.message("beat")).kind == "409 lease"
    sender.start()
    assert sender.push({"a": A, "b": B}, commit=True).status == 200
    assert any_office.visible(sender) == {"a": A, "b": B}
    assert scrubbed(any_office)


def test_a_row_that_should_not_be_there_is_noticed(any_office):
    sender = any_office.begun(put={"a": A})
    head = any_office.head(sender)
    damage(any_office, Ref("session", "x"), Row(Ref("session", "x"), B, 77, head.lease, head.seq, "malformed-body"))
    assert not scrubbed(any_office)
    assert any_office.head(sender).lease is None


def test_an_altered_row_is_hidden_at_once(office):
    sender = office.begun(put={"a": A, "b": B})
    row = office.store.get("alice", "laptop", Ref("session", "a"))
    damage(office, row.ref, replace(row, body='{"id":"evil"}'))
    assert not scrubbed(office)
    assert office.visible(sender) == {"b": B}


def test_rows_of_an_earlier_copy_do_not_show_again_when_a_head_is_forgotten(any_office):
    sender = any_office.begun(put={"old": A})
    sender.start()
    sender.push({"new": B}, commit=True)
    damage(any_office, Ref("session", "new"), None)
    assert not scrubbed(any_office)
    assert any_office.visible(sender) == {}


def test_a_copy_under_way_adds_up_too(any_office):
    sender = any_office.begun(put={"a": A})
    sender.start()
    sender.push({"b": B})
    assert scrubbed(any_office)
    assert any_office.visible(sender) == {"a": A, "b": B}
