"""What the clients' two kinds of WebSockets do once the server has closed the connection, or reads no more."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve
from whispergpt_client import transport
from whispergpt_client.transport import (
    async_close,
    async_connect,
    async_receive,
    async_send,
    close,
    connect,
    receive,
    send,
)

LAST_WORDS = "no room"
PIECE = os.urandom(65_536)  # noise, since the messages are compressed
WITHIN = 5.0
"""Seconds for each step, all of which take milliseconds."""


@contextmanager
def serving(answer: Callable[[ServerConnection], None], **options: Any) -> Iterator[str]:
    """The address of a server that deals with each connection in this way."""
    with serve(answer, "127.0.0.1", 0, **options) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def refusing() -> Iterator[str]:
    """The address of a server that says why it refuses, and closes."""

    def refuse(connection: ServerConnection) -> None:
        connection.send(LAST_WORDS)
        connection.close(1013)

    with serving(refuse) as address:
        yield address


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
        close(connection)


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
            await async_close(connection)

    asyncio.run(check())


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server that reads nothing, so that what is sent to it soon stays unsent."""
    monkeypatch.setattr(transport, "_CLOSE_SECONDS", 0.5)
    done = threading.Event()

    with serving(lambda _: cast(None, done.wait()), max_queue=1, close_timeout=0.1) as address:
        yield address
        done.set()


def test_a_connection_to_a_server_that_reads_nothing_is_closed_all_the_same(deaf: str) -> None:
    """In a thread of its own: a close that waits for ever would otherwise stop the test there."""
    connection = connect(deaf, {}, WITHIN)
    with pytest.raises(TimeoutError):
        while True:
            send(connection, PIECE, 0.2)
    closing = threading.Thread(target=close, args=(connection,), daemon=True)
    closing.start()
    closing.join(WITHIN)
    assert not closing.is_alive()


def test_the_asynchronous_one_is_closed_too(deaf: str) -> None:
    async def check() -> None:
        connection = await async_connect(deaf, {}, WITHIN)
        with pytest.raises(TimeoutError):
            while True:
                await async_send(connection, PIECE, 0.2)
        await asyncio.wait_for(async_close(connection), WITHIN)

    asyncio.run(check())


def test_a_close_that_is_cancelled_leaves_no_connection(deaf: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_CLOSE_SECONDS", 60.0)

    async def check() -> None:
        connection = await async_connect(deaf, {}, WITHIN)
        with pytest.raises(TimeoutError):
            while True:
                await async_send(connection, PIECE, 0.2)
        closing = asyncio.create_task(async_close(connection))
        await asyncio.sleep(0.1)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        await asyncio.wait_for(connection.wait_closed(), WITHIN)

    asyncio.run(check())


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server that has sent more messages than the library keeps for a reader, as audio is."""
    monkeypatch.setattr(transport, "_CLOSE_SECONDS", 60.0)

    def play(connection: ServerConnection) -> None:
        for _ in range(60):
            connection.send(PIECE)
        for _ in connection:
            pass

    with serving(play) as address:
        yield address


def test_a_close_does_not_wait_behind_what_nobody_has_received(ahead: str) -> None:
    connection = connect(ahead, {}, WITHIN)
    assert receive(connection, WITHIN) == PIECE
    time.sleep(0.2)  # until the library reads no more
    closing = threading.Thread(target=close, args=(connection,), daemon=True)
    closing.start()
    closing.join(WITHIN)
    assert not closing.is_alive()
    assert connection.close_code == 1000


def test_the_asynchronous_close_does_not_wait_there_either(ahead: str) -> None:
    async def check() -> None:
        connection = await async_connect(ahead, {}, WITHIN)
        assert await async_receive(connection, WITHIN) == PIECE
        await asyncio.sleep(0.2)
        await asyncio.wait_for(async_close(connection), WITHIN)
        assert connection.close_code == 1000

    asyncio.run(check())


def test_who_reads_slowly_while_another_closes_is_told_of_the_end(ahead: str) -> None:
    connection = connect(ahead, {}, WITHIN)
    told: list[BaseException] = []

    def play() -> None:
        try:
            while True:
                receive(connection, WITHIN)
                time.sleep(0.001)
        except ConnectionClosed as closed:
            told.append(closed)

    player = threading.Thread(target=play)
    player.start()
    time.sleep(0.02)
    close(connection)
    player.join(WITHIN)
    assert len(told) == 1
