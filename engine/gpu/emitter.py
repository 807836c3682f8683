"""A program as a list of launches over preallocated buffers.

A *row* is a place in the batch of one step. ``slots`` says which stream's slot each row computes; rows are filled from
the first on, and unused ones have the slot ``UNUSED``. Kernels follow five rules:

- A kernel reads and writes workspaces by row, and state by the row's slot.
- State is read and written under the mask ``slot >= 0`` alone. Workspaces need no mask: they have whole blocks of rows,
  and numbers of unused rows are never used.
- A program all of whose rows are unused returns at once: ``if tl.load(slots + first) < 0: return``.
- Block sizes and the order of each sum are fixed and do not depend on the number of rows, so that a row has the same
  bits in any batch.
- Offsets into state are 64-bit: ``slot.to(tl.int64) * stride``. A ring of thousands of slots has over 2^31 elements.

Sums are float32. With ``dtype`` bfloat16, the operands of products are bfloat16: weights, and signals that only
products read (``operand_buffer``). With float32, ``tl.dot`` gets ``input_precision="ieee"``, and each output is one
chain of fused multiply-adds that starts at the bias and follows K, as in ``native/src/linear.h``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from whispergpt.engine.gpu.launch import Cost, Grid, Launch, whole_blocks
from whispergpt.engine.gpu.replay import launch_each

STAGES = ("lm", "fine", "codec", "mel")
UNUSED = -1
"""Slot of a row that computes nothing."""
MOST_NUMBERS = 2**31
"""Most numbers of a workspace, which kernels index in 32 bits."""


@dataclass(frozen=True)
class Signal:
    """A signal between kernels.

    Attributes:
        memory: ``[rows, times · width]``, rows contiguous or a view with a row stride: ``memory.stride(0)``.
        times: samples for each row.
        width: channels of each sample.
    """

    memory: Tensor
    times: int
    width: int

    @property
    def row_bytes(self) -> int:
        """Return the bytes of one row."""
        return self.times * self.width * self.memory.element_size()


class Emitter:
    """A program that is being built, for up to ``rows`` rows on ``device``.

    Attributes:
        rows: largest batch, a multiple of ``ROW_BLOCK``.
        slots: slot of each row, int32 ``[rows]``; ``UNUSED`` at first.
        launches: the program so far.
        dtype: of products: bfloat16 or float32.
        row_bytes: memory of all workspaces for each row.
    """

    def __init__(self, rows: int, device: torch.device, dtype: torch.dtype) -> None:
        assert dtype in (torch.bfloat16, torch.float32)
        self.rows, self.device, self.dtype = whole_blocks(rows), device, dtype
        self.slots = torch.full((self.rows,), UNUSED, dtype=torch.int32, device=device)
        self.launches: list[Launch] = []
        self.row_bytes = 0
        self._stage = STAGES[0]
        self._constants: dict[tuple[Any, ...], tuple[Tensor, Tensor]] = {}

    def stage(self, name: str) -> None:
        """Count what is emitted from now on as part of this stage."""
        assert name in STAGES
        self._stage = name

    def emit(
        self, kernel: Any, grid: Grid, arguments: dict[str, Any], cost: Cost, warps: int = 4, stages: int = 3
    ) -> None:
        """Append a launch; ``slots`` is added to its arguments."""
        with_slots = {"slots": self.slots, **arguments}
        self.launches.append(Launch(kernel, grid, with_slots, self._stage, cost, warps, stages))

    def run(self, rows: int) -> None:
        """Launch the whole program for the first ``rows`` rows, a multiple of ``ROW_BLOCK``."""
        assert rows == whole_blocks(rows) <= self.rows
        launch_each(self.launches, rows)

    def buffer(self, times: int, width: int) -> Signal:
        """Return a workspace in float32, for sums that are added to or read by other kernels than products."""
        return self._buffer(times, width, torch.float32)

    def operand_buffer(self, times: int, width: int) -> Signal:
        """Return a workspace in the format of products' operands, for signals that are rounded to it anyway."""
        return self._buffer(times, width, self.dtype)

    def _buffer(self, times: int, width: int, dtype: torch.dtype) -> Signal:
        made = Signal(torch.zeros(self.rows, times * width, dtype=dtype, device=self.device), times, width)
        assert made.memory.numel() <= MOST_NUMBERS, "offsets into workspaces are 32-bit"
        self.row_bytes += made.row_bytes
        return made

    def weight(self, weight: Tensor) -> Tensor:
        """Return a matrix of a product, contiguous and in the format of operands; equal weights are converted once."""
        return self._converted(weight, self.dtype)

    def constant(self, tensor: Tensor) -> Tensor:
        """Return a bias, a norm's weight or a table, contiguous, in its own format and on the program's device."""
        return self._converted(tensor, tensor.dtype)

    def _converted(self, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        key = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, dtype)
        if tensor.is_meta or key not in self._constants:
            converted = tensor.detach().to(self.device, dtype).contiguous()
            if tensor.is_meta:
                return converted
            # The source is kept alive too, so that no other tensor gets its address.
            self._constants[key] = (converted, tensor)
        return self._constants[key][0]
