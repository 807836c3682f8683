"""Ports for programs that cannot take port 0, or that start again at the same address."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_GIVEN_OUT = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FIRST, _LAST = 20_000, 32_767
"""Ports to choose from."""


def free_port() -> int:
    """Return a port of 127.0.0.1 at which nothing listens.

    Linux gives ports of a range to connections and to servers at port 0. Those of other tests could take the port
    before it is used, or between two uses. Hence the port is below that range, unless the range begins too low.

    Raises:
        OSError: a hundred ports are taken.
    """
    last = min(_LAST, int(_GIVEN_OUT.read_text().split()[0]) - 1) if _GIVEN_OUT.exists() else _LAST
    chance = random.SystemRandom()  # a test may have seeded the other one
    for _ in range(100):
        port = chance.randint(_FIRST, last if last > _FIRST else _LAST)
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise OSError("no port is free")
