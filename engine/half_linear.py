"""Linear layers whose weights stay in half precision in memory, the arithmetic being float32.

A step for a few slots reads every weight once and computes little with it: memory is what it waits for. Weights
are stored in half precision in a model's files, so nothing is lost by leaving them so; FBGEMM's kernel widens them
in registers (measured with eight rows: about half the time of the float32 product, equal to 1e-5).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class HalfLinear(nn.Linear):
    """``nn.Linear`` that can be packed for inference on a CPU; unpacked, it is exactly its base."""

    _packed: Any = None

    def pack(self) -> None:
        """Keep a half-precision copy of the weights and use it from now on."""
        self._packed = pack_half(self.weight, self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """``[..., inputs]`` → ``[..., outputs]``."""
        return F.linear(input, self.weight, self.bias) if self._packed is None else apply_half(input, self._packed)


def half_kernel_available(device: torch.device) -> bool:
    """Whether this machine has the kernel: an x86 processor with AVX2, and a torch built with FBGEMM."""
    has_avx2 = torch.backends.cpu.get_cpu_capability() not in ("DEFAULT", "NO AVX")
    return device.type == "cpu" and has_avx2 and "fbgemm" in torch.backends.quantized.supported_engines


def pack_half(weight: Tensor, bias: Tensor | None) -> Any:
    """Weights ``[outputs, inputs]`` for ``apply_half``.

    Raises:
        ValueError: they are not exactly numbers of half precision, so packing would change the model.
    """
    weight = weight.detach()
    if not torch.equal(weight.half().float(), weight):
        raise ValueError("only weights that are exact in half precision can be packed")
    return torch.ops.quantized.linear_prepack_fp16(weight, None if bias is None else bias.detach())


def apply_half(x: Tensor, packed: Any) -> Tensor:
    """``[..., inputs]`` → ``[..., outputs]``."""
    return torch.ops.quantized.linear_dynamic_fp16(x, packed)
