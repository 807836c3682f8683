"""Adam for a codec's training, with a learning rate that may live on the device."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class DeviceAdam(torch.optim.Adam):
    """Adam whose learning rate is a tensor on the device of the weights.

    A captured CUDA graph reads the tensor, so that the rate may change between replays. On a CUDA device the step
    counts lie there too, and one kernel computes each step.
    """

    def __init__(self, weights: Iterable[nn.Parameter], rate: Tensor, betas: tuple[float, float]) -> None:
        on_gpu = rate.device.type == "cuda"
        super().__init__(weights, lr=rate, betas=betas, capturable=on_gpu, fused=on_gpu or None)
        self._rate = rate
        self._own = {"lr": rate, "capturable": on_gpu, "fused": on_gpu or None}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load moments and step counts, but neither the learning rate nor the way to compute.

        A captured graph does not read the checkpoint's copy of the rate, and the checkpoint may be of another device.
        """
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            group.update(self._own)
        for state in self.state.values():
            state["step"] = state["step"].to(self._rate.device)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all groups, in place where it is a tensor."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
