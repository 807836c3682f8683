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


def products_in(kind: torch.dtype, device: torch.device, keep_casts: bool = True) -> torch.autocast:
    """The context in which large products are of this type.

    Args:
        keep_casts: convert a weight once, however often it is used; a captured graph must not find one kept.
    """
    return torch.autocast(device.type, kind, enabled=kind != torch.float32, cache_enabled=keep_casts)


def use_tensor_cores(device: torch.device) -> None:
    """Let a CUDA device multiply float32 in TF32, and choose the fastest convolutions for the shapes it meets.

    Other devices stay as they are.
    """
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
