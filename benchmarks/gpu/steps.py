"""Time of a step at several sizes, by stage, beside the least that the device's memory and arithmetic allow."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from whispergpt.benchmarks.arithmetic import flops_per_frame, traffic_per_frame
from whispergpt.benchmarks.ceiling import gemm_gflops
from whispergpt.benchmarks.gpu.options import Options, Tell
from whispergpt.benchmarks.gpu.part import Trials
from whispergpt.benchmarks.lower_bounds import Gpu, data_sheet, floor
from whispergpt.benchmarks.ours import OurRunner
from whispergpt.benchmarks.preset import build_preset
from whispergpt.engine.gpu.step import GpuPath
from whispergpt.load.percentiles import Percentiles

COPIED_BYTES = 1 << 30
"""Bytes of the copy that measures a GPU's memory; more than its caches hold."""


def run(options: Options, tell: Tell) -> None:
    """Time the steps of the default model, the largest first; all streams have full windows."""
    device = torch.device(options.device)
    runner = OurRunner(build_preset("default", device), device)
    told: dict[str, Any] = {}
    trials = Trials(tell)
    for streams in options.streams:
        with trials.trial(f"{streams} streams"):  # the most may not fit into the memory, and fewer do
            told[str(streams)] = _timed(runner, streams, options.steps)
            path = runner.engine.path
            kernels = path.kernels if isinstance(path, GpuPath) else None
            tell({"fingerprint": runner.engine.fingerprint, "slow_because": path.slow_because, "kernels": kernels})
            tell({"streams": told})
    step, dtype = runner.engine.model.step, runner.engine.path.dtype
    gpus = gpus_of(device, dtype, options.seconds)
    tell({"rates": {gpu.name: {"bytes": gpu.bytes_per_second, "flops": gpu.flops_per_second} for gpu in gpus}})
    flops, traffic = sum(flops_per_frame(step).values()), traffic_per_frame(step)
    traffic = traffic.in_bfloat16() if dtype == torch.bfloat16 else traffic
    for number, one in told.items():
        least = {gpu.name: 1e3 * max(floor(gpu, flops, traffic, int(number))) for gpu in gpus}
        one["share_of_floor"] = {name: each / one["step_ms"]["p50"] for name, each in least.items()}
    tell({"streams": told})


def _timed(runner: OurRunner, streams: int, steps: int) -> dict[str, Any]:
    """Return the times of steps of so many streams."""
    runner.prepare(streams)
    runner.advance()  # in which the streams start
    of_path, of_engine = _times(runner, streams, steps)
    stages = {stage: 1e3 * each for stage, each in runner.stage_seconds(streams, steps).items()}
    return {"step_ms": vars(of_path), "engine_ms": vars(of_engine), "stage_ms": stages}


def gpus_of(device: torch.device, dtype: torch.dtype, seconds: float) -> list[Gpu]:
    """Return what bounds a step: rates that were measured on the device, and its data sheet if there is one."""
    product = 1e9 * gemm_gflops(device, dtype, seconds / 10)
    found = [Gpu("measured", copy_rate(device, seconds / 10), product)]
    sheet = data_sheet(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    return found + ([sheet] if sheet else [])


def copy_rate(device: torch.device, seconds: float) -> float:
    """Return the bytes that the device's memory reads and writes a second in its fastest copy within ``seconds``."""
    size = COPIED_BYTES if device.type == "cuda" else COPIED_BYTES >> 5
    source, target = (torch.zeros(size, dtype=torch.uint8, device=device) for _ in range(2))
    fastest, spent = float("inf"), 0.0
    while spent < seconds or fastest == float("inf"):
        _finish(device)
        began = time.perf_counter()
        target.copy_(source)
        _finish(device)
        taken = time.perf_counter() - began
        fastest, spent = min(fastest, taken), spent + taken
    return 2 * size / fastest


def _times(runner: OurRunner, streams: int, steps: int) -> tuple[Percentiles, Percentiles]:
    """Return the milliseconds of the step path alone, and of the engine's step with the host's work."""
    slots, path, engine = np.arange(streams), [], []
    for _ in range(steps):
        began = time.perf_counter()
        runner.engine.path.step(slots)
        between = time.perf_counter()
        runner.advance()
        path.append(1e3 * (between - began))
        engine.append(1e3 * (time.perf_counter() - between))
    return Percentiles.of(path), Percentiles.of(engine)


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
