"""One launch of a kernel in a program, with what it costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor

Grid: TypeAlias = Callable[[int], tuple[int, ...]]
"""Number of programs in each dimension, for a number of rows."""
ROW_BLOCK = 64
"""Rows of a batch are a multiple of this, so that kernels need no mask for the rows of workspaces."""


@dataclass(frozen=True)
class Cost:
    """Work of one launch, counted from shapes where it is emitted.

    Attributes:
        row_bytes: bytes that each row reads and writes.
        shared_bytes: bytes that all rows read together once, such as weights.
        operations: operations of each row; a multiply-add is two.
    """

    row_bytes: int
    shared_bytes: int = 0
    operations: int = 0

    def total_bytes(self, rows: int) -> int:
        """Return the bytes that a launch for ``rows`` rows moves, if each byte is moved once."""
        return self.shared_bytes + rows * self.row_bytes


@dataclass(frozen=True)
class Launch:
    """A kernel with its grid and arguments.

    Attributes:
        kernel: function that ``triton.jit`` returned.
        grid: programs for a number of rows, which is a multiple of ``ROW_BLOCK``.
        arguments: tensors, numbers and constants, by the name of the kernel's parameter.
        stage: stage of the step that the launch belongs to: ``lm``, ``fine``, ``codec`` or ``mel``.
        cost: counted work.
        warps: warps of 32 threads in each program.
        stages: loads of a loop that are under way at once (Triton's ``num_stages``).
    """

    kernel: Any
    grid: Grid
    arguments: dict[str, Any]
    stage: str
    cost: Cost
    warps: int = 4
    stages: int = 3

    @property
    def name(self) -> str:
        """Return the kernel's name."""
        return str(self.kernel.__name__)

    def run(self, rows: int) -> None:
        """Launch the kernel for the first ``rows`` rows."""
        self.kernel[self.grid(rows)](**self.arguments, num_warps=self.warps, num_stages=self.stages)

    def compile(self, rows: int) -> Any:
        """Compile the kernel for the current device, and return it without launching it."""
        options = {"num_warps": self.warps, "num_stages": self.stages}
        return self.kernel.warmup(grid=self.grid(rows), **self.arguments, **options)


def bytes_of(tensor: Tensor) -> int:
    """Return the bytes of a tensor's numbers."""
    return tensor.numel() * tensor.element_size()


def whole_blocks(rows: int) -> int:
    """Return ``rows`` rounded up to a multiple of ``ROW_BLOCK``."""
    return -(-rows // ROW_BLOCK) * ROW_BLOCK


def blocks(rows: int, size: int) -> int:
    """Return how many blocks of ``size`` hold ``rows``."""
    return -(-rows // size)
