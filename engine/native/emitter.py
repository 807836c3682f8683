"""A program as a list of kernels, with the workspaces and packed weights that they use."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from whispergpt.engine.native import kernels as k
from whispergpt.engine.native.weights import Weights
from whispergpt.engine.native.workspaces import Workspaces

STAGES = ("lm", "fine", "codec", "mel")
_TILE = 4
"""Streams that a codec's wide layers take at once: with 32 filters their signals take less than 1 MB."""


@dataclass(frozen=True)
class Signal:
    """A signal between kernels: ``times`` samples of ``width`` channels for each stream.

    Attributes:
        pairs: whether its values are rounded to bfloat16, two in the place of a float.
    """

    rows: k.Rows
    times: int
    width: int
    pairs: bool = False


class Emitter:
    """A program that is being built, for up to ``rows`` streams, or that many ``consecutive`` frames of one."""

    def __init__(self, weights: Weights, rows: int, consecutive: bool = False) -> None:
        self._weights, self._library = weights, weights.library.functions
        self._handle = ctypes.c_void_p(self._library.whispergpt_program())
        self._count, self.consecutive = rows, consecutive
        self._kernels: list[k.Kernel] = []
        self._starts: dict[int, str] = {}
        """Stages by the kernels that they begin with."""
        self._loops: dict[int, tuple[range, bool]] = {}
        """Kernels that run row by row, or on the last row alone, by the kernel after them."""
        self._tiles: dict[int, range] = {}
        """Kernels that run tile by tile, by the kernel after them."""
        self._workspaces = Workspaces()
        self._pairs, self._bytes = weights.dtype == torch.bfloat16, weights.dtype == torch.int8
        self._panel = int(self._library.whispergpt_panel())
        self._kept: list[Tensor] = []  # kept alive, because the program has their addresses

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            self._library.whispergpt_free(self._handle)

    def window(
        self,
        x: Signal,
        context: int,
        state: Tensor | None,
        through_elu: bool,
        for_product: bool = False,
        plain: Signal | None = None,
    ) -> Signal:
        """Return the input of a convolution over ``x``: for each row the samples before it, then its own.

        Args:
            for_product: round it as the product that it is for does.
            plain: buffer of pairs for ``x`` without ELU.
        """
        pairs = for_product and self._pairs and x.width % 2 == 0
        if self.consecutive:
            before, stride = (size * x.width // (2 if pairs else 1) for size in (context, x.times))
            rows = self._workspaces.reserve_joined(before + self._count * stride, stride)
        else:
            rows = self.buffer(context + x.times, x.width, pairs).rows
        held = k.Rows(0, 0) if state is None else k.Rows.of(state)
        how = (through_elu, self._bytes or self._pairs, self.consecutive, pairs)
        beside = k.Rows(0, 0) if plain is None else plain.rows
        self.emit(k.Window(x.rows, x.times, x.width, context, *how, held, rows, beside))
        return Signal(rows, x.times, x.width, pairs)

    def differences(self, x: Signal, state: Tensor) -> Signal:
        """Return what a transposed convolution sees of ``x`` through ELU, in pairs: three samples for each two."""
        seen = self.buffer(x.times // 2, 3 * x.width, pairs=True)
        self.emit(k.Differences(x.rows, x.times, x.width, self.consecutive, k.Rows.of(state), seen.rows))
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
        more: tuple[Signal, Tensor, Tensor] | None = None,
        for_product: bool = False,
        into: Signal | None = None,
    ) -> Signal:
        """Multiply ``times`` rows of ``x``, each ``step`` floats after the last, by ``weight`` ``[N, K]``.

        Args:
            into: where to put the results; by default in ``add_to``, to which they are added, or in a new buffer.
            more: a signal whose product with these weights ``[N, K']`` and bias is added. Not for int8.
            for_product: round the results as the product that they are for does.
        """
        times, step = times or x.times, step or x.width
        outputs, inputs = weight.shape
        y = into or add_to or self.buffer(times, outputs, for_product and self._pairs and outputs % 2 == 0)
        whole_groups = inputs % k.MOST_IN_GROUP == 0 and (step % k.MOST_IN_GROUP == 0 or times == 1)
        whole_groups = whole_groups and (times - 1) * step + inputs >= k.FEWEST_ROUNDED
        if self._bytes and whole_groups:
            numbers = [tensor.data_ptr() for tensor in self._weights.in_bytes(weight, bias)]
            assert more is None and into is None
            rest = (y.rows, activation, add_to is not None)
            self.emit(k.ByteProduct(x.rows, times, step, inputs, outputs, *numbers, *rest))
        else:
            pairs = self._pairs and inputs % 2 == 0 and (step % 2 == 0 or times == 1)
            assert pairs or not x.pairs
            beside = (k.Rows(0, 0), 0)
            if more is not None:
                assert more[0].pairs == pairs
                beside = (more[0].rows, more[1].shape[1])
            packed, padded = self._weights.packed(weight, bias, pairs, more and more[1:])
            held = (packed.data_ptr(), k.STORED[packed.dtype], padded.data_ptr())
            added = k.Rows(0, 0) if add_to is None else add_to.rows
            out = (y.rows, added, outputs if into is None else into.width, activation)
            self.emit(k.Linear(x.rows, times, step, inputs, *beside, outputs, *held, *out, x.pairs, y.pairs))
        return y

    def buffer(self, times: int, width: int, pairs: bool = False) -> Signal:
        size = times * width // (2 if pairs else 1)
        if self.consecutive:
            return Signal(self._workspaces.reserve_joined(self._count * size, size), times, width, pairs)
        return Signal(self._workspaces.reserve(self._count, size), times, width, pairs)

    def memory_of(self, signal: Signal) -> Tensor:
        """Have one of this program's buffers keep its values after a run, and return its rows, joined."""
        assert signal.rows.stride == signal.times * signal.width
        memory = self.keep(torch.zeros(self._count * signal.rows.stride))
        self._workspaces.own(signal.rows, memory)
        return memory

    def keep(self, tensor: Tensor) -> Tensor:
        kept = tensor.detach().contiguous()
        assert kept.device.type == "cpu"
        self._kept.append(kept)
        return kept

    def stage(self, name: str) -> None:
        self._starts[len(self._kernels)] = name

    def emit(self, kernel: k.Kernel) -> None:
        self._kernels.append(kernel)

    def complete(self) -> None:
        """Give the program to the library, once all kernels are emitted."""
        loops, tiles = [loop for loop, _ in self._loops.values()], list(self._tiles.values())
        self._kept += self._workspaces.place(self._kernels, loops, tiles)
        for index, kernel in enumerate(self._kernels):
            if index in self._starts:
                self._library.whispergpt_stage(self._handle, STAGES.index(self._starts[index]))
            getattr(self._library, kernel.symbol)(self._handle, ctypes.byref(kernel))
            if index + 1 in self._loops:
                loop, last_alone = self._loops[index + 1]
                self._library.whispergpt_by_row(self._handle, len(loop), last_alone)
            if index + 1 in self._tiles:
                self._library.whispergpt_in_tiles(self._handle, len(self._tiles[index + 1]), _TILE)

    @contextmanager
    def single_precision(self) -> Iterator[None]:
        """Have products that are emitted within computed in float32."""
        held = self._pairs, self._bytes
        self._pairs = self._bytes = False
        yield
        self._pairs, self._bytes = held

    @contextmanager
    def without_bytes(self) -> Iterator[None]:
        """Have products that are emitted within computed in float32 where others are in int8."""
        held, self._bytes = self._bytes, False
        yield
        self._bytes = held

    def in_tiles(self, x: Signal, emit: Callable[[Signal], Signal]) -> Signal:
        """Have the kernels from ``x`` on run on a few streams at a time, so that signals stay in the second cache."""
        if self.consecutive:
            return emit(x)
        first, inside = len(self._kernels), self.buffer(x.times, x.width)
        self.emit(k.Enter(x.rows, x.times * x.width, inside.rows))
        made = emit(inside)
        outside = self.buffer(made.times, made.width)
        self.emit(k.Leave(made.rows, made.times * made.width, outside.rows))
        self._tiles[len(self._kernels)] = range(first, len(self._kernels))
        return outside

    @contextmanager
    def row_by_row(self) -> Iterator[None]:
        """Have kernels that are emitted within run row by row where rows are consecutive: each needs the last one."""
        first = len(self._kernels)
        yield
        if self.consecutive:
            self._by_row(first, last_alone=False)

    @contextmanager
    def last_row_alone(self) -> Iterator[None]:
        """Have kernels that are emitted within run on the last row only, where rows are consecutive."""
        first = len(self._kernels)
        yield
        if self.consecutive:
            self._by_row(first, last_alone=True)

    def _by_row(self, first: int, last_alone: bool) -> None:
        self._loops[len(self._kernels)] = (range(first, len(self._kernels)), last_alone)
