"""How many connections this process may hold before it runs out of files for what it needs besides."""

from __future__ import annotations

import contextlib
import resource

_OTHERS = 128
"""The engine's socket and pipes, its restarts, uploads on disk, pages, probes beyond the bound, and a margin."""
_LEAST = 16


def most_connections() -> int | None:
    """Raises the process's soft limit of open files to its hard one, where the system lets it; None where there is no
    limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # a hard limit may be beyond what the kernel gives
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else max(_LEAST, soft - _OTHERS)
