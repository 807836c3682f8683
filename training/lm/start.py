"""Initial weights of a model: a fine stage at the frequency of each code, and standardized input slices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from whispergpt.engine.config import CODEBOOK_SIZE
from whispergpt.engine.model.fine.drawn_stage import DrawnStage
from whispergpt.training.tokens.tokens import Tokens

FRAMES = 20_000
"""Frames of each source, evenly spaced, from which each bin's mean and deviation are estimated."""


@torch.no_grad()
def start_from_frequencies(fine: DrawnStage, train: Sequence[Tokens]) -> None:
    """Set each level's bias to the log frequencies of its codes (one added to each count), and its query to zero.

    Frequencies differ by several nats, and Adam moves a bias by at most its rate in a step. Products of a random query
    with the codebooks' entries are large. Without this start, a stage was no better than the frequencies after a
    thousand steps (measured).
    """
    for book, level in enumerate(fine.levels, start=1):
        counts = np.ones(CODEBOOK_SIZE)
        for source in train:
            counts += np.bincount(source.codes[:, book], minlength=CODEBOOK_SIZE)
        level.query.weight.zero_()
        level.query.bias.zero_()
        level.bias.copy_(torch.from_numpy(np.log(counts / counts.sum())))


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
