"""Run a command within a limit: ``python tests/support/within.py [--grace SECONDS] MINUTES|SECONDSs COMMAND…``.

The command gets a process group of its own. When the limit is reached, the group is interrupted as by Ctrl-C, so that
pytest says where it was and stops its servers; whatever still runs after ``--grace`` is killed. The group is also
killed when the command ends by itself: a server whose test crashed would run on and keep the output's pipe open.

``timeout`` of coreutils does neither: it signals the group and leaves what ignores the signal, or, with
``--foreground``, it signals the command alone; without that option Ctrl-C does not reach the tests.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType

GRACE_SECONDS = 30.0
"""Time that an interrupted command has to stop what it started."""
LIMIT_STATUS = 124
"""Exit status when the limit is reached; coreutils' ``timeout`` has the same."""


class _Terminated(Exception):
    """SIGTERM came."""


def run(minutes: float, command: Sequence[str], grace: float = GRACE_SECONDS) -> int:
    """Run ``command`` and return its exit status, as a shell counts it; ``LIMIT_STATUS`` if it took too long."""
    signal.signal(signal.SIGTERM, _raise_terminated)
    child = subprocess.Popen(command, process_group=0)
    try:
        status = child.wait(minutes * 60)
        return status if status >= 0 else 128 - status
    except subprocess.TimeoutExpired:
        print(f"\n{' '.join(command)}\nwas ended: it took more than {minutes:g} minutes.", file=sys.stderr, flush=True)
        return LIMIT_STATUS
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except _Terminated:
        return 128 + signal.SIGTERM
    finally:
        _end(child, grace)


def _end(child: subprocess.Popen[bytes], grace: float) -> None:
    """Interrupt the child's group if the child still runs, then kill what is left of the group."""
    try:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(grace)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _raise_terminated(number: int, frame: FrameType | None) -> None:
    raise _Terminated


def _minutes(limit: str) -> float:
    """Return the minutes of ``25`` or of ``1500s``."""
    return float(limit[:-1]) / 60 if limit.endswith("s") else float(limit)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--grace", type=float, default=GRACE_SECONDS, metavar="SECONDS")
    parser.add_argument("limit", type=_minutes)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    sys.exit(run(given.limit, given.command, given.grace))
