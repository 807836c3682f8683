"""Confinement of a decoder: it may compute, and use the one socket that it has.

``setrlimit`` limits processor time and memory (except on macOS, which does not enforce that one). It forbids new files
and sockets, writes to files and core dumps. Linux on x86-64 and 64-bit ARM adds a filter of system calls (seccomp):
network, files, other processes, threads and new machine code are refused. Linux ends a decoder with its parent.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import platform
import resource
import sys
from pathlib import Path

from whispergpt.engine.child import end_with_parent

SOCKET_FD = 3
"""File descriptor of the socket, the only one besides the three standard ones, which are /dev/null."""
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 38, 22
_SECCOMP_FILTER = 2
_ALL, _DATA = 0, 5
"""Columns of /proc/self/statm: all addresses; private writable memory, which RLIMIT_DATA counts."""
_SPARE_BYTES = 64 * 2**20
"""Addresses that a decoder may have beyond its memory, because an allocator may reserve some."""
_FIRST_TO_END = "1000"
"""Value of oom_score_adj: when memory runs out, the kernel ends a decoder before any other process."""

_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""By machine: the index into the pairs of numbers below, and the kernel's AUDIT_ARCH constant."""
_CALLS = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "fstat": (5, 80),
    "lseek": (8, 62),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "nanosleep": (35, 101),
    "getpid": (39, 172),
    "sendto": (44, 206),
    "recvfrom": (45, 207),
    "exit": (60, 93),
    "gettimeofday": (96, 169),
    "getrusage": (98, 165),
    "sigaltstack": (131, 132),
    "gettid": (186, 178),
    "futex": (202, 98),
    "restart_syscall": (219, 128),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "exit_group": (231, 94),
    "getrandom": (318, 278),
    "rseq": (334, 293),
}
"""Allowed system calls: numbers on x86-64 and on 64-bit ARM. Without sched_getaffinity FFmpeg starts no threads."""
_MPROTECT, _MMAP = (10, 226), (9, 222)
"""Calls refused if they ask for executable memory; mmap also if it asks for memory that no limit counts."""
_PROT_EXEC = 4
_UNCOUNTED = 0x1 | 0x100
"""Flags of mmap: MAP_SHARED, a bit of MAP_SHARED_VALIDATE too, and MAP_GROWSDOWN. RLIMIT_DATA counts neither."""
_ALLOW, _REFUSE, _END = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000
_LOAD, _EQUAL, _ANY_BIT, _JUMP, _RETURN = 0x20, 0x15, 0x45, 0x05, 0x06
_NUMBER_AT, _MACHINE_AT, _THIRD_ARGUMENT_AT, _FOURTH_ARGUMENT_AT = 0, 4, 32, 40


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("yes", ctypes.c_uint8), ("no", ctypes.c_uint8), ("value", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


def confine(parent: int, cpu_seconds: int, memory_bytes: int) -> bool:
    """Take from this process for good everything that decoding does not need.

    Args:
        parent: pid of the parent; this process ends when it does.
        cpu_seconds: processor time after which the system ends this process.
        memory_bytes: memory that this process may allocate beyond what it has now.

    Returns:
        Whether system calls are filtered.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_END)
    end_with_parent(parent)
    _limit(resource.RLIMIT_CPU, cpu_seconds, cpu_seconds + 1)
    _limit(resource.RLIMIT_DATA, _pages(_DATA) + memory_bytes)
    if addresses := _pages(_ALL):  # RLIMIT_DATA does not count shared memory, stacks and page tables
        _limit(resource.RLIMIT_AS, addresses + memory_bytes + _SPARE_BYTES)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, SOCKET_FD + 1)
    return _filter()


def _limit(kind: int, soft: int, hard: int | None = None) -> None:
    with contextlib.suppress(OSError, ValueError):  # the hard limit is lower already, or the system has none
        resource.setrlimit(kind, (soft, soft if hard is None else hard))


def _pages(column: int) -> int:
    """Return a column of /proc/self/statm in bytes; 0 where there is no such file."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[column])
    except OSError:  # no Linux
        return 0
    return pages * resource.getpagesize()


def _filter() -> bool:
    if sys.platform != "linux" or platform.machine() not in _MACHINES:
        return False
    program = _program(*_MACHINES[platform.machine()])
    array = (_Instruction * len(program))(*(_Instruction(*step) for step in program))
    told = _Program(len(program), array)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_FILTER, ctypes.byref(told), 0, 0) == 0)


def _program(which: int, machine: int) -> list[tuple[int, int, int, int]]:
    """Return the filter for the kernel's virtual machine: ``(code, jump if true, jump if false, value)``."""
    # After the checks come: a jump to "refuse", two instructions for flags, two for protection, "refuse", "allow".
    flags, protection, allow = 1, 3, 6
    checks = [(numbers[which], allow) for numbers in _CALLS.values()]
    checks += [(_MPROTECT[which], protection), (_MMAP[which], flags)]
    program = [
        (_LOAD, 0, 0, _MACHINE_AT),
        (_EQUAL, 1, 0, machine),
        (_RETURN, 0, 0, _END),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    for place, (number, target) in enumerate(checks):
        program.append((_EQUAL, len(checks) - place - 1 + target, 0, number))
    return [
        *program,
        (_JUMP, 0, 0, 4),
        (_LOAD, 0, 0, _FOURTH_ARGUMENT_AT),
        (_ANY_BIT, 2, 0, _UNCOUNTED),
        (_LOAD, 0, 0, _THIRD_ARGUMENT_AT),
        (_ANY_BIT, 0, 1, _PROT_EXEC),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    ]
