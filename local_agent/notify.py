"""Tells the service manager that we are ready, alive or stopping; says nothing where nobody listens."""
from __future__ import annotations

import contextlib
import socket


class Notifier:
    """*address* is what the manager gave as NOTIFY_SOCKET."""

    def __init__(self, address: str | None) -> None:
        self._address = f"\0{address[1:]}" if address and address.startswith("@") else address

    def say(self, state: str) -> None:
        """READY=1, WATCHDOG=1 or STOPPING=1. A manager that is gone is no reason to stop."""
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.connect(self._address)
            channel.sendall(state.encode())
