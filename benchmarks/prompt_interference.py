"""Slowdown of playing streams by prompts: step times at playback pace, first without prompts and then beside them.

python -m whispergpt.benchmarks.prompt_interference --streams 20
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator

import numpy as np
import torch

from whispergpt.benchmarks.ours import OurRunner
from whispergpt.benchmarks.preset import build_preset
from whispergpt.engine.audio.audio_file import Samples
from whispergpt.engine.config import FRAME_RATE, SAMPLE_RATE
from whispergpt.engine.prompts.desk import PromptDesk
from whispergpt.load.percentiles import Percentiles

PROMPT_SECONDS = 10
AT_ONCE = 2


class Prompts:
    """A constant number of prompts (``AT_ONCE``) being encoded, each with different audio."""

    def __init__(self, runner: OurRunner) -> None:
        self._runner, self._desk = runner, PromptDesk(cache_bytes=0)
        self._numbers = iter(range(1_000_000))
        self.read = 0

    def keep_coming(self) -> None:
        """Take the finished prompts and open as many new ones."""
        self.read += len(self._desk.finished())
        while len(self._desk) < AT_ONCE:
            number = next(self._numbers)
            self._desk.open(number, self._runner.engine, "")
            self._desk.append(number, _noise(number))
            self._desk.commit(number)

    def close(self) -> None:
        """Stop encoding and discard unfinished prompts."""
        self._desk.close()


def _noise(seed: int) -> Samples:
    samples: Samples = np.random.default_rng(seed).normal(0, 0.1, PROMPT_SECONDS * SAMPLE_RATE).astype(np.float32)
    return samples


def paced(runner: OurRunner, seconds: float, prompts: Prompts | None) -> Iterator[float]:
    """Yield the milliseconds of each step; a step begins no earlier than its frame is due."""
    began = time.perf_counter()
    for frame in range(round(seconds * FRAME_RATE)):
        if (ahead := began + frame / FRAME_RATE - time.perf_counter()) > 0:
            time.sleep(ahead)
        if prompts:
            prompts.keep_coming()
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
    list(paced(runner, 2, None))
    alone = Percentiles.of(list(paced(runner, options.seconds, None)))
    prompts = Prompts(runner)
    beside = Percentiles.of(list(paced(runner, options.seconds, prompts)))
    prompts.close()
    told = {
        "streams": options.streams,
        "prompts_read": prompts.read,
        "step_ms": {"p50": round(alone.p50, 2), "p99": round(alone.p99, 2)},
        "step_with_prompts_ms": {"p50": round(beside.p50, 2), "p99": round(beside.p99, 2)},
        "slowdown_ms": {"p50": round(beside.p50 - alone.p50, 2), "p99": round(beside.p99 - alone.p99, 2)},
    }
    sys.stdout.write(json.dumps(told) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
