"""The frame step as PyTorch computes it on a GPU: captured whole, and in parts, and replayed without the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from whispergpt.engine.block_pool import BlockPool
from whispergpt.engine.config import HOP
from whispergpt.engine.device import for_steps
from whispergpt.engine.gpu.replay import Run, run_timed
from whispergpt.engine.low_pass import LowPass
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.streaming import State, clone, copy_into

WARM_UP_STEPS = 3
"""Steps before the capture, on a CUDA stream that is not the default one, as torch.cuda.CUDAGraph requires."""


class GraphPath:
    """One captured graph of all slots, for GPUs on which the kernels of ``engine/gpu`` cannot run.

    The last bits of PyTorch's products depend on their number of rows. So every step computes all slots, however many
    are active, and the same seed gives the same codes beside any other streams.

    A step copies the active slots to the device, replays the graph, and copies codes and samples back to pinned memory.
    The host waits only for that last copy. A step that is timed replays graphs of its stages, captured too.
    """

    dtype = torch.float32

    def __init__(
        self, frame_step: FrameStep, state: State, slots: int, device: torch.device, slow_because: str | None = None
    ) -> None:
        self._frame_step, self._state, self.slow_because = frame_step, state, slow_because
        self._active = torch.zeros(slots, dtype=torch.bool, device=device)
        self._codes = torch.zeros(slots, frame_step.books, dtype=torch.int32, device=device)
        self._samples = torch.zeros(slots, HOP, dtype=torch.int16, device=device)
        pinned = device.type == "cuda"
        self._active_here = torch.zeros(slots, dtype=torch.bool, pin_memory=pinned)
        self._codes_here = torch.zeros(slots, frame_step.books, dtype=torch.int32, pin_memory=pinned)
        self._samples_here = torch.zeros(slots, HOP, dtype=torch.int16, pin_memory=pinned)
        self._blocks, self.low_pass = BlockPool(slots), LowPass(slots)
        self._done = torch.cuda.Event()
        with for_steps(device):
            self._graph, self._parts = self._capture()
        self.name = f"cuda-graph-{slots}"

    @torch.inference_mode()
    def step(
        self, slots: list[int] | npt.NDArray[np.int64], stages: dict[str, float] | None = None
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int16]]:
        self._active_here.zero_()
        self._active_here[slots] = True
        with for_steps(self._active.device):
            self._active.copy_(self._active_here, non_blocking=True)
            if stages is None:
                self._graph.replay()
            else:
                run_timed(self._parts, stages)
            self._codes_here.copy_(self._codes, non_blocking=True)
            self._samples_here.copy_(self._samples, non_blocking=True)
            self._done.record()
            self._done.synchronize()
        samples = self._blocks.gather(self._samples_here.numpy(), slots)
        self.low_pass.apply(slots, samples)
        return self._codes_here.numpy()[slots], samples

    def _run(self, mark: Callable[[str], None] | None = None) -> None:
        codes, samples = self._frame_step(self._state, self._active, mark)
        self._codes.copy_(codes)
        self._samples.copy_(samples)

    @torch.inference_mode()
    def _capture(self) -> tuple[torch.cuda.CUDAGraph, list[tuple[str, Run]]]:
        """Capture a step, and its parts. No slot is active; the state is restored afterwards in any case."""
        before, device = clone(self._state), self._active.device
        for _ in range(WARM_UP_STEPS):
            self._run()
        graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
        with torch.cuda.graph(graph, pool=pool, stream=torch.cuda.current_stream(device)):
            self._run()
        torch.cuda.synchronize(device)
        parts = self._capture_parts(pool)
        copy_into(self._state, before)
        return graph, parts

    def _capture_parts(self, pool: Any) -> list[tuple[str, Run]]:
        """Capture a graph up to each mark of the step, and one of what follows the last mark.

        They share ``pool`` with the whole graph, beside which none of them ever runs, and hand tensors on within it.
        """
        parts: list[tuple[str, Run]] = []
        graph = torch.cuda.CUDAGraph()

        def end(stage: str) -> None:
            graph.capture_end()
            parts.append((stage, graph.replay))

        def mark(stage: str) -> None:
            nonlocal graph
            end(stage)
            graph = torch.cuda.CUDAGraph()
            graph.capture_begin(pool=pool)

        graph.capture_begin(pool=pool)
        self._run(mark)
        end("codec")  # samples to 16 bits
        return parts
