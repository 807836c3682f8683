"""Samples what a server holds, in a separate process: to read it takes 50 ms, for which whoever is measured would wait.

``python -m whispergpt.benchmarks.attacks.tools.watch URL PID`` samples until SIGTERM and prints the most as JSON.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx

from whispergpt.benchmarks.attacks.tools.companion import companion
from whispergpt.benchmarks.attacks.tools.footprint import sums
from whispergpt.benchmarks.attacks.tools.processes import resident_mb
from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess

_SAMPLE_SECONDS = 1.0


@dataclass
class Held:
    """The largest resident and the largest reported upload memory in megabytes."""

    resident_mb: float = 0.0
    upload_mb: float = 0.0


@contextlib.contextmanager
def watching(served: ServerProcess) -> Iterator[Held]:
    """Watch a server with open metrics while the context lasts; what is yielded is filled in at the end."""
    held = Held()
    with companion(__name__, served.url, str(served.pid)) as watch:
        yield held
    held.resident_mb, held.upload_mb = watch.result


def _watch(url: str, pid: int) -> None:
    resident = upload = 0.0
    try:
        with httpx.Client(timeout=30) as http:
            while True:
                said = sums(http.get(f"{url}/metrics").text)
                resident = max(resident, resident_mb(pid))
                upload = max(upload, said["whispergpt_upload_bytes"] / 2**20)
                time.sleep(_SAMPLE_SECONDS)
    except KeyboardInterrupt:
        print(json.dumps([resident, upload]))  # noqa: T201


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _watch(sys.argv[1], int(sys.argv[2]))
