"""A sender in the fewest lines, written from the protocol alone, and the ways to break it.

It holds its truth and its mirror in memory; time is the test's own and passes only when somebody waits.
"""
from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

from ledger import signing
from ledger.errors import Problem
from ledger.keytext import KeyText
from ledger.record import add, hash_of, to_hex
from tests.compliance.client import PACKED_JSON, Reply
from tests.compliance.stage import Stage

DEFECTS = {
    "sends its key": "secret is on the wire",
    "signs the plain body": "signature does not fit",
    "names no audience": "does not name this relay",
    "a new id at every try": "the same bytes have another id",
    "one id for everything": "the same id names other bytes",
    "signs when it queues": "carries the time of the first",
    "believes unsigned answers": "an unsigned 200 moves nothing",
    "believes any signature": "a 200 signed by a stranger moves nothing",
    "believes answers to others": "an answer to another message moves nothing",
    "takes any lease": "a lease that nobody signed is not taken",
    "follows redirects": "a redirect is not followed",
    "never repeats": "a lost request is sent again as it was",
    "begins anew when an answer is lost": "a lost answer costs one repeat",
    "trusts its mirror for ever": "a relay that lost everything is filled again",
    "insists on its number": "a relay that went back in time is filled again",
    "repeats what was refused": "a number that was refused is computed anew",
    "never splits": "a message that is too large is split",
    "gives up the whole batch": "one bad record does not keep the others back",
    "comes back at once": "a pause that is asked for is kept",
    "believes its own clock": "a clock that is off is corrected",
    "hammers": "a refused key is not tried again and again",
    "never commits": "it takes the offered lease and ends with a commit",
    "commits with every push": "it takes the offered lease and ends with a commit",
    "as much as it likes": "it sends no more changes at once",
    "counts replaced records twice": "its digest does not follow",
}
"""What is broken, and the scene or the fault that must say so."""
STEPS = 24


