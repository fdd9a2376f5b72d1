"""python -m local_agent"""
from __future__ import annotations

import sys


def run() -> int:
    # The status line runs after every message of the tool: it must not wait for what the other commands import.
    if sys.argv[1:2] == ["statusline"]:
        from local_agent.statusline import main as statusline

        return statusline(sys.argv[2:])
    from local_agent.cli import main

    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(run())
