"""Lines for people: ``ready URL`` on stdout, by which a server says that it is ready, and what its end waits for."""

from __future__ import annotations

import queue
import sys
import threading
import time
from typing import IO
from urllib.parse import urlsplit

_READY = "ready "
_EVERYWHERE = ("0.0.0.0", "::")
"""Hosts that stand for all addresses of the machine."""


def say_ready(url: str) -> None:
    """Print the line; and on a terminal, where a server listens on all addresses, what to open here and elsewhere."""
    sys.stdout.write(f"{_READY}{url}\n")
    sys.stdout.flush()
    at = urlsplit(url)
    if at.hostname in _EVERYWHERE and sys.stderr.isatty():
        sys.stderr.write(
            f"Here open http://localhost:{at.port}. Others reach it by this machine's name or address; their browsers "
            "play over https:// alone.\n"
        )
        sys.stderr.flush()


def say_draining(seconds: float, streams: int) -> None:
    """Say on a terminal, where somebody has pressed Ctrl-C, how long the server waits, and for how many streams."""
    if streams and sys.stderr.isatty():
        number = f"{streams} stream{'' if streams == 1 else 's'}"
        sys.stderr.write(f"Waiting up to {seconds:g} s for {number} to end; Ctrl-C again ends at once.\n")
        sys.stderr.flush()


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
