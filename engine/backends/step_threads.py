"""The threads that share a step, each on a processor of its own.

A step takes milliseconds; then its threads sleep for longer. The operating system may wake two of them on one
processor, where they take twice as long. On one virtual machine a step of 32 streams took 9.3 ms instead of 5.3, three
times in four. So each helper is bound to processors other than the one that the step began on, and other than those of
the other helpers.
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
    """The thread that runs a step, and its helpers.

    Args:
        count: number of threads, that one included.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._helpers: list[int] = []
        """Native ids of the helpers that have begun."""
        self._pool = ThreadPoolExecutor(max(1, count - 1), "frame-step", self._begin)
        self._kept_off: tuple[int, int] | None = None
        """Processor that the helpers are kept off, and their number then."""

    def run(self, parts: list[Callable[[], T]]) -> list[T]:
        """Run each part of a step on a thread, the first on this one; return their results once all have ended.

        Raises:
            Exception: the first that a part raised.
        """
        if len(parts) > 1:
            self._spread()
        others = [self._pool.submit(part) for part in parts[1:]]
        try:
            first = parts[0]()
        finally:
            wait(others)  # no helper may still run once the step has ended
        return [first, *(other.result() for other in others)]

    def _begin(self) -> None:
        self._helpers.append(threading.get_native_id())

    def _spread(self) -> None:
        """Share out the processors other than this thread's among the helpers."""
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
"""Function that returns the processor that this thread runs on; None where there is none."""
