"""Run the suite against a relay: `python -m tests.compliance --relay URL --key KEY`."""
from __future__ import annotations

import argparse
import json
import sys
import time
import urllib.request

from ledger.keytext import BadKey, KeyText
from tests.compliance.client import Sender, over_http
from tests.compliance.receiver import verdicts


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.compliance", description="Is this relay a correct one?")
    parser.add_argument("--relay", required=True, metavar="URL")
    parser.add_argument("--key", required=True, help="a push key whose source may be overwritten")
    options = parser.parse_args()
    try:
        key = KeyText.parse(options.key)
        with urllib.request.urlopen(options.relay.rstrip("/") + "/v1/ping", timeout=10) as answer:
            aud = json.load(answer)["url"]
    except (BadKey, OSError, ValueError, KeyError) as error:
        print(f"cannot begin: {error}", file=sys.stderr)
        return 2
    found = list(verdicts(Sender(over_http(options.relay), key, aud, lambda: int(time.time()))))
    for verdict in found:
        print(("ok    " if not verdict.failure else "FAIL  ") + verdict.name + (f": {verdict.failure}" if verdict.failure else ""))
    failed = sum(bool(verdict.failure) for verdict in found)
    print(f"{len(found) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
