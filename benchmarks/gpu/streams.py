"""Most streams in real time, of each preset, in runs that are shorter than the bench's own."""

from __future__ import annotations

from typing import Any

import torch

from whispergpt.benchmarks.gpu.options import Options, Tell
from whispergpt.benchmarks.gpu.part import Trials
from whispergpt.benchmarks.ours import OurRunner
from whispergpt.benchmarks.preset import Preset, build_preset
from whispergpt.benchmarks.realtime import MOST_STREAMS, curve, estimate, most_streams


def run(options: Options, tell: Tell) -> None:
    """Search for the default model's streams, then for those of the full-size codec."""
    device = torch.device(options.device)
    trials = Trials(tell)
    for preset in options.presets:
        with trials.trial(preset):
            _search(preset, device, options, tell)


def _search(preset: Preset, device: torch.device, options: Options, tell: Tell) -> None:
    runner = OurRunner(build_preset(preset, device), device)
    most = MOST_STREAMS if device.type == "cuda" else max(options.streams)
    runner.prepare(most)  # at once, so that slots are made only once
    points = curve(runner, options.seconds / 40, most)
    found: dict[str, Any] = {
        "step_ms": {point.streams: 1e3 * point.step_seconds for point in points},
        "estimated_streams": estimate(points, runner.frames),
    }
    tell({preset: found})
    search = most_streams(runner, found["estimated_streams"], options.seconds, most=most)
    runs = [{"streams": run.streams, "held": run.held, "slack_ms": 1e3 * run.slack} for run in search.runs]
    tell({preset: found | {"realtime_streams": search.streams, "run_seconds": options.seconds, "runs": runs}})
