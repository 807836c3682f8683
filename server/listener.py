"""The socket at which the server takes connections."""

from __future__ import annotations

import errno
import os
import socket

from whispergpt.server.serve_error import ServeError
from whispergpt.server.settings import Settings

FLUSH_SECONDS = 5
"""Seconds that clients have to take their last bytes."""


def listen(settings: Settings) -> socket.socket:
    """Return the socket at which the server takes connections.

    Raises:
        ServeError: the address cannot be used.
    """
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        listener = socket.create_server(address[:2], family=family, backlog=2048)
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
        # create_server's own text repeats the address; a failed name look-up has no errno of the system's.
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
        remedy = "; --port names another port" if error.errno in (errno.EADDRINUSE, errno.EACCES) else ""
        raise ServeError(f"cannot listen on {settings.host}:{settings.port}: {reason}{remedy}") from None
