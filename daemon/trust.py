"""Whom a listener trusts: the rules for `Host`, `Origin` and tokens that both planes share.

A browser on this machine can be tricked into sending requests to localhost, by any page
(`Origin` gives it away) or by a name that was made to point here (`Host` does: DNS rebinding).
"""

import hmac
from collections.abc import Iterable
from ipaddress import ip_address


class Trust:
    """`hosts` and `origins` are trusted beside the names of loopback; "" asks for no token."""

    def __init__(self, *, hosts: Iterable[str], origins: Iterable[str], token: str) -> None:
        self._hosts = frozenset(bare(host) for host in hosts)
        self._origins = frozenset(origin.rstrip("/").lower() for origin in origins)
        self._token = token.encode()

    def host(self, value: str) -> bool:
        """Whether a `Host` names this machine."""
        name = bare(value)
        return is_loopback(name) or name in self._hosts

    def origin(self, value: str) -> bool:
        """Whether a page of this `Origin` may call."""
        return value.lower() in self._origins

    def authorization(self, value: bytes) -> bool:
        """Whether an `Authorization` carries the token, where one is asked for."""
        if not self._token:
            return True
        scheme, _, given = value.partition(b" ")
        # Compared in constant time: what time it takes would tell how much of it was right.
        same = hmac.compare_digest(given.strip(), self._token)
        return same and scheme.lower() == b"bearer"


def bare(host: str) -> str:
    """The name in a `Host`: without port, brackets and the root's dot, in lower case."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    if host.count(":") == 1:
        host = host.partition(":")[0]
    return host.removesuffix(".")


def is_loopback(name: str) -> bool:
    """Whether a bare name is this machine's own."""
    # RFC 6761, 6.3: every name below localhost. is this machine, and nobody can register one.
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
