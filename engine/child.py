"""A process that ends when its parent does: ``python -P -m whispergpt.engine.child PARENT_PID MODULE ARGUMENTS…``.

The process leaves the parent's process group and ties itself to the parent before it imports the module, because the
import may take seconds. Then it calls the module's ``main`` and exits with the status that it returns.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
from importlib import import_module

_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of linux/prctl.h


def end_with_parent(parent: int) -> None:
    """Exit if the parent has ended, and have Linux kill this process when the thread that started it ends.

    Linux kills a stopped process too. On other systems the module has to watch for its parent itself.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:  # the parent ended before the call above
        sys.exit(1)


def main() -> int:
    """Tie this process to its parent and run the module; returns the exit status."""
    _, parent, module, *arguments = sys.argv
    # Ctrl-C in a terminal reaches the parent's process group, which must be the server alone: it lets streams play out
    # first. Not a session of its own: where Linux groups processes by session (sched_autogroup_enabled), priorities
    # count within a session alone, and a decoder of the lowest priority would get as much time as all the rest.
    # The parent cannot set it: uvloop, in which Ray runs a server, takes no `process_group`.
    os.setpgrp()
    end_with_parent(int(parent))
    sys.argv = [module, *arguments]
    gc.disable()  # imports leave hardly any garbage, and looking for it takes a quarter of the engine's import
    run = import_module(module).main
    gc.enable()
    return int(run())


if __name__ == "__main__":
    sys.exit(main())
