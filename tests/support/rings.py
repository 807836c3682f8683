"""Rings of keys and values in the layouts that kernels keep in bfloat16 and in int8."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from whispergpt.engine.model.cache import BLOCK
from whispergpt.engine.model.streaming import State


def paired(state: State) -> State:
    """A state of which every ring's keys and values are rounded to bfloat16 and laid out in pairs."""
    out: State = {}
    for name, part in state.items():
        if isinstance(part, dict):
            out[name] = paired(part)
        elif name in ("keys", "values"):
            slots, heads, window, width = part.shape
            rows = F.pad(part, (0, 0, 0, -window % BLOCK)).to(torch.bfloat16)
            if name == "keys":
                blocks = rows.view(slots, heads, -1, BLOCK, width // 2, 2)
                out[name] = blocks.transpose(3, 4).contiguous()
            else:
                out[name] = rows.view(slots, heads, -1, 2, width).transpose(3, 4).contiguous()
        else:
            out[name] = part.clone()
    return out


def unpaired_keys(keys: Tensor, window: int) -> Tensor:
    """``[slots, heads, blocks, width / 2, 16, 2]`` → ``[slots, heads, window, width]``."""
    slots, heads, _, half, _, _ = keys.shape
    return keys.transpose(3, 4).reshape(slots, heads, -1, 2 * half)[:, :, :window]


def unpaired_values(values: Tensor, window: int) -> Tensor:
    """``[slots, heads, places / 2, width, 2]`` → ``[slots, heads, window, width]``."""
    slots, heads, _, width, _ = values.shape
    return values.transpose(3, 4).reshape(slots, heads, -1, width)[:, :, :window]


def scales_of(ring: Tensor) -> Tensor:
    """Return the scales of an int8 ring ``[slots, heads, places, width + 4]``, float32 ``[slots, heads, places]``."""
    return ring.flatten(2)[:, :, -4 * ring.shape[2] :].view(torch.float32)
