"""Memory in large pages: a step reads all weights, slots and workspaces, and looks up fewer addresses there."""

from __future__ import annotations

import ctypes
import sys

import torch
from torch import Tensor

_LARGE_PAGE = 2 << 20
_MADV_HUGEPAGE = 14
"""Advice number of Linux."""
LINE = 64
"""Bytes of a cache line, at which every tensor begins."""
_BLOCK = 4 * _LARGE_PAGE
"""Bytes that are allocated at once; pages that no tensor has come to take no memory."""


def in_large_pages(tensor: Tensor) -> Tensor:
    """Ask Linux for large pages behind a tensor in unused memory, and return it; it works without them too."""
    first = -(-tensor.data_ptr() // _LARGE_PAGE) * _LARGE_PAGE
    size = (tensor.data_ptr() + tensor.nbytes - first) // _LARGE_PAGE * _LARGE_PAGE
    if sys.platform == "linux" and tensor.device.type == "cpu" and size > 0:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(size), _MADV_HUGEPAGE)
    return tensor


class LargePages:
    """A CPU's memory for tensors that are never given back one by one, each behind the last."""

    def __init__(self) -> None:
        self._rest = torch.empty(0, dtype=torch.uint8)

    def zeros(self, floats: int) -> Tensor:
        """Return zeros, float32 ``[floats]``."""
        return self.copy(torch.zeros(1).expand(floats))

    def copy(self, tensor: Tensor) -> Tensor:
        """Return a contiguous copy of a tensor."""
        size = -(-tensor.nbytes // LINE) * LINE
        if len(self._rest) < size:
            block = in_large_pages(torch.empty(max(_BLOCK, size) + _LARGE_PAGE, dtype=torch.uint8))
            self._rest = block[-block.data_ptr() % _LARGE_PAGE :]
        taken, self._rest = self._rest[: tensor.nbytes], self._rest[size:]
        return taken.view(tensor.dtype).view(tensor.shape).copy_(tensor)
