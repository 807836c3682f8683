"""Ring KV cache: the last ``window`` keys and values of every slot, at constant memory however long a stream runs."""

from __future__ import annotations

import torch
from torch import Tensor

from whispergpt.engine.config import StackConfig
from whispergpt.engine.model.streaming import State, leaf

BLOCK = 16
"""Places that rings in bfloat16 are whole multiples of."""


def init_ring(slots: int, config: StackConfig, device: torch.device, dtype: torch.dtype) -> State:
    """Keys and values ``[slots, kv_heads, window, head_width]`` of one layer.

    In bfloat16 they are for the compiled kernels alone, in pairs as ``native/src/paired_ring.h`` reads them: keys
    ``[slots, kv_heads, blocks, head_width / 2, 16, 2]`` of blocks of sixteen places, values ``[slots, kv_heads,
    places / 2, head_width, 2]``.
    """
    places, width = places_of(config, dtype), config.head_width
    keys: tuple[int, ...] = (places, width)
    values = keys
    if dtype == torch.bfloat16:
        keys, values = (places // BLOCK, width // 2, BLOCK, 2), (places // 2, width, 2)
    shapes = {"keys": keys, "values": values}
    return {
        name: torch.zeros(slots, config.kv_heads, *shape, device=device, dtype=dtype) for name, shape in shapes.items()
    }


def places_of(config: StackConfig, dtype: torch.dtype) -> int:
    """How many places a ring has room for: its window, in bfloat16 rounded up to whole blocks."""
    return -(-config.window // BLOCK) * BLOCK if dtype == torch.bfloat16 else config.window


def place_of(position: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Row and place in the ring of each slot's ``position`` ``[B]``."""
    return torch.arange(position.shape[0], device=position.device), position % window


def write_one(ring: State, keys: Tensor, values: Tensor, place: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Put one position per slot, ``[B, kv_heads, head_width]``, over the oldest; returns the whole rings.

    A slot whose position is not advanced afterwards is unharmed: the entry written over is the one that the next
    write replaces anyway, and no query reads it before.
    """
    all_keys, all_values = leaf(ring, "keys"), leaf(ring, "values")
    row, at = place
    all_keys[row, :, at] = keys
    all_values[row, :, at] = values
    return all_keys, all_values


def filled(position: Tensor, window: int) -> Tensor:
    """Which places hold a position that the query at ``position`` ``[B]`` may see → bool ``[B, window]``."""
    return torch.arange(window, device=position.device) <= position[:, None]


def write_chunk(ring: State, keys: Tensor, values: Tensor, start: int) -> None:
    """Put T positions ``[1, kv_heads, T, head_width]`` from ``start`` on; of more than a window, the last remain."""
    all_keys, all_values = leaf(ring, "keys"), leaf(ring, "values")
    window, count = all_keys.shape[2], keys.shape[2]
    kept = min(window, count)
    places = torch.arange(start + count - kept, start + count, device=keys.device) % window
    all_keys[:, :, places] = keys[:, :, count - kept :]
    all_values[:, :, places] = values[:, :, count - kept :]


def ring_positions(start: int, window: int, device: torch.device) -> Tensor:
    """The position that each place ``[window]`` holds once positions 0 … ``start`` - 1 are written; negative: none."""
    place = torch.arange(window, device=device)
    return (start - 1) - ((start - 1 - place) % window)
