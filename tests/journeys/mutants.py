"""Rules of the protocol, each broken on purpose: whoever removes one of them by mistake should hear of it.

A mutant is a function of the real code in which one piece of text is replaced. A text that is not found any more is
an error, so that a mutant cannot quietly become the original.
"""
from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import relay.protocol
import relay.receive
from local_agent.delivery import Delivery
from local_agent.push.mirror import Mirror


@dataclass(frozen=True)
class Mutant:
    rule: str
    owner: Any
    function: str
    old: str
    new: str


RELAY = relay.protocol
MUTANTS = [
    Mutant("the relay mints the lease", RELAY, "_opens_copy", "message.lease == head.pending_lease", "True"),
    Mutant("what was shown stays until the commit", RELAY, "decide", "committed=False", "committed=True"),
    Mutant("a used lease is not offered again", RELAY, "decide", ", pending_lease=None", ""),
    Mutant("an unused lease is offered again", RELAY, "_offer", "if head.pending_lease is None or signed.message.lease == head.pending_lease:", "if True:"),
    Mutant("a push is the next number", RELAY, "decide", "message.seq != head.seq + 1 or ", ""),
    Mutant("the last batch is known by its digest", RELAY, "decide", "(message.seq, after) == (head.seq, head.digest)", "message.seq == head.seq"),
    Mutant("a beat names the digest", RELAY, "decide", "(message.seq, prev) == (head.seq, head.digest)", "message.seq == head.seq"),
    Mutant("committed stays committed", RELAY, "taken", "base.committed or message.commit", "message.commit"),
    Mutant("a commit is believed", RELAY, "taken", "base.committed or message.commit", "base.committed"),
    Mutant("a stub counts as what was sent", RELAY, "_row", "hash_of(put.k, put.id, put.b)", 'hash_of(put.k, put.id, "" if code else put.b)'),
    Mutant("a replaced record counts once", RELAY, "changes_of", "refs = [row.ref for row in rows] + [", "refs = ["),
    Mutant("a deletion leaves the digest", RELAY, "changes_of", "+ [stone.ref for stone in gone]", ""),
    Mutant("an old beat is no sign of life", RELAY, "alive", "if signed.at <= head.last_timestamp:", "if False:"),
    Mutant("what was superseded does not come back", relay.receive, "_take", "_swept(store, tenant, head, signed.now)", "False"),
    Mutant("an unanswered batch is cleared up after a crash", Delivery, "_next_batch", "and not flights", ""),
    Mutant("a batch is saved before it is sent", Delivery, "_launch", "self.mirror.launch(batch)", "pass"),
    Mutant("only the relay's own word counts", Delivery, "_believe", "return document, False", "return document, True"),
    Mutant("a state is ours only by its digest", Mirror, "land", "seq = ? AND after = ? ORDER", "seq = ? AND ? <> '' ORDER"),
    Mutant("a new lease begins with nothing", Mirror, "begin", 'sql.execute("DELETE FROM mirror_rows")', "pass"),
    Mutant("an unknown state is not argued with", Delivery, "_elsewhere", "self.mirror.begin(None)", "pass"),
    Mutant("committed is the relay's word", Mirror, "land", "seq, after, committed)", "seq, after, True)"),
]

REDUNDANT = [
    Mutant("a lease is opened by number one", RELAY, "_opens_copy", " and message.seq == 1", ""),
    Mutant("a push names the digest before it", RELAY, "decide", " or prev != head.digest", ""),
]
"""Rules that another one covers: a push whose number or earlier digest is wrong does not reach the digest it names either."""


@contextmanager
def broken(mutant: Mutant) -> Iterator[None]:
    original = getattr(mutant.owner, mutant.function)
    source = textwrap.dedent(inspect.getsource(original))
    assert source.count(mutant.old) == 1, f"{mutant.function} does not read {mutant.old!r} any more: bring the mutant up to date"
    space = original.__globals__
    made: dict[str, Any] = {}
    exec(compile("from __future__ import annotations\n" + source.replace(mutant.old, mutant.new), "<mutant>", "exec"), space, made)
    names = [module for module in (relay.protocol, relay.receive) if getattr(module, mutant.function, None) is original]
    owners = names if inspect.ismodule(mutant.owner) else [mutant.owner]
    for owner in owners:
        setattr(owner, mutant.function, made[mutant.function])
    try:
        yield
    finally:
        for owner in owners:
            setattr(owner, mutant.function, original)
