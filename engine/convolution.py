"""Causal layers of the codec: convolution, transposed convolution and LSTM, offline and streaming alike.

Each layer computes the same function in both ways. A convolution keeps the last inputs that its next outputs
still see, a transposed one its last input frame, an LSTM its two vectors. Parameter names are EnCodec's.

``forward`` takes ``[B, C, T]``, as torch's convolutions do. ``step`` takes ``[B, T, C]``: with channels last, the few
samples of a chunk make a convolution one matrix product of small windows, about twice as fast as ``conv1d``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.half_linear import apply_half, pack_half
from engine.streaming import State, keep, leaf


class _Packed:
    """A weight in the layout of the matrix product, made anew when the weight has changed or moved."""

    def __init__(self, pack: Callable[[Tensor], Tensor]) -> None:
        self._pack = pack
        self._of: tuple[int, int] | None = None
        self._packed: Tensor | None = None

    def get(self, weight: Tensor) -> Tensor:
        # Weights made under inference mode never change and count no versions.
        of = (weight.data_ptr(), 0 if weight.is_inference() else weight._version)
        if self._packed is None or self._of != of:
            self._packed, self._of = self._pack(weight.detach()).contiguous(), of
        return self._packed


class CausalConv1d(nn.Module):
    """A strided convolution that sees no future sample; ``pad_mode`` says what stands before the first one."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, pad_mode: str = "constant") -> None:
        super().__init__()
        # EnCodec's name for the weight is ``conv.conv.weight``.
        inner = nn.Conv1d(inputs, outputs, kernel, stride)
        self.conv = nn.ModuleDict({"conv": inner})
        self._inner: tuple[nn.Conv1d] = (inner,)  # in a tuple, lest it be registered under a second name
        self.inputs, self.kernel, self.stride, self.pad_mode = inputs, kernel, stride, pad_mode
        self.context = kernel - stride
        # [C', C, kernel] → [C', kernel·C], windows being read sample by sample
        self._matrix = _Packed(lambda w: w.transpose(1, 2).flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, T]`` → ``[B, C', ceil(T / stride)]``, the end padded to a whole stride."""
        extra = math.ceil(x.shape[-1] / self.stride) * self.stride - x.shape[-1]
        return self._inner[0](_pad(x, self.context, extra, self.pad_mode))

    def init_state(self, slots: int, device: torch.device) -> State:
        return {"context": torch.zeros(slots, self.context, self.inputs, device=device)} if self.context else {}

    def step(self, x: Tensor, state: State, active: Tensor | None = None, cold: bool = False) -> Tensor:
        """``[B, T, C]`` → ``[B, T / stride, C']`` with T a whole number of strides."""
        if self.context:
            x = self._with_context(x, leaf(state, "context"), active, cold)
        inner = self._inner[0]
        if self.kernel > 1:
            # [B, T', C, kernel] → [B, T', kernel·C]
            x = x.unfold(1, self.kernel, self.stride).transpose(2, 3).flatten(2)
        return F.linear(x, self._matrix.get(inner.weight), inner.bias)

    def _with_context(self, x: Tensor, context: Tensor, active: Tensor | None, cold: bool) -> Tensor:
        """Put what came before in front of ``x``, and keep its end for the next chunk."""
        if cold and self.pad_mode == "reflect":
            if x.shape[1] <= self.context:
                raise ValueError("a codec with reflection padding needs at least seven frames to start a stream")
            seen = _pad(x.transpose(1, 2), self.context, 0, "reflect").transpose(1, 2)
        else:
            seen = torch.cat([context, x], dim=1)
        keep(context, seen[:, seen.shape[1] - self.context :], active)
        return seen


def _pad(x: Tensor, left: int, right: int, mode: str) -> Tensor:
    """Pad ``[B, C, T]``. Reflection of an input no longer than its padding first appends zeros, as EnCodec does."""
    if mode != "reflect" or not (left or right):
        return F.pad(x, (left, right))
    missing = max(0, max(left, right) - x.shape[-1] + 1)
    padded = F.pad(F.pad(x, (0, missing)), (left, right), mode="reflect")
    return padded[..., : padded.shape[-1] - missing]


class CausalConvTranspose1d(nn.Module):
    """A transposed convolution with kernel 2·stride, its right overhang trimmed: output t needs inputs t-1 and t."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        inner = nn.ConvTranspose1d(inputs, outputs, 2 * stride, stride)
        self.convtr = nn.ModuleDict({"convtr": inner})
        self._inner: tuple[nn.ConvTranspose1d] = (inner,)
        self.inputs, self.outputs, self.stride = inputs, outputs, stride
        # [C, C', 2·stride] → [stride·C', 2·C]: the samples of frame t from [x(t-1), x(t)]
        self._matrix = _Packed(lambda w: torch.cat([w[..., stride:], w[..., :stride]]).permute(2, 1, 0).flatten(0, 1))
        self._bias = _Packed(lambda b: b.repeat(stride))

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, T]`` → ``[B, C', T·stride]``."""
        return self._inner[0](x)[..., : x.shape[-1] * self.stride]

    def init_state(self, slots: int, device: torch.device) -> State:
        return {"previous": torch.zeros(slots, 1, self.inputs, device=device)}

    def step(self, x: Tensor, state: State, active: Tensor | None = None, cold: bool = False) -> Tensor:
        """``[B, T, C]`` → ``[B, T·stride, C']``."""
        previous, inner = leaf(state, "previous"), self._inner[0]
        assert inner.bias is not None
        before = torch.cat([previous, x[:, :-1]], dim=1)
        y = F.linear(torch.cat([before, x], dim=2), self._matrix.get(inner.weight), self._bias.get(inner.bias))
        keep(previous, x[:, -1:], active)
        return y.view(len(x), -1, self.outputs)


class ResidualLSTM(nn.Module):
    """EnCodec's SLSTM: an LSTM over time, added to its input. Unlike the original it can carry its state on."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width, layers)
        self.width, self.layers = width, layers
        self._halves: list[tuple[Any, Any]] = []

    def pack(self) -> None:
        """Use half-precision copies of the weights from now on, one frame at a time."""
        self._halves = []
        for layer in range(self.layers):
            input_weight, hidden_weight, input_bias, hidden_bias = self._weights(layer)
            self._halves.append((pack_half(input_weight, input_bias), pack_half(hidden_weight, hidden_bias)))

    def _weights(self, layer: int) -> tuple[Tensor, ...]:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        return tuple(getattr(self.lstm, f"{name}_l{layer}") for name in names)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, T]`` → ``[B, C, T]``."""
        inputs = x.permute(2, 0, 1)
        y, _ = self.lstm(inputs)
        return (y + inputs).permute(1, 2, 0)

    def init_state(self, slots: int, device: torch.device) -> State:
        zeros = torch.zeros(slots, self.layers, self.width, device=device)
        return {"hidden": zeros, "cell": zeros.clone()}

    def step(self, x: Tensor, state: State, active: Tensor | None = None, cold: bool = False) -> Tensor:
        """``[B, T, C]`` → ``[B, T, C]``."""
        hidden, cell = leaf(state, "hidden"), leaf(state, "cell")
        if x.shape[1] == 1:
            y = self._one_frame(x[:, 0], hidden, cell, active)[:, None]
            return x + y
        y, (new_hidden, new_cell) = self.lstm(
            x.transpose(0, 1), (hidden.transpose(0, 1).contiguous(), cell.transpose(0, 1).contiguous())
        )
        keep(hidden, new_hidden.transpose(0, 1), active)
        keep(cell, new_cell.transpose(0, 1), active)
        return x + y.transpose(0, 1)

    def _one_frame(self, x: Tensor, hidden: Tensor, cell: Tensor, active: Tensor | None) -> Tensor:
        """One frame ``[B, C]`` by products of our own: torch's LSTM costs five times as much for it."""
        for layer in range(self.layers):
            gates = self._gates(layer, x, hidden[:, layer])
            write, forget, new, show = gates.chunk(4, dim=-1)
            made = torch.sigmoid(forget) * cell[:, layer] + torch.sigmoid(write) * torch.tanh(new)
            x = torch.sigmoid(show) * torch.tanh(made)
            keep(cell[:, layer], made, active)
            keep(hidden[:, layer], x, active)
        return x

    def _gates(self, layer: int, x: Tensor, hidden: Tensor) -> Tensor:
        if self._halves:
            input_half, hidden_half = self._halves[layer]
            return apply_half(x, input_half) + apply_half(hidden, hidden_half)
        input_weight, hidden_weight, input_bias, hidden_bias = self._weights(layer)
        return F.linear(x, input_weight, input_bias) + F.linear(hidden, hidden_weight, hidden_bias)
