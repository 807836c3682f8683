"""Measure the processor time of a listener in a server's front ends, from an engine that replays a recording.

Listeners are paced: each gets audio as it plays. The result is microseconds of processor time per second of one
listener, and what a core would feed at that.
"""

from __future__ import annotations

import argparse
import json
import sys

from whispergpt.benchmarks.listeners.measure import Options, measure
from whispergpt.load.listener import Output

_OUTPUTS: dict[str, Output] = {"pcm": "pcm_s16le", "opus": "opus"}


def main() -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m whispergpt.benchmarks.listeners", description=__doc__)
    default = Options()
    parser.add_argument("--format", choices=_OUTPUTS, default="pcm", help="format of the audio")
    parser.add_argument("--listeners", type=int, default=default.listeners, help="listeners that play at once")
    parser.add_argument("--workers", type=int, default=default.workers, help="front ends of the server")
    parser.add_argument("--seconds", type=float, default=default.seconds, help="seconds that are measured")
    parser.add_argument("--processes", type=int, default=default.processes, help="processes of the load generator")
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    given = parser.parse_args()
    output = _OUTPUTS[given.format]
    found = measure(Options(given.listeners, output, given.workers, given.seconds, given.processes))
    if given.json:
        print(json.dumps(found, indent=1))  # noqa: T201
        return 0
    for name, value in found.items():
        print(f"{name.replace('_', ' ')}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
