"""The frame step on a GPU: captured whole, once for each number of tiles, and replayed without the host."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from whispergpt.engine.backends.block_pool import BlockPool
from whispergpt.engine.backends.stage_clock import StageClock
from whispergpt.engine.config import HOP
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.streaming import State, clone, copy_into, rows

GPU_TILE = 64
"""Slots that are stepped together. The last bits of a product depend on its number of rows, so every tile has this
many, however many are active; a GPU takes hardly longer for them than for one."""
WARM_UP_STEPS = 3
"""Steps before the first capture, on a separate CUDA stream, as torch.cuda.CUDAGraph requires."""


class GraphPath:
    """One captured graph for the first tile, for the first two, and so on: the slots in use are the lowest.

    A step copies the active slots to the device, replays a graph, and copies codes and samples back to pinned memory.
    The host waits only for that last copy.
    """

    dtype = torch.float32
    slow_because: str | None = None

    def __init__(self, frame_step: FrameStep, state: State, slots: int, device: torch.device) -> None:
        self._frame_step = frame_step
        self._active = torch.zeros(slots, dtype=torch.bool, device=device)
        self._codes = torch.zeros(slots, frame_step.books, dtype=torch.int32, device=device)
        self._samples = torch.zeros(slots, HOP, dtype=torch.int16, device=device)
        self._active_here = torch.zeros(slots, dtype=torch.bool, pin_memory=True)
        self._codes_here = torch.zeros(slots, frame_step.books, dtype=torch.int32, pin_memory=True)
        self._samples_here = torch.zeros(slots, HOP, dtype=torch.int16, pin_memory=True)
        self._tiles = [rows(state, first, first + GPU_TILE) for first in range(0, slots, GPU_TILE)]
        self._blocks = BlockPool(slots)
        self._done = torch.cuda.Event()
        self._graphs = self._capture(state)
        self.name = f"cuda-graph-tile{GPU_TILE}"

    @torch.inference_mode()
    def step(
        self, slots: list[int] | npt.NDArray[np.int64], stages: dict[str, float] | None = None
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int16]]:
        tiles = int(np.max(slots)) // GPU_TILE + 1
        count = tiles * GPU_TILE
        self._active_here.zero_()
        self._active_here[slots] = True
        self._active[:count].copy_(self._active_here[:count], non_blocking=True)
        if stages is None:
            self._graphs[tiles - 1].replay()
        else:
            self._run(tiles, stages)
        self._codes_here[:count].copy_(self._codes[:count], non_blocking=True)
        self._samples_here[:count].copy_(self._samples[:count], non_blocking=True)
        self._done.record()
        self._done.synchronize()
        return self._codes_here.numpy()[slots], self._blocks.gather(self._samples_here.numpy(), slots)

    def _run(self, tiles: int, stages: dict[str, float] | None = None) -> None:
        for index, tile in enumerate(self._tiles[:tiles]):
            own = slice(index * GPU_TILE, (index + 1) * GPU_TILE)
            clock = None if stages is None else StageClock(self._active.device, stages)
            codes, samples = self._frame_step(tile, self._active[own], clock)
            self._codes[own].copy_(codes)
            self._samples[own].copy_(samples)

    @torch.inference_mode()
    def _capture(self, state: State) -> list[torch.cuda.CUDAGraph]:
        """Capture a graph for each number of tiles. No slot is active; the state is restored afterwards in any case."""
        before = clone(state)
        aside = torch.cuda.Stream(self._active.device)
        aside.wait_stream(torch.cuda.current_stream(self._active.device))
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP_STEPS):
                self._run(len(self._tiles))
        torch.cuda.current_stream(self._active.device).wait_stream(aside)
        graphs: list[torch.cuda.CUDAGraph] = []
        for tiles in range(1, len(self._tiles) + 1):
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=graphs[0].pool() if graphs else None):
                self._run(tiles)
            graphs.append(graph)
        copy_into(state, before)
        return graphs
