"""Processes of this machine, as Linux shows them in /proc."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def children(pid: int) -> list[int]:
    """Return a process's children, of all its threads; none if the process has ended."""
    found: list[int] = []
    with contextlib.suppress(OSError):  # the process has ended
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):  # the thread has ended
                found += map(int, (thread / "children").read_text().split())
    return found


def processor_seconds(pid: int) -> float:
    """Return the processor seconds of a process with all its threads (proc(5): utime and stime, in ticks)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Return the megabytes of a process and all its descendants; shared pages count once."""
    pids = [pid]
    for one in pids:
        pids += children(one)
    return sum(proportional_kb(one) for one in pids) / 1024


def proportional_kb(pid: int) -> int:
    """Return the process's proportional memory in kB, which divides shared pages; 0 if the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def command_line(pid: int) -> bytes:
    """Return a process's arguments, each followed by a zero; nothing if the process has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    except OSError:
        return b""
