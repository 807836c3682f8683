"""Crops with codes that a model drew."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LEAD_FRAMES = 25
"""Frames before each crop that the decoder hears first. In a continuation it never begins from silence."""


@dataclass(frozen=True)
class DrawnBatch:
    """Crops ``audio`` float32 ``[B, T * 320]``, and the codes int64 ``[B, K, LEAD_FRAMES + T]`` of them and of what
    comes before; the finer ones are drawn."""

    audio: Tensor
    codes: Tensor

    def to(self, device: torch.device) -> DrawnBatch:
        """Return a copy on another device."""
        return DrawnBatch(self.audio.to(device), self.codes.to(device))
