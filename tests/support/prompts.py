"""A prompt's codes into the state that streams start from, as torch does it."""

from __future__ import annotations

from torch import Tensor

from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.streaming import State


def prefill(step: FrameStep, codes: Tensor, state: State, start: int) -> Tensor:
    """Codes ``[1, K, T]`` behind ``start`` frames; how they sound, float32 ``[T·320]``."""
    heard = step.hear(codes, state, start)
    step.read(codes[:, 0], heard, state, start)
    return heard[0]
