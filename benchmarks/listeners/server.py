"""A server with the engine that replays, started as ``whispergpt serve`` with settings from the environment."""

from __future__ import annotations

import sys

from whispergpt.server.link.engine_process import EngineProcess
from whispergpt.server.run import serve
from whispergpt.server.serve_error import ServeError
from whispergpt.server.settings import Settings


class ReplayProcess(EngineProcess):
    """A process of the engine that replays."""

    module = "whispergpt.benchmarks.listeners.replay_engine"


def main() -> int:
    """Serve until stopped; returns the exit status."""
    try:
        serve(Settings(), ReplayProcess)
    except ServeError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.status
    return 0


if __name__ == "__main__":
    sys.exit(main())
