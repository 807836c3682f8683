"""Start of a hybrid's training: standardized input slices."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from whispergpt.training.data.tokens import Tokens

FRAMES = 20_000
"""Frames of each source, evenly spaced, from which each bin's mean and deviation are estimated."""


@torch.no_grad()
def start_from_slices(projection: nn.Linear, sources: list[Tokens]) -> None:
    """Set the projection so that its output on recordings has mean 0 and deviation about 1, whatever their level.

    Log-mel bins lie far below 0 and vary little: with default weights, the vectors of all frames would be nearly equal.
    """
    spaced = [source.mels["original"][:: max(1, len(source.codes) // FRAMES)] for source in sources]
    slices = torch.from_numpy(np.concatenate(spaced)).float().to(projection.weight.device)
    mean, deviation = slices.mean(0), slices.std(0).clamp_min(1e-3)
    nn.init.normal_(projection.weight, std=projection.in_features**-0.5)
    projection.weight.div_(deviation)
    projection.bias.copy_(-projection.weight @ mean)
