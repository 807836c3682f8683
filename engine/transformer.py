"""The decoder-only stack: pre-norm blocks of windowed, grouped-query attention and an MLP.

Three ways through it compute the same function: ``forward`` a whole sequence (training, evaluation), ``extend``
a chunk of one stream behind what its cache holds (prefill), ``step`` one position of every slot (generation).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.cache import filled, init_ring, ring_positions, write_chunk, write_one
from engine.config import StackConfig
from engine.rotary import rotate
from engine.streaming import State, branch, leaf


class Attention(nn.Module):
    """Causal attention over the last ``window`` positions; queries share ``kv_heads`` keys and values."""

    def __init__(self, config: StackConfig) -> None:
        super().__init__()
        self.config = config
        kv_width = config.kv_heads * config.head_width
        self.query = nn.Linear(config.width, config.width, bias=False)
        self.key_value = nn.Linear(config.width, 2 * kv_width, bias=False)
        self.output = nn.Linear(config.width, config.width, bias=False)

    def _project(self, x: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``[B, T, width]`` → rotated queries and keys, and values, each ``[B, heads, T, head_width]``."""
        c = self.config
        batch, frames, _ = x.shape
        query = self.query(x).view(batch, frames, c.heads, c.head_width).transpose(1, 2)
        key_value = self.key_value(x).view(batch, frames, 2, c.kv_heads, c.head_width)
        key, value = key_value.permute(2, 0, 3, 1, 4)
        return rotate(query, position), rotate(key, position), value

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        """``[B, heads, T, D]`` over ``[B, kv_heads, N, D]`` where ``mask`` ``[B, T, N]`` → ``[B, T, width]``.

        Written out, since a fused kernel may choose its order of summation by the batch it is given, and the
        same seed must give the same codes in any company.
        """
        c = self.config
        batch, _, frames, _ = query.shape
        groups = c.heads // c.kv_heads
        grouped = query.reshape(batch, c.kv_heads, groups * frames, c.head_width)
        scores = (grouped @ key.transpose(-1, -2)).view(batch, c.kv_heads, groups, frames, -1)
        scores = scores.div_(math.sqrt(c.head_width)).masked_fill_(~mask[:, None, None], float("-inf"))
        weights = scores.softmax(dim=-1).view(batch, c.kv_heads, groups * frames, -1)
        mixed = (weights @ value).view(batch, c.heads, frames, c.head_width)
        return self.output(mixed.transpose(1, 2).reshape(batch, frames, c.width))

    def forward(self, x: Tensor) -> Tensor:
        """``[B, T, width]`` → ``[B, T, width]``."""
        frames = x.shape[1]
        at = torch.arange(frames, device=x.device)
        query, key, value = self._project(x, at[None])
        mask = _window_mask(at, at, self.config.window)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=True)
        return self.output(mixed.transpose(1, 2).reshape(x.shape))

    def extend(self, x: Tensor, ring: State, start: int) -> Tensor:
        """T positions ``[1, T, width]`` of one stream, from position ``start`` on."""
        at = torch.arange(start, start + x.shape[1], device=x.device)
        query, key, value = self._project(x, at[None])
        before = ring_positions(start, self.config.window, x.device)
        mask = torch.cat(
            [_window_mask(at, before, self.config.window) & (before >= 0), _window_mask(at, at, self.config.window)],
            dim=-1,
        )
        old_keys, old_values = leaf(ring, "keys"), leaf(ring, "values")
        y = self._attend(query, torch.cat([old_keys, key], 2), torch.cat([old_values, value], 2), mask[None])
        write_chunk(ring, key, value, start)
        return y

    def step(self, x: Tensor, ring: State, position: Tensor) -> Tensor:
        """One position ``[B, 1, width]`` of every slot, at ``position`` ``[B]``."""
        query, key, value = self._project(x, position[:, None])
        keys, values = write_one(ring, key[:, :, 0], value[:, :, 0], position)
        return self._attend(query, keys, values, filled(position, self.config.window)[:, None])


def _window_mask(query: Tensor, key: Tensor, window: int) -> Tensor:
    """May the query at one position see the key at another: ``[queries, keys]``."""
    distance = query[:, None] - key[None, :]
    return (distance >= 0) & (distance < window)


class Block(nn.Module):
    """Attention and MLP, each behind a norm and added to its input."""

    def __init__(self, config: StackConfig) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.width, eps=1e-5)
        self.attention = Attention(config)
        self.mlp_norm = nn.RMSNorm(config.width, eps=1e-5)
        self.up = nn.Linear(config.width, config.hidden, bias=False)
        self.down = nn.Linear(config.hidden, config.width, bias=False)
        self.dropout = nn.Dropout(0.0)

    def _mlp(self, x: Tensor) -> Tensor:
        return self.dropout(self.down(F.gelu(self.up(self.mlp_norm(x)))))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x)))
        return x + self._mlp(x)

    def extend(self, x: Tensor, ring: State, start: int) -> Tensor:
        x = x + self.attention.extend(self.attention_norm(x), ring, start)
        return x + self._mlp(x)

    def step(self, x: Tensor, ring: State, position: Tensor) -> Tensor:
        x = x + self.attention.step(self.attention_norm(x), ring, position)
        return x + self._mlp(x)


class Stack(nn.Module):
    """Blocks and a last norm: ``[B, T, width]`` → ``[B, T, width]``."""

    def __init__(self, config: StackConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks: list[Block] = [Block(config) for _ in range(config.layers)]
        self.layers = nn.ModuleList(self.blocks)
        self.norm = nn.RMSNorm(config.width, eps=1e-5)

    def init_state(self, slots: int, device: torch.device) -> State:
        """Empty rings, one for each layer."""
        return {str(i): init_ring(slots, self.config, device) for i in range(self.config.layers)}

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def extend(self, x: Tensor, state: State, start: int) -> Tensor:
        """A chunk of one stream, behind ``start`` positions."""
        for index, block in enumerate(self.blocks):
            x = block.extend(x, branch(state, str(index)), start)
        return self.norm(x)

    def step(self, x: Tensor, state: State, position: Tensor) -> Tensor:
        """One position of every slot; ``position`` ``[B]`` counts from 0 and is advanced by the caller."""
        for index, block in enumerate(self.blocks):
            x = block.step(x, branch(state, str(index)), position)
        return self.norm(x)
