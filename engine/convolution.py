"""Causal layers of the codec: convolution, transposed convolution and LSTM, offline and streaming alike.

Each layer computes the same function in both ways. A convolution keeps the last inputs that its next outputs
still see, a transposed one its last input frame, an LSTM its two vectors. Parameter names are EnCodec's.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.streaming import State, keep, leaf


class CausalConv1d(nn.Module):
    """A strided convolution that sees no future sample; ``pad_mode`` says what stands before the first one."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, pad_mode: str = "constant") -> None:
        super().__init__()
        # EnCodec's name for the weight is ``conv.conv.weight``.
        self.conv = nn.ModuleDict({"conv": nn.Conv1d(inputs, outputs, kernel, stride)})
        self.inputs, self.kernel, self.stride, self.pad_mode = inputs, kernel, stride, pad_mode
        self.context = kernel - stride

    def _convolve(self, x: Tensor) -> Tensor:
        conv = self.conv["conv"]
        return F.conv1d(x, conv.weight, conv.bias, self.stride)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, T]`` → ``[B, C', ceil(T / stride)]``, the end padded to a whole stride."""
        extra = math.ceil(x.shape[-1] / self.stride) * self.stride - x.shape[-1]
        return self._convolve(_pad(x, self.context, extra, self.pad_mode))

    def init_state(self, slots: int, device: torch.device) -> State:
        return {"context": torch.zeros(slots, self.inputs, self.context, device=device)} if self.context else {}

    def step(self, x: Tensor, state: State, active: Tensor | None = None, cold: bool = False) -> Tensor:
        """``[B, C, T]`` → ``[B, C', T / stride]`` with T a whole number of strides."""
        if not self.context:
            return self._convolve(x)
        context = leaf(state, "context")
        if cold and self.pad_mode == "reflect":
            if x.shape[-1] <= self.context:
                raise ValueError("a codec with reflection padding needs at least seven frames to start a stream")
            seen = _pad(x, self.context, 0, "reflect")
        else:
            seen = torch.cat([context, x], dim=-1)
        y = self._convolve(seen)
        keep(context, seen[..., seen.shape[-1] - self.context :], active)
        return y


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
        self.convtr = nn.ModuleDict({"convtr": nn.ConvTranspose1d(inputs, outputs, 2 * stride, stride)})
        self.inputs, self.stride = inputs, stride

    def _convolve(self, x: Tensor) -> Tensor:
        conv = self.convtr["convtr"]
        return F.conv_transpose1d(x, conv.weight, conv.bias, self.stride)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, T]`` → ``[B, C', T·stride]``."""
        return self._convolve(x)[..., : x.shape[-1] * self.stride]

    def init_state(self, slots: int, device: torch.device) -> State:
        return {"previous": torch.zeros(slots, self.inputs, 1, device=device)}

    def step(self, x: Tensor, state: State, active: Tensor | None = None, cold: bool = False) -> Tensor:
        """``[B, C, T]`` → ``[B, C', T·stride]``."""
        previous = leaf(state, "previous")
        y = self._convolve(torch.cat([previous, x], dim=-1))
        keep(previous, x[..., -1:], active)
        return y[..., self.stride : (x.shape[-1] + 1) * self.stride]


class ResidualLSTM(nn.Module):
    """EnCodec's SLSTM: an LSTM over time, added to its input. Unlike the original it can carry its state on."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width, layers)
        self.width, self.layers = width, layers

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, T]`` → ``[B, C, T]``."""
        inputs = x.permute(2, 0, 1)
        y, _ = self.lstm(inputs)
        return (y + inputs).permute(1, 2, 0)

    def init_state(self, slots: int, device: torch.device) -> State:
        zeros = torch.zeros(slots, self.layers, self.width, device=device)
        return {"hidden": zeros, "cell": zeros.clone()}

    def step(self, x: Tensor, state: State, active: Tensor | None = None, cold: bool = False) -> Tensor:
        """``[B, C, T]`` → ``[B, C, T]``."""
        hidden, cell = leaf(state, "hidden"), leaf(state, "cell")
        inputs = x.permute(2, 0, 1)
        y, (new_hidden, new_cell) = self.lstm(
            inputs, (hidden.transpose(0, 1).contiguous(), cell.transpose(0, 1).contiguous())
        )
        keep(hidden, new_hidden.transpose(0, 1), active)
        keep(cell, new_cell.transpose(0, 1), active)
        return (y + inputs).permute(1, 2, 0)
