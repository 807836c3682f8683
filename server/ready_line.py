"""The line ``ready URL`` on stdout, by which a server says that it is ready."""

from __future__ import annotations

import queue
import sys
import threading
import time
from typing import IO

_READY = "ready "


def say_ready(url: str) -> None:
    """Print the line."""
    sys.stdout.write(f"{_READY}{url}\n")
    sys.stdout.flush()


def wait_until_ready(output: IO[str], seconds: float) -> str:
    """Return the URL in a server's ``output``, which a thread goes on reading so that the server can write.

    Raises:
        TimeoutError: the line did not come within ``seconds``.
        EOFError: the output ended before the line.
    """
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in output:
            lines.put(line)
        lines.put("")  # the process has ended

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
