"""Rotary positions that keep their precision: every frequency turns a whole number of times in PERIOD positions.

At position 270,000 (an hour) a float32 angle would be off by 0.02 rad. Here a position is taken modulo PERIOD, which
changes no angle, and the angles come from a table computed in float64. (Rotary embedding: arXiv 2104.09864.)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

PERIOD = 8192
"""Positions after which every frequency is back at its start; far beyond any attention window."""
SLOWEST_TURNS = 2
"""Turns of the slowest frequency in one period."""


class Rotary(nn.Module):
    """The table of angles by which heads are turned: each pair of neighbouring values has its own frequency."""

    cosine: Tensor
    sine: Tensor

    def __init__(self, head_width: int) -> None:
        super().__init__()
        fastest = PERIOD / (2 * math.pi)  # one radian per position
        with torch.device("cpu"):  # on the meta device these few numbers would make torch import its compiler
            slower = torch.linspace(0, 1, head_width // 2, dtype=torch.float64)
            turns = (fastest * (SLOWEST_TURNS / fastest) ** slower).round()
            angle = 2 * math.pi * ((torch.arange(PERIOD)[:, None] * turns) % PERIOD) / PERIOD
        self.register_buffer("cosine", angle.cos().float(), persistent=False)
        self.register_buffer("sine", angle.sin().float(), persistent=False)

    def forward(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """Return cosines and sines, each ``[B, 1, T, head_width // 2]``, at ``position`` ``[B, T]`` (or ``[1, T]``)."""
        at = position % PERIOD
        return self.cosine[at].unsqueeze(1), self.sine[at].unsqueeze(1)


def rotate(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Turn each pair of ``[B, heads, T, head_width]`` by what ``Rotary`` gave for its position."""
    cosine, sine = turn
    first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([first * cosine - second * sine, first * sine + second * cosine], dim=-1).flatten(-2)
