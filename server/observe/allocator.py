"""Setting of the C library's allocator: large blocks go back to the system as soon as they are freed."""

from __future__ import annotations

import ctypes
import sys

_MMAP_THRESHOLD = -3
"""Number of ``M_MMAP_THRESHOLD`` in glibc's ``mallopt(3)``."""
_LARGE_BYTES = 1_048_576
"""Size from which blocks are the system's own; glibc by itself keeps blocks of up to 32 MiB once some were freed."""


def return_large_blocks() -> None:
    """Have blocks of a megabyte and more returned when they are freed, where the C library is glibc."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none, and returns large blocks by itself
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
