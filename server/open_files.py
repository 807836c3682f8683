"""Bound of connections, so that files are left for the engine's socket, uploads and pages."""

from __future__ import annotations

import contextlib
import resource

_OTHERS = 128
"""Files for the engine's socket and pipes, its restarts, uploads, pages, probes beyond the bound, and a margin."""
_LEAST = 16


def most_connections() -> int | None:
    """Return the most connections, None without a limit. The soft limit of open files is raised to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # a hard limit may be beyond what the kernel gives
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else max(_LEAST, soft - _OTHERS)
