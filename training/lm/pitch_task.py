"""A second task for models of music: to foretell the pitch classes of the next second and of the next four.

What key a piece is in tells little about a code of 13 ms, so that the next code alone hardly teaches a model to keep
it. The head that foretells is no part of the model.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from whispergpt.training.tokens.pitch_ahead import CLASSES, SPANS

RATE = 3e-3
"""Learning rate of the head."""


class PitchTask:
    """A head on the model's states of ``width`` numbers, with its optimiser."""

    def __init__(self, width: int, device: torch.device) -> None:
        self._head = nn.Linear(width, len(SPANS) * CLASSES, device=device)
        self._optimizer = torch.optim.AdamW(self._head.parameters(), RATE)

    @property
    def parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """Return what a checkpoint keeps of it."""
        return {"pitch_head": self._head, "pitch_adamw": self._optimizer}

    def divergence(self, hidden: Tensor, ahead: Tensor) -> Tensor:
        """Return the mean Kullback-Leibler divergence in nats of what the head foretells, for one stretch.

        Args:
            hidden: the model's states ``[B, T, width]``.
            ahead: the true shares ``[B, T, spans, 12]``; zero where there is nothing to foretell.
        """
        told = F.log_softmax(self._head(hidden).unflatten(-1, (len(SPANS), CLASSES)).float(), dim=-1)
        known = ahead.sum(dim=-1) > 0
        if not known.any():
            return told.sum() * 0.0
        return F.kl_div(told[known], ahead[known], reduction="batchmean")

    def step(self) -> None:
        """Let the head take one step with its gradients."""
        self._optimizer.step()
        self._optimizer.zero_grad()
