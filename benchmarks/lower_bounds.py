"""Lower bounds of a step's time on GPUs, from counted operations and bytes and from data sheets.

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

STREAMS = (1, 64, 512, 2048, 8192)


@dataclass(frozen=True)
class Gpu:
    """A GPU's data sheet.

    Attributes:
        name: as it is part of the device's name.
        bytes_per_second: of its memory.
        flops_per_second: of its tensor cores in bfloat16, without sparsity.
    """

    name: str
    bytes_per_second: float
    flops_per_second: float


H100 = Gpu("H100", 3.35e12, 989e12)
GPUS = (H100, Gpu("H200", 4.8e12, 989e12), Gpu("A100-SXM4-80GB", 2.039e12, 312e12), Gpu("L4", 300e9, 121e12))
"""Values from NVIDIA's data sheets; those of the H100 are of its SXM form."""
TABLED = (H100, GPUS[-1])
"""GPUs with columns in the tables."""


def data_sheet(device_name: str) -> Gpu | None:
    """Return the data sheet of a device by the name that torch gives it; None if there is none in ``GPUS``."""
    return next((gpu for gpu in GPUS if gpu.name in device_name.split() and "PCIe" not in device_name), None)


def floor(gpu: Gpu, flops: float, traffic: Traffic, streams: int) -> tuple[float, float]:
    """Return the least seconds of a step of ``streams`` streams, for its arithmetic and for its memory traffic.

    Args:
        flops: operations of one frame of one stream.
    """
    moved = traffic.weights + streams * traffic.per_stream
    return streams * flops / gpu.flops_per_second, moved / gpu.bytes_per_second


def ceiling(gpu: Gpu, flops: float, traffic: Traffic) -> int:
    """Return the most streams whose step can take no longer than a frame, so that they play in real time."""
    by_traffic = (gpu.bytes_per_second / FRAME_RATE - traffic.weights) / traffic.per_stream
    return int(min(by_traffic, gpu.flops_per_second / FRAME_RATE / flops))


def tables(step: FrameStep) -> str:
    """Return the counts and the lower bounds of one model in bfloat16 as Markdown."""
    flops, traffic = flops_per_frame(step), traffic_per_frame(step).in_bfloat16()
    total = sum(flops.values())
    stages = ", ".join(f"{name} {count / 1e6:.1f}" for name, count in flops.items())
    kept, other = traffic.keys_values / 1e6, (traffic.state + traffic.samples) / 1e6
    lines = [
        f"{total / 1e6:.1f} MFLOP a frame ({stages}); {traffic.weights / 1e6:.1f} MB of weights a step;",
        f"for each stream {kept:.2f} MB of keys and values and {other:.2f} MB of other state a frame.",
        "",
        "| streams | " + " | ".join(f"{gpu.name}: arithmetic | memory" for gpu in TABLED) + " |",
        "| --- |" + " --- |" * (2 * len(TABLED)),
    ]
    for streams in STREAMS:
        floors = [floor(gpu, total, traffic, streams) for gpu in TABLED]
        cells = [f"{1e3 * arithmetic:.3f} ms | {1e3 * memory:.3f} ms" for arithmetic, memory in floors]
        lines.append(f"| {streams:,} | " + " | ".join(cells) + " |")
    ends = [f"{ceiling(gpu, total, traffic):,}" for gpu in TABLED]
    lines.append("| in real time at most | " + " | ".join(f"{end} | " for end in ends) + "|")
    return "\n".join(lines)


def main() -> None:
    """Print the tables of every preset."""
    for name in get_args(Preset):
        step = build_preset(name, torch.device("cpu")).step
        print(f"### {name}\n\n{tables(step)}\n")  # noqa: T201


if __name__ == "__main__":
    main()
