"""Ring KV cache: the last ``window`` keys and values of every slot, at constant memory however long a stream runs."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.config import StackConfig
from engine.streaming import State, leaf


def init_ring(slots: int, config: StackConfig, device: torch.device, dtype: torch.dtype) -> State:
    """Keys and values ``[slots, kv_heads, window, head_width]`` of one layer."""
    shape = (slots, config.kv_heads, config.window, config.head_width)
    return {name: torch.zeros(shape, device=device, dtype=dtype) for name in ("keys", "values")}


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
    all_keys[row, :, at] = keys.to(all_keys.dtype)
    all_values[row, :, at] = values.to(all_values.dtype)
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
    all_keys[:, :, places] = keys[:, :, count - kept :].to(all_keys.dtype)
    all_values[:, :, places] = values[:, :, count - kept :].to(all_values.dtype)


def ring_positions(start: int, window: int, device: torch.device) -> Tensor:
    """The position that each place ``[window]`` holds once positions 0 … ``start`` - 1 are written; negative: none."""
    place = torch.arange(window, device=device)
    return (start - 1) - ((start - 1 - place) % window)
