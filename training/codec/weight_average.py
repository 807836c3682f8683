"""An exponential moving average of a module's weights, steadier than the weights themselves."""

from __future__ import annotations

import copy

import torch
from torch import nn


class WeightAverage(nn.Module):
    """Copy of a module whose weights are a moving average of the module's.

    Args:
        module: the module that is trained.
        decay: share of the average that is kept in a step.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        super().__init__()
        self.module = copy.deepcopy(module).requires_grad_(False)
        self._kept = decay

    @torch.no_grad()
    def restart(self, module: nn.Module) -> None:
        """Start the average at the current weights."""
        torch._foreach_copy_(list(self.module.parameters()), list(module.parameters()))

    @torch.no_grad()
    def follow(self, module: nn.Module) -> None:
        """Add the weights after one more step to the average, without reading values on the host."""
        torch._foreach_lerp_(list(self.module.parameters()), list(module.parameters()), 1 - self._kept)
