"""The socket at which the server takes connections."""

from __future__ import annotations

import errno
import os
import socket

from whispergpt.server.serve_error import ServeError
from whispergpt.server.settings import Settings

FLUSH_SECONDS = 5
"""Seconds that clients have to take their last bytes."""


def listen(settings: Settings, shared_port: int | None = None) -> socket.socket:
    """Return the socket at which the server takes connections.

    Args:
        shared_port: port that ``reserve`` gave, whose connections Linux shares out among the processes that listen
            there. The socket does not listen yet, so that no connection waits for a process that starts.

    Raises:
        ServeError: the address cannot be used.
    """
    try:
        family, address = _address_of(settings, shared_port)
        if shared_port is None:
            listener = socket.create_server(address, family=family, backlog=2048)
        else:
            listener = _bound(family, address, reuse_port=True)
        # Connections inherit this size: audio that a reader does not take waits here, and then the stream waits.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, settings.send_buffer_bytes)
        # Connections inherit this too. Without it the first audio, small and behind small events, would wait 40 ms for
        # the client's system to acknowledge those.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # A closing message that is never read would keep its connection for ever. A file that is read too slowly
            # loses its end by this.
            unread = round(1000 * (settings.send_seconds + FLUSH_SECONDS))
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, unread)
        return listener
    except OSError as error:
        raise _unusable(settings, error) from None


def reserve(settings: Settings) -> socket.socket:
    """Return a socket that keeps the address for the front ends and does not listen itself.

    Raises:
        ServeError: the address cannot be used.
    """
    try:
        family, address = _address_of(settings, None)
        kept = _bound(family, address, reuse_port=False)
        # After the bind, which so finds out whether another server has the port, one of several front ends too.
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        return kept
    except OSError as error:
        raise _unusable(settings, error) from None


def _bound(family: socket.AddressFamily, address: tuple[str, int], reuse_port: bool) -> socket.socket:
    """Return a socket as ``socket.create_server`` does, which does not listen."""
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


def _address_of(settings: Settings, port: int | None) -> tuple[socket.AddressFamily, tuple[str, int]]:
    wanted = settings.port if port is None else port
    found = socket.getaddrinfo(settings.host, wanted, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = found[0]
    return family, (str(address[0]), int(address[1]))


def _unusable(settings: Settings, error: OSError) -> ServeError:
    # create_server's own text repeats the address; a failed name look-up has no errno of the system's.
    reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
    other_host = "; --host names an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all"
    remedy = "; --port names another port" if error.errno in (errno.EADDRINUSE, errno.EACCES) else other_host
    return ServeError(f"cannot listen on {settings.host}:{settings.port}: {reason}{remedy}")
