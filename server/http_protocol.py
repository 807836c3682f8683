"""uvicorn's HTTP, with bounds on what comes before a request is known: how long its head is and how long it takes."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEAD_BYTES = 65_536
HEAD_SECONDS = 20.0


class BoundedHttpProtocol(HttpToolsProtocol):
    """Ends a connection whose request line and headers are too many or too slow; the parser itself has no bounds."""

    _head_bytes = 0
    _overdue: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._overdue is None or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._head_bytes > MOST_HEAD_BYTES:
            self.send_400_response(f"The request's headers are longer than {MOST_HEAD_BYTES} bytes.")

    def on_message_begin(self) -> None:
        if self._overdue is None:  # another request of the same connection
            self._expect_head()
        super().on_message_begin()

    def on_headers_complete(self) -> Any:
        self._head_came()
        return super().on_headers_complete()

    def _expect_head(self) -> None:
        self._head_bytes = 0
        self._overdue = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _head_came(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None
