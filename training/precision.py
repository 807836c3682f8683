"""Types in which training computes products."""

from __future__ import annotations

import torch


def product_type(device: torch.device, bfloat16: bool | None) -> torch.dtype:
    """Return the type asked for; for None, bfloat16 where the device has units for it, else float32.

    Emulated on a processor without such units, bfloat16 is several times slower than float32.
    """
    if bfloat16 is None:
        bfloat16 = _has_units(device)
    return torch.bfloat16 if bfloat16 else torch.float32


def _has_units(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.cpu._is_avx512_bf16_supported()


def products_in(kind: torch.dtype, device: torch.device, keep_casts: bool = True) -> torch.autocast:
    """Return a context in which large products are of this type.

    Args:
        keep_casts: keep converted weights for later uses; must be False where a graph is captured.
    """
    return torch.autocast(device.type, kind, enabled=kind != torch.float32, cache_enabled=keep_casts)


def use_tensor_cores(device: torch.device) -> None:
    """Let a CUDA device multiply float32 in TF32, and choose the fastest convolutions for the given shapes.

    Other devices are not changed.
    """
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
