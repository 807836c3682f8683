"""A process that ends when its parent does: ``python -P -m whispergpt.engine.child PARENT_PID MODULE ARGUMENTS…``.

The process ties itself to the parent before it imports the module, because the import may take seconds. Then it runs
the module as ``python -m`` would.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys

_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of linux/prctl.h


def end_with_parent(parent: int) -> None:
    """Exit if the parent has ended, and have Linux kill this process when the thread that started it ends.

    Linux kills a stopped process too. On other systems the module has to watch for its parent itself.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:  # the parent ended before the call above
        sys.exit(1)


def main() -> None:
    """Tie this process to its parent and become the module."""
    _, parent, module, *arguments = sys.argv
    end_with_parent(int(parent))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
