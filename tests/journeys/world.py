"""A laptop, a relay and a bad network between them, all in one process and all real except the wire.

The agent's archive, mirror and delivery talk to the relay's push endpoint over any store. The world does to them what
happens outside: messages are lost, repeated, kept back and delivered days later, answers are lost or forged, either side crashes,
is emptied or put back to an older copy. After every event the invariants of the protocol are checked. A failure names one by its number in the protocol's design:

I1   at rest the relay shows exactly what is true on the laptop, and its copy is committed
I2   a message that comes again, or late, changes nothing
I3   nothing is visible that was never true, and nothing comes back by itself
I4   the number of a change set goes up by one, and the digest moves only with it
I5   the digest is the sum of the hashes of the rows
I7   an agent finds a relay that comes back within two beats
I8   a record that the relay could not take is named with the reason
I9   what a viewer who was there all the time is told is what the rows add up to
I10  without faults both sides agree after one question and as many messages as the records need
I12  a copy becomes committed only as a whole truth and stays committed; the relay drops nothing by itself
"""
from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ledger import signing
from ledger.keytext import KeyText
from ledger.prices import PriceBook
from ledger.record import MODULUS, Record, Ref, hash_of
from ledger.store import Head
from ledger.stores import open_store
from ledger.views.tenants import Views
from local_agent.archive import LOCAL, Archive
from local_agent.delivery import Delivery, Outcome, Relay
from local_agent.push.mirror import Mirror
from local_agent.push.transport import Reply
from relay.keys import KeyRing
from relay.protocol import Terms
from relay.push import Push
from relay.scrub import scrub
from tests.relay.pushing import AUD, unlimited

IDS = [f"s{n}" for n in range(6)]
BODIES = [f'{{"estimated_tokens":{n}}}' for n in range(4)] + ["not an object"]
AT_ONCE = 2
"""So few changes a message that a copy takes several."""
FASTEST = Path("/dev/shm")
BOOK = PriceBook.load()
Message = tuple[Mapping[str, str], bytes]


class Lost(OSError):
    """No answer came."""


