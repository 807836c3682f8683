"""What happens when: a clock that jumps from one event to the next."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable


class Event:
    """Something that will be done, unless it is called off."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act: Callable[[], None] | None = act

    def call_off(self) -> None:
        """Not to be done any more; after it was done, nothing."""
        self._act = None

    def happen(self) -> None:
        """Do it, once."""
        act, self._act = self._act, None
        if act is not None:
            act()


class Agenda:
    """Events in the order of their times; those of one time in the order in which they were put down.

    Attributes:
        now: seconds since the start.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._numbers = itertools.count()
        self._events: list[tuple[float, int, Event]] = []

    def at(self, when: float, act: Callable[[], None]) -> Event:
        """Do something at a time, at once where that is past."""
        event = Event(act)
        heapq.heappush(self._events, (max(when, self.now), next(self._numbers), event))
        return event

    def after(self, seconds: float, act: Callable[[], None]) -> Event:
        """Do something so many seconds from now."""
        return self.at(self.now + seconds, act)

    def run(self, until: float) -> None:
        """Let all happen that is due by then."""
        while self._events and self._events[0][0] <= until:
            self.now, _, event = heapq.heappop(self._events)
            event.happen()
        self.now = until
