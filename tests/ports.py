"""Ports to listen on later."""

import socket
from contextlib import suppress
from random import randrange
from typing import Final

_NOBODYS: Final = range(15_000, 32_000)
"""Below those that a machine gives to whoever asks for any: one that is free now is not given away meanwhile."""


def free_ports(count: int) -> list[int]:
    """Return ports of this machine on which nobody listens."""
    found = set[int]()
    while len(found) < count:
        port = randrange(_NOBODYS.start, _NOBODYS.stop)  # noqa: S311 - nothing secret
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.add(port)
    return list(found)
