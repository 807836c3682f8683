"""The decoder-only stack: pre-norm blocks of windowed, grouped-query attention and an MLP.

Three methods compute the same function. ``forward`` takes a whole sequence, for training and evaluation. ``extend``
takes a chunk of one stream behind the positions in its cache (prefill). ``step`` takes one position of every slot.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from whispergpt.engine.config import StackConfig
from whispergpt.engine.model.cache import (
    filled,
    init_ring,
    place_of,
    ring_positions,
    write_chunk,
    write_lanes,
    write_one,
)
from whispergpt.engine.model.rotary import Rotary, rotate
from whispergpt.engine.model.streaming import State, branch, leaf

Turn: TypeAlias = tuple[Tensor, Tensor]
"""Cosines and sines of positions, as ``Rotary`` gives them."""


class Attention(nn.Module):
    """Causal attention over the last ``window`` positions; queries share ``kv_heads`` keys and values."""

    def __init__(self, config: StackConfig) -> None:
        super().__init__()
        self.config = config
        heads = config.heads + 2 * config.kv_heads
        self.query_key_value = nn.Linear(config.width, heads * config.head_width, bias=False)
        self.output = nn.Linear(config.width, config.width, bias=False)

    def _project(self, x: Tensor, turn: Turn) -> tuple[Tensor, Tensor, Tensor]:
        """``[B, T, width]`` → rotated queries and keys, and values, each ``[B, heads, T, head_width]``."""
        c = self.config
        heads = self.query_key_value(x).view(*x.shape[:2], -1, c.head_width).transpose(1, 2)
        turned = rotate(heads[:, : c.heads + c.kv_heads], turn)
        return turned[:, : c.heads], turned[:, c.heads :], heads[:, c.heads + c.kv_heads :]

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, unseen: Tensor) -> Tensor:
        """``[B, heads, T, D]`` over ``[B, kv_heads, N, D]`` except ``unseen`` ``[B, 1, T, N]`` → ``[B, T, width]``.

        Written out, because a fused kernel may choose its order of summation by the size of the batch. The same seed
        must give the same codes in any batch.
        """
        c = self.config
        batch, _, frames, _ = query.shape
        grouped = (query * c.head_width**-0.5).reshape(batch, c.kv_heads, -1, c.head_width)
        scores = (grouped @ key.transpose(-1, -2)).view(batch, c.heads, frames, -1)
        weights = scores.masked_fill_(unseen, float("-inf")).softmax(dim=-1)
        mixed = (weights.view(batch, c.kv_heads, -1, key.shape[2]) @ value).view(batch, c.heads, frames, -1)
        return self.output(mixed.transpose(1, 2).reshape(batch, frames, c.width))

    def forward(self, x: Tensor, turn: Turn, seen: Tensor) -> Tensor:
        """``[B, T, width]`` → ``[B, T, width]``."""
        query, key, value = self._project(x, turn)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=seen, enable_gqa=True)
        return self.output(mixed.transpose(1, 2).reshape(x.shape))

    def extend(
        self, x: Tensor, ring: State, write: Callable[[State, Tensor, Tensor], None], turn: Turn, unseen: Tensor
    ) -> Tensor:
        """Attend for T positions ``[B, T, width]`` behind those in the ring, which ``write`` adds to it."""
        query, key, value = self._project(x, turn)
        old_keys, old_values = leaf(ring, "keys"), leaf(ring, "values")
        y = self._attend(query, torch.cat([old_keys, key], 2), torch.cat([old_values, value], 2), unseen)
        write(ring, key, value)
        return y

    def step(self, x: Tensor, ring: State, place: tuple[Tensor, Tensor], turn: Turn, unseen: Tensor) -> Tensor:
        """Attend for one position ``[B, 1, width]`` of every slot; its key and value go to ``place`` of the ring."""
        query, key, value = self._project(x, turn)
        keys, values = write_one(ring, key[:, :, 0], value[:, :, 0], place)
        return self._attend(query, keys, values, unseen)


def _window_mask(query: Tensor, key: Tensor, window: int) -> Tensor:
    """Return whether the query at one position may see the key at another: bool ``[…, queries, keys]``."""
    distance = query[..., :, None] - key[..., None, :]
    return (distance >= 0) & (distance < window)


class Block(nn.Module):
    """Attention and MLP, each behind a norm and added to its input."""

    def __init__(self, config: StackConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width, bias=False)
        self.attention = Attention(config)
        self.mlp_norm = nn.LayerNorm(config.width, bias=False)
        self.up = nn.Linear(config.width, config.hidden, bias=False)
        self.down = nn.Linear(config.hidden, config.width, bias=False)
        self.dropout = nn.Dropout(0.0)

    def run(self, x: Tensor, attend: Callable[[Tensor], Tensor]) -> Tensor:
        """``[B, T, width]`` → ``[B, T, width]``; ``attend`` is one of the attention's three methods."""
        x = x + self.dropout(attend(self.attention_norm(x)))
        return x + self.dropout(self.down(F.gelu(self.up(self.mlp_norm(x)))))


