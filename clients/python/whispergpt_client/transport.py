"""WebSockets for asynchronous and for synchronous code, with functions of the same arguments.

``generate_sync.py`` replaces each name ``async_x`` in a module by ``x``, which is the synchronous function here.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
import time
from contextlib import suppress

from websockets.asyncio import client as asyncio_client
from websockets.exceptions import ConcurrencyError, ConnectionClosed, ConnectionClosedError
from websockets.sync import client as sync_client

AsyncConnection = asyncio_client.ClientConnection
Connection = sync_client.ClientConnection

# Pings are left to the server: a reader at playback speed may lawfully be far behind what has arrived.
_PING_INTERVAL = None
_CLOSE_SECONDS = 5.0
"""Seconds that the closing handshake may take; after them the connection is cut."""
_AGAIN_SECONDS = 0.01
"""Pause before another try to read, where somebody else reads."""


async def async_connect(url: str, headers: dict[str, str], within: float) -> AsyncConnection:
    """Open a WebSocket within so many seconds. Raises OSError or WebSocketException."""
    return await asyncio_client.connect(
        url, open_timeout=within, ping_interval=_PING_INTERVAL, additional_headers=headers
    )


async def async_send(connection: AsyncConnection, message: str | bytes, within: float) -> None:
    """Send a message. Raises TimeoutError if that takes longer than ``within`` seconds, or ConnectionClosed."""
    await asyncio.wait_for(connection.send(message), within)


async def async_receive(connection: AsyncConnection, within: float) -> str | bytes:
    """Return the next message. Raises TimeoutError if none comes within so many seconds, or ConnectionClosed."""
    try:
        return await asyncio.wait_for(connection.recv(), within)
    except ConcurrencyError:  # `async_close` reads
        raise ConnectionClosedError(None, None) from None


async def async_close(connection: AsyncConnection) -> None:
    """Close a WebSocket, within seconds even if the server no longer reads. What was not received is dropped."""
    reading = asyncio.create_task(_async_read_on(connection))
    # The library's close first waits, without a bound, until what was sent before has left.
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await connection.close()
    except TimeoutError:
        connection.transport.abort()
        await connection.wait_closed()
    except asyncio.CancelledError:
        connection.transport.abort()
        raise
    finally:
        reading.cancel()


async def _async_read_on(connection: AsyncConnection) -> None:
    """Read to the end: behind messages that nobody takes, the library does not see the server's part of the close."""
    with suppress(ConnectionClosed):
        while True:
            try:
                await connection.recv()
            except ConcurrencyError:
                await asyncio.sleep(_AGAIN_SECONDS)


def connect(url: str, headers: dict[str, str], within: float) -> Connection:
    """Open a WebSocket within so many seconds. Raises OSError or WebSocketException."""
    opened = sync_client.connect(
        url,
        open_timeout=within,
        close_timeout=_CLOSE_SECONDS,
        ping_interval=_PING_INTERVAL,
        additional_headers=headers,
    )
    return opened.__enter__()  # the library deprecates use without; `close` does what its `__exit__` does


def send(connection: Connection, message: str | bytes, within: float) -> None:
    """Send a message. Raises TimeoutError if the socket takes none within so many seconds, or ConnectionClosed."""
    # The library's send waits without a bound; messages are small enough to fit once the socket takes data again.
    with selectors.DefaultSelector() as selector:
        try:
            selector.register(connection.socket, selectors.EVENT_WRITE)
        except (ValueError, OSError):
            pass  # the library's thread closed it when the server did; the library's send says so
        else:
            if not selector.select(within):
                raise TimeoutError
    connection.send(message)


def receive(connection: Connection, within: float) -> str | bytes:
    """Return the next message. Raises TimeoutError if none comes within so many seconds, or ConnectionClosed."""
    try:
        return connection.recv(within)
    except ConcurrencyError:  # `close` reads
        raise ConnectionClosedError(None, None) from None


def close(connection: Connection) -> None:
    """Close a WebSocket, within seconds even if the server no longer reads, unless another thread is sending. What was
    not received is dropped."""
    threading.Thread(target=_read_on, args=(connection,), daemon=True).start()
    connection.close()


def _read_on(connection: Connection) -> None:
    """Read to the end: behind messages that nobody takes, the library does not see the server's part of the close."""
    with suppress(ConnectionClosed):
        while True:
            try:
                connection.recv()
            except ConcurrencyError:
                time.sleep(_AGAIN_SECONDS)
