"""Run a suite: `python -m tests.compliance --relay URL --key KEY`, or `--agent COMMAND`."""
from __future__ import annotations

import argparse
import json
import secrets
import shlex
import shutil
import sys
import time
import urllib.request
from collections.abc import Iterable

from ledger.keytext import SECRET_BYTES, BadKey, Claims, KeyText, id_of
from tests.compliance import receiver, sender
from tests.compliance.client import Sender, over_http
from tests.compliance.process import Commanded, theatre
from tests.compliance.receiver import Verdict


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.compliance", description="Is this relay a correct one, is this agent?")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--relay", metavar="URL", help="a relay to talk to")
    which.add_argument("--agent", metavar="COMMAND", help="makes an agent sync once; {url}, {key} and {home} in it are replaced")
    parser.add_argument("--key", help="with --relay: a push key whose source may be overwritten")
    options = parser.parse_args(argv)
    if options.relay and not options.key:
        parser.error("--relay needs --key")
    return of_relay(options.relay, options.key) if options.relay else of_agent(options.agent)


def of_relay(url: str, text: str) -> int:
    try:
        key = KeyText.parse(text, wanted="push")
        if key.scope != "push":
            raise BadKey(f"this is a {key.scope} key: make one with `python -m relay keys create --scope push --source NAME`")
        with urllib.request.urlopen(url.rstrip("/") + "/v1/ping", timeout=10) as answer:
            aud = json.load(answer)["url"]
    except (BadKey, OSError, ValueError, KeyError) as error:
        print(f"cannot begin: {error}", file=sys.stderr)
        return 2
    return told(receiver.verdicts(Sender(over_http(url), key, aud, lambda: int(time.time()))))


def of_agent(command: str) -> int:
    try:
        program = shlex.split(command)[:1]
    except ValueError as error:
        print(f"cannot begin: {error}", file=sys.stderr)
        return 2
    if not program or not shutil.which(program[0]):
        print(f"cannot begin: there is no program {(program or [''])[0]!r}", file=sys.stderr)
        return 2
    key = KeyText("push", id_of(Claims("push", "compliance", "agent", int(time.time()), 0)), secrets.token_bytes(SECRET_BYTES))
    with theatre() as house:
        return told(sender.verdicts(Commanded(house, command, key).cast))


def told(verdicts: Iterable[Verdict]) -> int:
    """Print each verdict as it comes; 1 if one failed."""
    count = failed = 0
    for verdict in verdicts:
        count, failed = count + 1, failed + bool(verdict.failure)
        print(("ok    " if not verdict.failure else "FAIL  ") + verdict.name + (f": {verdict.failure}" if verdict.failure else ""), flush=True)
    print(f"{count - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
