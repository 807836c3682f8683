"""What the clients' two kinds of WebSockets do once the server has closed the connection."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve
from whispergpt_client.transport import async_connect, async_receive, async_send, connect, receive, send

LAST_WORDS = "no room"
WITHIN = 5.0
"""Seconds for each step, all of which take milliseconds."""


@pytest.fixture
def refusing() -> Iterator[str]:
    """The address of a server that says why it refuses, and closes."""

    def refuse(connection: ServerConnection) -> None:
        connection.send(LAST_WORDS)
        connection.close(1013)

    with serve(refuse, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join()


def test_a_send_on_a_closed_connection_says_so_and_leaves_the_reason_to_be_read(refusing: str) -> None:
    connection = connect(refusing, {}, WITHIN)
    try:
        until = time.monotonic() + WITHIN
        while connection.socket.fileno() != -1:
            assert time.monotonic() < until, "the socket was not closed after the server's close"
            time.sleep(0.01)
        with pytest.raises(ConnectionClosed):
            send(connection, b"prompt", WITHIN)
        assert receive(connection, WITHIN) == LAST_WORDS
        with pytest.raises(ConnectionClosed):
            receive(connection, WITHIN)
    finally:
        connection.close()


def test_the_asynchronous_one_does_the_same(refusing: str) -> None:
    async def check() -> None:
        connection = await async_connect(refusing, {}, WITHIN)
        try:
            await asyncio.wait_for(connection.wait_closed(), WITHIN)
            with pytest.raises(ConnectionClosed):
                await async_send(connection, b"prompt", WITHIN)
            assert await async_receive(connection, WITHIN) == LAST_WORDS
            with pytest.raises(ConnectionClosed):
                await async_receive(connection, WITHIN)
        finally:
            await connection.close()

    asyncio.run(check())
