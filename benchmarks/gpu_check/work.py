"""Work of one step, counted from its launches, beside the least that the algorithm needs, and a modelled time."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass

import torch

from whispergpt.benchmarks.arithmetic import traffic_per_frame
from whispergpt.benchmarks.gpu_check.models import busy_state, in_format
from whispergpt.benchmarks.lower_bounds import H100, TABLED, Gpu
from whispergpt.engine.config import FRAME_RATE
from whispergpt.engine.gpu.frame_program import FrameProgram
from whispergpt.engine.gpu.launch import Launch
from whispergpt.engine.model.frame_step import FrameStep

MEMORY_SHARE, ARITHMETIC_SHARE = 0.8, 0.4
"""Shares of a GPU's data sheet that the model assumes to be reached."""
SECONDS_PER_KERNEL = 1.5e-6
"""Seconds from the end of one kernel in a graph to the start of the next."""
STREAMS = (64, 512, 2048, 8192)
MOST_STREAMS = 1_000_000
"""Largest number of streams that is looked at."""


@dataclass(frozen=True)
class Work:
    """Counted work of a step in bfloat16, of models whose kernels are all laid out.

    Attributes:
        kernels: launches in a step.
        by_name: how often each kernel is launched.
        stream_bytes: bytes that each stream moves.
        shared_bytes: bytes that a step moves once, such as weights.
        stream_floor: least bytes that each stream must move: caches in bfloat16, other state in float32, samples.
        operations: operations of each stream.
        modelled: seconds of a step of so many streams on ``H100``; modelled, not measured.
        modelled_streams: most streams whose modelled step takes no longer than a frame, by GPU.
    """

    kernels: int
    by_name: dict[str, int]
    stream_bytes: int
    shared_bytes: int
    stream_floor: int
    operations: int
    modelled: dict[int, float]
    modelled_streams: dict[str, int]

    @property
    def above_floor(self) -> float:
        """Return the bytes of a stream, relative to the least."""
        return self.stream_bytes / self.stream_floor


def bfloat16_program(step: FrameStep) -> FrameProgram:
    """Return the step laid out for one block of rows in bfloat16, on the CPU, where it cannot run."""
    return FrameProgram(step, in_format(busy_state(step, 1), torch.bfloat16), 1, torch.bfloat16)


def work_of(step: FrameStep, launches: list[Launch]) -> Work:
    """Count a program's work. Bytes that a launch reads twice from its cache count once."""
    return Work(
        kernels=len(launches),
        by_name=dict(Counter(launch.name for launch in launches)),
        stream_bytes=sum(launch.cost.row_bytes for launch in launches),
        shared_bytes=sum(launch.cost.shared_bytes for launch in launches),
        stream_floor=traffic_per_frame(step).in_bfloat16().per_stream,
        operations=sum(launch.cost.operations for launch in launches),
        modelled={streams: modelled_seconds(launches, streams, H100) for streams in STREAMS},
        modelled_streams={gpu.name: _modelled_streams(launches, gpu) for gpu in TABLED},
    )


def modelled_seconds(launches: list[Launch], streams: int, gpu: Gpu) -> float:
    """Return the time of a step: for each kernel its start, and the longer of memory traffic and arithmetic."""
    total = 0.0
    for launch in launches:
        memory = launch.cost.total_bytes(streams) / (MEMORY_SHARE * gpu.bytes_per_second)
        arithmetic = streams * launch.cost.operations / (ARITHMETIC_SHARE * gpu.flops_per_second)
        total += SECONDS_PER_KERNEL + max(memory, arithmetic)
    return total


def _modelled_streams(launches: list[Launch], gpu: Gpu) -> int:
    return bisect_right(range(1, MOST_STREAMS), 1 / FRAME_RATE, key=lambda n: modelled_seconds(launches, n, gpu))