class Time:
    """A clock that only waiting moves."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


class ReferenceSender:
    """*defect* is one of DEFECTS, or "" for a correct sender."""

    def __init__(self, key: KeyText, time: Time, defect: str = "") -> None:
        self.key, self.time, self.defect = key, time, defect
        self.truth = {("session", name): json.dumps({"id": name}) for name in ("a", "b", "c", "d")}
        self.aside: set[tuple[str, str]] = set()
        self.lease: str | None = None
        self.offset, self.number, self.most, self.signed_at = 0, 0, 2, 0
        self.unanswered: tuple[dict[str, Any], bytes, str] | None = None
        self.boots = 0
        self._forget(None)

    def _forget(self, lease: str | None) -> None:
        self.lease, self.seq, self.mirror, self.committed, self.unanswered = lease, 0, dict[tuple[str, str], int](), False, None

    def run(self, stage: Stage) -> None:
        self.boots += 1
        self.asked = False
        for _ in range(STEPS):
            if not self._step(stage):
                return

    # -- one message

    def _step(self, stage: Stage) -> bool:
        """False: at rest, or nothing more to try in this run."""
        message = self.unanswered or self._compose()
        said, wire, id = message
        at = int(self.time()) + self.offset
        if self.defect == "signs when it queues":
            at = self.signed_at = self.signed_at if self.unanswered else at
        reply = self._post(stage, wire, self._headers(said, wire, id, at))
        if said["type"] == "push" and self.defect != "never repeats":
            self.unanswered = message
        return self._act(stage, said, id, reply)

    def _digest(self) -> int:
        return add(0, put=self.mirror.values())

    def _changes(self) -> list[tuple[str, str]]:
        return [ref for ref, body in self.truth.items() if ref not in self.aside and self.mirror.get(ref) != hash_of(*ref, body)]

    def _compose(self) -> tuple[dict[str, Any], bytes, str]:
        left = self._changes() if self.lease else []
        now = left[: self.most]
        commit = self.defect != "never commits" and bool(self.lease) and (len(now) == len(left) or self.defect == "commits with every push")
        hashes = {ref: hash_of(*ref, self.truth[ref]) for ref in now}
        old = [] if self.defect == "counts replaced records twice" else [self.mirror[ref] for ref in now if ref in self.mirror]
        twice = 1 if self.defect == "counts replaced records twice" and len(now) > 1 else 0
        after = add(self._digest(), put=[*hashes.values(), *list(hashes.values())[:twice]], gone=old)
        is_push = bool(now) or not self.lease or not self.committed
        said: dict[str, Any] = {
            "v": 1, "type": "push" if is_push else "beat", "aud": "" if self.defect == "names no audience" else self.aud, "source": self.key.claims.source,
            "lease": self.lease, "seq": self.seq + is_push, "prev": to_hex(self._digest()), "agent": {"boot": f"{self.boots:04x}"},
        }  # fmt: skip
        if is_push:
            said |= {"after": to_hex(after), "commit": commit, "put": [{"k": ref[0], "id": ref[1], "b": self.truth[ref]} for ref in now], "del": []}
        self.number += 1
        id = "msg_one" if self.defect == "one id for everything" else f"msg_{self.number}"
        return said, gzip.compress(json.dumps(said).encode(), mtime=0), id

    @property
    def aud(self) -> str:
        return "https://relay.example"

    def _headers(self, said: dict[str, Any], wire: bytes, id: str, at: int) -> dict[str, str]:
        if self.defect == "a new id at every try":
            self.number += 1
            id = f"msg_{self.number}"
        signed = json.dumps(said).encode() if self.defect == "signs the plain body" else wire
        extra = {"x-api-key": self.key.text()} if self.defect == "sends its key" else {}
        return {
            "content-type": PACKED_JSON, "content-encoding": "gzip", "relay-key": self.key.id, **extra,
            **signing.headers(signed, [self.key.secret], id, at),
        }  # fmt: skip

    def _post(self, stage: Stage, wire: bytes, headers: dict[str, str]) -> Reply | None:
        reply = stage.post(wire, headers)
        if reply and 300 <= reply.status < 400 and self.defect == "follows redirects":
            stage.other("POST", "/elsewhere", headers)
        return reply

    # -- what an answer means

    def _believes(self, id: str, reply: Reply) -> bool:
        if self.defect == "believes unsigned answers" or (self.defect == "takes any lease" and reply.status == 409):
            return True
        if self.defect == "believes any signature" and "webhook-signature" in reply.headers:
            return True
        try:
            signed = signing.verify(reply.headers, reply.body, [self.key.secret], 0, tolerance=1 << 60)
        except Problem:
            return False
        return signed.id == id or self.defect in ("believes answers to others", "a new id at every try")

    def _act(self, stage: Stage, said: dict[str, Any], id: str, reply: Reply | None) -> bool:
        if reply is None or not self._believes(id, reply):
            return self._unheard(reply, said)
        document = reply.document
        act: dict[str, Callable[[], bool]] = {
            "200": lambda: self._taken(said, document),
            "409 lease": lambda: self._leased(document["lease"]),
            "409 state": self._elsewhere,
            "422 digest-mismatch": self._refused,
            "413 too-large": lambda: self._smaller(said),
            "400 malformed": lambda: self._smaller(said),
            "401 clock-skew": lambda: self._correct(stage, reply),
        }
        return act.get(reply.kind, lambda: self._wait(1))()

    def _unheard(self, reply: Reply | None, said: dict[str, Any]) -> bool:
        if self.defect == "never repeats" and said["type"] == "push" and self.lease:
            for put in said["put"]:
                self.aside.add((put["k"], put["id"]))
        if reply is None and self.defect == "begins anew when an answer is lost":
            self._forget(None)
        if reply is not None and reply.status in (401, 403) and self.defect != "hammers":
            return False
        pause = reply.headers.get("retry-after") if reply else None
        return self._wait(float(pause) if pause and self.defect != "comes back at once" else 1)

    def _wait(self, seconds: float) -> bool:
        self.time.now += seconds
        return True

    def _taken(self, said: dict[str, Any], document: dict[str, Any]) -> bool:
        self.unanswered = None
        if self.defect != "as much as it likes":
            self.most = max(1, min(2, int(document.get("max_changes", 90))))
        self.committed = document.get("committed") is True
        if said["type"] != "push":
            return False
        self.seq = said["seq"]
        for put in said["put"]:
            self.mirror[put["k"], put["id"]] = hash_of(put["k"], put["id"], put["b"])
        return bool(self._changes()) or not self.committed

    def _leased(self, lease: str) -> bool:
        if self.defect == "trusts its mirror for ever" and self.mirror:
            self.lease, self.seq, self.unanswered = lease, 0, None
            return True
        self._forget(lease)
        return True

    def _elsewhere(self) -> bool:
        if self.defect == "insists on its number":
            return False
        self._forget(None)
        return True

    def _refused(self) -> bool:
        if self.defect != "repeats what was refused":
            self._forget(None)
        return True

    def _smaller(self, said: dict[str, Any]) -> bool:
        self.unanswered = None
        refs = [(put["k"], put["id"]) for put in said["put"]]
        if self.defect == "gives up the whole batch" or len(refs) == 1:
            self.aside.update(refs)
        elif self.defect != "never splits":
            self.most = 1
        return True

    def _correct(self, stage: Stage, reply: Reply) -> bool:
        if self.defect == "believes its own clock":
            return self._wait(1)
        self.offset = int(reply.headers["webhook-timestamp"]) - int(self.time())
        return True
