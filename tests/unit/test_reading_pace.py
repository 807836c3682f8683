"""The pace at which one connection is read: a burst, then a rate, with pauses of some length."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from whispergpt.server.edge.connection.reading_pace import BURST_BYTES, BYTES_A_SECOND, PAUSE_SECONDS, ReadingPace

READ = 131_072


class Clock:
    """Time and timers of a loop, which pass when they are told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        self.timers.append((self.now + delay, call))
        return cast("asyncio.TimerHandle", self)

    def cancel(self) -> None:
        self.timers.clear()

    def pass_to_the_next_timer(self) -> float:
        """Return how long that took."""
        at, call = self.timers.pop(0)
        passed, self.now = at - self.now, at
        call()
        return passed


def paced() -> tuple[ReadingPace, Clock, list[str]]:
    clock, done = Clock(), list[str]()
    loop = cast("asyncio.AbstractEventLoop", clock)
    return ReadingPace(loop, lambda: done.append("pause"), lambda: done.append("resume")), clock, done


def test_a_burst_is_read_at_once_and_the_rest_at_the_rate() -> None:
    pace, clock, done = paced()
    for _ in range(BURST_BYTES // READ):
        pace.count(READ)
    assert not done and not pace.pausing
    read = 0
    while clock.now < 60:
        while not pace.pausing:
            pace.count(READ)
            read += READ
        assert clock.pass_to_the_next_timer() > 0.99 * PAUSE_SECONDS
    assert done[:4] == ["pause", "resume", "pause", "resume"]
    assert abs(read - clock.now * BYTES_A_SECOND) <= READ + PAUSE_SECONDS * BYTES_A_SECOND


def test_a_slow_connection_never_pauses_and_a_closed_one_has_no_timer() -> None:
    pace, clock, done = paced()
    for _ in range(10 * BURST_BYTES // READ):
        pace.count(READ)
        clock.now += READ / BYTES_A_SECOND
    assert not done
    pace.count(2 * BURST_BYTES)
    assert pace.pausing and clock.timers
    pace.stop()
    assert not clock.timers
