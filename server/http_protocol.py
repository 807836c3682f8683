"""uvicorn's HTTP, with bounds on what comes before a request is known: how many connect, how long heads are and take.

What is refused here has the envelope of every other error, and who speaks HTTP/1.0 gets bodies that end with their
connection, for chunks came with 1.1.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from server.errors import ApiError

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope

MOST_HEAD_BYTES = 65_536
HEAD_SECONDS = 20.0
ALWAYS_ANSWERED = frozenset({"/health/live", "/health/ready", "/metrics"})
"""Also of connections beyond the bound: a server that is full is not one to be killed and started anew."""
FOR_THOSE = 16
"""Connections beyond the bound whose requests are looked at."""
_PROBE_HEAD_SECONDS = 2.0
_FULL_RETRY_SECONDS = 5


class BoundedHttpProtocol(HttpToolsProtocol):
    """Ends a connection whose request line and headers are too many or too slow; the parser itself has no bounds."""

    most_connections: int | None = None
    """Of all kinds at once; None for no bound. Set before the server starts."""
    _beyond = False
    """Whether this one came when there were as many."""
    _head_bytes = 0
    _overdue: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        too_many = self._too_many()
        if too_many > FOR_THOSE:
            self._refuse(self._full())
            return
        self._beyond = too_many > 0
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():  # it was refused
            return
        super().data_received(data)
        if self._overdue is None or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._head_bytes > MOST_HEAD_BYTES:
            self.send_400_response(f"The request's headers are longer than {MOST_HEAD_BYTES} bytes.")

    def send_400_response(self, msg: str) -> None:
        self._refuse(ApiError(400, "bad_request", msg))

    def on_message_begin(self) -> None:
        if self._overdue is None:  # another request of the same connection
            self._expect_head()
        super().on_message_begin()

    def on_headers_complete(self) -> Any:
        self._head_came()
        return super().on_headers_complete()

    def handle_websocket_upgrade(self) -> None:
        if self._may_be_served(""):
            super().handle_websocket_upgrade()
        else:
            self._refuse(self._full())

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if not self._may_be_served(cycle.scope["path"]):
            app = cast("ASGI3Application", self._full().response({"Connection": "close"}))
        if cycle.scope["http_version"] == "1.0":
            app = _unchunked(cycle, app)
        super()._start_asgi_task(cycle, app)

    def _too_many(self) -> int:
        """Connections there are beyond the bound."""
        return 0 if self.most_connections is None else max(0, len(self.connections) - self.most_connections)

    def _may_be_served(self, path: str) -> bool:
        return path in ALWAYS_ANSWERED or not (self._beyond and self._too_many())

    def _full(self) -> ApiError:
        told = f"{self.most_connections} connections are open already; try again in {_FULL_RETRY_SECONDS} s."
        return ApiError(503, "too_many_connections", told, retry_after=_FULL_RETRY_SECONDS)

    def _refuse(self, error: ApiError) -> None:
        """Answer before there is a request, and close."""
        answer = error.response({"Connection": "close"})
        self.transport.write(_head(answer.status_code, answer.raw_headers) + bytes(answer.body))
        self.transport.close()

    def _expect_head(self) -> None:
        self._head_bytes = 0
        seconds = _PROBE_HEAD_SECONDS if self._beyond else HEAD_SECONDS
        self._overdue = self.loop.call_later(seconds, self.transport.close)

    def _head_came(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None


def _head(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    lines = [b"HTTP/1.1 %d " % status, *(b"%s: %s" % header for header in headers), b"", b""]
    return b"\r\n".join(lines)


def _unchunked(cycle: RequestResponseCycle, app: ASGI3Application) -> ASGI3Application:
    """``app``, with bodies of unknown size sent as they are; uvicorn closes the connection of an HTTP/1.0 request."""

    async def run(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        sized = True

        async def plainly(message: ASGISendEvent) -> None:
            nonlocal sized
            if message["type"] == "http.response.start":
                sized = any(name.lower() == b"content-length" for name, _ in message.get("headers", []))
                if not sized:
                    cycle.chunked_encoding = False
            elif message["type"] == "http.response.body" and not sized:
                cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        await app(scope, receive, plainly)

    return run
