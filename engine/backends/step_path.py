"""Ways to run the frame step for some of the slots: kernels on a CPU or a GPU that has them, torch elsewhere."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from whispergpt.engine.backends.graph_path import GraphPath
from whispergpt.engine.backends.processors import usable_processors
from whispergpt.engine.backends.stage_clock import StageClock
from whispergpt.engine.backends.step_threads import StepThreads
from whispergpt.engine.block_pool import BlockPool
from whispergpt.engine.config import HOP, Dtype
from whispergpt.engine.gpu.launch import whole_blocks
from whispergpt.engine.low_pass import LowPass
from whispergpt.engine.model.frame_step import LOST, FrameStep
from whispergpt.engine.model.streaming import State, leaf, rows
from whispergpt.engine.native.check import Kernels
from whispergpt.engine.native.frame_program import FrameProgram
from whispergpt.engine.native.targets import sources_digest
from whispergpt.engine.native.weights import Weights

TILE = 8
"""Slots that torch steps together. The last bits of its matrix products depend on their number of rows. So every step
has this many rows, and the same seed gives the same codes beside any other streams."""
STREAMS_PER_THREAD = 4
"""Fewest streams for each thread; waking a thread for fewer takes longer than it saves."""

Slots: TypeAlias = "list[int] | npt.NDArray[np.int64]"
"""Numbers of different slots."""
Codes = npt.NDArray[np.int32]
Samples = npt.NDArray[np.int16]


class StepPath(Protocol):
    """One way to run the frame step.

    Attributes:
        name: part of the fingerprint, as is ``dtype``.
        dtype: of matrix products.
        slow_because: why a faster way is not used; None where there is no faster one.
        low_pass: limits of the slots' streams, by which ``step`` filters their samples.
    """

    name: str
    dtype: torch.dtype
    slow_because: str | None
    low_pass: LowPass

    def step(self, slots: Slots, stages: dict[str, float] | None = None) -> tuple[Codes, Samples]:
        """Compute one frame of each slot: codes ``[n, K]`` and samples ``[n, 320]``, which the caller may keep.

        Codes are ``LOST`` where a slot's numbers are no longer finite.

        The seconds of each stage are added to ``stages``.
        """
        ...


def whole_tiles(streams: int, device: torch.device) -> int:
    """Return the number of slots for ``streams``, rounded up to whole tiles, on a GPU to whole blocks of rows."""
    return whole_blocks(streams) if device.type == "cuda" else -(-streams // TILE) * TILE


def kept_dtype(device: torch.device, kernels: Kernels, dtype: Dtype) -> torch.dtype:
    """Return the format of the caches on ``device``, which is that of products too: bfloat16, float32 or int8."""
    if device.type == "cuda":
        from whispergpt.engine.gpu import step as gpu  # here alone, because it imports Triton

        faster = dtype == "auto" and gpu.missing_because(device) is None
        return torch.bfloat16 if faster else torch.float32
    return kernels.weights.dtype if kernels.weights else torch.float32


def workspace_bytes(frame_step: FrameStep, device: torch.device, kept_in: torch.dtype) -> int:
    """Return the bytes of ``device`` that kernels take for each slot beside its state; 0 where they are not counted."""
    if device.type != "cuda":
        return 0
    from whispergpt.engine.gpu import step as gpu

    return gpu.workspace_bytes(frame_step, kept_in) if gpu.missing_because(device) is None else 0


def step_path(
    frame_step: FrameStep,
    state: State,
    slots: int,
    device: torch.device,
    kernels: Kernels,
    sharing: int = 1,
) -> StepPath:
    """Return the fastest way to run steps on ``device`` with ``kernels``.

    Args:
        state: has room for whole tiles.
        sharing: engines that share the processors, each with as many threads.
    """
    if device.type == "cuda":
        from whispergpt.engine.gpu import step as gpu

        missing = gpu.missing_because(device)
        if missing is not None:
            return GraphPath(frame_step, state, slots, device, missing)
        return gpu.GpuPath(frame_step, state, slots, device)
    if kernels.weights is None:
        return TorchPath(frame_step, state, slots, device, kernels.missing_because)
    return NativePath(frame_step, state, slots, kernels.weights, max(1, usable_processors() // sharing))


class NativePath:
    """Compiled kernels: a stream's frame does not depend on the other streams or their number.

    Attributes:
        portable: whether a seed gives the same bits on all processors that have kernels. Not in bfloat16, and not if
            torch starts the prompts, as with a codec of reflecting padding.
    """

    slow_because: str | None = None

    def __init__(
        self, frame_step: FrameStep, state: State, slots: int, weights: Weights, threads: int | None = None
    ) -> None:
        self._program = FrameProgram(frame_step, state, slots, weights)
        self.low_pass = self._program.low_pass
        self._logits = leaf(state, "logits").numpy()
        self._threads = StepThreads(threads or usable_processors())
        self._blocks = BlockPool(slots)
        self.dtype = weights.dtype
        self.portable = self.dtype != torch.bfloat16 and frame_step.codec.config.pad_mode == "constant"
        self.name = f"native-{sources_digest()}" if self.portable else weights.library.name

    def step(self, slots: Slots, stages: dict[str, float] | None = None) -> tuple[Codes, Samples]:
        count = len(slots)
        wanted = np.array(slots, dtype=np.int32)
        parts = max(1, min(self._threads.count, count // STREAMS_PER_THREAD))
        bounds = [count * part // parts for part in range(parts + 1)]
        done = self._threads.run([partial(self._program.run, wanted, begin, end) for begin, end in pairwise(bounds)])
        if stages is not None:
            for stage in done[0]:
                seconds = max(part[stage] for part in done)
                if seconds > 0:  # not every model has all stages
                    stages[stage] = stages.get(stage, 0.0) + seconds
        codes = self._program.codes[:count].copy()
        finite = np.isfinite(self._logits[slots].sum(axis=1)) & (self._program.finite[:count] > 0)
        codes[~finite] = LOST
        return codes, self._blocks.copy(self._program.samples[:count])


class TorchPath:
    """The frame step as torch runs it, in tiles."""

    dtype = torch.float32

    def __init__(
        self, frame_step: FrameStep, state: State, slots: int, device: torch.device, slow_because: str | None = None
    ) -> None:
        self._frame_step, self._device, self.slow_because = frame_step, device, slow_because
        self.low_pass = LowPass(slots)
        self._tiles = [rows(state, first, first + TILE) for first in range(0, slots, TILE)]
        self.name = f"torch-tile{TILE}"

    @torch.inference_mode()
    def step(self, slots: Slots, stages: dict[str, float] | None = None) -> tuple[Codes, Samples]:
        codes = np.zeros((len(slots), self._frame_step.books), np.int32)
        samples = np.zeros((len(slots), HOP), np.int16)
        tiles, within_tile = np.divmod(np.asarray(slots), TILE)
        for tile in np.unique(tiles).tolist():
            places = np.flatnonzero(tiles == tile)
            within = within_tile[places]
            active = torch.zeros(TILE, dtype=torch.bool)
            active[within] = True
            clock = None if stages is None else StageClock(self._device, stages)
            tile_codes, tile_samples = self._frame_step(self._tiles[tile], active.to(self._device), clock)
            codes[places], samples[places] = tile_codes.cpu().numpy()[within], tile_samples.cpu().numpy()[within]
        self.low_pass.apply(slots, samples)
        return codes, samples
