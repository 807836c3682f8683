"""Slowdown of playing streams by prompts: step times at playback pace, first without prompts and then beside them.

python -m whispergpt.benchmarks.prompt_interference --streams 20
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import torch

from whispergpt.benchmarks.bench_desk import BenchDesk
from whispergpt.benchmarks.ours import OurRunner
from whispergpt.benchmarks.preset import build_preset
from whispergpt.engine.config import FRAME_RATE
from whispergpt.load.percentiles import Percentiles

PROMPT_SECONDS = 10


def paced(runner: OurRunner, seconds: float, between: Callable[[], object] = lambda: None) -> Iterator[float]:
    """Yield the milliseconds of each step; a step begins no earlier than its frame is due, and behind ``between``."""
    began = time.perf_counter()
    for frame in range(round(seconds * FRAME_RATE)):
        if (ahead := began + frame / FRAME_RATE - time.perf_counter()) > 0:
            time.sleep(ahead)
        between()
        started = time.perf_counter()
        runner.advance()
        yield 1000 * (time.perf_counter() - started)


def main() -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m whispergpt.benchmarks.prompt_interference", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--streams", type=int, default=20, help="streams that play")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of each of the two runs")
    options = parser.parse_args()
    device = torch.device("cpu")
    runner = OurRunner(build_preset("default", device), device)
    runner.prepare(options.streams)
    list(paced(runner, 2))
    alone = Percentiles.of(list(paced(runner, options.seconds)))
    with closing(BenchDesk(runner.engine)) as desk:

        def keep_coming() -> None:
            desk.count_finished()
            desk.keep_coming(PROMPT_SECONDS)

        beside = Percentiles.of(list(paced(runner, options.seconds, keep_coming)))
    told = {
        "streams": options.streams,
        "prompts_read": desk.counted,
        "step_ms": {"p50": round(alone.p50, 2), "p99": round(alone.p99, 2)},
        "step_with_prompts_ms": {"p50": round(beside.p50, 2), "p99": round(beside.p99, 2)},
        "slowdown_ms": {"p50": round(beside.p50 - alone.p50, 2), "p99": round(beside.p99 - alone.p99, 2)},
    }
    sys.stdout.write(json.dumps(told) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
