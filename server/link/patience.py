"""Limit of a wait that begins many times a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf


class Patience:
    """Calls ``expired`` if a wait takes too long. One timer serves all waits: one for each would cost more than a wait.

    Args:
        expired: called on the event loop.
    """

    def __init__(self, expired: Callable[[], None]) -> None:
        self._expired = expired
        self._deadline = inf
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, seconds: float) -> None:
        """Begin a wait of at most ``seconds``."""
        loop = asyncio.get_running_loop()
        self._deadline = loop.time() + seconds
        if self._timer is None or self._timer.when() > self._deadline:
            self.close()
            self._timer = loop.call_at(self._deadline, self._look)

    def end(self) -> None:
        """End the wait; its timer goes on for the next ones."""
        self._deadline = inf

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        if self._deadline <= loop.time():
            self._expired()
        elif self._deadline < inf:
            self._timer = loop.call_at(self._deadline, self._look)
