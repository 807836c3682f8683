"""uvicorn's WebSocket, with a bound on the answers to pings that nobody reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveEvent


class BoundedWebSocketProtocol(WebSocketsSansIOProtocol):
    """Reads nothing more from who pings and takes no pongs, until they are taken."""

    _pongs_wait = False

    def handle_ping(self) -> None:
        super().handle_ping()
        if not self.writable.is_set():
            self._pongs_wait = True
            self.transport.pause_reading()

    async def receive(self) -> ASGIReceiveEvent:
        message = await super().receive()
        if self._pongs_wait:  # it reads on after each message that is taken
            self.transport.pause_reading()
        return message

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._pongs_wait:
            self._pongs_wait = False
            if not self.read_paused:
                self.transport.resume_reading()
