"""Where this user keeps what was fetched or built once: official weights, kernels, the bench's peers."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache() -> Path:
    """``$WHISPERGPT_CACHE``, or ``whispergpt`` in ``$XDG_CACHE_HOME``, or in ``~/.cache``; perhaps not there yet.

    Raises:
        RuntimeError: neither is set, and this user has no home.
    """
    if said := os.environ.get("WHISPERGPT_CACHE"):
        return Path(said)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "whispergpt"