class Stack(nn.Module):
    """Blocks and a last norm: ``[B, T, width]`` → ``[B, T, width]``.

    Angles, masks and places in the rings are the same for every block and are made once.
    """

    def __init__(self, config: StackConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks: list[Block] = [Block(config) for _ in range(config.layers)]
        self.layers = nn.ModuleList(self.blocks)
        self.norm = nn.LayerNorm(config.width, bias=False)
        self.rotary = Rotary(config.head_width)

    def init_state(self, slots: int, device: torch.device, kept_in: torch.dtype) -> State:
        """Return empty rings, one for each layer, of keys and values ``kept_in`` float32, bfloat16 or int8."""
        return {str(i): init_ring(slots, self.config, device, kept_in) for i in range(self.config.layers)}

    def forward(self, x: Tensor) -> Tensor:
        at = torch.arange(x.shape[1], device=x.device)
        turn, seen = self.rotary(at[None]), _window_mask(at, at, self.config.window)
        for block in self.blocks:
            x = block.run(x, partial(block.attention, turn=turn, seen=seen))
        return self.norm(x)

    def extend(self, x: Tensor, state: State, start: int) -> Tensor:
        """Run a chunk ``[1, T, width]`` of one stream, behind ``start`` positions."""
        window = self.config.window
        at = torch.arange(start, start + x.shape[1], device=x.device)
        before = ring_positions(start, window, x.device)
        seen = torch.cat([_window_mask(at, before, window) & (before >= 0), _window_mask(at, at, window)], dim=-1)
        return self._extend(x, state, partial(write_chunk, start=start), self.rotary(at[None]), ~seen[None, None])

    def extend_lanes(self, x: Tensor, state: State, start: Tensor, count: Tensor) -> Tensor:
        """Run a chunk ``[B, T, width]`` of every slot, behind ``start`` ``[B]`` positions.

        Of a slot's chunk only the first ``count`` ``[B]`` positions are written and mean anything. T is at most the
        window. No shape depends on ``start`` or ``count``.
        """
        window, place = self.config.window, torch.arange(x.shape[1], device=x.device)
        at, before = start[:, None] + place, ring_positions(start[:, None], window, x.device)
        old = _window_mask(at, before, window) & (before >= 0)[:, None]
        unseen = ~torch.cat([old, _window_mask(at, at, window)], dim=-1)[:, None]
        write = partial(write_lanes, places=at % window, within=place < count[:, None])
        return self._extend(x, state, write, self.rotary(at), unseen)

    def _extend(
        self, x: Tensor, state: State, write: Callable[[State, Tensor, Tensor], None], turn: Turn, unseen: Tensor
    ) -> Tensor:
        for index, block in enumerate(self.blocks):
            ring = branch(state, str(index))
            x = block.run(x, partial(block.attention.extend, ring=ring, write=write, turn=turn, unseen=unseen))
        return self.norm(x)

    def step(self, x: Tensor, state: State, position: Tensor) -> Tensor:
        """Run one position ``[B, 1, width]`` of every slot; ``position`` ``[B]`` is advanced by the caller."""
        unseen = ~filled(position, self.config.window)[:, None, None]
        turn, place = self.rotary(position[:, None]), place_of(position, self.config.window)
        for index, block in enumerate(self.blocks):
            ring = branch(state, str(index))
            x = block.run(x, partial(block.attention.step, ring=ring, place=place, turn=turn, unseen=unseen))
        return self.norm(x)
