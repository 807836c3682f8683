"""Causal layers of the codec: convolution, transposed convolution and LSTM, offline and streaming alike.

Each layer computes the same function in both ways. A convolution keeps the last inputs that its next outputs
still see, a transposed one its last input frame, an LSTM its two vectors. Parameter names are EnCodec's.

``forward`` takes ``[B, C, T]``, as torch's convolutions do. ``step`` takes ``[B, T, C]``: with channels last, the few
samples of a chunk make a convolution one matrix product of small windows, about twice as fast as ``conv1d``.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from whispergpt.engine.model.streaming import State, keep, leaf


class CausalConv1d(nn.Module):
    """A strided convolution that sees no future sample; ``pad_mode``: the padding before the first sample."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, pad_mode: str = "constant") -> None:
        super().__init__()
        # EnCodec's name for the weight is ``conv.conv.weight``.
        inner = nn.Conv1d(inputs, outputs, kernel, stride)
        self.conv = nn.ModuleDict({"conv": inner})
        self._inner: tuple[nn.Conv1d] = (inner,)  # in a tuple, so that torch does not register it under a second name
        self.inputs, self.outputs, self.kernel, self.stride = inputs, outputs, kernel, stride
        self.pad_mode = pad_mode
        self.context = kernel - stride
        self._packed: Tensor | None
        self.register_buffer("_packed", None, persistent=False)

    def pack(self) -> None:
        """Keep the weights in the layout of ``step`` from now on."""
        self._packed = self.matrix()[0].detach()

    def matrix(self) -> tuple[Tensor, Tensor]:
        """Return weights ``[C', kernel·C]`` for windows that are read sample by sample, and the bias."""
        weight, bias = self._inner[0].weight, self._inner[0].bias
        assert bias is not None
        return weight.transpose(1, 2).flatten(1) if self._packed is None else self._packed, bias

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
        if self.kernel > 1:
            # [B, T', C, kernel] → [B, T', kernel·C]
            x = x.unfold(1, self.kernel, self.stride).transpose(2, 3).flatten(2)
        return F.linear(x, *self.matrix())

    def _with_context(self, x: Tensor, context: Tensor, active: Tensor | None, cold: bool) -> Tensor:
        """Put the earlier inputs in front of ``x``, and keep the end of both for the next chunk."""
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
        self._packed: Tensor | None
        self._packed_bias: Tensor | None
        self.register_buffer("_packed", None, persistent=False)
        self.register_buffer("_packed_bias", None, persistent=False)

    def pack(self) -> None:
        """Keep the weights in the layout of ``step`` from now on."""
        self._packed, self._packed_bias = (w.detach().contiguous() for w in self.matrix())

    def matrix(self) -> tuple[Tensor, Tensor]:
        """Return weights ``[stride·C', 2·C]``, for the samples of frame t from x(t-1) and x(t), and their bias."""
        if self._packed is not None and self._packed_bias is not None:
            return self._packed, self._packed_bias
        weight, bias = self._inner[0].weight, self._inner[0].bias
        assert bias is not None
        halves = torch.cat([weight[..., self.stride :], weight[..., : self.stride]])
        return halves.permute(2, 1, 0).flatten(0, 1), bias.repeat(self.stride)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, T]`` → ``[B, C', T·stride]``."""
        return self._inner[0](x)[..., : x.shape[-1] * self.stride]

    def init_state(self, slots: int, device: torch.device) -> State:
        return {"previous": torch.zeros(slots, 1, self.inputs, device=device)}

    def step(self, x: Tensor, state: State, active: Tensor | None = None, cold: bool = False) -> Tensor:
        """``[B, T, C]`` → ``[B, T·stride, C']``."""
        previous = leaf(state, "previous")
        before = torch.cat([previous, x[:, :-1]], dim=1)
        y = F.linear(torch.cat([before, x], dim=2), *self.matrix())
        keep(previous, x[:, -1:], active)
        return y.view(len(x), -1, self.outputs)


class ResidualLSTM(nn.Module):
    """EnCodec's SLSTM: an LSTM over time, added to its input. Unlike the original it can keep its state."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width, layers)
        self.width, self.layers = width, layers
        for layer in range(layers):
            self.register_buffer(f"_packed_{layer}", None, persistent=False)
            self.register_buffer(f"_packed_bias_{layer}", None, persistent=False)

    def pack(self) -> None:
        """Keep the weights in the layout of ``step`` from now on."""
        for layer in range(self.layers):
            weight, bias = self.gates(layer)
            setattr(self, f"_packed_{layer}", weight.detach().contiguous())
            setattr(self, f"_packed_bias_{layer}", bias.detach())

    def gates(self, layer: int) -> tuple[Tensor, Tensor]:
        """Return ``[4·C, 2·C]`` and ``[4·C]``: weights and bias of a layer's gates over input and hidden state."""
        packed = getattr(self, f"_packed_{layer}")
        if packed is not None:
            return packed, getattr(self, f"_packed_bias_{layer}")
        of = self.lstm
        weight = torch.cat([getattr(of, f"weight_ih_l{layer}"), getattr(of, f"weight_hh_l{layer}")], dim=1)
        return weight, getattr(of, f"bias_ih_l{layer}") + getattr(of, f"bias_hh_l{layer}")

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
        """Compute one frame ``[B, C]`` by plain products: torch's LSTM takes five times as long for one frame."""
        for layer in range(self.layers):
            gates = F.linear(torch.cat([x, hidden[:, layer]], dim=-1), *self.gates(layer))
            write, forget, new, show = gates.chunk(4, dim=-1)
            made = torch.sigmoid(forget) * cell[:, layer] + torch.sigmoid(write) * torch.tanh(new)
            x = torch.sigmoid(show) * torch.tanh(made)
            keep(cell[:, layer], made, active)
            keep(hidden[:, layer], x, active)
        return x
