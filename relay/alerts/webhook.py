"""A signed POST to an address that a person chose: Standard Webhooks, and never to an address inside.

The host is resolved once, every answer must be a public address, and the connection goes to exactly that address, so
nothing can be swapped in between. Redirects are not followed. The whole exchange has one deadline.
"""
from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any
from urllib.parse import SplitResult, urlsplit

from ledger.errors import Problem

DEADLINE_S = 10.0
MOST_READ = 4096
_PORTS_OF_OTHERS = frozenset((*range(1, 80), 110, 119, 135, 139, 143, 445, 465, 587, 993, 995, 2049, 3306, 5432, 6379, 9200, 11211, 27017))
"""Where something else than HTTP listens, which a well chosen body might talk to."""
_INSIDE = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "fec0::/10", "3fff::/20")))
"""What some Pythons take for global: protocol assignments (a cloud's metadata answer at 192.0.0.192), the former site-local addresses, and those of documentation."""
Resolve = Callable[[str, int], Iterable[str]]


class Refused(Exception):
    """Not sent, or not taken; the text says why and never holds the address's path."""


def is_public(address: str) -> bool:
    """Is it an address of the open internet? Also where an IPv4 address hides in an IPv6 one."""
    try:
        found = ipaddress.ip_address(address.split("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if inner is None and found in ipaddress.ip_network("64:ff9b::/96"):
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return found.is_global and not found.is_multicast and not found.is_reserved and not any(found in network for network in _INSIDE)


def resolve(host: str, port: int) -> list[str]:
    """The addresses of *host*. Raises OSError."""
    return list(dict.fromkeys(str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))


def parts_of(url: str, *, private: bool) -> SplitResult:
    """*url* taken apart. Raises Problem 400 for one that will never be called."""
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError:
        raise Problem(400, "malformed", "a webhook's address looks like https://host/path") from None
    if parts.scheme not in ("https", "http") or not host or parts.username or parts.password or parts.fragment or any(ord(sign) <= 32 or ord(sign) > 126 for sign in url):
        raise Problem(400, "malformed", "a webhook's address looks like https://host/path, without a user")
    if private:
        return parts
    if parts.scheme != "https":
        raise Problem(400, "malformed", "a webhook's address begins with https://")
    if port in _PORTS_OF_OTHERS or names_inside(host):
        raise Problem(400, "malformed", "this address is not on the open internet: a relay for yourself alone may allow it with RELAY_ALERTS_PRIVATE=yes")
    return parts


def names_inside(host: str) -> bool:
    """Can it be told from the name alone that it leads inside? Also where an address is spelt as 127.1, 0x7f000001 or 2130706433."""
    if host.rstrip(".").lower().endswith(("localhost", ".local", ".internal", ".localdomain")) or ("." not in host.rstrip(".") and ":" not in host):
        return True
    try:
        return not is_public(host) if ":" in host else not is_public(socket.inet_ntoa(socket.inet_aton(host)))
    except OSError:
        return False  # a name: what it leads to is seen when it is called


def addresses_of(host: str, port: int, *, private: bool, look_up: Resolve = resolve) -> list[str]:
    """Where to connect. Raises Refused if a single one of them is not public: such a name is not honest."""
    try:
        found = list(look_up(host, port))
    except (OSError, UnicodeError):
        raise Refused("its name is not known") from None
    if not found or (not private and not all(map(is_public, found))):
        raise Refused("its name leads to an address that is not on the open internet")
    return found


def post(url: str, body: bytes, headers: dict[str, str], *, private: bool = False, look_up: Resolve = resolve, deadline_s: float = DEADLINE_S) -> int:
    """The status of the answer. Raises Refused where there is none."""
    parts = parts_of(url, private=private)
    host, port = str(parts.hostname), parts.port or (443 if parts.scheme == "https" else 80)
    addresses = addresses_of(host, port, private=private, look_up=look_up)[:3]
    connection = _Connection(host, port, addresses, parts.scheme == "https", deadline_s)
    watchdog = threading.Timer(deadline_s, connection.cut)
    watchdog.daemon = True
    watchdog.start()
    try:
        connection.request("POST", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), body, headers)
        answer = connection.getresponse()
        answer.read(MOST_READ)
        return answer.status
    except ssl.SSLError as error:
        raise Refused(f"its certificate or TLS is not accepted ({error.reason or 'TLS'})") from None
    except TimeoutError:
        raise Refused(f"no answer within {deadline_s:.0f} s") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        late = f"no answer within {deadline_s:.0f} s" if connection.was_cut else f"cannot be reached ({getattr(error, 'strerror', None) or type(error).__name__})"
        raise Refused(late) from None
    finally:
        watchdog.cancel()
        connection.close()


@cache
def trust() -> ssl.SSLContext:
    """Whose certificates are believed: what the system believes. To read them takes longer than all else about a webhook, so that is done once."""
    return ssl.create_default_context()


class _Connection(http.client.HTTPConnection):
    """To the first of these addresses that answers, with the certificate of the name."""

    def __init__(self, host: str, port: int, addresses: list[str], secure: bool, timeout: float) -> None:
        super().__init__(host, port, timeout=timeout)
        self.default_port = 443 if secure else 80
        self._addresses, self._secure, self.was_cut = addresses, secure, False

    def connect(self) -> None:
        self.sock: Any = self._reached()
        if self._secure:
            self.sock = trust().wrap_socket(self.sock, server_hostname=self.host)

    def _reached(self) -> socket.socket:
        for number, address in enumerate(self._addresses, 1):
            try:
                return socket.create_connection((address, self.port), (self.timeout or DEADLINE_S) / len(self._addresses))
            except OSError:
                if number == len(self._addresses):
                    raise
        raise OSError

    def cut(self) -> None:
        """The time is over, however slowly the other side goes on talking."""
        self.was_cut = True
        sock = getattr(self, "sock", None)
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
