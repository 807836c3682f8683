"""The complete bench, in order: matrix product, this engine, peers, then this engine and the product again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from whispergpt.benchmarks.arithmetic import flops_per_frame, traffic_per_frame
from whispergpt.benchmarks.ceiling import gemm_gflops
from whispergpt.benchmarks.ours import OurRunner, measure_single
from whispergpt.benchmarks.peers.peer import Sizes
from whispergpt.benchmarks.peers.process import PEERS, SkippedPeer, run_peer
from whispergpt.benchmarks.preset import Preset, build_preset
from whispergpt.benchmarks.quality import snr_db
from whispergpt.benchmarks.realtime import Run, curve, estimate, most_streams
from whispergpt.benchmarks.report import Report, StageTimes
from whispergpt.engine.backends.processors import usable_processors
from whispergpt.engine.checkpoints.checkpoint import load_model
from whispergpt.engine.config import Dtype
from whispergpt.engine.device import dtype_name

FULL_RUN = 30.0
"""Seconds of the run that finds the reported number of real-time streams."""


@dataclass(frozen=True)
class Options:
    """Options of a bench.

    Attributes:
        seconds: length of each run on playback clocks; all other measurements are scaled with it.
        peers: whether to measure the peers too.
        streams_only: leave out the measurements of one stream and of the sound's quality.
        curve: whether to report the step time at 1, 2, 4 … streams.
        model: name of a model to measure instead of the preset's.
    """

    preset: Preset = "default"
    seconds: float = FULL_RUN
    peers: bool = True
    streams_only: bool = False
    curve: bool = False
    dtype: Dtype = "auto"
    model: str | None = None


def bench(options: Options, device: torch.device, tell: Callable[[str], None]) -> Report:
    """Run the bench and return its report; ``tell`` is called with a line of progress after each measurement.

    Raises:
        ModelError: no model is installed, or the one that is named cannot be loaded.
        WeightsError: the official weights are present but damaged.
    """
    share = min(1.0, options.seconds / FULL_RUN)

    def told(run: Run) -> None:
        tell(f"{run.streams} streams {'held' if run.held else 'failed'}, {1e3 * run.slack:.0f} ms to spare")

    model = load_model(options.model, device) if options.model else build_preset(options.preset, device)
    runner = OurRunner(model, device, options.dtype)
    dtype = runner.engine.path.dtype
    ceiling = gemm_gflops(device, dtype, share)
    tell(f"matrix product: {ceiling:.0f} GFLOP/s")
    single, snr = None, None
    if not options.streams_only:
        single = measure_single(runner, prompts=max(3, round(50 * share)), steps=max(30, round(1500 * share)))
        tell(f"one stream: first audio after {single.time_to_first_audio_ms.p50:.0f} ms")
        snr = snr_db(runner.engine, frames=max(30, round(750 * share)))
        tell(f"signal to noise: {snr:.1f} dB")
    points = curve(runner, seconds=share)
    guess = estimate(points, runner.frames)
    tell(f"about {guess:.0f} real-time streams")
    search = most_streams(runner, guess, options.seconds, told=told)
    streams = max(1, search.streams)
    loaded = StageTimes(streams, runner.stage_seconds(streams, steps=max(5, round(100 * share))))
    fingerprint, slow_because = runner.engine.fingerprint, runner.engine.path.slow_because
    del runner  # frees its threads and its memory for the peers
    sizes = Sizes(model.step.model.config.stack, model.step.codec.config)
    answers, again = [], None
    if options.peers:
        answers = [run_peer(p, sizes, options.seconds, str(device), tell) for p in PEERS]
        # Other load on the machine changes within half an hour: this engine is measured before and after the peers.
        again = most_streams(OurRunner(model, device, options.dtype), streams, options.seconds, told=told)
    ceilings = _ceilings(device, dtype, share, with_peers=options.peers)
    ceilings[dtype] = max(ceiling, ceilings[dtype])
    return Report(
        device=str(device),
        threads=usable_processors(),
        preset=model.id if options.model else options.preset,
        fingerprint=fingerprint,
        slow_because=slow_because,
        seconds=options.seconds,
        search=search,
        again=again,
        loaded=loaded,
        flops=flops_per_frame(model.step),
        traffic=traffic_per_frame(model.step),
        ceilings={dtype_name(each): rate for each, rate in ceilings.items()},
        dtype=dtype_name(dtype),
        single=single,
        snr_db=snr,
        curve=points if options.curve else None,
        peers=[a for a in answers if not isinstance(a, SkippedPeer)],
        skipped=[a for a in answers if isinstance(a, SkippedPeer)],
    )


def _ceilings(device: torch.device, dtype: torch.dtype, share: float, with_peers: bool) -> dict[torch.dtype, float]:
    """Return GFLOP/s of matrix products in the engine's type, in float32, and in the peers' where they run."""
    # Bfloat16 is extremely slow on processors without units for it, so it is measured only when peers use it.
    dtypes = {dtype, torch.float32} | ({torch.bfloat16} if with_peers else set())
    return {each: gemm_gflops(device, each, share) for each in sorted(dtypes, key=str)}
