"""Where a hybrid's training starts: what it hears comes in standardized."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from whispergpt.training.data.tokens import Tokens

FRAMES = 20_000
"""Of each source, evenly spaced: enough for each bin's mean and deviation."""


@torch.no_grad()
def start_from_slices(projection: nn.Linear, sources: list[Tokens]) -> None:
    """Let the projection give a mean of 0 and a deviation of about 1 of recordings, whatever their level is.

    Log-mel bins lie far below 0 and move little beside that: untouched, nearly the same vector would stand in every
    frame.
    """
    spaced = [source.mels["original"][:: max(1, len(source.codes) // FRAMES)] for source in sources]
    slices = torch.from_numpy(np.concatenate(spaced)).float().to(projection.weight.device)
    mean, deviation = slices.mean(0), slices.std(0).clamp_min(1e-3)
    nn.init.normal_(projection.weight, std=projection.in_features**-0.5)
    projection.weight.div_(deviation)
    projection.bias.copy_(-projection.weight @ mean)
