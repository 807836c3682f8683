"""An exponential moving average of a module's weights, which changes less from step to step than the weights do."""

from __future__ import annotations

import copy

import torch
from torch import nn


class Averaged(nn.Module):
    """A module of the same shape as another, which follows the other's weights.

    Args:
        module: the module that learns.
        decay: share of the average that is kept in a step.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        super().__init__()
        self.module = copy.deepcopy(module).requires_grad_(False)
        self._kept = decay

    @torch.no_grad()
    def restart(self, module: nn.Module) -> None:
        """Begin with the weights as they are."""
        torch._foreach_copy_(list(self.module.parameters()), list(module.parameters()))

    @torch.no_grad()
    def follow(self, module: nn.Module) -> None:
        """Take the weights of one more step into the average, without reading values on the host."""
        torch._foreach_lerp_(list(self.module.parameters()), list(module.parameters()), 1 - self._kept)
