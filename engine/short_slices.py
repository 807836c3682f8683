"""Asks Linux to run a thread soon after it wakes, in short turns.

The engine's loop and the servers' event loops work in pieces of less than a millisecond, and a listener waits for each
of them behind threads that compute without a pause. With slices shorter than theirs Linux gives a loop the processor
sooner, and no more of it (EEVDF: a shorter slice is an earlier deadline; from Linux 6.12 on a thread can have its own).
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

_SET_ATTRIBUTES = {"x86_64": 314, "aarch64": 274, "riscv64": 274}
"""Number of the system call ``sched_setattr`` by the processor's kind; the C library has no function for it."""
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")
"""``struct sched_attr`` of linux/sched/types.h: size, policy, flags, nice, priority, runtime, deadline, period."""
_SCHED_OTHER = 0
_RESET_ON_FORK = 1
"""Flag: threads and processes that this thread starts have the usual slice."""
SLICE_NS = 500_000
"""Nanoseconds of a slice; the usual one is 0.7 to 3 ms, by the kernel and the number of processors."""


def take_short_slices() -> bool:
    """Give the calling thread short slices, but not those that it starts.

    Returns whether the kernel took the request. An older kernel takes and ignores it.
    """
    number = _SET_ATTRIBUTES.get(platform.machine())
    if sys.platform != "linux" or number is None or os.sched_getscheduler(0) != _SCHED_OTHER:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    asked = _ATTRIBUTES.pack(_ATTRIBUTES.size, _SCHED_OTHER, _RESET_ON_FORK, nice, 0, SLICE_NS, 0, 0)
    return int(ctypes.CDLL(None).syscall(number, 0, asked, 0)) == 0
