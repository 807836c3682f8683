"""A process that ends with its parent, however that ends: ``python -P -m whispergpt.engine.child PARENT_PID
MODULE ARGUMENTS…``.

It ties itself to the parent before it imports the module, which may take seconds, and then runs it as ``python -m``
would.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys

_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of linux/prctl.h


def end_with_parent(parent: int) -> None:
    """Have Linux kill this process, even a stopped one, when the thread that started it ends; exit if that has ended.

    Elsewhere only the second: there a module has to look for its parent by itself.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the system was asked
        sys.exit(1)


def main() -> None:
    """Tie this process to its parent and become the module."""
    _, parent, module, *arguments = sys.argv
    end_with_parent(int(parent))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
