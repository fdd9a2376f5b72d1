"""Runs inside the zip, on the runtime's Python: what starting costs, and what a push and a read cost when warm.

    python3.12 bench/cloud_child.py cold MODULE…     processor milliseconds of importing the last, after the others
    python3.12 bench/cloud_child.py trust            … of reading the certificates to believe, once in an instance
    python3.12 bench/cloud_child.py first HOW KEY    … of starting and of the first answer: to a push, or to a page's load
    python3.12 bench/cloud_child.py warm FOLDER      pushes and reads through the function, on the table of the environment
"""
import base64
import gzip
import json
import sys
import time
from importlib import import_module

PUSHES, LOADS = 60, 20
PUSHES_A_MINUTE = 3
"""What agents are asked for while somebody watches."""


def cold(names):
    *before, last = names
    for name in before:
        import_module(name)
    began = time.process_time()
    import_module(last)
    return (time.process_time() - began) * 1000


def trust():
    aws = import_module("ledger.aws")
    began = time.process_time()
    aws.trust()
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


class Agent:
    """One machine's agent, as far as pushes go; *spent* is what the function needed for each answer."""

    def __init__(self, handler, key):
        self.handler, self.key, self.spent = handler, key, []
        self.lease, self.seq, self.digest, self.bodies = None, 0, 0, {}

    def push(self, bodies):
        """Push the latest state of some sessions, under a new lease where there is none yet."""
        status, document, after = self.ask(bodies)
        if status == 409 and "lease" in document:
            self.lease, self.seq, self.digest, self.bodies = document["lease"], 0, 0, {}
            status, document, after = self.ask(bodies)
        assert status == 200, document
        self.seq, self.digest, self.bodies = self.seq + 1, after, self.bodies | bodies

    def ask(self, bodies):
        from ledger import signing
        from ledger.record import add, hash_of, to_hex

        old = [hash_of("session", id, self.bodies[id]) for id in bodies if id in self.bodies]
        after = add(self.digest, put=[hash_of("session", id, body) for id, body in bodies.items()], gone=old)
        message = {"v": 1, "type": "push", "aud": "https://relay.example", "source": "laptop", "lease": self.lease, "seq": self.seq + 1,
                   "prev": to_hex(self.digest), "after": to_hex(after), "commit": True, "put": [{"k": "session", "id": id, "b": b} for id, b in bodies.items()],
                   "del": [], "agent": {"version": "1.0.0", "boot": "8f14e45f", "uptime_s": 86400, "os": "darwin", "name": "annas-macbook", "tz": "Europe/Berlin",
                                        "readers": {"claude_code": {"state": "ok", "counted": {"sessions": 412}}, "tracker": {"state": "absent"}}}}
        wire = gzip.compress(json.dumps(message).encode())
        headers = signing.headers(wire, [self.key.secret], f"msg_{time.time_ns()}", int(time.time())) | {"relay-key": self.key.id, "content-encoding": "gzip", "content-type": "application/vnd.session-relay+json"}
        asked = event("POST", "/v1/push", wire, **headers)
        began = time.process_time()
        said = self.handler.http(asked, None)
        self.spent.append((time.process_time() - began) * 1000)
        return said["statusCode"], json.loads(base64.b64decode(said["body"]) if said["isBase64Encoded"] else said["body"]), after


def load(handler, key):
    """Processor milliseconds of what a page asks when it opens."""
    asked = event("GET", "/v1/feed", query="tz=Europe/Berlin&sessions=200", **{"authorization": f"Bearer {key}", "accept-encoding": "gzip"})
    began = time.process_time()
    assert handler.http(asked, None)["statusCode"] == 200
    return (time.process_time() - began) * 1000


