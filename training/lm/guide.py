"""Odds to learn from instead of recordings' codes: a frozen model's, with what it owes to the distant past enlarged.

What lies more than about a second back hardly changes the odds of the next code, and yet a key is kept by nothing
else. So a second look knows about the last second alone, and the difference between the two is added to the log-odds
as often as is wanted. That is classifier-free guidance (Ho and Salimans, arXiv 2207.12598, equation 6) by context
instead of by class, as in context-aware decoding (Shi et al., arXiv 2305.14739). Learnt by a model, it costs no second
stream.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from whispergpt.engine.model.whisper_gpt import WhisperGPT
from whispergpt.training.tokens.token_crops import Batch

NEAR = 64
"""Frames before the current one that the second look knows at least; it knows fewer than twice as many."""
LEAST = 1e-3
"""Probability below which a code is left out, as a share of the likeliest one's."""


class Guide:
    """A frozen model, and how many times what it owes to the distant past is added to its log-odds.

    It computes in float32: what is added is a small difference of large numbers.
    """

    def __init__(self, model: WhisperGPT, weight: float) -> None:
        self._model, self._weight = model.eval().requires_grad_(False), weight

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the mean loss in nats of logits ``[B, T, 1024]``: by the odds, or by a target that leaves a stall."""
        follows, leaves = batch.known, (batch.targets >= 0) & ~batch.known
        by_odds = F.cross_entropy(logits[follows], self.odds(batch)[follows], reduction="sum")
        by_targets = F.cross_entropy(logits[leaves], batch.targets[leaves], reduction="sum")
        return (by_odds + by_targets) / (follows | leaves).sum()

    @torch.no_grad()
    def odds(self, batch: Batch) -> Tensor:
        """Return the probabilities ``[B, T, 1024]`` of the next coarse code at each frame of a batch."""
        codes = batch.codes[:, :-1, 0]
        far = F.log_softmax(self._model(codes, batch.mels).float(), dim=-1)
        near = F.log_softmax(self._near(codes, batch.mels).float(), dim=-1)
        guided = far + self._weight * (far - near)
        likeliest = far.amax(dim=-1, keepdim=True)
        return guided.masked_fill(far < likeliest + math.log(LEAST), -torch.inf).softmax(dim=-1)

    def _near(self, codes: Tensor, mels: Tensor) -> Tensor:
        """Return the logits ``[B, T, 1024]`` of the same model that has heard the last frames alone.

        Each stretch of ``NEAR`` frames is computed behind the ``NEAR`` before it, and all of them at once.
        """
        rows, frames = codes.shape
        short = max(2 * NEAR - frames, -frames % NEAR)
        wholes = F.pad(codes, (0, short)), F.pad(mels, (0, 0, 0, short))
        first = self._model(*(whole[:, : 2 * NEAR] for whole in wholes))
        if frames <= 2 * NEAR:
            return first[:, :frames]
        stretches = [whole.unfold(1, 2 * NEAR, NEAR)[:, 1:] for whole in wholes]
        later_codes = stretches[0].flatten(0, 1)
        later_mels = stretches[1].transpose(-1, -2).flatten(0, 1)
        later = self._model(later_codes, later_mels)[:, NEAR:].unflatten(0, (rows, -1)).flatten(1, 2)
        return torch.cat([first, later], dim=1)[:, :frames]
