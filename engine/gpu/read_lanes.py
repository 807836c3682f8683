"""The model over prompts in lanes, by PyTorch: a fixed number of prompts and frames, in one captured graph.

The shape of its products never changes, and lanes share nothing. So a prompt's result does not depend on the prompts in
other lanes. Lanes are made and used in the context ``engine.device.for_prompts``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from whispergpt.engine.config import HOP
from whispergpt.engine.gpu.prompt_path import FRAMES, LANES
from whispergpt.engine.gpu.replay import Run
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.streaming import State, copy_all, rows

WARM_UP_RUNS = 3
"""Runs before the capture, on a CUDA stream that is not the default one, as torch.cuda.CUDAGraph requires."""


class ReadLanes:
    """Codes and samples of prompts' chunks into the state from which streams start.

    Args:
        state: that the lanes work on, of ``LANES`` slots, without the decoder's.
        frames: most frames of a chunk, at most the model's windows.
    """

    def __init__(self, step: FrameStep, state: State, device: torch.device, frames: int = FRAMES) -> None:
        self._step, self._state, self._device = step, state, device
        self._lanes = [rows(state, lane, lane + 1) for lane in range(LANES)]
        self._codes = torch.zeros(LANES, frames, dtype=torch.int64, device=device)
        self._audio = torch.zeros(LANES, frames * HOP, device=device)
        self._start, self._count = (torch.zeros(LANES, dtype=torch.int64, device=device) for _ in range(2))
        self._run_all: Run = self._compute
        if device.type == "cuda":
            self._run_all = self._captured()

    @torch.inference_mode()
    def read(
        self, states: Sequence[State], codes: Sequence[Tensor], audio: Sequence[Tensor], starts: Sequence[int]
    ) -> None:
        """Read a chunk of each prompt.

        Args:
            states: the prompts' states without the decoder's, of one slot each, which are advanced.
            codes: coarse codes ``[T]``, at most ``frames``.
            audio: samples ``[T·320]``.
            starts: frames before each chunk.
        """
        unused = [0] * (LANES - len(states))
        self._codes.zero_()
        self._audio.zero_()  # what is not a number would spread from unused frames, at a weight of 0
        for lane, (chunk, samples) in enumerate(zip(codes, audio, strict=True)):
            self._codes[lane, : len(chunk)].copy_(chunk)
            self._audio[lane, : len(samples)].copy_(samples)
        self._start.copy_(torch.tensor([*starts, *unused]))
        self._count.copy_(torch.tensor([*map(len, codes), *unused]))
        own = self._lanes[: len(states)]
        copy_all(own, states)
        self._run_all()
        copy_all(states, own)

    @torch.inference_mode()
    def _compute(self) -> None:
        self._step.read_lanes(self._codes, self._audio, self._state, self._start, self._count)

    def _captured(self) -> Run:
        for _ in range(WARM_UP_RUNS):
            self._compute()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream(self._device)):
            self._compute()
        return graph.replay
