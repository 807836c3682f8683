"""Other processes, as /proc shows them."""

from __future__ import annotations

import os
from pathlib import Path


def stat(pid: int) -> list[str]:
    """The fields of ``/proc/PID/stat`` behind the name; empty where there is no such process, or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
    return [] if fields[0] == "Z" else fields


def alive(pid: int) -> bool:
    return bool(stat(pid))


def stopped(pid: int) -> bool:
    """Whether a process stands still after SIGSTOP."""
    return stat(pid)[:1] == ["T"]


def children(parent: int) -> list[int]:
    """The processes that ``parent`` started and that run."""
    found = (int(entry.name) for entry in Path("/proc").glob("[0-9]*"))
    return [pid for pid in found if (fields := stat(pid)) and int(fields[1]) == parent]


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far."""
    fields = stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def running(module: str, parent: int) -> int:
    """The child of ``parent`` that runs a module of Python."""
    (pid,) = (pid for pid in children(parent) if module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes())
    return pid


def busy_child(parent: int, seconds: float = 0.2) -> int | None:
    """A child that has computed for so long."""
    return next((pid for pid in children(parent) if cpu_seconds(pid) > seconds), None)
