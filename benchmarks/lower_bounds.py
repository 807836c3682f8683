"""What one step must cost at least on devices that are not at hand, from this code's own counts: on paper.

``python -m whispergpt.benchmarks.lower_bounds`` prints the tables, as Markdown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import torch

from whispergpt.benchmarks.arithmetic import Traffic, flops_per_frame, traffic_per_frame
from whispergpt.benchmarks.preset import Preset, build_preset
from whispergpt.engine.config import FRAME_RATE
from whispergpt.engine.model.frame_step import FrameStep

STREAMS = (1, 64, 256, 1024, 4096)


@dataclass(frozen=True)
class Device:
    """A data sheet: bytes a second of memory, and operations a second of products in float32 outside tensor cores."""

    name: str
    bytes_per_second: float
    flops_per_second: float


DEVICES = (Device("H100 SXM", 3.35e12, 67e12), Device("L4", 300e9, 30.3e12))
"""NVIDIA's data sheets of both, without sparsity."""


@dataclass(frozen=True)
class Floor:
    """Seconds of one step for so many streams: of its arithmetic, and of its memory traffic."""

    streams: int
    arithmetic: float
    traffic: float


def floor(device: Device, flops: float, traffic: Traffic, streams: int) -> Floor:
    """One step of ``streams`` streams, each of ``flops`` operations a frame."""
    return Floor(
        streams,
        streams * flops / device.flops_per_second,
        (traffic.weights + streams * traffic.per_stream) / device.bytes_per_second,
    )


def ceiling(device: Device, flops: float, traffic: Traffic) -> int:
    """Streams whose step takes just a frame: no more can play in real time."""
    by_traffic = (device.bytes_per_second / FRAME_RATE - traffic.weights) / traffic.per_stream
    return int(min(by_traffic, device.flops_per_second / FRAME_RATE / flops))


def tables(step: FrameStep) -> str:
    """Counts and floors of one model, as Markdown."""
    flops, traffic = flops_per_frame(step), traffic_per_frame(step)
    total = sum(flops.values())
    stages = ", ".join(f"{name} {count / 1e6:.1f}" for name, count in flops.items())
    kept, other = traffic.keys_values / 1e6, (traffic.state + traffic.samples) / 1e6
    lines = [
        f"{total / 1e6:.1f} MFLOP a frame ({stages}); {traffic.weights / 1e6:.1f} MB of weights a step;",
        f"for each stream {kept:.2f} MB of keys and values and {other:.2f} MB of other state a frame.",
        "",
        "| streams | " + " | ".join(f"{d.name}: arithmetic | memory" for d in DEVICES) + " |",
        "| --- |" + " --- |" * (2 * len(DEVICES)),
    ]
    for streams in STREAMS:
        floors = [floor(device, total, traffic, streams) for device in DEVICES]
        cells = [f"{1e3 * f.arithmetic:.3f} ms | {1e3 * f.traffic:.3f} ms" for f in floors]
        lines.append(f"| {streams} | " + " | ".join(cells) + " |")
    ends = [f"{ceiling(device, total, traffic)}" for device in DEVICES]
    lines.append("| in real time at most | " + " | ".join(f"{end} | " for end in ends) + "|")
    return "\n".join(lines)


def main() -> None:
    """Print the tables of every preset."""
    for name in get_args(Preset):
        step = build_preset(name, torch.device("cpu")).step
        print(f"### {name}\n\n{tables(step)}\n")  # noqa: T201


if __name__ == "__main__":
    main()
