"""Addresses as they stand in the configuration: host:port, [::1]:port."""

import re

_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):(?P<port>[0-9]{1,5})")
_LARGEST_PORT = 65535


def parse_address(text: str) -> tuple[str, int]:
    """Host (an IPv6 address without its brackets) and port of `host:port`.

    Raises ValueError with a message for a person.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > _LARGEST_PORT:
        raise ValueError("must be an address and a port, like 127.0.0.1:4680 or [::1]:4680")
    return match["host"].strip("[]"), int(match["port"])
