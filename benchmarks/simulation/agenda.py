"""Simulated time: a clock that jumps from one event to the next."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable


class Event:
    """An action at a time of the simulation, until it is called off."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act: Callable[[], None] | None = act

    def call_off(self) -> None:
        """Cancel the action; has no effect once it was done."""
        self._act = None

    def happen(self) -> None:
        """Perform the action, at most once."""
        act, self._act = self._act, None
        if act is not None:
            act()


class Agenda:
    """Events in the order of their times; events of the same time keep the order in which they were added.

    Attributes:
        now: seconds since the start.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._numbers = itertools.count()
        self._events: list[tuple[float, int, Event]] = []

    def at(self, when: float, act: Callable[[], None]) -> Event:
        """Schedule an action at time ``when``, or now if that has passed."""
        event = Event(act)
        heapq.heappush(self._events, (max(when, self.now), next(self._numbers), event))
        return event

    def after(self, seconds: float, act: Callable[[], None]) -> Event:
        """Schedule an action in ``seconds`` seconds."""
        return self.at(self.now + seconds, act)

    def run(self, until: float) -> None:
        """Perform all actions due by ``until`` and move the clock there."""
        while self._events and self._events[0][0] <= until:
            self.now, _, event = heapq.heappop(self._events)
            event.happen()
        self.now = until
