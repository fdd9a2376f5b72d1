"""Runs inside the zip, on the runtime's Python: what starting costs, and what a push and a read cost when warm.

    python3.12 bench/cloud_child.py cold MODULE…     processor milliseconds of importing the last, after the others
    python3.12 bench/cloud_child.py warm             pushes and reads through the function, on the table of the environment
"""
import base64
import gzip
import json
import sys
import time
from importlib import import_module

PUSHES, LOADS = 60, 20


def cold(names):
    *before, last = names
    for name in before:
        import_module(name)
    began = time.process_time()
    import_module(last)
    return (time.process_time() - began) * 1000


def event(method, path, body=None, query="", **headers):
    made = {"version": "2.0", "rawPath": path, "rawQueryString": query, "headers": {"host": "relay.example", "x-forwarded-proto": "https", **headers},
            "requestContext": {"http": {"method": method, "path": path, "sourceIp": "192.0.2.1"}, "stage": "$default"}, "isBase64Encoded": False}
    if body is not None:
        made |= {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}
        made["headers"]["content-length"] = str(len(body))
    return made


class Meter:
    def __init__(self, client, written, read):
        self.client, self.w, self.r, self.written, self.read = client, written, read, 0, 0.0

    def __getattr__(self, name):
        call = getattr(self.client, name)

        def counted(**arguments):
            answer = call(**arguments)
            self.written += self.w(name, arguments, answer)
            self.read += self.r(name, arguments, answer)
            return answer

        return counted

    def take(self):
        spent, self.written, self.read = (self.written, self.read), 0, 0.0
        return spent


def warm(units):
    handler = import_module("relay.handler")
    from ledger import signing
    from ledger.keytext import KeyText
    from ledger.record import add, hash_of, to_hex

    meter = handler.store._client = Meter(handler.store._client, units.written, units.read)
    key = KeyText.parse(handler.relay.ring.issue("push", "bench", "laptop"))
    state = {"lease": None, "seq": 0, "digest": 0, "bodies": {}}

    def push(bodies):
        old = [hash_of("session", id, state["bodies"][id]) for id in bodies if id in state["bodies"]]
        after = add(state["digest"], put=[hash_of("session", id, body) for id, body in bodies.items()], gone=old)
        message = {"v": 1, "type": "push", "aud": "https://relay.example", "source": "laptop", "lease": state["lease"], "seq": state["seq"] + 1,
                   "prev": to_hex(state["digest"]), "after": to_hex(after), "commit": True, "put": [{"k": "session", "id": id, "b": b} for id, b in bodies.items()],
                   "del": [], "agent": {"version": "1.0.0", "boot": "8f14e45f", "uptime_s": 86400, "os": "darwin", "name": "annas-macbook", "tz": "Europe/Berlin",
                                        "readers": {"claude_code": {"state": "ok", "counted": {"sessions": 412}}, "tracker": {"state": "absent"}}}}
        wire = gzip.compress(json.dumps(message).encode())
        now = int(time.time())
        headers = signing.headers(wire, [key.secret], f"msg_{time.time_ns()}", now) | {"relay-key": key.id, "content-encoding": "gzip", "content-type": "application/vnd.session-relay+json"}
        asked = event("POST", "/v1/push", wire, **headers)
        began = time.process_time()
        said = handler.http(asked, None)
        spent = (time.process_time() - began) * 1000
        document = json.loads(base64.b64decode(said["body"]) if said["isBase64Encoded"] else said["body"])
        if said["statusCode"] == 409 and "lease" in document:
            state.update(lease=document["lease"], seq=0, digest=0, bodies={})
            return push(bodies)
        assert said["statusCode"] == 200, document
        state.update(seq=state["seq"] + 1, digest=after, bodies=state["bodies"] | bodies)
        return spent

    def session(number, quarters):
        at = int(time.time() * 1000) // 900_000 * 900_000 - quarters * 900_000
        id = f"{number:08x}-9e37-4b1f-8f39-{number * 2654435761 % 2**48:012x}"
        usage = [[at + n * 900_000, at + n * 900_000 + 41_737, at + n * 900_000 + 862_190, "claude-opus-4-5-20251101", "standard", 1234 + n, 56_789 - n, 0, 123_456, 9_876_543 + n, 38, None] for n in range(quarters)]
        return id, json.dumps({"id": id, "session_type": "claude_code", "start_time": at, "last_activity": at + quarters * 900_000, "is_active": True, "total_messages": 321,
                               "models_used": ["claude-opus-4-5-20251101"], "estimated_tokens": 12_345_678, "project": "session-relay", "title": f"Find out why number {number} skips a beat",
                               "git_branch": "main", "machine": "annas-macbook", "provenance": "observed", "usage": usage}, separators=(",", ":"))

    for start in range(0, 270, 90):
        push(dict(session(n, 6) for n in range(start, start + 90)))
    push(dict([session(1, 1)]))
    meter.take()
    for n in range(PUSHES):
        push(dict([session(n % 3, 1 + n // 6)]))
    in_turns, _ = meter.take()
    # Work comes in bursts: a dozen pushes of one session, then of the next.
    spent = [push(dict([session(n // 12 % 3, 1 + n // 6)])) for n in range(PUSHES)]
    wrote, readings = meter.take()
    read_key = handler.relay.ring.issue("read", "bench")
    handler.http(event("GET", "/v1/feed", authorization=f"Bearer {read_key}"), None)
    meter.take()
    loads = []
    for n in range(LOADS):
        push(dict([session(2, 3 + n)]))
        meter.take()
        asked = event("GET", "/v1/feed", query="tz=Europe/Berlin&sessions=200", authorization=f"Bearer {read_key}")
        began = time.process_time()
        assert handler.http(asked, None)["statusCode"] == 200
        loads.append((time.process_time() - began) * 1000)
    _, load_units = meter.take()
    median = lambda values: sorted(values)[len(values) // 2]  # noqa: E731
    return {"push_cpu_ms": median(spent), "load_cpu_ms": median(loads), "writes_in_turns": in_turns / PUSHES, "writes_per_push": wrote / PUSHES, "reads_per_push": readings / PUSHES, "reads_per_load": load_units}


if __name__ == "__main__":
    task, *words = sys.argv[1:]
    if task == "cold":
        sys.stdout.write(f"{cold(words):.3f}\n")
    else:
        sys.path.insert(0, words[0])
        sys.stdout.write(json.dumps(warm(import_module("units"))) + "\n")
