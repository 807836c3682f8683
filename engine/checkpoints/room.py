"""Check that the state of an engine's streams fits into memory, before any of it is allocated."""

from __future__ import annotations

import torch

from whispergpt.engine.checkpoints.checkpoint import LoadedModel, ModelError
from whispergpt.engine.checkpoints.memory_bound import memory_bound
from whispergpt.engine.model.streaming import State

BESIDE_SLOTS = 1 << 30
"""Bytes of a GPU's memory that are left for prompts, captured graphs and CUDA's libraries."""


def require_room(
    model: LoadedModel, slots: int, device: torch.device, kept_in: torch.dtype, tile: int, workspace: int = 0
) -> None:
    """Refuse more slots than the device's memory can hold: ``config.json`` may ask for large attention windows.

    Args:
        tile: slots that are made at once; their number is a multiple of it.
        workspace: bytes that a step takes for each slot beside its state.

    Raises:
        ModelError: there is too little memory; the message says how much is needed, and how many streams fit.
    """
    one = _bytes_of(model.step.init_state(1, torch.device("meta"), kept_in)) + workspace
    there = max(0, _free_bytes(device) - BESIDE_SLOTS) if device.type == "cuda" else memory_bound()
    if slots * one <= there:
        return
    told = (
        f"The model {model.id!r} needs {slots * one / 2**30:.1f} GiB for {slots} streams, and can have "
        f"{there / 2**30:.1f} GiB of memory"
    )
    if fit := there // one // tile * tile:
        raise ModelError(f"{told}; allow fewer streams: {fit} fit at most (--max-streams {fit}).")
    raise ModelError(f"{told}, too little for the {tile} that are the fewest.")


def _free_bytes(device: torch.device) -> int:
    """Return the bytes of a GPU's memory that nobody uses, with those that torch keeps for later."""
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def _bytes_of(state: State) -> int:
    return sum(
        _bytes_of(held) if isinstance(held, dict) else held.numel() * held.element_size() for held in state.values()
    )
