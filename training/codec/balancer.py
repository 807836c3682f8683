"""Losses weighed by their gradients (EnCodec, arXiv 2210.13438, section 3.4, "Balancer")."""

from __future__ import annotations

import torch
from torch import Tensor, nn

DECAY = 0.99


class Balancer(nn.Module):
    """Balance of losses: each has a fixed share of the gradient at the codec's output, whatever its scale.

    Args:
        shares: share of each loss by name; only the proportions count.
    """

    norms: Tensor

    def __init__(self, shares: dict[str, float]) -> None:
        super().__init__()
        self.shares = shares
        self.register_buffer("norms", torch.zeros(len(shares)))

    def backward(self, losses: dict[str, Tensor], output: Tensor) -> None:
        """Backpropagate the balanced gradient of ``losses`` from ``output`` ``[B, samples]``."""
        total = sum(self.shares.values())
        gradient = torch.zeros_like(output)
        for index, (name, share) in enumerate(self.shares.items()):
            (own,) = torch.autograd.grad(losses[name], output, retain_graph=True)
            norm = own.flatten(1).norm(dim=1).mean()
            mean = self.norms[index]
            mean.copy_(torch.where(mean == 0, norm, mean.lerp(norm, 1 - DECAY)))
            gradient += share / total / (mean + 1e-12) * own
        output.backward(gradient)
