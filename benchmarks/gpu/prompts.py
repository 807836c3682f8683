"""Time to the first audio of one stream, prompts a second at the desk, starts a second, and steps beside prompts."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import asdict
from typing import Any

import torch

from whispergpt.benchmarks.bench_desk import BenchDesk, noise
from whispergpt.benchmarks.gpu.options import Options, Tell
from whispergpt.benchmarks.gpu.part import Trials
from whispergpt.benchmarks.ours import PROMPT_SECONDS, OurRunner, measure_single
from whispergpt.benchmarks.preset import build_preset
from whispergpt.benchmarks.prompt_interference import paced
from whispergpt.load.percentiles import Percentiles

AT_ONCE = 32
"""Prompts at the desk at any time: twice as many as go through the codec together."""


def run(options: Options, tell: Tell) -> None:
    """Measure the default model's prompts and starts while nobody else listens, then its steps beside prompts."""
    device = torch.device(options.device)
    runner, trials = OurRunner(build_preset("default", device), device), Trials(tell)
    with trials.trial("single"):
        tell({"single": asdict(measure_single(runner, options.prompts, options.steps))})
    with trials.trial("prompts_per_second"):
        tell({"prompts_per_second": _rate(runner, options.seconds), "prompt_seconds": PROMPT_SECONDS})
    with trials.trial("starts"):
        seconds = _starting_seconds(runner, options.starts)
        rate = {"starting_step_ms": 1e3 * seconds, "starts_per_second": options.starts / seconds}
        tell({"starts": options.starts, **rate})
    with trials.trial("steps_beside_prompts"):
        tell({"steps_beside_prompts": _steps_beside_prompts(runner, options.starts, 2 * options.seconds)})


def _rate(runner: OurRunner, seconds: float) -> float:
    """Return the prompts that the desk takes in a second while no stream plays."""
    runner.prepare(0)
    with closing(BenchDesk(runner.engine)) as desk:
        audio, began = noise(PROMPT_SECONDS, seed=0), time.perf_counter()
        while (elapsed := time.perf_counter() - began) < seconds or not desk.counted:
            desk.bring(audio, AT_ONCE)
            time.sleep(0.001)
            desk.count_finished()
    return desk.counted / elapsed


def _starting_seconds(runner: OurRunner, streams: int) -> float:
    """Return the shortest time of a step in which so many streams start."""
    taken = []
    for _ in range(3):
        runner.prepare(streams)
        began = time.perf_counter()
        runner.advance()
        taken.append(time.perf_counter() - began)
    return min(taken)


def _steps_beside_prompts(runner: OurRunner, streams: int, seconds: float) -> dict[str, Any]:
    """Return the times of steps at playback pace, first alone, then while prompts come as fast as they are taken in."""
    runner.prepare(streams)
    runner.advance()  # in which the streams start
    audio = noise(PROMPT_SECONDS, seed=0)
    alone = Percentiles.of(list(paced(runner, seconds)))
    with closing(BenchDesk(runner.engine)) as desk:

        def keep_coming() -> None:
            desk.count_finished()
            desk.bring(audio, AT_ONCE)

        beside = Percentiles.of(list(paced(runner, seconds, keep_coming)))
    return {
        "streams": streams,
        "alone_ms": vars(alone),
        "beside_ms": vars(beside),
        "prompts_per_second": desk.counted / seconds,
    }