class World:
    def __init__(self, folder: Path, store_url: str = "memory:", seed: int = 0) -> None:
        self.folder, self.chance = folder, random.Random(seed)
        self.url = store_url.replace("{folder}", str(folder))
        self.seconds, self.monotonic = 1_790_000_000, 0.0
        self._open_relay(open_store(self.url, **self._options))
        self.key = KeyText.parse(self.keys.issue("push", "alice", "laptop"))
        self.archive = Archive(folder / "archive.db", source="me", clock=self.clock)
        self.boots = 0
        self.fault: Callable[[Message], Reply] | None = None
        self.recorded: list[tuple[Message, bool, int]] = []
        self.violation: AssertionError | None = None
        self.exchanges = self.relay_lives = 0
        self.restored = False
        self.ever: set[tuple[Ref, str]] = set()
        self.truths: set[frozenset[tuple[Ref, str]]] = set()
        self.start_agent()
        self._note_truth()

    # -- the two sides

    @property
    def _options(self) -> dict[str, str]:
        return {"synchronous": "OFF"} if self.url.startswith("sqlite") else {}

    def _open_relay(self, store: Any) -> None:
        self.store = store
        self.keys = KeyRing([b"m" * 32], store, frozenset(), self.clock)
        terms = Terms(max_changes=AT_ONCE)
        self.views = Views(store, BOOK, self.clock)
        self.push = Push(store, self.keys, aud=AUD, limits=unlimited(), clock=self.clock, terms=terms, mint=lambda: f"{self.chance.getrandbits(128):032x}")

    def start_agent(self) -> None:
        """Only what is on the disk is known; every start is a boot of its own."""
        self.boots += 1
        boot = f"boot{self.boots}"
        self.mirror = Mirror(self.archive.store, tenant=LOCAL, source="me")
        place = Relay(AUD, AUD, "laptop", self.key.id, (self.key.secret,))
        self.delivery = Delivery(
            self.mirror, self, place, report=lambda *, whole=True: {"boot": boot}, monotonic=lambda: self.monotonic, roll=self.chance.random,
            new_id=lambda: f"msg_{self.chance.getrandbits(64):x}",
        )  # fmt: skip
        self.delivery._limit = self.delivery._most = AT_ONCE

    def close(self) -> None:
        self.archive.close()
        self.store.close()

    def clock(self) -> int:
        return self.seconds * 1000

    # -- the network: what the agent sees as its transport

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        self.exchanges += 1
        message = (dict(headers), body)
        fault, self.fault = self.fault or self.deliver, None
        try:
            return fault(message)
        except AssertionError as violation:
            # To the agent an exception is a lost answer; to us this one is not.
            self.violation = violation
            raise

    def drop_connections(self) -> None:
        pass

    def deliver(self, message: Message) -> Reply:
        at = len(self.recorded)
        self.recorded.append((message, True, self.relay_lives))
        reply = self._at_relay(message)
        self.recorded[at] = (message, self._is_settled(reply), self.relay_lives)
        return reply

    def _is_settled(self, reply: Reply) -> bool:
        """Whether a message that was answered so may never change anything again. What a relay refused that was put back to an
        older copy may: it stands where that message once fitted, and cannot know it from one that comes late."""
        return reply.status == 200 or not self.restored

    def _at_relay(self, message: Message) -> Reply:
        headers, body = message
        before, shown = self.head(), self.visible()
        reply = Reply(*self.push.answer("POST", "/v1/push", {**headers, "content-length": str(len(body))}, body))
        assert reply.status < 500
        self._check_step(before, shown, body)
        return reply

    def lose_request(self, message: Message) -> Reply:
        raise Lost

    def keep_back(self, message: Message) -> Reply:
        """It may still be delivered, at any time."""
        self.recorded.append((message, False, self.relay_lives))
        raise Lost

    def lose_answer(self, message: Message) -> Reply:
        self.deliver(message)
        raise Lost

    def deliver_twice(self, message: Message) -> Reply:
        self.deliver(message)
        return self.deliver(message)

    def answer_of_a_portal(self, message: Message) -> Reply:
        return Reply(200, {"content-type": "text/html"}, b"<h1>Welcome</h1>")

    def forged_answer(self, message: Message) -> Reply:
        """Somebody on the way says that all is well, and cannot sign it."""
        sent = said(message[1])
        claim = {"v": 1, "re": message[0]["webhook-id"], "lease": sent["lease"], "seq": sent["seq"], "digest": sent.get("after"), "committed": True}
        body = json.dumps(claim).encode()
        return Reply(200, {"content-type": "application/json", **signing.headers(body, [b"guess"], message[0]["webhook-id"], self.seconds)}, body)

    def cut_request(self, message: Message) -> Reply:
        headers, body = message
        return self._at_relay((headers, body[: self.chance.randrange(len(body))]))

    FAULTS = (lose_request, keep_back, lose_answer, deliver_twice, answer_of_a_portal, forged_answer, cut_request)

    # -- what happens

    def write(self, *changes: tuple[str, str]) -> None:
        with self.archive.step() as step:
            for id, body in changes:
                step.put(Record("session", id, body))
        self._note_truth()

    def delete(self, *ids: str) -> None:
        with self.archive.step() as step:
            for id in ids:
                step.delete(Ref("session", id))
        self._note_truth()

    def step(self, fault: Callable[[World, Message], Reply] | None = None) -> Outcome:
        """The agent does its next step, whatever it wants to wait for."""
        self.monotonic += self.delivery.wait_s
        self.fault = (lambda message: fault(self, message)) if fault else None
        outcome = self.delivery.push_once(self.clock(), ask=True)
        self.fault = None
        if self.violation:
            raise self.violation
        return outcome

    def replay(self, place: float) -> None:
        """An old message arrives again, or one that was kept back arrives at last."""
        if not self.recorded:
            return
        at = int(place * len(self.recorded))
        message, was_settled, life = self.recorded[at]
        head, shown = self.head(), self.visible()
        reply = self._at_relay(message)
        self.recorded[at] = (message, self._is_settled(reply), self.relay_lives)
        if was_settled and life == self.relay_lives:
            assert self.visible() == shown, "I2: a replay changed what is visible"
            after = self.head()
            assert head is None or after is None or alive(after) == alive(head), "I2: a replay changed whether the source seems alive"
            assert head is None or head.pending_lease in (None, after and after.pending_lease), "I2: a replay took an offered lease away"

    def crash_agent(self) -> None:
        self.start_agent()

    def restart_with_older_archive(self, copy: Path) -> None:
        """A backup is put back: records and mirror are of an earlier day."""
        self.archive.close()
        for name in ("archive.db-wal", "archive.db-shm"):
            (self.folder / name).unlink(missing_ok=True)
        shutil.copy(copy, self.folder / "archive.db")
        self.archive = Archive(self.folder / "archive.db", source="me", clock=self.clock)
        self.start_agent()
        self._note_truth()

    def copy_archive(self) -> Path:
        copy = self.folder / f"archive-{self.boots}-{len(self.ever)}.copy"
        self.archive.store.connection().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(self.folder / "archive.db", copy)
        return copy

    def relay_loses_everything(self) -> None:
        self.relay_lives += 1
        self.restored = False
        for head in self.store.heads("alice"):
            self.store.forget("alice", head.source)

    def copy_relay(self) -> list[Any]:
        """What a backup of the relay would hold."""
        return [self.head(), list(self.store.rows("alice", "laptop"))]

    def relay_goes_back_to(self, copy: list[Any]) -> None:
        """Whoever puts a store back starts the relay anew: a view goes on from a number, and the same number may come again with other rows."""
        head, rows = copy
        self.relay_loses_everything()
        self.views = Views(self.store, BOOK, self.clock)
        if head is None:
            return
        self.restored = True
        for start in range(0, len(rows), 80):
            now = self.store.head("alice", "laptop")
            self.store.apply("alice", now, head, rows[start : start + 80])
        if not rows:
            self.store.apply("alice", None, head)

    def relay_loses_a_row(self, place: float) -> None:
        """One row is gone behind the head's back; the nightly scrub notices."""
        head = self.head()
        rows = list(self.store.rows("alice", "laptop"))
        own = [row for row in rows if head and row.lease == head.lease]
        if not own:
            return
        lost = own[int(place * len(own))]
        self.relay_goes_back_to([head, [row for row in rows if row != lost]])
        assert not scrub(self.store, "alice", "laptop", now=self.clock())

    def relay_sweeps(self) -> None:
        shown = self.visible()
        self.store.sweep("alice", "laptop", now=self.clock())
        assert self.visible() == shown

    def time_passes(self, seconds: int) -> None:
        self.seconds += seconds
        self.monotonic += seconds

    # -- what must hold

    def head(self) -> Head | None:
        found: Head | None = self.store.head("alice", "laptop")
        return found

    def truth(self) -> dict[Ref, str]:
        return {row.ref: row.body for row in self.archive.store.rows(LOCAL, "me")}

    def shown_truth(self) -> dict[Ref, str]:
        """The truth as the relay shows it: what is no JSON object is named, not shown."""
        return {ref: body if body.startswith("{") else "[malformed-body]" for ref, body in self.truth().items()}

    def visible(self) -> dict[Ref, str]:
        return {row.ref: f"[{row.code}]" if row.code else row.body for row in self.store.rows("alice", "laptop")}

    def _note_truth(self) -> None:
        shown = self.shown_truth()
        self.ever |= set(shown.items())
        self.truths.add(frozenset(shown.items()))

    def _check_step(self, before: Head | None, shown: dict[Ref, str], body: bytes) -> None:
        """After one message at the relay."""
        after, now_shown = self.head(), self.visible()
        assert set(now_shown.items()) <= self.ever, "I3: something visible was never true"
        if now_shown == shown and before == after:
            return
        message = said(body)
        fresh = {ref for ref, _ in set(now_shown.items()) - set(shown.items())}
        assert fresh <= {Ref(put["k"], put["id"]) for put in message.get("put", ())}, "I3: something visible came back by itself"
        if after and after.committed and not (before and before.committed and before.lease == after.lease):
            assert frozenset(now_shown.items()) in self.truths, "I12: what was committed was never the truth"
        else:
            gone = set(shown) - set(now_shown)
            assert gone <= {Ref(ref["k"], ref["id"]) for ref in message.get("del", ())}, "I12: the relay dropped what the laptop did not delete"
        if before and after and before.lease is not None and before.lease == after.lease:
            assert after.seq - before.seq in (0, 1), "I4: the number jumped"
            assert after.seq > before.seq or after.digest == before.digest, "I4: the digest moved without its number"
            assert after.committed or not before.committed, "I12: a complete copy became incomplete"
        self.check_digest()

    def check_digest(self) -> None:
        head = self.head()
        if head and head.lease:
            rows = [row for row in self.store.rows("alice", "laptop") if row.lease == head.lease]
            assert sum(row.hash for row in rows) % MODULUS == head.digest, "I5: the digest is not the sum of the rows"
            assert all(row.code or row.hash == hash_of(row.ref.kind, row.ref.id, row.body) for row in rows)

    def converge(self) -> int:
        """No more faults: how many exchanges until the relay agrees, and is right."""
        began, most = self.exchanges, self.bound()
        for _ in range(most + 20):
            outcome = self.step()
            if outcome.agreed:
                break
        else:
            raise AssertionError("I10: no agreement")
        took = self.exchanges - began
        assert self.visible() == self.shown_truth(), "I1: at rest, visible is not the truth"
        assert self.mirror.check()
        assert took <= most, f"I10: {took} exchanges, {most} should do"
        head = self.head()
        assert head and head.committed and self.mirror.place().committed, "I1: at rest and not committed"
        assert self.mirror.notes().get("bugs", "0") == "0", "I10: agent and relay did not understand each other"
        self.check_views()
        return took

    def check_views(self) -> None:
        """The view that lived through everything, and one that begins now."""
        old, anew = (views.view("alice") for views in (self.views, Views(self.store, BOOK, self.clock)))
        told, right = ({name: part for name, part in view.feed(None, "UTC", 500).items() if name not in ("cursor", "head")} for view in (old, anew))
        assert told == right, "I9: who was there all the time is told something else"
        rows = list(self.store.rows("alice", "laptop", kind="session"))
        assert {record["key"] for record in told["records"]} == {row.ref.id for row in rows if not row.code}, "I9: what is shown is not what the rows are"
        tokens = sum(record["value"]["estimated_tokens"] for record in told["records"])
        assert tokens == sum(json.loads(row.body).get("estimated_tokens", 0) for row in rows if not row.code), "I9: the sum is not that of the rows"
        refused = {(source, ref.id, code) for source, held in old.sources.items() for ref, (code, _) in held.stubs.items()}
        assert refused == {("laptop", row.ref.id, row.code) for row in rows if row.code}, "I8: a record that was refused is not named with its reason"

    def bound(self) -> int:
        return 3 + -(-len(self.truth()) // AT_ONCE)


def said(body: bytes) -> dict[str, Any]:
    """The message in a request's body."""
    found: dict[str, Any] = json.loads(gzip.decompress(body))
    return found


def alive(head: Head) -> tuple[int, int, int]:
    return head.last_seen, head.last_timestamp, head.beat_s


def folder_for(stack: ExitStack, tmp_path: Path) -> Path:
    """A folder in memory where there is one: thousands of small commits are not about the disk here."""
    base = FASTEST if os.access(FASTEST, os.W_OK) else tmp_path
    return Path(stack.enter_context(tempfile.TemporaryDirectory(dir=base, prefix="session-relay-")))
