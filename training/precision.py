"""In which type training multiplies."""

from __future__ import annotations

import torch


def product_type(device: torch.device, bfloat16: bool | None) -> torch.dtype:
    """What was asked for; None: bfloat16 where the device has units for it, else float32.

    On processors without them bfloat16 is emulated, and several times slower than float32.
    """
    if bfloat16 is None:
        bfloat16 = _has_units(device)
    return torch.bfloat16 if bfloat16 else torch.float32


def _has_units(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.cpu._is_avx512_bf16_supported()


def products_in(kind: torch.dtype, device: torch.device) -> torch.autocast:
    """The context in which large products are of this type."""
    return torch.autocast(device.type, kind, enabled=kind != torch.float32)
