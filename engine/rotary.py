"""Rotary positions that never lose precision: every frequency turns a whole number of times in PERIOD positions.

At position 270,000 (an hour) a float32 angle is off by 0.02 rad. Here a position is taken modulo PERIOD, which
changes no angle, and the angles come from a table computed in float64. (Rotary embedding: arXiv 2104.09864.)
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

PERIOD = 8192
"""Positions after which every frequency is back at its start; far beyond any attention window."""
SLOWEST_TURNS = 2
"""Turns of the slowest frequency in one period."""


@lru_cache(maxsize=16)
def rotary_table(head_width: int, device: torch.device) -> Tensor:
    """Turns as complex numbers ``[PERIOD, head_width // 2]``."""
    half = head_width // 2
    fastest = PERIOD / (2 * math.pi)  # one radian a position
    turns = (fastest * (SLOWEST_TURNS / fastest) ** torch.linspace(0, 1, half, dtype=torch.float64)).round()
    angle = 2 * math.pi * ((torch.arange(PERIOD)[:, None] * turns) % PERIOD) / PERIOD
    return torch.polar(torch.ones_like(angle), angle).to(torch.complex64).to(device)


def angles(position: Tensor, head_width: int) -> Tensor:
    """Turns, complex ``[B, 1, T, head_width // 2]``, at ``position`` ``[B, T]`` (or ``[1, T]``)."""
    return rotary_table(head_width, position.device)[position % PERIOD].unsqueeze(1)


def rotate(x: Tensor, turn: Tensor) -> Tensor:
    """Turn each pair of ``[B, heads, T, head_width]`` by what ``angles`` gave for its position."""
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turn).flatten(-2)
