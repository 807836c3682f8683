"""The time at which a connection is closed if nothing more comes."""

from __future__ import annotations

import asyncio


class Deadline:
    """A clock that closes a connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> None:
        self._loop, self._transport = loop, transport
        self._timer: asyncio.TimerHandle | None = None

    def start(self, seconds: float) -> None:
        """Close the connection after ``seconds``, unless ``stop`` comes before; a running clock goes on."""
        if self._timer is None:
            self._timer = self._loop.call_later(seconds, self._transport.close)

    def stop(self) -> None:
        """Stop the clock."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
