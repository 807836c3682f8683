"""Time to the first audio of one stream, prompts a second at the desk, and starts a second."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import asdict

import torch

from whispergpt.benchmarks.bench_desk import BenchDesk, noise
from whispergpt.benchmarks.gpu.options import Options, Tell
from whispergpt.benchmarks.ours import PROMPT_SECONDS, OurRunner, measure_single
from whispergpt.benchmarks.preset import build_preset

AT_ONCE = 32
"""Prompts at the desk at any time: twice as many as go through the codec together."""


def run(options: Options, tell: Tell) -> None:
    """Measure the default model's prompts and starts while nobody else listens."""
    device = torch.device(options.device)
    runner = OurRunner(build_preset("default", device), device)
    tell({"single": asdict(measure_single(runner, options.prompts, options.steps))})
    runner.prepare(0)
    with closing(BenchDesk(runner.engine)) as desk:
        audio, began = noise(PROMPT_SECONDS, seed=0), time.perf_counter()
        while (elapsed := time.perf_counter() - began) < options.seconds or not desk.counted:
            desk.bring(audio, AT_ONCE)
            time.sleep(0.001)
            desk.count_finished()
    tell({"prompts_per_second": desk.counted / elapsed, "prompt_seconds": PROMPT_SECONDS})
    taken = []
    for _ in range(3):
        runner.prepare(options.starts)
        began = time.perf_counter()
        runner.advance()
        taken.append(time.perf_counter() - began)
    tell(
        {
            "starts": options.starts,
            "starting_step_ms": 1e3 * min(taken),
            "starts_per_second": options.starts / min(taken),
        }
    )
