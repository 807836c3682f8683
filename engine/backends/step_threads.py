"""The threads that share a step, none of them on another's processor.

A step has work for milliseconds, then its threads sleep for longer than that. Where a kernel wakes them is a guess, and
two on one processor take twice as long, while another has nothing to do: on a virtual machine whose kernel packs what
sleeps often, a step of 32 streams took 9.3 ms instead of 5.3, three times in four. So the helpers are told to keep off
the processor that the step began on, and off each other's.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")


class StepThreads:
    """The thread that asks for a step, and helpers.

    Args:
        count: of all of them.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._helpers: list[int] = []
        """Their ids, once they have begun."""
        self._pool = ThreadPoolExecutor(max(1, count - 1), "frame-step", self._begin)
        self._kept_off: tuple[int, int] | None = None
        """The processor that helpers keep off, and how many they were."""

    def run(self, parts: list[Callable[[], T]]) -> list[T]:
        """Each part of a step on a thread, the first on this one; what they return, once all are through.

        Raises:
            Exception: the first that a part raised.
        """
        if len(parts) > 1:
            self._spread()
        others = [self._pool.submit(part) for part in parts[1:]]
        try:
            first = parts[0]()
        finally:
            wait(others)  # nobody may go on with a step that is over
        return [first, *(other.result() for other in others)]

    def _begin(self) -> None:
        self._helpers.append(threading.get_native_id())

    def _spread(self) -> None:
        """Give the processors that are left to the helpers, each to one of them."""
        if _processor is None or (now := (_processor(), len(self._helpers))) == self._kept_off:
            return
        self._kept_off = now
        others = sorted(os.sched_getaffinity(0) - {now[0]})
        if not others:
            return
        for number, helper in enumerate(self._helpers):
            with contextlib.suppress(OSError):  # a container's processors were changed meanwhile
                os.sched_setaffinity(helper, others[number :: self.count - 1] or others)


_processor: Callable[[], int] | None = (
    getattr(ctypes.CDLL(None), "sched_getcpu", None) if sys.platform == "linux" else None
)
"""The one that this thread runs on."""
