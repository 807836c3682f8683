"""uvicorn's HTTP, with bounds on what comes before a request is known: how many connect, how long heads are and take.

What is refused here has the envelope of every other error, and who speaks HTTP/1.0 gets bodies that end with their
connection, for chunks came with 1.1.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from server.errors import ApiError
from server.raw_answer import raw_answer

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope

MOST_HEAD_BYTES = 65_536
HEAD_SECONDS = 20.0
ALWAYS_ANSWERED = frozenset({"/health/live", "/health/ready", "/metrics"})
"""Also of connections beyond the bound: a server that is full is not one to be killed and started anew."""
MOST_BEYOND = 16
"""Connections beyond the bound whose requests are looked at."""
_PROBE_HEAD_SECONDS = 2.0
_FULL_RETRY_SECONDS = 5


class BoundedHttpProtocol(HttpToolsProtocol):
    """Ends a connection whose request line, headers or trailers are too many or too slow; the parser itself has no
    bounds."""

    most_connections: int | None = None
    """Of all kinds at once; None for no bound. Set before the server starts."""
    _beyond = False
    """Whether this one came when there were as many."""
    _running: RequestResponseCycle | None = None
    """The request that is answered, or was last."""
    body_seconds = 120.0
    """For the rest of a body whose request is answered already. Set before the server starts."""
    _in_head = _in_body = False
    _barren = 0
    """Bytes since the last of which anything came: a head, a part of a body, or a body's end."""
    _came = False
    _overdue: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        too_many = self._too_many()
        if too_many > MOST_BEYOND:
            self._refuse(self._full())
            return
        self._beyond = too_many > 0
        self._wait_for_more(self._head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self.pipeline.clear()
        if self._running is not None and self._answering:  # the newest request alone is told by uvicorn
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():  # it was refused
            return
        self._came = False
        super().data_received(data)
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            return
        self._barren = 0 if self._came else self._barren + len(data)
        if self._barren > MOST_HEAD_BYTES and self._answering:
            self.transport.close()
        elif self._barren > MOST_HEAD_BYTES:
            self.send_400_response(f"The request's headers are longer than {MOST_HEAD_BYTES} bytes.")
        elif not self._answering and self.timeout_keep_alive_task is None:
            # What came stopped the other clock, and need not be a request.
            self._wait_for_more(self.body_seconds if self._in_body else self._head_seconds)

    def send_400_response(self, msg: str) -> None:
        self._refuse(ApiError(400, "bad_request", msg))

    def on_message_begin(self) -> None:
        self._in_head = True
        if not self._answering:
            self._wait_for_more(self._head_seconds)
        super().on_message_begin()

    def on_headers_complete(self) -> Any:
        self._in_head, self._in_body, self._came = False, True, True
        self._stop_waiting()
        return super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._came = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_body, self._came = False, True
        self._stop_waiting()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_head and not self._answering and not self.transport.is_closing():
            self._wait_for_more(self._head_seconds)

    def handle_websocket_upgrade(self) -> None:
        if self._may_be_served(""):
            super().handle_websocket_upgrade()
        else:
            self._refuse(self._full())

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        if self._beyond:  # the next probe needs its place
            cycle.keep_alive = False
        if not self._may_be_served(cycle.scope["path"]):
            app = cast("ASGI3Application", self._full().response({"Connection": "close"}))
        if cycle.scope["http_version"] == "1.0":
            app = _unchunked(cycle, app)
        super()._start_asgi_task(cycle, app)

    @property
    def _answering(self) -> bool:
        return self._running is not None and not self._running.response_complete

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
        self.transport.write(raw_answer(error))
        self.transport.close()

    @property
    def _head_seconds(self) -> float:
        return _PROBE_HEAD_SECONDS if self._beyond else HEAD_SECONDS

    def _wait_for_more(self, seconds: float) -> None:
        """Close the connection after so long, unless that is so already, or ``_stop_waiting`` comes before."""
        if self._overdue is None:
            self._overdue = self.loop.call_later(seconds, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None


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
