"""Workspaces of a program: buffers share memory where no kernel needs both, so that few of them leave the caches."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from whispergpt.engine.large_pages import LargePages
from whispergpt.engine.native import kernels as k

_FIRST_ADDRESS = 1 << 62
"""Address of the first workspace before ``place``; no processor has memory there."""
_LINE = 16
"""Floats of a cache line."""


@dataclass
class _Workspace:
    """Space for ``floats`` from a provisional address on, which the kernels ``first`` to ``last`` need."""

    address: int
    floats: int
    memory: Tensor | None = None
    first: int = -1
    last: int = -1


class Workspaces:
    """Buffers that are reserved while a program is built, and placed once all its kernels are known."""

    def __init__(self) -> None:
        self._reserved: list[_Workspace] = []
        self._addresses: list[int] = []
        self._end = _FIRST_ADDRESS

    def reserve(self, rows: int, width: int) -> k.Rows:
        """Return ``rows`` of ``width`` floats at a provisional address, for any disjoint rows in each thread.

        Two threads may be at different kernels, so memory is shared by workspaces with the same distance of rows alone.
        """
        stride = _rounded(width) + _LINE  # rows a whole page apart would share their places in the first cache
        return self._add(rows * stride, stride)

    def reserve_joined(self, floats: int, stride: int) -> k.Rows:
        """Return rows at a provisional address, each ``stride`` floats after the last, for one thread."""
        size = _rounded(floats)
        return self._add(size, stride)

    def _add(self, floats: int, stride: int) -> k.Rows:
        self._reserved.append(_Workspace(self._end, floats))
        self._addresses.append(self._end)
        self._end += 4 * floats
        return k.Rows(self._addresses[-1], stride)

    def own(self, rows: k.Rows, memory: Tensor) -> None:
        """Place a workspace in ``memory``, where it is not overwritten."""
        self._find(rows).memory = memory

    def place(self, kernels: Sequence[k.Kernel], loops: Sequence[range], tiles: Sequence[range]) -> list[Tensor]:
        """Put final addresses into the kernels, and return the memory behind them.

        Args:
            kernels: all kernels in their order.
            loops: indices of kernels that run row by row: their workspaces are needed from the first to the last.
            tiles: indices of kernels that run tile by tile, in the same rows each time: workspaces that outlast a tile
                are needed from the first to the last.
        """
        for index, kernel in enumerate(kernels):
            around = next((loop for loop in loops if index in loop), range(index, index + 1))
            for rows in self._used(kernel):
                space = self._find(rows)
                space.first = around[0] if space.first < 0 else space.first
                space.last = around[-1]
        for tile in tiles:
            for space in self._reserved:
                if (
                    space.first <= tile[-1]
                    and space.last >= tile[0]
                    and not (space.first in tile and space.last in tile)
                ):
                    space.first, space.last = min(space.first, tile[0]), max(space.last, tile[-1])
        memory: list[Tensor] = []
        pages = LargePages()
        busy: list[_Workspace] = []
        free: defaultdict[int, list[Tensor]] = defaultdict(list)
        for space in sorted((s for s in self._reserved if s.first >= 0 and s.memory is None), key=lambda s: s.first):
            for ended in [other for other in busy if other.last < space.first]:
                assert ended.memory is not None
                free[ended.floats].append(ended.memory)
                busy.remove(ended)
            if not free[space.floats]:
                free[space.floats].append(pages.zeros(space.floats))
                memory += free[space.floats]
            space.memory = free[space.floats].pop()
            busy.append(space)
        for kernel in kernels:
            for rows in self._used(kernel):
                space = self._find(rows)
                assert space.memory is not None
                rows.data = space.memory.data_ptr() + rows.data - space.address
        return memory

    def _used(self, kernel: k.Kernel) -> Iterator[k.Rows]:
        """Yield the kernel's rows that lie in workspaces."""
        for field in kernel._fields_:
            if field[1] is k.Rows and (getattr(kernel, field[0]).data or 0) >= _FIRST_ADDRESS:
                yield getattr(kernel, field[0])

    def _find(self, rows: k.Rows) -> _Workspace:
        return self._reserved[bisect_right(self._addresses, rows.data) - 1]


def _rounded(floats: int) -> int:
    """Round up, by less than a quarter, so that more workspaces have one size."""
    step = max(_LINE, 1 << max(0, floats.bit_length() - 3))
    return -(-floats // step) * step
