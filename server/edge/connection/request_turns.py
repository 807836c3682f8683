"""Turns of requests: however many come at once, most of the event loop's time is left to streams."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

AT_ONCE = 64
"""Requests that may begin in a row, one in each turn of the loop: as many as a page needs."""
PAUSE_SECONDS = 0.001
"""Seconds between the beginnings of further ones. The smallest request takes 0.2 ms of the loop."""
PIPELINED_AT_ONCE = 8
PIPELINED_PAUSE_SECONDS = 0.032
"""Seconds between the beginnings of pipelined requests, of all connections together: browsers and proxies send none."""


def pipelined_turns(front_ends: int = 1) -> RequestTurns:
    """Return the turns of pipelined requests in one of so many front ends, which have the turns of one together."""
    return RequestTurns(PIPELINED_AT_ONCE, PIPELINED_PAUSE_SECONDS * front_ends)


class RequestTurns:
    """Requests that wait to begin, in their order.

    Without turns, each turn of the loop takes milliseconds while connections pipeline, and a prompt needs some twenty
    turns. A request that comes alone begins at once.

    Args:
        at_once: how many may begin in a row.
        pause_seconds: between the beginnings of further ones.
    """

    def __init__(self, at_once: int = AT_ONCE, pause_seconds: float = PAUSE_SECONDS) -> None:
        self._at_once, self._pause_seconds = at_once, pause_seconds
        self._waiting: deque[Callable[[], None]] = deque()
        self._pausing = False
        """True while no other request may begin: in this turn of the loop, or in the pause."""
        self._left, self._at = float(at_once), 0.0
        """Requests that may begin without a pause, and the time of that count."""

    def begin(self, start: Callable[[], None]) -> None:
        """Call ``start`` now, or later where others have begun or wait."""
        self._waiting.append(start)
        if not self._pausing:
            self._start_next()

    def _start_next(self) -> None:
        self._pausing = bool(self._waiting)
        if not self._waiting:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._left = min(self._at_once, self._left + (now - self._at) / self._pause_seconds)
        self._at = now
        self._left -= 1
        if self._left >= 1:
            loop.call_soon(self._start_next)
        else:
            loop.call_later((1 - self._left) * self._pause_seconds, self._start_next)
        self._waiting.popleft()()
