"""The memory that this process and its children may take before the system ends one of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_OWN_GROUPS = Path("/proc/self/cgroup")
_HIERARCHY = Path("/sys/fs/cgroup")


def memory_bound(own_groups: Path = _OWN_GROUPS, hierarchy: Path = _HIERARCHY) -> int:
    """Return the machine's memory in bytes, or less where a control group of the process limits it."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_bounds(own_groups, hierarchy)])


def _bounds(own_groups: Path, hierarchy: Path) -> Iterator[int]:
    """Yield the limit of each control group from the process's own up to the root: cgroups(7), versions 2 and 1."""
    try:
        lines = own_groups.read_text().splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root, name = (hierarchy / "memory", "memory.limit_in_bytes") if controllers else (hierarchy, "memory.max")
        own = root / path.lstrip("/")
        for group in (own, *(parent for parent in own.parents if parent.is_relative_to(root))):
            try:
                yield int((group / name).read_text())
            except (OSError, ValueError):  # a container sees no group above its own; "max" means no limit
                continue
