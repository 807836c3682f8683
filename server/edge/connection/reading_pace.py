"""A bound on how fast one connection is read, so that endless messages leave the event loop to other clients."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

MIB = 1024 * 1024
BURST_BYTES = 4 * MIB
"""Bytes that are read as fast as they come: 40 s of mono audio at 48 kHz. Reading them takes some 10 ms."""
BYTES_A_SECOND = 8 * MIB
"""Rate beyond the burst: faster than most clients' networks."""
PAUSE_SECONDS = 0.1
"""Shortest pause, so that a paused connection is not read in splinters."""


class ReadingPace:
    """Stops reading from a connection that sends faster than it may, and resumes it by a timer.

    Args:
        pause, resume: stop and start reading.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._loop, self._pause, self._resume = loop, pause, resume
        self._left, self._at = float(BURST_BYTES), loop.time()
        """Bytes that may be read without a pause, and the time of that count."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def pausing(self) -> bool:
        """Return whether nothing may be read now."""
        return self._timer is not None

    def count(self, size: int) -> None:
        """Count ``size`` bytes that were read."""
        now = self._loop.time()
        self._left = min(BURST_BYTES, self._left + (now - self._at) * BYTES_A_SECOND) - size
        self._at = now
        if self._left < 0 and not self.pausing:
            self._pause()
            self._timer = self._loop.call_later(max(PAUSE_SECONDS, -self._left / BYTES_A_SECOND), self._go_on)

    def stop(self) -> None:
        """Forget the connection, which is closed."""
        if self._timer is not None:
            self._timer.cancel()

    def _go_on(self) -> None:
        self._timer = None
        self._resume()
