"""Turns: places go to waiting callers in rotation, however much each of them asks for."""

from __future__ import annotations

import asyncio
from collections import deque

from whispergpt.server.access.caller import name_of
from whispergpt.server.ledger import Ledger, Number, OwnLedger

_LOOK_SECONDS = 0.01
"""Time in seconds between looks for a place that another front end has given back: it tells nobody."""


class TooManyWait(Exception):
    """A caller already waits for as many places as it may."""


class Turns:
    """A number of places. When several callers wait, each gets one in turn.

    Callers are the identities of keys. Front ends that share a ledger share the places, and each has its own line.

    Args:
        places: how many there are.
        most_waiting: how many one caller may wait for.
        what: name of the places in the ledger.
        ledger: counts the places that are taken, of all callers and of each.
    """

    def __init__(self, places: int, most_waiting: int, what: str = "places", ledger: Ledger | None = None) -> None:
        self._places, self._most_waiting, self._what = places, most_waiting, what
        self._ledger = ledger or OwnLedger()
        self._taken = self._ledger.number(what)
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._limits: dict[str, int] = {}
        self._look: asyncio.TimerHandle | None = None

    async def take(self, caller: str, most: int) -> None:
        """Wait for a place; ``most``: places that this caller may have at once.

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

    def take_free(self, caller: str, most: int) -> bool:
        """Take a place if one is free now, and return whether it was; ``most`` as in ``take``."""
        return caller not in self._waiting and self._take(caller, most)

    def give_back(self, caller: str) -> None:
        """Free one of the caller's places."""
        self._count(caller, -1)
        self._hand_out()

    def _take(self, caller: str, most: int) -> bool:
        with self._ledger.turn:
            is_free = self._taken.total < self._places and self._taken_by(caller).total < most
            if is_free:
                self._count(caller, 1)
        return is_free

    def _count(self, caller: str, change: int) -> None:
        self._taken.part += change
        self._taken_by(caller).part += change

    def _taken_by(self, caller: str) -> Number:
        return self._ledger.number(*name_of(self._what, caller))

    def _hand_out(self) -> None:
        """Give free places to those who wait, and look again later if other front ends have some."""
        while (caller := self._next()) is not None:
            queue = self._waiting.pop(caller)
            turn = queue.popleft()
            if queue:
                self._waiting[caller] = queue  # behind all others
            self._forget(caller)
            if turn.done():  # a cancelled waiter removes itself a moment later
                self._count(caller, -1)
            else:
                turn.set_result(None)
        if self._look is not None:
            self._look.cancel()
            self._look = None
        if self._waiting and self._taken.total > self._taken.part:
            self._look = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._hand_out)

    def _next(self) -> str | None:
        """Take a place for the caller that waits longest and may have one more; return it, None if there is none."""
        if self._taken.total >= self._places:
            return None
        return next((caller for caller in self._waiting if self._take(caller, self._limits[caller])), None)

    def _forget(self, caller: str) -> None:
        if not self._waiting.get(caller):
            self._waiting.pop(caller, None)
            self._limits.pop(caller, None)
