"""Lower bounds of a step's time on other devices, from counted operations and bytes and from data sheets.

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
    """Data sheet of a device: memory bandwidth, and float32 operations per second outside tensor cores."""

    name: str
    bytes_per_second: float
    flops_per_second: float


DEVICES = (Device("H100 SXM", 3.35e12, 67e12), Device("L4", 300e9, 30.3e12))
"""Values from NVIDIA's data sheets, without sparsity."""


def floor(device: Device, flops: float, traffic: Traffic, streams: int) -> tuple[float, float]:
    """Return the least seconds of a step of ``streams`` streams, for its arithmetic and for its memory traffic.

    Args:
        flops: operations of one frame of one stream.
    """
    moved = traffic.weights + streams * traffic.per_stream
    return streams * flops / device.flops_per_second, moved / device.bytes_per_second


def ceiling(device: Device, flops: float, traffic: Traffic) -> int:
    """Return the most streams whose step can take no longer than a frame, so that they play in real time."""
    by_traffic = (device.bytes_per_second / FRAME_RATE - traffic.weights) / traffic.per_stream
    return int(min(by_traffic, device.flops_per_second / FRAME_RATE / flops))


def tables(step: FrameStep) -> str:
    """Return the counts and the lower bounds of one model as Markdown."""
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
        cells = [f"{1e3 * arithmetic:.3f} ms | {1e3 * memory:.3f} ms" for arithmetic, memory in floors]
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
