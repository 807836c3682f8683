"""A connection to the server's HTTP protocol without a socket: what is fed, what comes back, what the app was given."""

from __future__ import annotations

import asyncio
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from tests.support.wire import Answer, Answers
from whispergpt.server.edge.connection.shared_bounds import SharedBounds
from whispergpt.server.edge.http_protocol import BoundedHttpProtocol


class _Transport(asyncio.Transport):
    """Keeps what is written. Reading is paused and resumed as the protocol says, and closing is told as a loop does."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.written, self.paused, self.closed = b"", False, False
        self.protocol: Any = None

    def write(self, data: Any) -> None:
        if not self.closed:
            self.written += bytes(data)

    def pause_reading(self) -> None:
        assert not self.paused
        self.paused = True

    def resume_reading(self) -> None:
        assert self.paused
        self.paused = False

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def get_protocol(self) -> Any:
        return self.protocol

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol


class MemoryWire:
    """Feeds bytes to a connection. ``requests``: method, path, body of each that the app was given, in order."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, bytes]] = []
        self.errors: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: self.errors.append(context))
        config = uvicorn.Config(self._app, interface="asgi3", lifespan="off", log_config=None, ws="none")  # type: ignore[arg-type]
        config.load()
        self.transport = _Transport()
        self._protocol = BoundedHttpProtocol(
            config, ServerState(), {}, asyncio.get_running_loop(), bounds=SharedBounds()
        )
        self.transport.protocol = self._protocol
        self._protocol.connection_made(self.transport)

    async def feed(self, data: bytes) -> None:
        """Feed bytes, as far as they are read, and let everything run that they cause."""
        if not self.transport.closed and not self.transport.paused:
            self._protocol.data_received(data)
        for _ in range(60):
            await asyncio.sleep(0)

    async def end(self) -> list[Answer]:
        """Close the client's side, and return the answers that came."""
        if not self.transport.closed and not self._protocol.eof_received():
            self.transport.close()
        for _ in range(200):
            await asyncio.sleep(0)
        self.transport.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not self.errors, self.errors
        answers = Answers()
        answers.feed(self.transport.written)
        return answers.all

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            more = message["more_body"]
        self.requests.append((scope["method"], scope["path"], body))
        told = scope["path"].encode()
        headers = [(b"content-length", b"%d" % len(told))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": told})
