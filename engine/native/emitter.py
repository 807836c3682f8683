"""A program as a list of kernels, with the workspaces and packed weights that they use."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from whispergpt.engine.native import kernels as k
from whispergpt.engine.native.weights import Weights

STAGES = ("lm", "fine", "codec", "mel")


@dataclass(frozen=True)
class Signal:
    """A signal between kernels: ``times`` samples of ``width`` channels for each stream."""

    rows: k.Rows
    times: int
    width: int


class Emitter:
    """A program that is being built, for up to ``rows`` streams, or that many ``consecutive`` frames of one."""

    def __init__(self, weights: Weights, rows: int, consecutive: bool = False) -> None:
        self._weights, self._library = weights, weights.library.functions
        self._handle = ctypes.c_void_p(self._library.whispergpt_program())
        self._count, self.consecutive = rows, consecutive
        self._emitted = 0
        self._pairs, self._bytes = weights.dtype == torch.bfloat16, weights.dtype == torch.int8
        self._panel = int(self._library.whispergpt_panel())
        self._kept: list[Tensor] = []  # kept alive, because the program has their addresses

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            self._library.whispergpt_free(self._handle)

    def window(self, x: Signal, context: int, state: Tensor | None, through_elu: bool) -> Signal:
        """Return the input of a convolution over ``x``: for each row the samples before it, then its own."""
        if self.consecutive:
            space = self.keep(torch.zeros((context + self._count * x.times) * x.width))
            seen = Signal(k.Rows(space.data_ptr(), x.times * x.width), x.times, x.width)
        else:
            seen = self.buffer(context + x.times, x.width)
        held = k.Rows(0, 0) if state is None else k.Rows.of(state)
        self.emit(k.Window(x.rows, x.times, x.width, context, through_elu, self.consecutive, held, seen.rows))
        return seen

    def embed(self, codes: k.Codes, table: Tensor, out: k.Rows) -> None:
        self.emit(k.Embed(codes, table.shape[1], self.keep(table).data_ptr(), out))

    def norm(self, x: Signal, weight: Tensor, out: k.Rows) -> None:
        self.emit(k.Norm(x.rows, x.width, self.keep(weight).data_ptr(), out))

    def product(
        self,
        x: Signal,
        weight: Tensor,
        bias: Tensor | None,
        times: int | None = None,
        step: int | None = None,
        activation: int = k.NONE,
        add_to: Signal | None = None,
    ) -> Signal:
        """Multiply ``times`` rows of ``x``, each ``step`` floats after the last, by ``weight`` ``[N, K]``."""
        times, step = times or x.times, step or x.width
        outputs, inputs = weight.shape
        y = add_to or self.buffer(times, outputs)
        sizes, rest = (x.rows, times, step, inputs, outputs), (y.rows, activation, add_to is not None)
        whole_groups = inputs % k.MOST_IN_GROUP == 0 and (step % k.MOST_IN_GROUP == 0 or times == 1)
        if self._bytes and whole_groups:
            numbers = [tensor.data_ptr() for tensor in self._weights.in_bytes(weight, bias)]
            self.emit(k.ByteProduct(*sizes, *numbers, *rest))
        else:
            pairs = self._pairs and inputs % 2 == 0 and (step % 2 == 0 or times == 1)
            packed, padded = self._weights.packed(weight, bias, pairs)
            self.emit(k.Linear(*sizes, packed.data_ptr(), k.STORED[packed.dtype], padded.data_ptr(), *rest))
        return y

    def buffer(self, times: int, width: int) -> Signal:
        return Signal(k.Rows.of(self.keep(torch.zeros(self._count, times * width))), times, width)

    def memory_of(self, signal: Signal) -> Tensor:
        """Return the tensor of one of this program's buffers, ``[rows, times·width]``."""
        return next(tensor for tensor in self._kept if tensor.data_ptr() == signal.rows.data)

    def keep(self, tensor: Tensor) -> Tensor:
        kept = tensor.detach().contiguous()
        assert kept.device.type == "cpu"
        self._kept.append(kept)
        return kept

    def stage(self, name: str) -> None:
        self._library.whispergpt_stage(self._handle, STAGES.index(name))

    def emit(self, kernel: k.Kernel) -> None:
        getattr(self._library, kernel.symbol)(self._handle, ctypes.byref(kernel))
        self._emitted += 1

    @contextmanager
    def single_precision(self) -> Iterator[None]:
        """Have products that are emitted within computed in float32."""
        held = self._pairs, self._bytes
        self._pairs = self._bytes = False
        yield
        self._pairs, self._bytes = held

    @contextmanager
    def row_by_row(self) -> Iterator[None]:
        """Have kernels that are emitted within run row by row where rows are consecutive: each needs the last one."""
        first = self._emitted
        yield
        if self.consecutive:
            self._by_row(first, last_alone=False)

    @contextmanager
    def last_row_alone(self) -> Iterator[None]:
        """Have kernels that are emitted within run on the last row only, where rows are consecutive."""
        first = self._emitted
        yield
        if self.consecutive:
            self._by_row(first, last_alone=True)

    def _by_row(self, first: int, last_alone: bool) -> None:
        self._library.whispergpt_by_row(self._handle, self._emitted - first, last_alone)
        self._emitted = first + 1
