"""Blocks of samples for steps, used again and again."""

from __future__ import annotations

import sys

import numpy as np
import numpy.typing as npt
import torch

from whispergpt.engine.config import HOP

_KEPT = 8
"""Blocks that the pool keeps; more are needed only while the server reads slowly."""
_UNUSED = 3
"""References to a block that nobody else holds: the pool's list, a variable and an argument."""


class BlockPool:
    """Blocks int16 ``[n, 320]``, each free again once no view of it is left.

    New memory costs a page fault every 4 KiB, for thousands of streams more than the copy of their samples.

    Args:
        slots: the most rows of a block.
        pinned: whether a GPU is to write blocks itself, for which their pages stay where they are.
    """

    def __init__(self, slots: int, pinned: bool = False) -> None:
        self._slots, self._pinned = slots, pinned
        self._blocks: list[npt.NDArray[np.int16]] = []

    def gather(self, samples: npt.NDArray[np.int16], rows: list[int] | npt.NDArray[np.int64]) -> npt.NDArray[np.int16]:
        """Return a copy of some rows of ``samples`` ``[slots, 320]``."""
        out = self.take(len(rows))
        np.take(samples, rows, axis=0, out=out, mode="clip")  # other modes copy once more
        return out

    def copy(self, samples: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
        """Return a copy of ``samples`` ``[n, 320]``."""
        out = self.take(len(samples))
        out[:] = samples
        return out

    def take(self, count: int) -> npt.NDArray[np.int16]:
        """Return ``count`` rows that nobody else holds; their values are left over from earlier use."""
        for block in self._blocks:
            if sys.getrefcount(block) == _UNUSED:
                return block[:count]
        block = self._new()
        if len(self._blocks) < _KEPT:
            self._blocks.append(block)
        return block[:count]

    def _new(self) -> npt.NDArray[np.int16]:
        """Return a block of new memory."""
        shape = self._slots, HOP
        if not self._pinned:
            return np.empty(shape, np.int16)
        memory: npt.NDArray[np.int16] = torch.empty(shape, dtype=torch.int16, pin_memory=True).numpy()
        return memory
