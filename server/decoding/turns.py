"""Turns: places go to waiting callers in rotation, however much each of them asks for."""

from __future__ import annotations

import asyncio
from collections import Counter, deque


class TooManyWait(Exception):
    """A caller already waits for as many places as it may."""


class Turns:
    """A number of places. When several callers wait, each gets one in turn.

    Args:
        places: how many there are.
        most_waiting: how many one caller may wait for.
    """

    def __init__(self, places: int, most_waiting: int) -> None:
        self._free, self._most_waiting = places, most_waiting
        self._taken: Counter[object] = Counter()
        self._waiting: dict[object, deque[asyncio.Future[None]]] = {}
        self._limits: dict[object, int] = {}

    async def take(self, caller: object, most: int) -> None:
        """Wait for a place.

        Args:
            caller: any hashable; equal ones are one caller.
            most: places that this caller may have at once.

        Raises:
            TooManyWait: the caller waits for as many as it may.
        """
        queue = self._waiting.setdefault(caller, deque())
        if len(queue) >= self._most_waiting:
            raise TooManyWait
        turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        self._limits[caller] = most
        self._hand_out()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(caller)
            elif turn in queue:
                queue.remove(turn)
                self._forget(caller)
            raise

    def take_free(self, caller: object, most: int) -> bool:
        """Take a place if one is free now, and return whether it was; ``most`` as in ``take``."""
        is_free = self._free > 0 and self._taken[caller] < most and caller not in self._waiting
        if is_free:
            self._free -= 1
            self._taken[caller] += 1
        return is_free

    def give_back(self, caller: object) -> None:
        """Free one of the caller's places."""
        self._free += 1
        self._taken[caller] -= 1
        if not self._taken[caller]:
            del self._taken[caller]
        self._hand_out()

    def _hand_out(self) -> None:
        while self._free and (caller := self._next()) is not None:
            queue = self._waiting.pop(caller)
            turn = queue.popleft()
            if queue:
                self._waiting[caller] = queue  # behind all others
            self._forget(caller)
            if not turn.done():  # a cancelled waiter removes itself a moment later
                self._free -= 1
                self._taken[caller] += 1
                turn.set_result(None)

    def _next(self) -> object | None:
        """Return the caller that waits longest and has fewer places than it may; None if there is none."""
        return next((caller for caller in self._waiting if self._taken[caller] < self._limits[caller]), None)

    def _forget(self, caller: object) -> None:
        if not self._waiting.get(caller):
            self._waiting.pop(caller, None)
            self._limits.pop(caller, None)
