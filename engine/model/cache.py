"""Ring KV cache: the last ``window`` keys and values of every slot, in memory that does not grow with a stream."""

from __future__ import annotations

import torch
from torch import Tensor

from whispergpt.engine.config import StackConfig
from whispergpt.engine.model.streaming import State, leaf

BLOCK = 16
"""Places in one block; a ring in bfloat16 or int8 is a whole number of blocks."""


def init_ring(slots: int, config: StackConfig, device: torch.device, dtype: torch.dtype) -> State:
    """Return zeroed keys and values ``[slots, kv_heads, window, head_width]`` of one layer.

    In bfloat16 on a CPU only the compiled kernels read them, in pairs as ``native/src/paired_ring.h`` lays them out:
    keys ``[slots, kv_heads, blocks, head_width / 2, 16, 2]`` of blocks of sixteen places, values ``[slots, kv_heads,
    places / 2, head_width, 2]``. In int8 they are both ``[slots, kv_heads, places, head_width + 4]`` as
    ``native/src/byte_ring.h`` lays them out, with a scale for each place.
    """
    width = config.head_width
    keys: tuple[int, ...] = (config.window, width)
    values = keys
    if dtype == torch.bfloat16 and device.type == "cpu":
        places = places_of(config, dtype)
        keys, values = (places // BLOCK, width // 2, BLOCK, 2), (places // 2, width, 2)
    elif dtype == torch.int8:
        keys = values = (places_of(config, dtype), width + 4)
    shapes = {"keys": keys, "values": values}
    return {
        name: torch.zeros(slots, config.kv_heads, *shape, device=device, dtype=dtype) for name, shape in shapes.items()
    }


def places_of(config: StackConfig, dtype: torch.dtype) -> int:
    """Return the number of places in a CPU's ring: its window, rounded up to whole blocks in bfloat16 and int8."""
    return config.window if dtype == torch.float32 else -(-config.window // BLOCK) * BLOCK


def place_of(position: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Return row and place in the ring of each slot's ``position`` ``[B]``."""
    return torch.arange(position.shape[0], device=position.device), position % window


def write_one(ring: State, keys: Tensor, values: Tensor, place: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Write one position per slot, ``[B, kv_heads, head_width]``, over the oldest; return the whole rings.

    A slot may keep its position afterwards: its next write replaces the same entry, and no query reads that entry
    before.
    """
    all_keys, all_values = leaf(ring, "keys"), leaf(ring, "values")
    row, at = place
    all_keys[row, :, at] = keys
    all_values[row, :, at] = values
    return all_keys, all_values


def filled(position: Tensor, window: int) -> Tensor:
    """Return bool ``[B, window]``: whether a place holds a position that the query at ``position`` ``[B]`` may see."""
    return torch.arange(window, device=position.device) <= position[:, None]


def write_chunk(ring: State, keys: Tensor, values: Tensor, start: int) -> None:
    """Write T positions ``[1, kv_heads, T, head_width]`` from ``start`` on; of more than a window, keep the last."""
    all_keys, all_values = leaf(ring, "keys"), leaf(ring, "values")
    window, count = all_keys.shape[2], keys.shape[2]
    kept = min(window, count)
    places = torch.arange(start + count - kept, start + count, device=keys.device) % window
    all_keys[:, :, places] = keys[:, :, count - kept :].to(all_keys.dtype)
    all_values[:, :, places] = values[:, :, count - kept :].to(all_values.dtype)


def write_lanes(ring: State, keys: Tensor, values: Tensor, places: Tensor, within: Tensor) -> None:
    """Write T positions of each slot, ``[B, kv_heads, T, head_width]``, to ``places`` ``[B, T]`` where ``within``.

    T is at most the window, so that no place is written twice.
    """
    row = torch.arange(places.shape[0], device=places.device)[:, None]
    for name, new in (("keys", keys), ("values", values)):
        held = leaf(ring, name)
        held[row, :, places] = torch.where(
            within[:, :, None, None], new.transpose(1, 2).to(held.dtype), held[row, :, places]
        )


def ring_positions(start: int | Tensor, window: int, device: torch.device) -> Tensor:
    """Return the position in each place ``[window]`` once 0 … ``start`` - 1 are written; negative: empty.

    For ``start`` ``[B, 1]`` the places of all slots are returned, ``[B, window]``.
    """
    place = torch.arange(window, device=device)
    return (start - 1) - ((start - 1 - place) % window)
