"""The number of processors that this process may use, by which numbers of threads are chosen."""

from __future__ import annotations

import os
from pathlib import Path


def usable_processors() -> int:
    """Count the processors that this process may use, by its affinity and a container's quota (cgroup v2)."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(count, int(quota) // int(period)))
    except (OSError, ValueError):  # no such file, or "max": no quota
        return count
