"""The line on stdout by which a server says that it is ready, and where: ``ready URL``."""

from __future__ import annotations

import queue
import sys
import threading
import time
from typing import IO

_READY = "ready "


def say_ready(url: str) -> None:
    """Print it."""
    sys.stdout.write(f"{_READY}{url}\n")
    sys.stdout.flush()


def wait_until_ready(output: IO[str], seconds: float) -> str:
    """The URL that a server's ``output`` says; read on a thread, which goes on so that the server can write.

    Raises:
        TimeoutError: it did not come within so many seconds.
        EOFError: the output ended before it.
    """
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in output:
            lines.put(line)
        lines.put("")  # the end: the process is gone

    threading.Thread(target=read, daemon=True).start()
    deadline = time.monotonic() + seconds
    while True:
        try:
            line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise TimeoutError from None
        if not line:
            raise EOFError
        if line.startswith(_READY):
            return line.split()[1]
