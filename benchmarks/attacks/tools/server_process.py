"""A real server in its own process, started as a user starts it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from whispergpt.benchmarks.attacks.tools.processes import children, command_line, resident_mb
from whispergpt.server.ready_line import wait_until_ready

ROOT = Path(__file__).resolve().parents[3]
START_SECONDS = 180.0
"""Longest time for loading, compiling and a first generation on a busy machine."""
STOP_SECONDS = 60.0


class ServerProcess:
    """``whispergpt serve`` on a free port, and its log.

    Args:
        arguments: further arguments of the command line.
        environment: settings added to this process's environment.
        folder: working directory.
    """

    def __init__(self, *arguments: str, environment: dict[str, str] | None = None, folder: Path = ROOT) -> None:
        self.keys: dict[str, str] = {}
        """API keys by name, filled in by an attack that makes some."""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - it must outlive this method
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "whispergpt.cli.main", "serve", "--port", "0", *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        try:
            self.url = self._wait_for_ready_line()
        except BaseException:
            self.kill()
            raise

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def terminate(self) -> None:
        """Send SIGTERM and return at once."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Wait for the end and return the exit status; raises subprocess.TimeoutExpired."""
        return self._process.wait(seconds)

    def kill(self) -> None:
        """Kill the server, if it still runs, and its engine."""
        engines = self.engine_pids() if self._process.poll() is None else []
        self._process.kill()
        self._process.wait()
        for pid in engines:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    @property
    def pid(self) -> int:
        """Process id of the server, not of its engine."""
        return self._process.pid

    def engine_pids(self) -> list[int]:
        """Return the server's child processes that run the engine's worker."""
        return [pid for pid in children(self.pid) if b"whispergpt.engine.process.worker" in command_line(pid)]

    def worker_pids(self) -> list[int]:
        """Return the front ends of a server that has several; none of a single process."""
        return [pid for pid in children(self.pid) if b"whispergpt.server.workers.front_end" in command_line(pid)]

    def front_end_pids(self) -> list[int]:
        """Return the server itself and its child processes that run no engine."""
        engines = self.engine_pids()
        return [pid for pid in (self.pid, *children(self.pid)) if pid not in engines]

    def resident_mb(self) -> float:
        """Return the megabytes of the server and all its descendants; shared pages count once."""
        return resident_mb(self.pid)

    def log(self) -> str:
        """Return everything that the server has written to stderr so far."""
        # Read at an offset: a seek would move the position at which the server writes.
        return os.pread(self._log.fileno(), os.fstat(self._log.fileno()).st_size, 0).decode(errors="replace")

    def _wait_for_ready_line(self) -> str:
        assert self._process.stdout is not None
        try:
            return wait_until_ready(self._process.stdout, START_SECONDS)
        except TimeoutError:
            raise RuntimeError(f"no ready line within {START_SECONDS:g} s; stderr:\n{self.log()}") from None
        except EOFError:
            raise RuntimeError(f"the server ended before it was ready; stderr:\n{self.log()}") from None
