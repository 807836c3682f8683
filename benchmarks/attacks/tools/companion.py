"""A process beside a measurement, which works until SIGTERM and prints its result as JSON."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_END_SECONDS = 30.0


@dataclass
class Companion:
    """The process; ``result`` is there once it has ended."""

    result: Any = None


@contextlib.contextmanager
def companion(module: str, *arguments: str, told: str = "") -> Iterator[Companion]:
    """Run a module while the context lasts.

    Args:
        told: what it reads from its input.

    Raises:
        RuntimeError: it has ended by itself.
        subprocess.TimeoutExpired: it does not end.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    beside = Companion()
    try:
        process.stdin.write(told)
        process.stdin.close()
        yield beside
        if process.poll() is not None:
            raise RuntimeError(f"{module} ended by itself, with status {process.returncode}")
        process.terminate()
        process.wait(_END_SECONDS)
        beside.result = json.loads(process.stdout.read())
    finally:
        process.kill()
        process.wait()
