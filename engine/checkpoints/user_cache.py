"""The user's folder for files that are fetched or built once: official weights, kernels, the bench's peers."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache() -> Path:
    """Return ``$WHISPERGPT_CACHE``, or ``whispergpt`` in ``$XDG_CACHE_HOME`` or ``~/.cache``; it may not exist yet.

    Raises:
        RuntimeError: neither variable is set, and this user has no home.
    """
    if said := os.environ.get("WHISPERGPT_CACHE"):
        return Path(said)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "whispergpt"