def session(number, quarters):
    at = int(time.time() * 1000) // 900_000 * 900_000 - quarters * 900_000
    id = f"{number:08x}-9e37-4b1f-8f39-{number * 2654435761 % 2**48:012x}"
    usage = [[at + n * 900_000, at + n * 900_000 + 41_737, at + n * 900_000 + 862_190, "claude-opus-4-5-20251101", "standard", 1234 + n, 56_789 - n, 0, 123_456, 9_876_543 + n, 38, None] for n in range(quarters)]
    return id, json.dumps({"id": id, "session_type": "claude_code", "start_time": at, "last_activity": at + quarters * 900_000, "is_active": True, "total_messages": 321,
                           "models_used": ["claude-opus-4-5-20251101"], "estimated_tokens": 12_345_678, "project": "session-relay", "title": f"Find out why number {number} skips a beat",
                           "git_branch": "main", "machine": "annas-macbook", "provenance": "observed", "usage": usage}, separators=(",", ":"))


def live_minute(handler, agent, meter):
    """Units of a minute in which somebody works and one page watches; it is told of every push."""
    from relay.live.connections import Connections, Watcher

    told = []
    handler.fanout._post = lambda id, frame: told.append(frame)
    Connections(handler.store, handler.now_ms).subscribed(Watcher("bench", "page=", tz="Europe/Berlin"))
    agent.push(dict([session(2, 30)]))
    meter.take()
    told.clear()
    for n in range(PUSHES_A_MINUTE):
        agent.push(dict([session(2, 31 + n)]))
    assert len(told) == PUSHES_A_MINUTE, told
    written, read = meter.take()
    return {"live_writes": written, "live_reads": read}


def first(how, key):
    began = time.process_time()
    handler = import_module("relay.handler")
    spent = (time.process_time() - began) * 1000
    if how == "load":
        return spent + load(handler, key)
    from ledger.keytext import KeyText

    agent = Agent(handler, KeyText.parse(key))
    agent.ask(dict([session(0, 1)]))
    return spent + agent.spent[0]


def warm(units):
    handler = import_module("relay.handler")
    from ledger.keytext import KeyText

    meter = handler.store._client = Meter(handler.store._client, units.written, units.read)
    keys = {"push_key": handler.relay.ring.issue("push", "bench", "laptop"), "load_key": handler.relay.ring.issue("read", "bench")}
    agent = Agent(handler, KeyText.parse(keys["push_key"]))
    for start in range(0, 270, 90):
        agent.push(dict(session(n, 6) for n in range(start, start + 90)))
    agent.push(dict([session(1, 1)]))
    meter.take()
    for n in range(PUSHES):
        agent.push(dict([session(n % 3, 1 + n // 6)]))
    in_turns, _ = meter.take()
    agent.spent.clear()
    # Work comes in bursts: a dozen pushes of one session, then of the next.
    for n in range(PUSHES):
        agent.push(dict([session(n // 12 % 3, 1 + n // 6)]))
    wrote, readings = meter.take()
    pushes = list(agent.spent)
    handler.http(event("GET", "/v1/feed", authorization=f"Bearer {keys['load_key']}"), None)
    loads = []
    for n in range(LOADS):
        agent.push(dict([session(2, 3 + n)]))
        meter.take()
        loads.append(load(handler, keys["load_key"]))
    _, load_units = meter.take()
    live = live_minute(handler, agent, meter)
    median = lambda values: sorted(values)[len(values) // 2]  # noqa: E731
    return keys | live | {"push_cpu_ms": median(pushes), "load_cpu_ms": median(loads), "writes_in_turns": in_turns / PUSHES, "writes_per_push": wrote / PUSHES, "reads_per_push": readings / PUSHES, "reads_per_load": load_units}


if __name__ == "__main__":
    task, *words = sys.argv[1:]
    if task == "cold":
        sys.stdout.write(f"{cold(words):.3f}\n")
    elif task == "trust":
        sys.stdout.write(f"{trust():.3f}\n")
    elif task == "first":
        sys.stdout.write(f"{first(*words):.3f}\n")
    else:
        sys.path.insert(0, words[0])
        sys.stdout.write(json.dumps(warm(import_module("units"))) + "\n")
