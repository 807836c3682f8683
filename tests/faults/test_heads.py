"""What comes before a request is known has no key and no size: it is bounded all the same."""

from __future__ import annotations

import asyncio
import socket
import time
from urllib.parse import urlsplit

import pytest
import uvicorn

from server import http_protocol
from server.http_protocol import BoundedHttpProtocol
from tests.support.faults import assert_serves


def connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    assert parts.hostname and parts.port
    return socket.create_connection((parts.hostname, parts.port), timeout=10)


def test_a_header_without_an_end(server: str) -> None:
    with connect(server) as wire:
        wire.sendall(b"GET /health/live HTTP/1.1\r\nHost: here\r\nX-Long: ")
        sent = 0
        with pytest.raises(OSError):
            while sent < 50_000_000:
                sent += wire.send(b"a" * 65_536)
        assert sent < 10_000_000, "what the system's buffers hold"
    assert_serves(server)


def test_long_headers_that_end_are_read(server: str) -> None:
    with connect(server) as wire:
        for _ in range(2):  # the same connection
            wire.sendall(b"GET /health/live HTTP/1.1\r\nHost: here\r\nX-Long: " + b"a" * 30_000 + b"\r\n\r\n")
            assert wire.recv(4096).startswith(b"HTTP/1.1 200")


def test_who_says_nothing_whole_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The silent, and the second request of a connection that stops half-way."""
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 0.3)
    assert issubclass(BoundedHttpProtocol, asyncio.Protocol)
    ended = asyncio.run(_ended(b"", b"GET / HTTP/1.1\r\nHost:", b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTT"))
    assert all(0.2 < seconds < 3 for seconds in ended), ended


async def _ended(*beginnings: bytes) -> list[float]:
    """After how many seconds a server ends connections that stop after these bytes."""

    async def app(scope: dict[str, object], receive: object, send: object) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": b""})  # type: ignore[operator]

    config = uvicorn.Config(app, http=BoundedHttpProtocol, lifespan="off", log_config=None, port=0)  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - it says so by nothing else
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]

    async def one(beginning: bytes) -> float:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(beginning)
        began = time.monotonic()
        async with asyncio.timeout(10):
            while await reader.read(4096):
                pass
        writer.close()
        return time.monotonic() - began

    ended = await asyncio.gather(*(one(beginning) for beginning in beginnings))
    server.should_exit = True
    await serving
    return list(ended)
