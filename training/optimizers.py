"""Optimisers: Adam with a learning rate on the device for codecs, Muon with AdamW for models.

Muon is momentum whose matrices are made orthogonal before each step, for the weights within a stack: Jordan et al.,
"Muon: an optimizer for hidden layers in neural networks" (2024). The scale of Liu et al., arXiv 2502.16982, section
2.2, gives its steps AdamW's size, so that one learning rate serves both. PyTorch's own ``torch.optim.Muon`` always
multiplies in bfloat16, which most CPUs have no instructions for; this one uses autocast.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

STEPS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Coefficients of Jordan's quintic, steep at 0, which brings every singular value near 1 in ``STEPS`` steps."""
LIKE_ADAMW = 0.2
"""Root mean square of AdamW's updates."""
MOMENTUM = 0.95


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


class Muon(torch.optim.Optimizer):
    """Optimiser by orthogonal Nesterov momentum, for matrices ``[N, K]`` alone."""

    def __init__(self, matrices: Iterable[Tensor], lr: float, weight_decay: float) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # it has no overload that returns a loss
        """Take one step with the current gradients."""
        assert closure is None
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                if not state:
                    state["momentum"] = torch.zeros_like(matrix)
                momentum = state["momentum"]
                momentum.lerp_(matrix.grad, 1 - MOMENTUM)
                update = orthogonal(matrix.grad.lerp(momentum, MOMENTUM))
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(update, alpha=-group["lr"] * LIKE_ADAMW * max(matrix.shape) ** 0.5)


def orthogonal(matrix: Tensor) -> Tensor:
    """Return ``[N, K]`` with its singular values brought to about 1 (0.7 to 1.2) by Newton-Schulz steps."""
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp_min(1e-7)
    for _ in range(STEPS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


class ModelOptimizer:
    """Muon for the matrices within a model's stacks; AdamW for all other weights: ends, fine stage and vectors."""

    def __init__(self, model: nn.Module, rate: float, weight_decay: float) -> None:
        within: list[Tensor] = []
        matrices: list[Tensor] = []
        vectors: list[Tensor] = []
        for name, weight in model.named_parameters():
            of_stack = name.startswith(("stack.", "slice_stack."))
            (vectors if weight.dim() < 2 else within if of_stack else matrices).append(weight)
        groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        self._muon = Muon(within, rate, weight_decay)
        self._adamw = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95))
        self.parts: dict[str, torch.optim.Optimizer] = {"muon": self._muon, "adamw": self._adamw}

    def step(self, rate: float) -> None:
        """Take one step at a learning rate with the current gradients, and drop them."""
        for optimizer in (self._muon, self._adamw):
            set_rate(optimizer, rate)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
