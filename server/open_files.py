"""How many connections this process may hold before it runs out of files for what it needs besides."""

from __future__ import annotations

import resource

_OTHERS = 128
"""The engine's socket and pipes, its restarts, uploads on disk, pages, and a margin."""
_LEAST = 16


def most_connections() -> int | None:
    """Raises the process's soft limit of open files to its hard one; None where there is no limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return None if hard == resource.RLIM_INFINITY else max(_LEAST, hard - _OTHERS)
