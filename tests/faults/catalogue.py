"""What can go wrong, numbered: each has a test that brings it about and says what must hold (`@pytest.mark.fault(number)`)."""
from __future__ import annotations

NETWORK = {
    1: "a request is lost", 2: "an answer is lost", 3: "a request arrives twice", 4: "an old request arrives an hour later", 5: "requests change their order",
    6: "a request is cut at every kilobyte", 7: "an answer is cut", 8: "the connection is reset within a body", 9: "an answer drips byte by byte",
    10: "nobody answers at all", 11: "names cannot be looked up", 12: "a name leads to another host", 13: "a certificate is expired, of another name or self-signed",
    14: "a captive portal answers 200", 15: "a redirect to a login", 16: "511 network authentication", 17: "a proxy answers 407, 502, 504",
    18: "a proxy strips or alters headers", 19: "a proxy compresses anew", 20: "another relay answers", 21: "every status once", 22: "every sort of Retry-After",
    23: "a 200 with a wrong signature", 24: "IPv6 is broken and IPv4 is not", 25: "the network changes within a request",
}  # fmt: skip
AGENT = {
    26: "killed at any system call", 27: "a power loss with writes not yet on the disk", 28: "the disk is full before, while and after", 29: "the disk fails to sync",
    30: "the home cannot be written", 31: "the archive is deleted while the agent runs", 32: "the archive is damaged", 33: "the home is put back from a backup",
    34: "the home is copied to a second machine", 35: "two agents on one home", 36: "asked to stop within a push", 37: "the computer sleeps for a minute, a night, a month",
    38: "the clock is wrong, steps, or crosses a change of summer time", 39: "few file descriptors, little memory", 40: "a tracker is locked, replaced, truncated, rolled back or changed",
    41: "transcripts are half written, rotated, deleted, huge or garbage", 42: "a key expires, is revoked or rotated", 43: "an upgrade or a downgrade finds old state",
}  # fmt: skip
RELAY = {
    44: "restarted with its memory empty", 45: "its store is emptied", 46: "its store is of an older backup", 47: "one row is lost or altered", 48: "the head is lost and the rows are kept",
    49: "it crashes between transaction and answer", 50: "its store throttles, times out or conflicts", 51: "two instances answer one source", 52: "a function is cut off at its timeout",
    53: "old and new versions take turns", 54: "a quota is reached", 55: "a thousand sources refill at once", 56: "its clock is wrong", 57: "its master secret is rotated",
    58: "half a batch is written",
}  # fmt: skip
DASHBOARDS = {
    59: "the live channel is cut again and again", 60: "hints are doubled, lost or change their order", 61: "a cursor is stale", 62: "a key is revoked while connected",
    63: "the browser's clock is wrong",
}  # fmt: skip
FAULTS = NETWORK | AGENT | RELAY | DASHBOARDS
